r"""Sets of numbers with a name, in one spelling.

    \mathbb{Z}^+    \mathbb{N}^*    \text{all positive integers}    ->    \mathbb{Z}_{>0}
"""

from __future__ import annotations

import re

_WORDS = re.compile(
    r'(?:the )?(?:set of )?(?:all )?(?:the )?(?:(positive|negative|non-?negative|non-?positive) )?'
    r'(?:(natural|rational|real|complex) numbers|(integer|rational|real)s)')
_LETTERS = dict(natural='N', integer='Z', rational='Q', real='R', complex='C')
_SIGNS = {'positive': '>0', 'negative': '<0', 'nonnegative': r'\geq0', 'nonpositive': r'\leq0'}
_SYMBOL = re.compile(
    r'\\mathbb\{([NZQRC])\}(?:([_^])\{?([-+*0]|\\ast|(?:[<>]|\\[lg]eq)\{?0\}?)\}?)?')
_MARKS = {'^+': '>0', '_+': '>0', '^-': '<0', '_-': '<0'}
# Of N alone it is not agreed whether 0 is in it.
_NATURAL = {'_0': r'\geq0', '^0': r'\geq0', '^*': '>0', '^\\ast': '>0', '_*': '>0', '^+': '>0',
            '_+': '>0', '_>0': '>0', r'_\geq0': r'\geq0'}


def spelled(text: str) -> str | None:
  """The one spelling of a tidy value that is the name of a set of numbers; None for others."""
  words = re.sub(r'\\text\{([^{}]*)\}', r'\1', text).strip().casefold()
  if match := _WORDS.fullmatch(words):
    sign, *kind = match.groups()
    return _joined(_LETTERS[next(filter(None, kind))],
                   _SIGNS[sign.replace('-', '')] if sign else '')
  match = _SYMBOL.fullmatch(text.replace(' ', '').replace('\\cdot', '*'))
  if not match:
    return None
  letter, place, mark = match.groups(default='')
  mark = place + re.sub('[{}]', '', mark)
  if letter == 'N' and mark:
    return _joined('Z', _NATURAL[mark]) if mark in _NATURAL else None
  sign = _MARKS.get(mark, mark.removeprefix('_'))
  return _joined(letter, sign) if not sign or sign in _SIGNS.values() else None


def _joined(letter: str, sign: str) -> str:
  return rf'\mathbb{{{letter}}}' + (f'_{{{sign}}}' if sign else '')
