r"""Units behind a value and currencies before it: '5 \text{ cm}', '\dollar 18', '2 million'.

    '5\text{ km/h}'  ->  Quantity('5', 1, Unit(1000/3600, (('length', 1), ('time', -1))))
    '5\text{ L}'     ->  Quantity('5', 1, Unit(1/1000, (('length', 3),)))
    '12 apples'      ->  Quantity('12', 1, Unit(label='apple'))

Known units convert exactly, litres to cubic metres and joules to newton metres too; unknown ones
are compared as words.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

from magistral_jax.verifiers.math import spoken

# Powers of dimensions -> names of a unit -> its size, where those of the dimensions are 1.
_TABLE = {
    'length': {'m meter metre 米': 1, 'mm millimeter millimetre 毫米': '1/1000',
               'cm centimeter centimetre 厘米': '1/100', 'dm decimeter decimetre 分米': '1/10',
               'km kilometer kilometre 千米 公里': 1000, 'in inch inche': '0.0254',
               'ft foot feet': '0.3048', 'yd yard': '0.9144', 'mi mile': '1609.344'},
    'mass': {'g gram 克': 1, 'kg kilogram 千克': 1000, 'mg milligram': '1/1000',
             't ton tonne 吨': 10**6, 'lb pound': '453.59237', 'oz ounce': '28.349523125'},
    'time': {'s sec second 秒': 1, 'ms millisecond': '1/1000', 'min minute 分钟': 60,
             'h hr hour 小时': 3600, 'day 天': 86400, 'week': 604800},
    'month': {'month': 1, 'year yr 年': 12},
    'dollar': {'dollar usd buck': 1, 'cent ¢': '1/100'},
    'euro': {'euro eur': 1}, 'yen': {'yen jpy': 1}, 'rupee': {'rupee inr': 1},
    'yuan': {'yuan 元 rmb': 1},
    'radian': {'rad radian': 1}, 'degree': {'degree deg 度': 1},
    'celsius': {'celsius': 1}, 'fahrenheit': {'fahrenheit': 1},
    'current': {'a ampere amp 安': 1, 'ma milliampere': '1/1000', 'megaampere': 10**6},
    'amount': {'mol mole': 1},
    'length^2': {'hectare ha': 10**4, 'acre': '4046.8564224'},
    'length^3': {'l liter litre 升': '1/1000', 'ml milliliter millilitre cc 毫升': '1/1000000',
                 'cl centiliter centilitre': '1/100000', 'dl deciliter decilitre': '1/10000',
                 'gallon gal': '0.003785411784', 'quart qt': '0.000946352946',
                 'pint': '0.000473176473', 'cup': '0.0002365882365'},
    'mass length time^-2': {'n newton 牛': 1000, 'kn kilonewton': 10**6, 'meganewton': 10**9,
                            'millinewton': 1},
    'mass length^-1 time^-2': {'pa pascal': 1000, 'kpa kilopascal': 10**6, 'bar': 10**8,
                               'atm atmosphere': 101325000, 'megapascal': 10**9,
                               'millipascal': 1},
    'mass length^2 time^-2': {'j joule 焦耳': 1000, 'kj kilojoule': 10**6, 'cal calorie': 4184,
                              'kcal kilocalorie': 4184000, 'kwh': 3600000000,
                              'megajoule': 10**9, 'millijoule': 1},
    'mass length^2 time^-3': {'w watt 瓦': 1000, 'kw kilowatt': 10**6, 'megawatt': 10**9,
                              'milliwatt': 1},
    'mass length^2 time^-3 current^-1': {'v volt 伏': 1000, 'kv kilovolt': 10**6,
                                         'megavolt': 10**9, 'millivolt': 1},
    'mass length^2 time^-3 current^-2': {'ohm ω': 1000, 'kω kilohm': 10**6},
    'time^-1': {'hz hertz': 1, 'khz kilohertz': 1000, 'mhz megahertz': 10**6,
                'millihertz': '1/1000'},
    'time current': {'c coulomb': 1},
}


def _powers(text: str) -> tuple[tuple[str, int], ...]:
  """The powers of dimensions that a key of the table names."""
  parts = (part.partition('^') for part in text.split())
  return tuple(sorted((name, int(power or 1)) for name, _, power in parts))


_NAMES = {name: (_powers(dimensions), Fraction(size)) for dimensions, row in _TABLE.items()
          for names, size in row.items() for name in names.split()}
# Outside \\text these are products of letters: 2kn is algebra.
_ALGEBRA = frozenset(('ms', 'ma', 'cc', 'cl', 'dl', 'qt', 'kn', 'pa', 'kj', 'kw', 'kv'))
# The only prefixes of which case alone tells one from the other.
_SYMBOLS = {'Hz': 'hertz', 'Pa': 'pascal', 'W': 'watt', 'J': 'joule', 'N': 'newton', 'V': 'volt',
            'A': 'ampere'}
_MILLI_OR_MEGA = re.compile(rf'(?<![A-Za-z])([mM])({"|".join(_SYMBOLS)})(?![A-Za-z])')
_BARE_MEGA = re.compile(r' M(?:Hz|Pa|W|J)')     # 5MN and 5 mA may be products of letters.
_SPEEDS = {'mph': 'mile/hour', 'kph': 'km/h', 'kmh': 'km/h', 'kmph': 'km/h'}
SCALES = {'dozen': 12, 'hundred': 100, 'thousand': 10**3, 'million': 10**6, 'billion': 10**9,
          'trillion': 10**12}
_NEUTRAL = 'unit'
_MOST_PIECES = 6          # A scale, words, degrees, and units with signs between them.
_POWERS = {'square': 2, 'sq': 2, 'cubic': 3, 'cu': 3}
_POWERS_BEHIND = {'squared': 2, 'cubed': 3}

_LETTER = r'[^\W\d_]'
_POWER = r'(?:\s*\^\s*(?:\d|\{-?\d\}))?'
_DOT = r'\\(?:cdot|times)(?![A-Za-z])'
_TIMES = re.compile(_DOT)
_IN_TEXT = rf'\\text\{{[^{{}}\\]*\}}{_POWER}'
_TEXT_UNIT = re.compile(
    rf'(/|{_DOT})?\s*\\text\{{((?:[^{{}}\\]|{_DOT})*)\}}({_POWER})\.?$')
_WORD_UNIT = re.compile(
    rf'(?:(?<=[\d}})%!])|(?<=\\pi)|(?<=\\pi ))()\s*({_LETTER}(?:{_LETTER}|[. /])*{_LETTER}|'
    rf'[\u4e00-\u9fff¢])({_POWER})\.?$')
# School books put units in brackets, and both numbers of a word in one: '(days)', 'day(s)'.
_BRACKETS = [(re.compile(pattern), new) for pattern, new in (
    (r'(?<=[A-Za-z]{2})\((e?s)\)', r'\1'),
    (rf'(\\text\{{\s*)[(\[](?:in )?([^()\[\]{{}}\\]*)[)\]](\s*\}}{_POWER})$', r'\1\2\3'),
    (rf'(?<=\S)\s*[(\[]\s*({_IN_TEXT}(?:\s*(?:/|{_DOT})\s*{_IN_TEXT})*)\s*[)\]]$', r' \1'),
    (rf'(?<=[\d}})%! ])[(\[]\s*(?:in )?({_LETTER}(?:{_LETTER}|[. /])*{_LETTER}{_POWER}|'
     r'[\u4e00-\u9fff])\s*[)\]]$', r' \1'),
    (rf'(?:(?<=[\d}}%! ])\[\s*([mgshl])({_POWER})\s*\]|(?<=[\d}}%!]) \(\s*([mgshl])({_POWER})\s*\))'
     r'$', r' \\text{\1\3}\2\4'))]
_OHM = re.compile(r'((?:(?<=\d)|\\cdot)\s*)(?:(?:\\text\{\s*)?([kK])\s*\}?)?\s*(?:\\Omega\s*|Ω)$')
_CURRENCY = re.compile(r'^([+-]?)\s*\\(dollar|euro|pound|yen|rupee)(?![A-Za-z])\s*')
_ANGLE_FUNCTION = re.compile(r'\\(?:sin|cos|tan|cot|sec|csc|cis)(?![A-Za-z])')
_COUNT = re.compile(r'\d|\\(?:pi|sqrt|frac)(?![A-Za-z])')
_PLAIN = re.compile(r'[+-]?[\d.,/ ]+|[+-]?\d*\\frac\{\d+\}\{\d+\}')
# Words that are more than the name of what is counted.
_NOT_UNITS = re.compile(
    r'[\d;,()?]|^(?:squared|cubed)\b|或|\b(?:or|and|to|through|between|if|when|where|for|with|'
    r'either|not|no|approx|approximately|about|around|roughly|nearly|almost|maybe|perhaps|'
    r'possibly|probably|likely|guess|guessed|wrong|unknown|nan|undefined|none|plus|minus|times|'
    r'than|less|more|over|choose|mod|modulo|base|factorial|otherwise|oder|ou|u|half|halves|'
    r'thirds?|fourths?|fifths?|'
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
  text, dot = _OHM.sub(r'\1\\text{\2ω}', text), False
  below = ''                       # A unit below a line, in words.
  for _ in range(_MOST_PIECES):
    match = _TEXT_UNIT.search(text) or _WORD_UNIT.search(text)
    if not match or not text[:match.start()].strip():
      break
    sign, words, power = match.groups()
    is_text = match.group().lstrip('/ ').startswith('\\')
    if is_text or _BARE_MEGA.fullmatch(match.group()):
      words = _MILLI_OR_MEGA.sub(_prefixed, words)
    words, before = words.strip().casefold(), text[:match.start()].rstrip(' /')
    found = _scaled_unit(_TIMES.sub(' ', words), power)
    if found is None or not (is_text or _may_be_bare(words, found, before)):
      break
    if found[1] and found[1].label and not _COUNT.search(before):
      break                          # 'A \\text{ B}' is no quantity.
    own = found[1]
    if own and own.label and below:              # '\\text{ apples}/\\text{day}'
      own, unit = Unit(label=_label(f'{words} {below}')), None
    below = f'per {words}' if sign == '/' else ''
    if own and below:
      own = _per(own, words)
    text, scale, unit = before, scale * found[0], _product(own, unit, dot)
    dot = bool(sign) and not below
  if text.endswith('^\\circ') and not _ANGLE_FUNCTION.search(text):
    text, unit = text[:-len('^\\circ')], unit or Unit(powers=(('degree', 1),))
  return Quantity(text.strip(), scale, unit)


def _prefixed(match: re.Match) -> str:
  """The name of a unit whose prefix is milli or mega: 'megawatt' for MW."""
  return {'m': 'milli', 'M': 'mega'}[match.group(1)] + _SYMBOLS[match.group(2)]


def _per(unit: Unit, words: str) -> Unit:
  """What is left of a unit behind a '/'."""
  if not unit.powers:
    return Unit(label='per ' + words)
  return Unit(1 / unit.size, tuple((name, -power) for name, power in unit.powers))


def _product(unit: Unit | None, other: Unit | None, dot: bool) -> Unit | None:
  """The unit of 'm' and 's^{-1}' one after the other; the first where they are no such two.

  '\\$5 dollars' has its unit twice, and is no square; with a dot between them, two units are one.
  """
  if not (unit and other and unit.powers and other.powers) or (
      unit.powers == other.powers and not dot):
    return unit or other
  return Unit(unit.size * other.size, _sum(dict(unit.powers), other.powers))


def _sum(powers: dict[str, int], more: tuple[tuple[str, int], ...], factor: int = 1) -> tuple:
  """The powers of a product of units, in order and without zeros."""
  for name, power in more:
    powers[name] = powers.get(name, 0) + factor * power
  return tuple(sorted((name, power) for name, power in powers.items() if power))


def _may_be_bare(words: str, found: tuple, before: str) -> bool:
  """Whether words outside \\text are a unit: '3x' and '2 a' are algebra, '3 apples' has a unit."""
  known = found[1] is None or bool(found[1].powers)
  if not words.isascii():
    return True
  return len(words) > 1 and known and words not in _ALGEBRA or (
      len(words) > 2 and bool(_PLAIN.fullmatch(before.strip())))


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
  size, powers, sign, exponent = Fraction(1), (), 1, 1
  words = re.sub(r'\.|^of\b', '', words).strip()
  pieces = re.sub(r'/|\bper\b', ' / ', _SPEEDS.get(words, words)).split()
  for i, name in enumerate(pieces):
    if name == '/':
      sign = -1
      continue
    if name in _POWERS_BEHIND:
      continue
    if name in _POWERS:
      exponent = _POWERS[name]
      continue
    known = _NAMES.get(name) or len(name) > 2 and _NAMES.get(name.removesuffix('s'))
    if not known:
      return Unit(label=_label(words))
    exponent *= _POWERS_BEHIND.get(next(iter(pieces[i + 1:]), ''), 1)
    if power and i == len(pieces) - 1:         # 'm/s' squared is m/s^2.
      exponent *= int(re.sub(r'[^\d-]', '', power))
    powers = _sum(dict(powers), known[0], sign * exponent)
    size *= known[1] ** (sign * exponent)
    exponent = 1
  return Unit(size, powers)


def _label(words: str) -> str:
  """The words that name what is counted, in the singular."""
  kept = [w for w in words.replace('/', ' per ').split() if w not in _POWERS | _POWERS_BEHIND]
  return ' '.join(w.removesuffix('s') for w in kept)
