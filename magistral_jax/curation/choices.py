r"""Multiple choice: finds the options of a statement, and asks for the right one's content.

    'The product of 3 and 4 is $\textbf{(A)}\ 7 \qquad \textbf{(B)}\ 12 ...$', gold '(B)'
    -> 'The product of 3 and 4 is what?', gold '12'

An option can stand as the answer if it is a value of its own and the question does not need to see
the others: 'which of the following' and 'is closest to' do.

Reference: arXiv:2506.10910 section 4.1, which rewrites them and does not say how.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from magistral_jax.curation.text import images, normal, without_images

# The label of one option: \textbf{(A)}, (A), [A], **A.**, A. and A) of their own line.
_STYLES = [
    r'\\(?:text|textbf|mathrm|mathbf|rm|bf)\s*\{{\s*\(?{x}[).:]?\s*\)?\s*(?:\\ )?\}}\s*[).:]?',
    r'\{{\\(?:rm|bf)\s*\(?{x}\)?\s*\}}',
    r'(?<![A-Za-z0-9_\\])\(\s*\$?(?:\\(?:text|mathrm|mathbf)\{{)?{x}\}}?\$?\s*\)',
    r'(?<![A-Za-z0-9_\\])\[\s*{x}\s*\]',
    r'\*\*\s*\(?{x}(?:[.):]\s*\*\*|\s*\*\*[.):]?)',
    r'(?:^|\n|<br\s*/?>|\\qquad|\\quad|;|\s{{2,}}|'
    r'(?<=[?.:)]))\s*(?:[-*•]\s+)?\$?(?:\\text\s*)?{x}\s*[.):](?=[\s\\$])',
    r'(?:^|\s)\$?(?:\\text\s*)?{x}[.):]\s*(?=[\s\\$\d])',
]
# Capitals label options. What else may is known by the gold: other lists are conditions and parts.
_CAPITALS = tuple('ABCDEFGHIJ')
_OTHERS = (tuple('abcdefghij'), tuple('123456789'), ('i', 'ii', 'iii', 'iv', 'v', 'vi'))
_STYLES = {labels: [[re.compile(style.format(x=label)) for label in labels] for style in _STYLES]
           for labels in (_CAPITALS, *_OTHERS)}
_LABEL = re.compile(
    r'(?:\$|\*\*)?(?:\\(?:text|textbf|mathrm|mathbf)\s*\{\s*)?[(\[]?([A-Ja-j]|[1-9]|[iv]{1,3})'
    r'[)\]]?[.:]?\s*\}?(?:\$|\*\*)?')
_LIST = re.compile(r'\\(?:begin|end)\{(?:enumerate|itemize|choices)\}(?:\[[^\[\]]*\])?')
_ITEM = re.compile(r'\\item\s*\[([^\[\]]{1,8})\]')
_PICKS = re.compile(r'\b(?:which|select|choose|pick|mark|identify)\b', re.IGNORECASE)
_MIN_OPTIONS = 3
_MOST_SPREAD = 1500         # Characters that options take; letters farther apart are points.
_LAYOUT = re.compile(
    r'\n\s*[-*•]\s*$|\*\*\s*$|^\s*\*\*|'
    r'^(?:\s|\\\\|\\ |\\(?:qquad|quad|hspace\{[^{}]*\}|hfill|newline|indent|'
    r'hskip\S*)(?![A-Za-z])|~|[$;&]|\\[,;:!]|<br\s*/?>|\}\s*$)+|'
    r'(?:\s|\\\\|\\ |\\(?:qquad|quad|hspace\{[^{}]*\}|hfill|newline|indent)(?![A-Za-z])|~|[$;&]|'
    r'\\[,;:!]|'
    r'<br\s*/?>)+$')
_OPENS_LABEL = re.compile(r'\\(?:mathrm|text|textbf|mathbf)\s*\{\s*$')
_FIND = re.compile(r'\b(?:find|determine|compute|calculate|evaluate|what is|'
                   r'how many)\b', re.IGNORECASE)
_COMPARES = re.compile(
    r'\b(?:of|from|among|in|by) (?:the|these|those) (?:\w+ )?(?:following|cases|options?|choices?|'
    r'answers?|alternatives?|statements?|numbers below)\b|\b(?:of|among) (?:these|'
    r'those)(?= (?:is|are|'
    r'numbers|statements|values|expressions|could|must|can)\b|\s*[:?]|\s*\Z)|'
    r'\bfollowing\b|\b(?:options?|choices?|alternatives?)\b|'
    r'\bwhich (?:is|are|one|statements?|answers?|graphs?|figures?|expressions?|equations?|'
    r'pairs?|sets?|conclusions?|quantity|number|value|transformations?|descriptions?|methods?|'
    r'propert\w+|conditions?)\b|'
    r'\bwhich\b(?=[^.?!]*\b(?:true|false|correct|best|must|could)\b)|'
    r'\b(?:closest|nearest|approximat\w+|estimate\w*|roughly)\b|\bbest (?:describe|represent)\w*|'
    r'\b(?:greater|less|more|fewer|larger|smaller) than which\b|'
    r'\b(?:true|false|correct|incorrect) (?:that|statement|conclusion)s?\b|'
    r'\b(?:must|could|can|cannot|may|might) (?:not )?(?:be|have|equal)\s*:?\s*\Z|'
    r'\bis (?:necessarily|always|never|between|in the (?:form|interval))\b|'
    r'\ban?\s*:?\s*\Z', re.IGNORECASE)
_ENDED = re.compile(r'[.?!？][\s$)\\\]"\']*\Z')
_DEMANDS_LETTER = re.compile(
    r'[(\s]*(?:please\s+)?(?:enter|type|write|give|answer|your answer)\b[^.]*\b(?:letter|option|'
    r'choice)s?\b[^.]*\.?[)\s]*|[(\s]*(?:enter|type|'
    r'write)\s+\$?A\$?,\s[^.]*\.?[)\s]*', re.IGNORECASE)
_NO_VALUE = re.compile(
    r'none of|all of|neither|both|either|cannot be|can\'t be|not enough|impossible to|'
    r'no such|undetermined|more than|less than|fewer than|at least|at most|another|other|'
    r'infinitely|\bnot\b|\([A-E]\)|correct|'
    r'^(?:an? )?(?:prime|even|odd|positive|negative|rational|irrational|'
    r'divisible)\b', re.IGNORECASE)
_BLANK = re.compile(r'(?:\(\s*\)|\\\(\s*\\\)|_{2,}|（\s*）|\.{3,}|:|=)?\s*[.。]?\s*$')
_MOST_WORDS = 3             # Of an option that is a word: names and days, no sentences.


@dataclasses.dataclass(frozen=True)
class Choices:
  """A multiple-choice statement, taken apart.

  Choices(stem='The product of 3 and 4 is', options={'A': '7', 'B': '12', 'C': '34'}, rest='')
  """
  stem: str                 # Without the code of images.
  options: dict[str, str]
  rest: str = ''            # What follows the options.
  images: tuple[str, ...] = ()


def find(statement: str, gold: str = '') -> Choices | None:
  """The options of a statement; None if it has none.

  Options are at least three labels in their order, near the end of the text.

  Args:
    gold: without it options have capitals for labels. With others they need a gold that is a label
      or what one of them says.
  """
  # A tab before 'ext' was \\t of \\text once.
  text = re.sub(r'\t(?=ext(?:bf|it|rm)?\{)', r'\\t', without_images(statement))
  text = _ITEM.sub(r'\n\1 ', _LIST.sub('\n', text))
  found = _labelled(text, _CAPITALS)
  for labels in _OTHERS if gold and not found else ():
    other = _labelled(text, labels)
    if other and _points_at(gold, other):
      found = other
      break
  return dataclasses.replace(found, images=tuple(images(statement))) if found else None


def _points_at(gold: str, choices: Choices) -> bool:
  """Whether a gold is a label of options, or what one of them says."""
  label = _LABEL.fullmatch(gold.strip())
  if label and label[1] in choices.options and (
      gold.strip() != label[1] or not label[1].isdigit() or _PICKS.search(choices.stem)):
    return True
  return normal(gold) in map(normal, choices.options.values())


def _labelled(text: str, labels: tuple[str, ...]) -> Choices | None:
  """The options of a text that have these labels."""
  best = None
  for style in _STYLES[labels]:
    found = _run(text, style)
    if len(found) >= _MIN_OPTIONS and (best is None or len(found) > len(best)):
      best = found
  if best is None:
    return None
  ends = [*(m.start() for m in best[1:]), None]
  options, rest = {}, ''
  for label, match, end in zip(labels, best, ends, strict=False):
    content = text[match.end():end]
    if end is None:
      content, rest = _last(content)
    options[label] = _clean(content)
  last = options[label]
  if not all(options.values()) or _FIND.search(last) or (
      '?' in last and len(last.split()) > _MOST_WORDS):
    return None               # Labels of points ('(A), (B) and (C)') or of conditions.
  stem = re.sub(r'\\(?:begin|end)\{(?:tabular|array|align\*?|center)\}.*$', '',
                text[:best[0].start()])
  return Choices(_DEMANDS_LETTER.sub('', _clean_end(stem)), options,
                 _DEMANDS_LETTER.sub('', rest).strip())


def _run(text: str, style: list[re.Pattern]) -> list[re.Match]:
  """The longest run of A, B, C ... that starts at the last A from which it can."""
  best: list[re.Match] = []
  for first in style[0].finditer(text):
    found = [first]
    for pattern in style[1:]:
      following = pattern.search(text, found[-1].end())
      if not following or following.start() - found[-1].end() > _MOST_SPREAD // 3:
        break
      found.append(following)
    if len(found) >= len(best):
      best = found
  return best


def _last(content: str) -> tuple[str, str]:
  """(the last option, what follows it)."""
  found = re.search(r'\n\s*\n|(?<=[$}\d])\s*\n|(?<=\.)\s*\n|\s\((?=[A-Z][a-z]+ )', content.strip())
  return (content.strip()[:found.start()], content.strip()[found.start():]) if found else (
      content, '')


def _clean(content: str) -> str:
  """An option without layout; dollar signs and braces that its label opened are dropped."""
  before = None
  while content != before:
    before = content
    content = _LAYOUT.sub('', _OPENS_LABEL.sub('', content))
    spare = content.count('}') - content.count('{')
    if spare > 0 and content.startswith('}'):
      content = content[1:]
    elif spare > 0 and content.endswith('}'):
      content = content[:-1]
  if content.count('$') % 2:
    content = content.replace('$', '')
  return re.sub(r'^\\text\{([^{}]*)\}$', r'\1', content.strip()).strip(' .,')


def _clean_end(stem: str) -> str:
  """A stem without the layout before its first option; an odd dollar sign at its end is dropped."""
  before = None
  while stem != before:
    before = stem
    stem = re.sub(r'(?:\s|\\\\|\\qquad|\\quad|\\ |<br\s*/?>|\*\*|\n\s*[-*•]|\\\[|\\\(|'
                  r'\$?\\(?:mathrm|text|textbf|mathbf)\{?|\{)+$', '', stem)
    if stem.endswith('$') and (stem.count('$') - 2 * stem.count('\\$')) % 2:
      stem = stem[:-1]
    if stem.endswith('$$') and stem.count('$$') % 2:
      stem = stem[:-2]
  return stem


def right_option(choices: Choices, gold: str, same: Callable[[str, str], bool],
                 ) -> tuple[str, str]:
  """(label, answer) of the right option; ('', '') if none is it.

  A gold may be a label, whose content is the answer then, or a content, which stays as it is.
  """
  said = [name for name, content in choices.options.items() if normal(content) == normal(gold)]
  label = _LABEL.fullmatch(gold.strip()) or re.match(r'\\?(?:text(?:bf)?\{)?\(([A-J])\)\}?',
                                                     gold.strip())
  if label and label[1] in choices.options:
    # '2' may be the second option, and the one that says 2.
    ambiguous = label[1].isdigit() and said not in ([], [label[1]])
    return ('', '') if ambiguous else (label[1], choices.options[label[1]])
  if said:
    return said[0], gold
  if label and label[1].upper() in choices.options:
    return label[1].upper(), choices.options[label[1].upper()]
  if label and label[1] in _CAPITALS:
    return '', ''
  # A unit that only the options name.
  bare = {name: re.sub(r'(?<=[\d}$\w])\s+[a-z][a-z ]+$', '', content)
          for name, content in choices.options.items()}
  return next(((name, gold) for name, content in choices.options.items()
               if same(content, gold) or same(bare[name], gold)), ('', ''))


def open_question(choices: Choices, label: str) -> tuple[str, str]:
  """(statement without options, ''), or ('', the sentence why no rule can write it)."""
  content = choices.options[label]
  question = re.split(r'(?<=[.?!])\s+(?=\S)', choices.stem)[-1]
  if found := _COMPARES.search(question):
    return '', f'the question compares its options: {found[0]!r}'
  if _NO_VALUE.search(content):
    return '', f'the option {content[:60]!r} is no value of its own'
  if len(re.findall(r'[A-Za-z]{3,}', re.sub(r'\\[A-Za-z]+', '', content))) > _MOST_WORDS:
    return '', f'the option {content[:60]!r} is a text'
  if choices.rest:
    return '', f'something follows the options: {choices.rest[:60]!r}'
  stem = choices.stem
  if not _ENDED.search(stem) and not _FIND.search(question):
    stem = f'{_BLANK.sub("", stem).rstrip()} what?'
  return '\n\n'.join((stem, *choices.images)), ''
