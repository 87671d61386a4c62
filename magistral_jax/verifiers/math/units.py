r"""Units behind a value and currencies before it: '5 \text{ cm}', '\dollar 18', '2 million'.

    '5\text{ km/h}'  ->  Quantity('5', 1, Unit(1000/3600, (('length', 1), ('time', -1))))
    '12 apples'      ->  Quantity('12', 1, Unit(label='apple'))

Known units convert exactly; unknown ones are compared as words.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

from magistral_jax.verifiers.math import spoken

# Dimension -> names of a unit -> its size in units of the dimension's first one.
_TABLE = {
    'length': {'m meter metre 米': 1, 'mm millimeter millimetre 毫米': '1/1000',
               'cm centimeter centimetre 厘米': '1/100', 'dm decimeter decimetre 分米': '1/10',
               'km kilometer kilometre 千米 公里': 1000, 'in inch inche': '0.0254',
               'ft foot feet': '0.3048', 'yd yard': '0.9144', 'mi mile': '1609.344'},
    'mass': {'g gram 克': 1, 'kg kilogram 千克': 1000, 'mg milligram': '1/1000',
             't ton tonne 吨': 10**6, 'lb pound': '453.59237', 'oz ounce': '28.349523125'},
    'time': {'s sec second 秒': 1, 'min minute 分钟': 60, 'h hr hour 小时': 3600,
             'day 天': 86400, 'week': 604800},
    'month': {'month': 1, 'year yr 年': 12},
    'dollar': {'dollar usd buck': 1, 'cent ¢': '1/100'},
    'euro': {'euro eur': 1}, 'yen': {'yen jpy': 1}, 'rupee': {'rupee inr': 1},
    'yuan': {'yuan 元 rmb': 1},
    'radian': {'rad radian': 1}, 'degree': {'degree deg 度': 1},
    'celsius': {'celsius': 1}, 'fahrenheit': {'fahrenheit': 1},
    'volume': {'l liter litre 升': 1, 'ml milliliter millilitre 毫升': '1/1000',
               'gallon': '3.785411784'},
    # Of two letters only those that are no likely product: 2kn is algebra.
    'force': {'n newton 牛': 1}, 'energy': {'j joule 焦耳': 1}, 'power': {'w watt 瓦': 1},
    'voltage': {'v volt 伏': 1}, 'current': {'a ampere amp 安': 1}, 'resistance': {'ohm': 1},
    'frequency': {'hz hertz': 1}, 'amount': {'mol mole': 1},
    'area': {'acre': 1, 'hectare ha': '2.47105381467165'},
}
_NAMES = {name: (dimension, Fraction(size)) for dimension, row in _TABLE.items()
          for names, size in row.items() for name in names.split()}
_SPEEDS = {'mph': 'mile/hour', 'kph': 'km/h', 'kmh': 'km/h', 'kmph': 'km/h'}
SCALES = {'dozen': 12, 'hundred': 100, 'thousand': 10**3, 'million': 10**6, 'billion': 10**9,
          'trillion': 10**12}
_NEUTRAL = 'unit'
_POWERS = {'square': 2, 'sq': 2, 'cubic': 3, 'cu': 3, 'squared': 2, 'cubed': 3}

_LETTER = r'[^\W\d_]'
_POWER = r'(?:\s*\^\s*(?:\d|\{-?\d\}))?'
_TEXT_UNIT = re.compile(rf'/?\s*\\text\{{([^{{}}\\]*)\}}({_POWER})\.?$')
_WORD_UNIT = re.compile(
    rf'(?:(?<=[\d}})%!])|(?<=\\pi)|(?<=\\pi ))\s*({_LETTER}(?:{_LETTER}|[. /])*{_LETTER}|'
    rf'[\u4e00-\u9fff¢])({_POWER})\.?$')
# School books put units in brackets, and both numbers of a word in one: '(days)', 'day(s)'.
_BRACKETS = [(re.compile(pattern), new) for pattern, new in (
    (r'(?<=[A-Za-z]{2})\((e?s)\)', r'\1'),
    (rf'(\\text\{{\s*)[(\[](?:in )?([^()\[\]{{}}\\]*)[)\]](\s*\}}{_POWER})$', r'\1\2\3'),
    (rf'(?<=\S)\s*[(\[]\s*(\\text\{{[^{{}}\\]*\}}{_POWER})\s*[)\]]$', r' \1'),
    (rf'(?<=[\d}})%! ])[(\[]\s*(?:in )?({_LETTER}(?:{_LETTER}|[. /])*{_LETTER}{_POWER}|'
     r'[\u4e00-\u9fff])\s*[)\]]$', r' \1'),
    (rf'(?:(?<=[\d}}%! ])\[\s*([mgshl])({_POWER})\s*\]|(?<=[\d}}%!]) \(\s*([mgshl])({_POWER})\s*\))'
     r'$', r' \\text{\1\3}\2\4'))]
_CURRENCY = re.compile(r'^([+-]?)\s*\\(dollar|euro|pound|yen|rupee)(?![A-Za-z])\s*')
_ANGLE_FUNCTION = re.compile(r'\\(?:sin|cos|tan|cot|sec|csc|cis)(?![A-Za-z])')
_COUNT = re.compile(r'\d|\\(?:pi|sqrt|frac)(?![A-Za-z])')
_PLAIN = re.compile(r'[+-]?[\d.,/ ]+|[+-]?\d*\\frac\{\d+\}\{\d+\}')
# Words that are more than the name of what is counted.
_NOT_UNITS = re.compile(
    r'[\d;,()?]|^(?:squared|cubed)\b|或|\b(?:or|and|to|through|between|if|when|where|for|with|'
    r'either|not|no|approx|approximately|about|around|roughly|nearly|almost|maybe|perhaps|'
    r'possibly|probably|likely|guess|guessed|wrong|unknown|nan|undefined|none|plus|minus|times|than|less|more|over|'
    r'choose|mod|modulo|base|factorial|otherwise|oder|ou|u|half|halves|thirds?|fourths?|fifths?|'
    r'sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?)\b')


@dataclasses.dataclass(frozen=True)
class Unit:
  """A product of powers of known dimensions with its size, or the label of an unknown unit."""
  size: Fraction = Fraction(1)
  powers: tuple[tuple[str, int], ...] = ()
  label: str = ''

  @property
  def degrees(self) -> bool:
    """Whether the unit is the degree of an angle."""
    return self.powers == (('degree', 1),)

  @property
  def radians(self) -> bool:
    """Whether the unit is the radian."""
    return self.powers == (('radian', 1),)


@dataclasses.dataclass(frozen=True)
class Quantity:
  """A value with scale and unit.

  '2 million dollars' has the text '2', the scale 10^6 and the dollar as unit (None without one).
  """
  text: str
  scale: int = 1
  unit: Unit | None = None


def contradict(a: Unit, b: Unit) -> bool:
  """Whether two units cannot belong to one answer; the word 'units' contradicts none."""
  if _NEUTRAL in (a.label, b.label) or a.degrees and b.radians or a.radians and b.degrees:
    return False
  return a.label != b.label or a.powers != b.powers


def quantity(text: str) -> Quantity:
  """A tidy value with its currency, scale and unit taken off; other words stay in the text."""
  for pattern, new in _BRACKETS:
    text = pattern.sub(new, text)
  scale, unit = 1, None
  if match := _CURRENCY.match(text):
    unit = parse_unit(match.group(2))    # A known gap: pounds sterling pass for pounds of weight.
    text = match.group(1) + text[match.end():]
  for _ in range(3):               # At most a scale, words and degrees.
    match = _TEXT_UNIT.search(text) or _WORD_UNIT.search(text)
    if not match or not text[:match.start()].strip():
      break
    words, before = match.group(1).strip().casefold(), text[:match.start()].rstrip(' /')
    found = _scaled_unit(words, match.group(2))
    is_text = match.group().lstrip('/ ').startswith('\\')
    if found is None or not (is_text or _may_be_bare(words, found, before)):
      break
    if found[1] and found[1].label and not _COUNT.search(before):
      break                          # 'A \\text{ B}' is no quantity.
    if match.group().startswith('/') and found[1] is not None:
      found = (found[0], dataclasses.replace(found[1], label='per ' + words, powers=()))
    text, scale, unit = before, scale * found[0], _product(found[1], unit)
  if text.endswith('^\\circ') and not _ANGLE_FUNCTION.search(text):
    text, unit = text[:-len('^\\circ')], unit or Unit(powers=(('degree', 1),))
  return Quantity(text.strip(), scale, unit)


def _product(unit: Unit | None, other: Unit | None) -> Unit | None:
  """The unit of 'm' and 's^{-1}' one after the other; the first where they are no such two.

  '\\$5 dollars' has its unit twice, and is no square.
  """
  if not (unit and other and unit.powers and other.powers) or (
      {name for name, _ in unit.powers} & {name for name, _ in other.powers}):
    return unit or other
  return Unit(unit.size * other.size, tuple(sorted(unit.powers + other.powers)))


def _may_be_bare(words: str, found: tuple, before: str) -> bool:
  """Whether words outside \\text are a unit: '3x' and '2 a' are algebra, '3 apples' has a unit."""
  known = found[1] is None or bool(found[1].powers)
  if not words.isascii():
    return True
  return len(words) > 1 and known or len(words) > 2 and bool(_PLAIN.fullmatch(before.strip()))


def _scaled_unit(words: str, power: str) -> tuple[int, Unit | None] | None:
  """(scale, unit) of the words behind a number; None where the words are more than that."""
  if _NOT_UNITS.search(words) or any(w != 'a' and spoken.digits(w) for w in words.split()):
    return None
  first, _, rest = words.partition(' ')
  if first in SCALES:
    return SCALES[first], parse_unit(rest, power) if rest else None
  return 1, parse_unit(words, power)


def parse_unit(words: str, power: str = '') -> Unit:
  """The unit of 'km/h', 'kilometers per hour' or 'square inches', raised to a power.

  If one of the words is unknown, the unit is a label.
  """
  size, powers, sign, exponent = Fraction(1), {}, 1, 1
  words = re.sub(r'\.|^of\b', '', words).strip()
  pieces = re.sub(r'/|\bper\b', ' / ', _SPEEDS.get(words, words)).split()
  for i, name in enumerate(pieces):
    if name == '/':
      sign = -1
      continue
    if name in _POWERS:
      exponent = _POWERS[name]
      continue
    known = _NAMES.get(name) or _NAMES.get(name.removesuffix('s'))
    if known is None:
      return Unit(label=_label(words))
    if power and i == len(pieces) - 1:         # 'm/s' squared is m/s^2.
      exponent *= int(re.sub(r'[^\d-]', '', power))
    powers[known[0]] = powers.get(known[0], 0) + sign * exponent
    size *= known[1] ** (sign * exponent)
    exponent = 1
  return Unit(size, tuple(sorted(powers.items())))


def _label(words: str) -> str:
  """The words that name what is counted, in the singular."""
  kept = [w for w in words.split() if w not in _POWERS]
  return ' '.join(w.removesuffix('s') for w in kept)
