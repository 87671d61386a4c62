"""Trees of values: a bound on their size, and the exact value of rational ones.

A node is a tuple: ('number', Fraction), ('symbol', name), ('constant', 'pi' | 'e' | 'i'),
('add' | 'mul', *nodes), ('neg', node), ('div' | 'pow', node, node), ('call', function, *nodes).

`bits` comes first: a tree that passes it can be evaluated, by `exact` here or by SymPy.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

MAX_DIGITS = 1000         # Digits of one number; Python refuses to read more than 4300.
MAX_BITS = 50_000         # Bits of any number in an evaluation; 2025^{2025} has 22,000.
MAX_ROOT_BITS = 3000      # SymPy looks for perfect powers and small factors in a radicand.
MAX_FACTORIAL = 3000
MAX_PRODUCT = 30
MAX_FLOOR_BITS = 400
ANY_INTEGER = ('symbol', '\\mathbb{Z}')     # What a family has for its letter.
_SYMBOL_BITS = 4          # Symbols are tried at points below 16.
_LOG2_OF_CONSTANTS = {'pi': 1.66, 'e': 1.45, 'i': 0.0}
_LOG2_OF_SYMBOL = 1.6


class Unreadable(ValueError):
  """Raised for a text past the limits, or one that no rule reads."""


def number(value) -> tuple:
  """The node of a number."""
  return ('number', Fraction(value))


def read_number(token: str) -> Fraction:
  r"""The exact value of '12', '1.5' or '0.1\overline{6}'."""
  if len(token) > MAX_DIGITS:
    raise Unreadable(f'a number of more than {MAX_DIGITS} digits')
  digits, _, repeated = token.partition(r'\overline{')
  value = Fraction(digits.rstrip('.') or '0')
  if repeated:
    repeated, places = repeated.rstrip('}'), len(digits.partition('.')[2])
    if '.' not in digits:
      raise Unreadable('digits that repeat before the point')
    value += Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** places)
  return value


def replaced(node, variable: tuple, value: tuple):
  """The tree with a symbol replaced by a value."""
  if node == variable:
    return value
  if node[0] in ('number', 'symbol', 'constant'):
    return node
  return tuple(replaced(n, variable, value) if isinstance(n, tuple) else n for n in node)


def parts(node: tuple) -> tuple:
  """The child nodes of a node."""
  return tuple(n for n in node[1:] if isinstance(n, tuple))


def count(node: tuple) -> int:
  """The number of nodes of a tree."""
  return 1 + sum(count(n) for n in parts(node))


def symbols(node: tuple) -> set[tuple]:
  """The symbols of a tree, as nodes."""
  return {node} if node[0] == 'symbol' else set().union(*map(symbols, parts(node)))


def has_symbol(node: tuple) -> bool:
  """Whether a tree contains a symbol."""
  return node[0] == 'symbol' or any(map(has_symbol, parts(node)))


def bits(node: tuple) -> float:
  """An upper estimate of the bits of a node's numerator and denominator together.

  Raises:
    Unreadable: a number in the evaluation of the tree would exceed a limit.
  """
  kind = node[0]
  if kind == 'number':
    return node[1].numerator.bit_length() + node[1].denominator.bit_length() - 1
  if kind in ('symbol', 'constant'):
    return _SYMBOL_BITS
  sizes = [bits(n) for n in parts(node)]
  power = exact(node[2]) if kind == 'pow' else None
  root = kind == 'call' and node[1] in ('sqrt', 'root') or power and power.denominator > 1
  if root and sizes[0] > MAX_ROOT_BITS:
    raise Unreadable(f'a root of a number of more than {MAX_ROOT_BITS} bits')
  if kind == 'pow':
    found = sizes[0] * _power_of_two(magnitude(node[2])) + sizes[1]
  elif kind == 'call' and node[1] in ('factorial', 'factorial2', 'binomial'):
    found = _factorial_bits(node, sizes)
  elif kind == 'call' and node[1] in ('floor', 'ceiling') and sizes[0] > MAX_FLOOR_BITS:
    if exact(node) is None:
      raise Unreadable('a whole part that takes too many digits to find')
    found = sizes[0]
  elif kind == 'call' and node[1] in ('exp', 'sinh', 'cosh', 'tanh'):
    found = 2 * _power_of_two(magnitude(node[2])) + sizes[0]
  elif kind == 'call' and node[1] in ('gcd', 'lcm') and exact(node) is None:
    raise Unreadable('a divisor of what are no whole numbers')
  else:
    found = sum(sizes)
  if found > MAX_BITS:
    raise Unreadable(f'a number of more than {MAX_BITS} bits')
  return found


def magnitude(node: tuple) -> float:
  """An estimate of the binary logarithm of a node's absolute value, from above; may be negative.

  At most `bits`, and far less where the digits are many and the value is small: 2 pi i / 3. A
  symbol counts as a number between 1/3 and 3, since differences show at such points. For trees that
  `bits` has passed.
  """
  kind, value = node[0], exact(node)
  if value is not None:
    return _log2(value)
  if kind == 'symbol':
    return _LOG2_OF_SYMBOL
  if kind == 'constant':
    return _LOG2_OF_CONSTANTS[node[1]]
  if kind in ('mul', 'neg'):
    return sum(map(magnitude, parts(node)))
  if kind == 'add':
    return max(map(magnitude, parts(node))) + math.log2(len(node) - 1)
  if kind == 'div':
    return magnitude(node[1]) + _smallness(node[2])
  if kind == 'pow' and (power := exact(node[2])) is not None:
    return float(power) * (magnitude(node[1]) if power >= 0 else -_smallness(node[1]))
  return bits(node)


def _smallness(node: tuple) -> float:
  """An estimate from above of the `magnitude` of 1 / node."""
  kind, value = node[0], exact(node)
  if value is not None:
    return -_log2(value)
  if kind == 'symbol':
    return _LOG2_OF_SYMBOL
  if kind == 'constant':
    return -_LOG2_OF_CONSTANTS[node[1]]
  if kind in ('mul', 'neg'):
    return sum(map(_smallness, parts(node)))
  if kind == 'pow' and (power := exact(node[2])) is not None and power >= 0:
    return float(power) * _smallness(node[1])
  return bits(node)


def _log2(value: Fraction) -> float:
  """The binary logarithm of the absolute value of a number, of any size; -1 for 0."""
  return math.log2(abs(value.numerator)) - math.log2(value.denominator) if value else -1.0


def _power_of_two(exponent: float) -> float:
  """2 to a power, at least 1; Unreadable where a number of so many bits is past the limit."""
  if exponent > 1 + math.log2(MAX_BITS):
    raise Unreadable('too large an exponent')
  return max(1.0, 2.0 ** exponent)


def _factorial_bits(node: tuple, sizes: list[float]) -> float:
  """`bits` of a factorial or binomial whose arguments have these sizes."""
  values = [exact(n) for n in parts(node)]
  if any(v is None and not has_symbol(n) for n, v in zip(parts(node), values, strict=True)):
    raise Unreadable('a factorial of an irrational number')
  # SymPy writes out the product of a binomial whose top is no whole number.
  limits = (MAX_FACTORIAL, MAX_FACTORIAL if values[0] else MAX_PRODUCT)
  for value, size, limit in zip(values, sizes, limits, strict=False):
    if size > 40 or value is not None and abs(value) > limit:
      raise Unreadable(f'a factorial of more than {limit}')
  top = max((abs(v) for v in values if v is not None), default=Fraction(2))
  return 16 + top * math.ceil(top).bit_length()


def exact(node: tuple) -> Fraction | None:
  """The value of a tree of rational operations; None for other trees.

  It may be called on trees that `bits` has passed.

  Raises:
    Unreadable: a division by zero.
  """
  kind = node[0]
  if kind == 'number':
    return node[1]
  if kind in ('symbol', 'constant') or kind == 'call' and node[1] not in _EXACT:
    return None
  values = [exact(n) for n in parts(node)]
  if None in values:
    return None
  if kind == 'call':
    return _EXACT[node[1]](*values)
  if kind == 'add':
    return sum(values, Fraction(0))
  if kind == 'neg':
    return -values[0]
  if kind == 'mul':
    product = Fraction(1)
    for value in values:
      product *= value
    return product
  if not values[-1] and kind == 'div' or kind == 'pow' and not values[0] and values[1] <= 0:
    raise Unreadable('a division by zero')
  if kind == 'div':
    return values[0] / values[1]
  return values[0] ** int(values[1]) if values[1].denominator == 1 else None


def whole(node: tuple) -> int | None:
  """The value of a tree if it is a whole number, else None."""
  value = exact(node)
  return int(value) if value is not None and value.denominator == 1 else None


def _falling(value: Fraction, step: int = 1) -> Fraction | None:
  """value * (value - step) * ... down to 1 or 2: a factorial; None where there is none."""
  if value.denominator != 1 or value < 0:
    return None
  product = 1
  for factor in range(int(value), 1, -step):
    product *= factor
  return Fraction(product)


def _binomial(top: Fraction, bottom: Fraction) -> Fraction | None:
  """The binomial coefficient of whole numbers; None for others."""
  if top.denominator != 1 or bottom.denominator != 1 or top < 0:
    return None
  value = Fraction(1)
  for i in range(int(bottom) if bottom <= top else 0):
    value = value * (top - i) / (i + 1)
  return value if 0 <= bottom <= top else Fraction(0)


def _of_whole_numbers(function, *values: Fraction) -> Fraction | None:
  """A function of whole numbers; None for others."""
  if any(v.denominator > 1 for v in values):
    return None
  return Fraction(function(*map(int, values)))


_EXACT = {
    'max': lambda *values: max(values), 'min': lambda *values: min(values),
    'gcd': functools.partial(_of_whole_numbers, math.gcd),
    'lcm': functools.partial(_of_whole_numbers, math.lcm),
    'factorial': _falling, 'factorial2': lambda v: _falling(v, 2), 'binomial': _binomial,
    'abs': abs, 'floor': lambda v: Fraction(math.floor(v)),
    'ceiling': lambda v: Fraction(math.ceil(v))}
