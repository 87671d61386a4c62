r"""Dates and times of day, in spellings that can mean nothing else.

    'March 5, 2020'   ->  (2020, 3, 5)        '5th of March'  ->  (None, 3, 5)
    '3:30\text{ pm}'  ->  (15, 30, 0, True)   '3:30'          ->  (3, 30, 0, False)
"""

from __future__ import annotations

import re

_MONTHS = {name: i + 1 for i, names in enumerate((
    'january jan', 'february feb', 'march mar', 'april apr', 'may', 'june jun', 'july jul',
    'august aug', 'september sep sept', 'october oct', 'november nov', 'december dec'))
           for name in names.split()}
_MONTH = '(' + '|'.join(sorted(_MONTHS, key=len, reverse=True)) + r')\.?'
_DAY = r'(?:the )?(\d{1,2})(?:st|nd|rd|th)?'
_YEAR = r'(?:,? ?(\d{4}))?'
_DATES = (
    (re.compile(rf'{_MONTH} {_DAY}{_YEAR}'), lambda m: (m.group(3), m.group(1), m.group(2))),
    (re.compile(rf'{_DAY}(?: of)? {_MONTH}{_YEAR}'),
     lambda m: (m.group(3), m.group(2), m.group(1))),
    (re.compile(r'(\d{4})([-/])(\d\d)\2(\d\d)'), lambda m: (m.group(1), m.group(3), m.group(4))))
_TIME = re.compile(r'(\d{1,2})(?::(\d\d))?(?::(\d\d))? ?(?:([ap])\.? ?(m)?\.{0,3})?')

_NAMED = {'noon': 12, '12 noon': 12, 'midnight': 0, '12 midnight': 0}


def _plain(text: str) -> str:
  """The text in lower case, without LaTeX around words and with one spelling of its spaces."""
  text = re.sub(r'\\text\{([^{}]*)\}', r' \1 ', text).casefold()
  text = re.sub(r'(?<=\d)\^(?:\{\s*)?(st|nd|rd|th)\}?', r'\1', text.replace('␣', ' '))
  return re.sub(r'\s+', ' ', text).replace(' :', ':').replace(': ', ':').replace(' ,', ',').strip()


def date(text: str) -> tuple[int | None, int, int] | None:
  """(year or None, month, day) of a tidy answer; None if it is no date."""
  for pattern, order in _DATES:
    if match := pattern.fullmatch(_plain(text)):
      year, month, day = order(match)
      month = _MONTHS.get(month) or int(month)
      return (int(year) if year else None, month, int(day))
  return None


def time(text: str) -> tuple[int, int, int, bool] | None:
  """(hour, minute, second, whether the half of the day is known) of a tidy answer, or None."""
  if (named := _NAMED.get(_plain(text))) is not None:
    return (named, 0, 0, True)
  match = _TIME.fullmatch(_plain(text))
  if not match or not (match.group(2) or match.group(5)):
    return None                      # '4a' is algebra, '4:30p.' is not.
  hour, minute, second = (int(g or 0) for g in match.groups()[:3])
  half = match.group(4)
  if half and not 1 <= hour <= 12 or hour > 24 or minute > 59 or second > 59:
    return None
  hour = hour % 12 + 12 * (half == 'p') if half else hour
  # In '15:30' and '0:10' the hour tells the half of the day.
  return (hour, minute, second, bool(half) or not 1 <= hour <= 12)


def same_time(a: tuple, b: tuple) -> bool:
  """Whether two times are equal; up to 12 hours where the half of the day of one is unknown."""
  whole = 24 if a[3] and b[3] else 12
  return (a[0] - b[0]) % whole == 0 and a[1:3] == b[1:3]
