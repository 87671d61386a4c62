"""Numbers in words: 'four' is 4, 'one hundred and twenty-five' 125, 'two thirds' 2/3."""

from __future__ import annotations

import re

_ONES = ('one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
_TEENS = ('ten', 'eleven', 'twelve', 'thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen',
          'eighteen', 'nineteen')
_TENS = ('twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety')
SMALL = {'zero': 0, 'a': 1} | {
    word: n for n, word in enumerate((*_ONES, *_TEENS), start=1)} | {
    word: 10 * n for n, word in enumerate(_TENS, start=2)}
_PARTS = {name: n + 2 for n, names in enumerate((
    'half halves', 'third thirds', 'quarter quarters fourth fourths', 'fifth fifths',
    'sixth sixths', 'seventh sevenths', 'eighth eighths', 'ninth ninths', 'tenth tenths'))
          for name in names.split()}
_POWERS = dict(billion=10**9, million=10**6, thousand=10**3)

_TO_99 = (rf'(?:(?:{"|".join(_TENS)})(?:[- ](?:{"|".join(_ONES)}))?|{"|".join(_TEENS)}|'
          rf'{"|".join(_ONES)})')
_TO_999 = rf'(?:(?:a|{"|".join(_ONES)}) hundred(?: {_TO_99})?|{_TO_99})'
_WHOLE = re.compile(''.join(rf'(?:(?P<{name}>a|{_TO_999}) {name}(?:,? |$))?' for name in _POWERS)
                    + rf'(?P<rest>{_TO_999})?')
_FRACTION = re.compile(rf'(?P<top>a|{_TO_99})[- ](?P<part>{"|".join(_PARTS)})')
_AND = re.compile(r'(?<=hundred) and (?=[a-z])|(?<=thousand) and (?=[a-z])|(?<=million) and ',
                  re.IGNORECASE)


def joined(text: str) -> str:
  """A text without the 'and' inside a number: 'one hundred and five' is no list of two."""
  return _AND.sub(' ', text)


def digits(said: str) -> str | None:
  """The digits of a number in lower-case words, '125' or '2/3'; None for other words."""
  if said == 'a dozen':
    return '12'
  if said in ('half', 'zero'):
    return '1/2' if said == 'half' else '0'
  if match := _FRACTION.fullmatch(said):
    return f'{_below_1000(match["top"])}/{_PARTS[match["part"]]}'
  match = _WHOLE.fullmatch(said)
  if not match or not said:
    return None
  groups = match.groupdict(default='')
  return str(_below_1000(groups.pop('rest')) + sum(
      _POWERS[name] * _below_1000(group) for name, group in groups.items()))


def _below_1000(said: str) -> int:
  """The value of at most three digits in words; 0 for ''."""
  value = 0
  for word in said.replace('-', ' ').split():
    value = 100 * value if word == 'hundred' else value + SMALL[word]
  return value
