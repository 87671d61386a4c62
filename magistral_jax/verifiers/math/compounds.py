r"""Quantities in several units, one after another, in the smallest of them.

    '2\text{ hours }30\text{ minutes}'   ->  '150\text{ minute}'
    '\dollar 5 and 20 cents'             ->  '520\text{ cent}'
    5'6"                                 ->  '66\text{ inch}'

With a comma or 'and' between them they are one quantity where nobody writes two of them so: '5 feet
and 6 inches', but not '5 m and 6 cm', which may be two lengths, nor '2 feet and 30 inches'.
"""

from __future__ import annotations

import re
from fractions import Fraction

from magistral_jax.verifiers.math import units

_NUMBER = r'(\d+(?:\.\d+)?|\d*\\frac\{\d+\}\{\d+\})'
_PART = re.compile(rf'{_NUMBER}\s*(?:\\text\{{\s*([^\W\d_]+)\.?\s*\}}|([^\W\d_]+)\.?)\s*')
_PRICE = re.compile(r'\\(dollar) ?(\d+)\s*')
_JOINT = re.compile(r'(?:,|\\text\{\s*and\s*\}|and(?![A-Za-z]))?\s*')
_MARKS = re.compile(rf"(?:(\d+)'\s*)?(?:{_NUMBER}(?:\"|''))?")
_PRIMES = re.compile(r'\^\s*(?:\{\s*((?:\\prime\s*)+)\}|(\\prime)(?![A-Za-z]))')
_TOP_AND_BOTTOM = re.compile(r'(\d*)\\frac\{(\d+)\}\{(\d+)\}')


def joined(text: str) -> str:
  """A tidy quantity in several units of one dimension as one in the smallest; others as they are.

  The units must become smaller, and all numbers but the last be whole.
  """
  parts, joints = _marked(text), ['']
  if not parts:
    parts, joints = _parts(text)
  if len(parts) < 2 and "'" not in text and '"' not in text:
    return text
  known = [units.parse_unit(name) for _, name in parts]
  if not parts or not known[0].powers or any(u.powers != known[0].powers for u in known):
    return text
  numbers = [_number(digits) for digits, _ in parts]
  sizes = [u.size for u in known]
  if None in numbers or any(a <= b for a, b in zip(sizes, sizes[1:], strict=False)) or any(
      n.denominator > 1 for n in numbers[:-1]):
    return text
  for i, joint in enumerate(joints[1:], start=1):
    if joint and not _is_customary(known[0].powers, numbers[i], sizes[i - 1] / sizes[i]):
      return text
  total = sum(n * size for n, size in zip(numbers, sizes, strict=True)) / sizes[-1]
  value = str(total) if total.denominator == 1 else (
      f'\\frac{{{total.numerator}}}{{{total.denominator}}}')
  return f'{value}\\text{{ {parts[-1][1]}}}'


def _parts(text: str) -> tuple[list[tuple[str, str]], list[str]]:
  """([(digits, unit)], what stands before each) of a text that consists of them; else ([], [])."""
  parts, joints, joint, end = [], [], '', 0
  while end < len(text):
    match = _PART.match(text, end)
    if match:
      parts.append((match.group(1), (match.group(2) or match.group(3)).casefold()))
    elif not parts and (match := _PRICE.match(text)):
      parts.append(match.group(2, 1))
    else:
      return [], []
    joints.append(joint)
    behind = _JOINT.match(text, match.end())
    joint, end = behind.group().strip(), behind.end()
  return ([], []) if joint else (parts, joints)


def _marked(text: str) -> list[tuple[str, str]]:
  """The feet and inches of 5'6"; [] for other texts."""
  text = _PRIMES.sub(lambda m: "'" * (m.group(1) or m.group(2)).count('prime'), text)
  match = _MARKS.fullmatch(text.replace(' ', '').replace('␣', ''))
  if not match:
    return []
  return [(digits, name) for digits, name in zip(match.groups(), ('foot', 'inch'), strict=True)
          if digits]


def _number(digits: str) -> Fraction | None:
  """The value of a part; None for a division by zero."""
  if match := _TOP_AND_BOTTOM.fullmatch(digits):
    whole, top, bottom = match.groups()
    return Fraction(int(whole or 0)) + Fraction(int(top), int(bottom)) if int(bottom) else None
  return Fraction(digits)


def _is_customary(powers: tuple, number: Fraction, ratio: Fraction) -> bool:
  """Whether units with a joint between them make one quantity: 2 hours and 30 minutes."""
  decimal = re.fullmatch('10*', str(ratio)) and powers != (('dollar', 1),)
  return number < ratio and not decimal
