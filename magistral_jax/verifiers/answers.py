r"""One spelling per answer, and numbers as exact fractions.

    tidy('$\dfrac{1}{2}\text{ cm}$')   -> '\frac{1}{2}\text{cm}'
    split_unit(that)                   -> ('\frac{1}{2}', 'cm')
    fraction('\frac{1}{2}')            -> Fraction(1, 2)

No parser and no algebra here: every function is a fixed number of passes over its text, and a
number has at most `MAX_DIGITS` digits, so hostile input is as cheap as any.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_CHARACTERS = 4000     # Longer answers are refused unread.
MAX_DIGITS = 1000         # Of one number; Python refuses to read more than 4300.
MAX_EXPONENT = 400        # In a * 10^b.
GAP = '␣'                 # Stands between two digits that a space kept apart: '1 2' is not 12.

_SPELLINGS = {
    '−': '-', '–': '-', '—': '-', '×': r'\times ', '·': r'\cdot ', '⋅': r'\cdot ', '÷': '/',
    'π': r'\pi ', '∞': r'\infty ', '≤': r'\le ', '≥': r'\ge ', '≠': r'\ne ', '≈': r'\approx ',
    '±': r'\pm ', '°': r'^\circ ', '∪': r'\cup ', '∩': r'\cap ', '∈': r'\in ', '，': ',', '；': ';',
    '（': '(', '）': ')', '％': '%', '½': r'\frac{1}{2}', '¼': r'\frac{1}{4}', '¾': r'\frac{3}{4}',
    '²': '^{2}', '³': '^{3}', 'θ': r'\theta ', '＝': '=', '。': '.', '\u00a0': ' ', '\u2009': ' '}
_SPELLING = re.compile('|'.join(map(re.escape, _SPELLINGS)))

# Applied in this order; each pattern is linear.
_REWRITES = [(re.compile(pattern), new) for pattern, new in [
    (r'(?<!\\)\\[()\[\]]', ' '),
    (r'\*\*(?=[^*])(.*)(?<=[^*])\*\*$', r'\1'),
    (r'(?<=\d),\\!(?=\d{3}(?!\d))', ''),
    (r'(?<!\\)\\!', ''),
    (r'(?<!\\)\\(?:[,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|thinspace(?![A-Za-z]))|~', ' '),
    (r'\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|rm|bf|it)(?![A-Za-z])\s*', ''),
    (r'\\(?:phantom|hspace|vspace)\{[^{}]*\}', ''),
    (r'\\[dtc]frac(?![A-Za-z])', r'\\frac'),
    (r'\\(?:mathrm|mbox|textrm|textnormal|textbf|textit|mathbf|mathit|boldsymbol|operatorname)'
     r'(?=\s*\{)', r'\\text'),
    (r'\\(?:le|leqslant)(?![A-Za-z])', r'\\leq'),
    (r'\\(?:ge|geqslant)(?![A-Za-z])', r'\\geq'),
    (r'\\ne(?![A-Za-z])|\\not\s*=|!=', r'\\neq '),
    (r'\\lbrace(?![A-Za-z])', r'\\{'),
    (r'\\rbrace(?![A-Za-z])', r'\\}'),
    (r'\\(?:degree|textdegree)(?![A-Za-z])|\{\\circ\}', r'\\circ'),
    (r'\\circ(?![A-Za-z])', r'\\circ '),
    (r'(?<!\^)\\circ ', r'^\\circ '),
    (r'\\?%', '%'),
    (r'\\?\$', ''),
    (r'(?<!\d)0\{,\}(?=\d)', '0.'),
    (r'(?<=\d)\{,\}(?=\d{3}(?!\d))', ''),
    (r'(?<=\d)\{,\}(?=\d)', '.'),
    (r'\*\*', '^'),
    (r'(?<![A-Za-z\\])sqrt\s*\(([^()]*)\)', r'\\sqrt{\1}'),
    (r'(?<![A-Za-z\\])(pi|infty|sqrt)(?![A-Za-z])', r'\\\1'),
    (r'(?<!\\)\binf(?:inity)?\b', r'\\infty'),
    (r'\*|\\ast(?![A-Za-z])', r'\\cdot '),
    (r'\\sqrt\s*(\d|[A-Za-z](?![A-Za-z]))', r'\\sqrt{\1}'),
    (r'\\frac\s*(\d|[a-zA-Z])\s*(\d|[a-zA-Z])', r'\\frac{\1}{\2}'),
    (r'\\frac\s*(\d|[a-zA-Z])\s*(?=\{)', r'\\frac{\1}'),
    (r'\\frac\s+\{', r'\\frac{'),
    (r'(\\frac\{(?:[^{}]|\{[^{}]*\})*\})\s+\{', r'\1{'),
    (r'(\\frac\{(?:[^{}]|\{[^{}]*\})*\})\s*(\d|[a-zA-Z])', r'\1{\2}'),
    (r'\^\s*(\d{1,9})', r'^{\1}'),
    (r'_(\d)(?!\d)', r'_{\1}'),
]]
_SPACED_THOUSANDS = re.compile(r'(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d,])')
_MIXED_PLAIN = re.compile(r'(?<![\d./])(\d+) (\d+)/(\d+)(?![\d./])')
_COMMANDS_BEFORE_LETTERS = re.compile(r'(\\[A-Za-z]+) (?=[A-Za-z])')

_NUMBER = r'(?:\d+(?:\.\d*)?|\.\d+)'
_THOUSANDS = re.compile(r'[+-]*\d{1,3}(?:,\d{3})+(?:\.\d+)?')
_PLAIN = re.compile(rf'({_NUMBER})(?:e([+-]?\d+))?', re.IGNORECASE)
_SCIENTIFIC = re.compile(rf'(?:({_NUMBER})(?:\\times|\\cdot))?10\^(?:\{{([+-]?\d+)\}}|(\d))')
_RATIO = re.compile(rf'(-?{_NUMBER})/(-?{_NUMBER})')
_FRAC = re.compile(rf'(\d+)?\\frac\{{(-?{_NUMBER})\}}\{{(-?{_NUMBER})\}}')
_MIXED = re.compile(rf'(\d+){GAP}(\d+)/(\d+)')

_UNIT_POWER = r'(?:\^(?:\d|\{-?\d\}))?'
_TEXT_UNIT = re.compile(rf'/?\\text\{{([^{{}}]*)\}}{_UNIT_POWER}\.?$')
_WORD_UNIT = re.compile(rf'(?<=[\d}}).%])\s*([A-Za-z][A-Za-z./ ]*{_UNIT_POWER})\.?$')
_ANGLE_FUNCTION = re.compile(r'\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])')
_JOINING = re.compile(
    r'[\d;,()]|\b(?:or|and|to|through|between|if|when|where|for|with|either|not)\b')
_SCALES = frozenset((
    'dozen', 'hundred', 'thousand', 'million', 'billion', 'trillion', 'squared', 'cubed'))

# One name per unit that answers carry; two known, different units contradict each other.
UNITS = {name: names.split()[0] for names in (
    'mm millimeter millimeters millimetres', 'cm centimeter centimeters centimetres',
    'm meter meters metre metres', 'km kilometer kilometers kilometres', 'in inch inches',
    'ft foot feet', 'yd yard yards', 'mi mile miles', 'g gram grams', 'kg kilogram kilograms',
    'lb lbs pound pounds', 'oz ounce ounces', 's sec second seconds', 'min minute minutes',
    'h hr hrs hour hours', 'day days', 'week weeks', 'month months', 'year years', 'cent cents',
    'dollar dollars usd', 'euro euros', 'degree degrees deg', 'mph', 'l liter liters litres',
    'ml milliliter milliliters', 'percent') for name in names.split()}


def tidy(text: str) -> str:
  """One spelling of an answer: no layout, no optional spaces, short forms written out."""
  text = _SPELLING.sub(lambda m: _SPELLINGS[m.group()], text).strip()
  for pattern, new in _REWRITES:
    text = pattern.sub(new, text)
  text = re.sub(r'\s+', ' ', text).strip().rstrip('.:;, ').strip()
  text = _MIXED_PLAIN.sub(r'\1\\frac{\2}{\3}', text)
  text = _SPACED_THOUSANDS.sub(lambda m: m.group().replace(' ', ''), text)
  text = re.sub(r'(?<=\d) (?=\.?\d)', GAP, text)
  return text


def compact(text: str) -> str:
  """`tidy` text without the spaces that separate nothing."""
  text = _COMMANDS_BEFORE_LETTERS.sub(r'\1{}', text).replace(' ', '').replace('{}', ' ')
  while text.startswith('{') and text.endswith('}') and _one_pair(text):
    text = text[1:-1]
  return text


def _one_pair(text: str) -> bool:
  """Whether the first and the last brace belong together."""
  depth = 0
  for i, c in enumerate(text):
    depth += (c == '{') - (c == '}')
    if depth == 0:
      return i == len(text) - 1
  return False


def split_unit(text: str) -> tuple[str, str]:
  r"""Takes `\text{...}`, degrees, or plain words off the end of a tidy value; ('', ) never remains.

  Returns:
    The value and the unit, '' where there is none. Text that is no unit but changes the meaning
    ('or', 'million') stays where it is.
  """
  unit = ''
  while True:
    match = _TEXT_UNIT.search(text) or _WORD_UNIT.search(text)
    if not match or not text[:match.start()].strip():
      break
    words = match.group(1).strip().casefold()
    plain = re.sub(r'\^.*', '', words)
    known = all(w.strip('.') in UNITS or w in ('square', 'cubic', 'sq', 'per', 'of')
                for w in re.split(r'[ /]', plain))
    is_text = match.group().lstrip('/').startswith('\\')
    if not is_text and not (len(plain) > 2 or (known and len(plain) > 1)):
      break                      # '3x' and '2 a' are algebra.
    if not is_text and not known and fraction(compact(text[:match.start()])) is None:
      break                      # Unknown words only stand behind plain numbers.
    if _JOINING.search(words) or any(w in _SCALES for w in words.split()):
      break
    text, unit = text[:match.start()].rstrip(' /'), words or unit
  if text.endswith('^\\circ') and not _ANGLE_FUNCTION.search(text):
    text, unit = text[:-len('^\\circ')], unit or 'degree'
  return text.strip(), unit


def units_contradict(a: str, b: str) -> bool:
  """Whether both units are known and differ ('cm' against 'm'); an absent unit contradicts none."""
  bare = lambda unit: re.sub(r'\^.*|\b(?:square|cubic|sq)\b|[.]', '', unit).strip()
  known = [UNITS.get(bare(unit)) for unit in (a, b)]
  return None not in known and known[0] != known[1]


def number(digits: str) -> Fraction | None:
  """A short string of digits, perhaps with a point, as an exact number."""
  return Fraction(digits) if len(digits) <= MAX_DIGITS else None


def fraction(text: str) -> Fraction | None:
  r"""The exact value of a compact integer, decimal, ratio, `\frac`, mixed number or a * 10^b.

  A percent sign is not read here: `value_readings` does it. None for anything else, for a zero
  denominator and for numbers past the limits.
  """
  body = text.lstrip('+-')
  sign = -1 if text[:len(text) - len(body)].count('-') % 2 else 1
  if body.startswith('(') and body.endswith(')') and '(' not in body[1:]:
    inner = fraction(body[1:-1])
    return None if inner is None else sign * inner
  if _THOUSANDS.fullmatch(body):
    body = body.replace(',', '')
  value = _unsigned(body)
  return None if value is None else sign * value


def _unsigned(body: str) -> Fraction | None:
  if match := _PLAIN.fullmatch(body):
    return _scaled(match.group(1), match.group(2) or '0')
  if match := _SCIENTIFIC.fullmatch(body):
    return _scaled(match.group(1) or '1', match.group(2) or match.group(3))
  if match := _RATIO.fullmatch(body):
    return _quotient('0', *match.groups())
  if match := _FRAC.fullmatch(body):
    return _quotient(match.group(1) or '0', match.group(2), match.group(3))
  if match := _MIXED.fullmatch(body):
    return _quotient(*match.groups())
  return None


def _scaled(digits: str, exponent: str) -> Fraction | None:
  value = number(digits)
  if value is None or len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
    return None
  return value * Fraction(10) ** int(exponent)


def _quotient(whole: str, top: str, bottom: str) -> Fraction | None:
  parts = [number(p) for p in (whole, top, bottom)]
  if None in parts or not parts[2]:
    return None
  return parts[0] + parts[1] / parts[2]


def value_readings(text: str) -> tuple[Fraction, ...]:
  """What a compact number can mean: '50%' is 1/2, and 50 too where the task asked for percent.

  A share of at most 1 is never read as percent: 0.5% is not 0.5.
  """
  if not text.endswith('%'):
    value = fraction(text)
    return () if value is None else (value,)
  value = fraction(text[:-1])
  if value is None:
    return ()
  return (value / 100, value) if abs(value) > 1 else (value / 100,)


def rounds_to(exact: Fraction, decimal: str) -> bool:
  """Whether a decimal of six or more significant digits is `exact`, rounded to its last place."""
  body = decimal.lstrip('+-').rstrip('%')
  point = body.find('.')
  if point < 0 or not _PLAIN.fullmatch(body) or 'e' in body.lower() or len(body) > MAX_DIGITS:
    return False
  if len(body.replace('.', '').lstrip('0')) < 6:
    return False
  value = fraction(decimal)
  return value is not None and 2 * abs(exact - value) <= Fraction(1, 10 ** (len(body) - point - 1))
