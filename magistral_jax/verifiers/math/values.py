r"""Whether two single values are the same: words, times, quantities, bases, numbers, then algebra.

Each rule either decides or leaves it to the next. Texts are tidy (`answers.tidy`), one value each.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

from magistral_jax.verifiers.math import (
  answers,
  compounds,
  dates,
  expression,
  families,
  number_sets,
  symbolic,
  trees,
  units,
  words,
)
from magistral_jax.verifiers.math.trees import Unreadable

_BASED = re.compile(
    r'\(?(?:\\text\{)?(?P<digits>-?[^\W_]+(?:\.\w+?)?)\}?\)?'
    r'(?:_\{?(?P<base>[^\W_]+|\\text\{\w+\})\}?)?')
_TEXT = re.compile(r'^\\text\{([^{}]*)\}$')
_INFINITY = re.compile(r'([+-]?)\\infty ?')
_DECIMAL = re.compile(r'[+-]?(\d*)\.(\d+)')
_THOUSANDS = re.compile(r'[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?')
_SCIENTIFIC = re.compile(r'([+-]?(?:\d+\.?\d*|\.\d+))[eE]([+-]?\d{1,4})')
_DEGREE = ('div', ('constant', 'pi'), trees.number(180))
_LARGEST_BASE = 36        # Its digits are 0 to 9 and the letters.
# Digits of a printed double, of which the 16th and 17th are noise.
_DOUBLE_DIGITS, _NOISY = 15, (16, 17)


def same_value(gold: str, answer: str) -> bool:
  """Whether an answer is the gold value; Unreadable where that takes a parser and it fails."""
  sets = number_sets.spelled(gold), number_sets.spelled(answer)
  if any(sets):
    return sets[0] == sets[1]
  gold, answer = words.spelled_number(gold), words.spelled_number(answer)
  said, heard = words.words(gold), words.words(answer)
  if said and heard:
    return said == heard
  # Beside a number in digits, 'two apples' are '2 apples'.
  if said and (found := words.counted(gold)):
    gold, said = found, None
  if heard and (found := words.counted(answer)):
    answer, heard = found, None
  if len(said or heard or '') > 1:
    # One side is words; the other is mathematics, or a word too short to be told from it ('no').
    other = answer if said else gold
    return (said or heard) == words.plain(other)
  times = dates.time(gold), dates.time(answer)
  if any(times):
    return all(times) and dates.same_time(*times)
  gold, answer = map(_quantity, (gold, answer))
  if gold.unit and answer.unit and units.contradict(gold.unit, answer.unit):
    return False
  return _same_quantity(gold, answer)


def require(text: str) -> None:
  """Raises Unreadable unless a text is a value by itself: words, a time, a quantity, a number."""
  text = words.spelled_number(text)
  if number_sets.spelled(text) or words.words(text) or dates.time(text):
    return
  bare = answers.compact(_quantity(text).text)
  if _INFINITY.fullmatch(bare) or (match := _BASED.fullmatch(bare)) and _is_based(match):
    return
  tree = _read(bare.removesuffix('%'))
  if trees.exact(tree) is None:
    symbolic.value(tree)


def real_number(text: str) -> Fraction | None:
  """A value to over a hundred digits; None where it is no real number."""
  tree = _read(answers.compact(_quantity(text).text))
  exact = trees.exact(tree)
  return symbolic.approximation(tree) if exact is None else exact


def _quantity(text: str) -> units.Quantity:
  """A value without its unit; one in several units is brought to the smallest."""
  return units.quantity(_TEXT.sub(r'\1', compounds.joined(text)))


def congruent(a: str, b: str, modulus: str) -> bool:
  """Whether two whole numbers differ by a multiple of a third, which is not 0."""
  first, other, step = (trees.whole(_read(answers.compact(t))) for t in (a, b, modulus))
  return None not in (first, other, step) and step != 0 and (first - other) % step == 0


def is_past(value: str, modulus: str) -> bool:
  """Whether a value is no remainder of a whole modulus: 7 of 5, 1/2 of 5, 0 of 0."""
  number, step = (trees.whole(_read(answers.compact(t))) for t in (value, modulus))
  return step is not None and (number is None or not 0 <= number < step)


def _same_quantity(gold: units.Quantity, answer: units.Quantity) -> bool:
  """Whether two quantities are the same, after both are brought to the same unit."""
  texts = answers.compact(gold.text), answers.compact(answer.text)
  # If one side leaves its unit out, it has the other side's.
  scales = [trees.number(gold.scale), trees.number(answer.scale)]
  if gold.unit and answer.unit and gold.unit.powers == answer.unit.powers:
    scales = [('mul', s, trees.number(q.unit.size))
              for s, q in zip(scales, (gold, answer), strict=True)]
  angles = [bool(q.unit and q.unit.degrees) for q in (gold, answer)]
  if angles[0] != angles[1]:
    side = angles.index(False)
    other = (gold, answer)[side]
    if other.unit and other.unit.radians or '\\pi' in texts[side]:
      scales[1 - side] = ('mul', scales[1 - side], _DEGREE)
  if texts[0] == texts[1] and scales[0] == scales[1]:
    return bool(texts[0])
  if (infinite := [_INFINITY.fullmatch(t) for t in texts]) != [None, None]:
    return all(infinite) and len({m.group(1).lstrip('+') for m in infinite}) == 1
  if '_' in ''.join(texts) and (based := _same_in_base(*texts)) is not None:
    return based
  percent = [t.endswith('%') for t in texts]
  if percent[0] and answer.unit or percent[1] and gold.unit:
    return False
  bare = [t.removesuffix('%') for t in texts]
  values = [_read(t) for t in bare]
  scaled = [v if s == trees.number(1) else ('mul', s, v)
            for s, v in zip(scales, values, strict=True)]
  if percent[0] == percent[1]:
    return _same_number(*scaled, *bare)
  side = percent.index(True)
  share = trees.exact(values[side])
  # 50% is also 50, in case the task asked for percent; a share of at most 1 is only a share.
  if (share is None or abs(share) > 1) and _same_number(*scaled, *bare):
    return True
  # Only the answer is scaled: the gold keeps its digits, so that an answer can round to it.
  scaled[1] = ('mul', trees.number(Fraction(1, 100) if side else 100), scaled[1])
  return _same_number(*scaled, *bare)


def _read(text: str) -> tuple:
  """The tree of a compact value."""
  if _THOUSANDS.fullmatch(text):
    text = text.replace(',', '')
  if match := _SCIENTIFIC.fullmatch(text):
    text = f'{match.group(1)}\\cdot10^{{{match.group(2)}}}'
  if not text:
    raise Unreadable('nothing where a value belongs')
  return expression.parse(text)


def _same_number(gold: tuple, answer: tuple, gold_text: str, answer_text: str) -> bool:
  """Whether two trees are the same number; the texts show which was written as a decimal."""
  exact, found = trees.exact(gold), trees.exact(answer)
  if exact is not None and exact == found:
    return True
  decimal = _DECIMAL.fullmatch(gold_text)
  if decimal and exact is not None:
    tolerance = _noise(decimal)
    # At least two digits: too many numbers round to 0.5, and 10.0 is 10.
    rounded = len(''.join(decimal.groups()).lstrip('0')) > 1 and decimal.group(2).strip('0') and (
        '.' not in answer_text)
    if tolerance is None and rounded and not (found and _terminates(found)):
      tolerance = Fraction(1, 2 * 10 ** len(decimal.group(2)))
    if tolerance is not None:
      # The tolerance is in the units of the comparison; a gold of 0 has no digits to round to.
      plain = Fraction(gold_text)
      tolerance *= abs(exact / plain) if plain else 0
      found = symbolic.approximation(answer) if found is None else found
      return found is not None and abs(exact - found) <= tolerance
  if families.is_family(gold) or families.is_family(answer):
    return families.same(gold, answer)
  return None in (exact, found) and symbolic.equal(gold, answer)


def _noise(decimal: re.Match) -> Fraction | None:
  """Half a unit of the last certain digit of a printed double; None for other decimals."""
  digits = ''.join(decimal.groups())
  significant = digits.lstrip('0')
  if len(significant) not in _NOISY:
    return None
  places = len(decimal.group(2)) - (len(significant) - _DOUBLE_DIGITS)
  return Fraction(10) ** -places / 2


def _terminates(value: Fraction) -> bool:
  """Whether a value has a finite decimal expansion."""
  bottom = value.denominator
  for prime in (2, 5):
    while bottom % prime == 0:
      bottom //= prime
  return bottom == 1


def _same_in_base(gold: str, answer: str) -> bool | None:
  """Whether '2516_8' is '2516_{8}' or '2516'; None when neither text has a base."""
  found = [_BASED.fullmatch(t) for t in (gold, answer)]
  bases = [m and m.group('base') and words.spelled_number(m.group('base')) for m in found]
  named = next(filter(None, bases), None)
  if None in found or named is None or not all(_is_numeral(m.group('digits'), named)
                                               for m in found):
    return None if not any(m and _is_based(m) for m in found) else False
  digits = [m.group('digits').casefold() for m in found]
  return digits[0] == digits[1] and (None in bases or bases[0] == bases[1])


def _is_based(match: re.Match) -> bool:
  """Whether a text that `_BASED` matches is a number with its base."""
  base = match.group('base')
  return bool(base) and _is_numeral(match.group('digits'), words.spelled_number(base))


def _is_numeral(digits: str, base: str) -> bool:
  """Whether a text is a number in a base, all digits of which are below the base.

  Letters alone are one if there are two: 'FF' in base 16; but x_1 and a_{16} are symbols. A base
  that is a letter may be any.
  """
  plain = digits.lstrip('-').replace('.', '').casefold()
  if not base.isdecimal():
    return bool(re.search(r'\d', plain))
  return plain.isascii() and plain.isalnum() and (len(plain) > 1 or plain.isdecimal()) and (
      int(max(plain), 36) < int(base[:3]) <= _LARGEST_BASE)


def proportional(gold: tuple[str, ...], answer: tuple[str, ...]) -> bool:
  """Whether two ratios are the same, as '3:4' and '6:8' are; one of zeros alone is no ratio."""
  if len(gold) != len(answer):
    return False
  first, other = ([_read(answers.compact(t)) for t in terms] for terms in (gold, answer))
  for terms in (first, other):
    if all(_same_number(trees.number(0), t, '', '') for t in terms):
      raise Unreadable('a ratio of zeros')
  pairs = list(zip(first, other, strict=True))
  # Every pair of terms is compared: where the first ones are 0, they say nothing about the others.
  return all(_same_number(('mul', g, b), ('mul', a, h), '', '')
             for (g, a), (h, b) in itertools.combinations(pairs, 2))


def difference_factor(gold: tuple[str, str], answer: tuple[str, str]) -> int:
  """The `symbolic.factor` of the differences of the sides of two equations or inequalities."""
  differences = []
  for sides in (gold, answer):
    left, right = (_read(answers.compact(s)) for s in sides)
    differences.append(('add', left, ('neg', right)))
  return symbolic.factor(*differences)
