"""Whether the output of a program is right: compared by tokens, as the judges of contests do.

White space only separates tokens. Upper and lower case differ unless the problem says that they do
not. Numbers must be written as expected unless the problem gives a tolerance. Even then whole
numbers are exact: where one is expected, no other is accepted, but the same one may be written with
decimals (within the absolute tolerance).

The checker 'lines' is that of LiveCodeBench: lines are compared one by one, without white space at
their ends, as text or else as lists of numbers, by their exact values.
"""

from __future__ import annotations

import decimal
import math
import re

_DECIMAL = re.compile(r'[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?', re.ASCII)
_NUMBER = re.compile(r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?', re.ASCII)
_MOST_DIGITS = 400                # Longer tokens are compared as text.


def same_output(found: bytes, expected: str, *, checker: str, tolerance: float) -> tuple[bool, str]:
  """(whether a program's output is right, the first difference or '').

  Args:
    found: what the program wrote; bytes that are not UTF-8 differ from everything.
    expected: what it should have written.
    checker: one of code_tests.CHECKERS.
    tolerance: absolute or relative, of decimal numbers, for the checker 'float'.
  """
  if checker == 'lines':
    return _same_lines(found.decode('utf-8', 'surrogateescape'), expected)
  ours, theirs = expected.split(), found.decode('utf-8', 'surrogateescape').split()
  for position, (want, have) in enumerate(zip(ours, theirs, strict=False), 1):
    if want == have:
      continue
    if checker == 'case_insensitive_tokens' and want.lower() == have.lower():
      continue
    if checker == 'float' and _close(want, have, tolerance):
      continue
    return False, f'token {position} is {_shown(have)}'
  if len(ours) != len(theirs):
    return False, f'{len(theirs)} tokens instead of {len(ours)}'
  return True, ''


def _same_lines(found: str, expected: str) -> tuple[bool, str]:
  """(whether two outputs are the same line by line, the first difference or '')."""
  ours, theirs = ([line.strip() for line in text.strip().split('\n')] for text in (expected, found))
  if len(ours) != len(theirs):
    return False, f'{len(theirs)} lines instead of {len(ours)}'
  for position, (want, have) in enumerate(zip(ours, theirs, strict=True), 1):
    if want != have:
      numbers = _numbers(want), _numbers(have)
      if None in numbers or numbers[0] != numbers[1]:
        return False, f'line {position} is {_shown(have)}'
  return True, ''


def _numbers(line: str) -> list[decimal.Decimal] | None:
  """The numbers that a line consists of; None if it has anything else."""
  try:
    found = [decimal.Decimal(word) for word in line.split()]
  except decimal.InvalidOperation:
    return None
  # A signaling one cannot be compared, and no NaN is equal to anything.
  return None if any(number.is_nan() for number in found) else found


def _close(want: str, have: str, tolerance: float) -> bool:
  """Whether two tokens are numbers within the tolerance of one another."""
  if max(len(want), len(have)) > _MOST_DIGITS:
    return False
  if not (_NUMBER.fullmatch(want) and _NUMBER.fullmatch(have)):
    return False
  whole = not _DECIMAL.fullmatch(want)
  if whole and not _DECIMAL.fullmatch(have):
    return False
  want, have = float(want), float(have)
  if not (math.isfinite(want) and math.isfinite(have)):
    return False
  return abs(want - have) <= tolerance * (1.0 if whole else max(1.0, abs(want)))


def _shown(token: str) -> str:
  """A token as a message shows it: short and printable."""
  return ascii(token[:40]) + ('...' if len(token) > 40 else '')
