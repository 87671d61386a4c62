r"""Words, n-grams and keys of statements: what two spellings of one problem have in common.

    normal('Find  $\dfrac12$ of x.')  -> 'find\frac{1}{2}ofx'     the same problem, another layout
    words('Find  $\dfrac12$ of x.')   -> ['find', 'frac', '1', '2', 'of', 'x']
    digits('Find  $\dfrac12$ of x.')  -> '12'
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

_PICTURE_CODE = re.compile(r'\[asy\].*?(?:\[/asy\]|\Z)|\\begin\{tikzpicture\}.*?'
                           r'(?:\\end\{tikzpicture\}|\Z)', re.DOTALL | re.IGNORECASE)
_LAYOUT = re.compile(
    r'<br\s*/?>|&nbsp;|\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|quad|qquad|'
    r'text|textbf|textit|textrm|mathrm|mathbf|mbox|emph|rm|bf|it)(?![A-Za-z])|'
    r'\\[,;:!> ()\[\]$]|[$~]|\*\*',
    re.IGNORECASE)
# One sign that LaTeX has several names for, or that is written as itself.
_SIGNS = [(re.compile(found), sign) for found, sign in (
    (r'\\(?:le|leq|leqslant)(?![a-z])|≤', r'\\le '),
    (r'\\(?:ge|geq|geqslant)(?![a-z])|≥', r'\\ge '),
    (r'\\neq?(?![a-z])|\\not\s*=|≠', r'\\ne '),
    (r'\\(?:ldots|cdots|dots|dotsc|dotsb)(?![a-z])|\.{3}', r'\\dots '),
    (r'\\(?:to|rightarrow)(?![a-z])|→', r'\\to '),
    (r'\\times(?![a-z])|×', r'\\times '), (r'\\cdot(?![a-z])|[·⋅]', r'\\cdot '),
    (r'π', r'\\pi '), (r'\\%', '%'), (r'[‘’]', "'"), (r'[“”]|``|\'\'', '"'), (r'[−–‐]', '-'),
    (r'(?<=\d)\{,\}(?=\d)', ','))]
_FRACTION = re.compile(r'\\[dtc]?frac(?![A-Za-z])\s*(?:(\d)\s*(\d))?')
_WORD = re.compile(r'[^\W\d_]+|\d+')
# Chinese, Japanese and Korean write without spaces: each of their characters is a word.
_DENSE = re.compile(r'([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])')
_END = ' .。:：?？!,;'


def without_images(text: str) -> str:
  """A statement without the code of its images (Asymptote, TikZ)."""
  return _PICTURE_CODE.sub(' ', text)


def images(text: str) -> list[str]:
  """The code of each image of a statement."""
  return _PICTURE_CODE.findall(text)


def has_picture_code(text: str) -> bool:
  """Whether a statement carries the code of an image."""
  return bool(_PICTURE_CODE.search(text))


def _spelled(text: str) -> str:
  """One spelling of fractions, letters and layout."""
  text = unicodedata.normalize('NFKC', text).casefold()
  for found, sign in _SIGNS:
    text = found.sub(sign, text)
  text = _FRACTION.sub(lambda m: rf'\\frac{{{m[1]}}}{{{m[2]}}}'[1:] if m[1] else r'\frac', text)
  return _LAYOUT.sub(' ', text)


def normal(text: str) -> str:
  """The key under which two statements are exact duplicates: no layout, no spaces, no case."""
  return ''.join(_spelled(text).split()).strip(_END)


def words(text: str) -> list[str]:
  """The words and numbers of a statement, without layout, signs and the code of images."""
  return _WORD.findall(_DENSE.sub(r' \1 ', _spelled(without_images(text))))


def digits(text: str) -> str:
  """All digits of a statement in their order: two problems with other numbers are two problems."""
  return ''.join(w for w in words(text) if w.isdigit())


def grams(found: Sequence[str], n: int) -> list[str]:
  """The n-grams of a list of words, each joined by spaces, in their order; [] if it is shorter."""
  return [' '.join(found[i:i + n]) for i in range(len(found) - n + 1)]


def hashed(text: str) -> int:
  """64 bits that stand for a text, the same in every process."""
  return int.from_bytes(hashlib.blake2b(text.encode('utf-8', 'surrogatepass'),
                                        digest_size=8).digest(), 'little')
