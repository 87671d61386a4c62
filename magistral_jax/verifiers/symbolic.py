r"""Are two expressions the same? math-verify's LaTeX reader and SymPy's arithmetic, with limits.

The reader refuses text it cannot read to the end, so nothing is scraped out of broken LaTeX. Two
readings are then compared by value: constants to `DIGITS` significant digits, functions of symbols
at points of the real line. SymPy's `simplify` and `solve` are not used: they have no bound.

Loading SymPy takes about half a second; `preload` does it before the first answer.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from fractions import Fraction

from magistral_jax.verifiers.structure import Unreadable

MAX_CHARACTERS = 800
MAX_NESTING = 20          # Brackets in brackets.
MAX_POWERS = 2            # Exponents within exponents.
MAX_NUMBER_DIGITS = 200
MAX_NODES = 400
MAX_POWER_BITS = 20_000   # Of an integer power before it is worked out.
MAX_FACTORIAL = 500
DIGITS = 40               # Constants are worked out to this precision ...
AGREE = 30                # ... and are equal when this many digits agree.

# Points to compare functions at: no special angle, no root of a likely polynomial. The negative
# ones count only where both sides are real, so that sqrt(1/n) is 1/sqrt(n) but |x| is not x.
_POINTS = ('1.37', '2.71931', '0.61713', '7.8297', '-1.2931', '-0.4127', '-5.3791')
_DECIMAL = re.compile(r'(?<![\d.])(\d*)\.(\d+)(?![\d.])')
_LONG_NUMBER = re.compile(r'\d' * (MAX_NUMBER_DIGITS + 1))
_REFUSED = re.compile(r'\\(?:int|iint|oint|lim|prod|infty|neq|ldots|cdots|dots|forall|exists|not|'
                      r'to|rightarrow|implies|mapsto|text|quad|begin|pmod|bmod|equiv)(?![A-Za-z])|␣')


def preload() -> None:
  """Imports SymPy and the reader, and reads once so that the grammar's tables are built."""
  read(r'\frac{x^{2}}{\sqrt{3}}')


def check_cost(text: str) -> None:
  """Raises Unreadable for a text that is too long, too deep or too tall to be given to a parser."""
  if len(text) > MAX_CHARACTERS:
    raise Unreadable(f'an expression of {len(text)} characters; the limit is {MAX_CHARACTERS}')
  if _LONG_NUMBER.search(text):
    raise Unreadable(f'a number of more than {MAX_NUMBER_DIGITS} digits')
  if refused := _REFUSED.search(text):
    raise Unreadable(f'{refused.group()!r} is not read')
  nesting, powers, exponents = 0, 0, []
  for i, c in enumerate(text):
    if c in '([{':
      exponents.append(i > 0 and text[i - 1] == '^')
      powers += exponents[-1]
    elif c in ')]}' and exponents:
      powers -= exponents.pop()
    nesting = max(nesting, len(exponents))
    if nesting > MAX_NESTING or powers > MAX_POWERS:
      raise Unreadable('nested too deep')


def read(text: str):
  """A compact value as a SymPy expression of bounded cost.

  Raises Unreadable when it is past a limit or not one readable expression.
  """
  check_cost(text)
  # A decimal is exact, where SymPy would read a float.
  text = _DECIMAL.sub(
      lambda m: f'(\\frac{{{int(m.group(1) + m.group(2))}}}{{{10 ** len(m.group(2))}}})', text)
  from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
  with _library():
    expression = latex2sympy(
        text, normalization_config=None, convert_degrees='\\circ' in text,
        conversion_config=ConversionConfig(lowercase_symbols=False))
    return _checked(expression)


@contextlib.contextmanager
def _library():
  """Turns what SymPy raises over an odd expression, which can be anything, into Unreadable."""
  try:
    yield
  except (MemoryError, Unreadable):
    raise
  except Exception as e:
    raise Unreadable(f'SymPy gave up ({type(e).__name__})') from None


def _checked(expression):
  """Bounds the work of evaluating a freshly read, unevaluated tree, then evaluates it."""
  import sympy
  if not isinstance(expression, sympy.Expr):
    raise Unreadable(f'a {type(expression).__name__} where a value belongs')
  nodes = list(itertools.islice(sympy.preorder_traversal(expression), MAX_NODES + 1))
  if len(nodes) > MAX_NODES:
    raise Unreadable(f'more than {MAX_NODES} terms')
  _bound(expression)
  symbol_i = sympy.Symbol('i')
  if symbol_i in expression.free_symbols and not expression.has(sympy.Sum):
    expression = expression.subs(symbol_i, sympy.I)
  value = expression.doit()
  if value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or not isinstance(value, sympy.Expr):
    raise Unreadable('no finite value')
  return value


def _bound(node) -> float:
  """An upper estimate of log2 |node|; raises Unreadable where working it out would be dear."""
  import sympy
  sizes = [_bound(a) for a in node.args]
  if node.is_Number:
    return max(1.0, float(sympy.log(abs(node) + 1, 2).evalf(6)))
  if isinstance(node, sympy.Pow):
    base, exponent = sizes
    if node.exp.is_Rational:
      exponent = min(exponent, float(sympy.log(max(abs(node.exp), sympy.Rational(1, 8)), 2)))
    if exponent > 40 or (base * 2 ** exponent > MAX_POWER_BITS and not node.free_symbols):
      raise Unreadable('too large a power')
    if node.free_symbols and exponent > 10:
      raise Unreadable('too large a power')
    return min(base * 2 ** exponent, MAX_POWER_BITS)
  if isinstance(node, (sympy.factorial, sympy.binomial, sympy.gamma)):
    if max(sizes) > 9:           # MAX_FACTORIAL is below 2**9.
      raise Unreadable(f'a factorial of more than {MAX_FACTORIAL}')
    return 2 ** max(sizes) * 9
  if isinstance(node, (sympy.Sum, sympy.Product, sympy.Integral, sympy.Derivative, sympy.Limit)):
    raise Unreadable(f'a {type(node).__name__} that is not worked out')
  return sum(sizes) + 1.0


def equal(gold: str, answer: str) -> bool:
  """Whether two compact values are the same number or the same function of the same symbols.

  Raises Unreadable, with `side` 'gold' or 'answer', when one of them cannot be read.
  """
  sides = []
  for side, text in (('gold', gold), ('answer', answer)):
    try:
      sides.append(read(text))
    except Unreadable as e:
      e.side = side
      raise
  with _library():
    return _same(*sides)


def approximation(text: str) -> Fraction | None:
  """A compact value without symbols to `DIGITS` digits; None when it is not real.

  Raises Unreadable as `read` does.
  """
  import sympy
  value = read(text)
  with _library():
    value = None if value.free_symbols else _number(value)
    return None if value is None or not value.is_real else Fraction(str(sympy.Float(value, DIGITS)))


def equal_equations(gold: tuple[str, str], answer: tuple[str, str]) -> bool:
  """Whether two equations say the same: one's difference of sides is a multiple of the other's.

  An equation that is true of everything says nothing and equals none. Raises like `equal`.
  """
  differences = []
  for side, (left, right) in (('gold', gold), ('answer', answer)):
    try:
      differences.append(read(left) - read(right))
    except Unreadable as e:
      e.side = side
      raise
  with _library():
    return _proportional(*differences)


def _proportional(gold, answer) -> bool:
  import sympy
  symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
  ratios = []
  for point in _points(symbols) if symbols else ():
    g, a = _number(gold.subs(point)), _number(answer.subs(point))
    if g is None or a is None or not g.is_real or not a.is_real:
      continue
    if _tiny(g, sympy.Integer(1)) or _tiny(a, sympy.Integer(1)):
      return False
    ratios.append(g / a)
  return len(ratios) >= 3 and all(_close(r, ratios[0]) for r in ratios[1:])


def _same(gold, answer) -> bool:
  if gold.free_symbols != answer.free_symbols:
    # Symbols may cancel: x - x + 1 is 1.
    gold, answer = gold.expand(), answer.expand()
  symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
  if gold == answer:
    return True
  if gold.is_Rational and answer.is_Rational and not (gold.is_Float or answer.is_Float):
    return False
  if not symbols:
    a, b = _number(gold), _number(answer)
    return a is not None and b is not None and _close(a, b)
  agreed = 0
  for point in _points(symbols):
    a, b = _number(gold.subs(point)), _number(answer.subs(point))
    if a is None or b is None:
      continue
    if any(v < 0 for v in point.values()) and not (a.is_real and b.is_real):
      continue
    if not _close(a, b):
      return False
    agreed += 1
  return agreed >= 3


def _points(symbols):
  """Substitutions for the symbols; each of them meets every coordinate."""
  import sympy
  values = [sympy.Rational(p) for p in _POINTS]
  for i in range(len(values)):
    yield {s: values[(i + 2 * k) % len(values)] + sympy.Rational(k, 7)
           for k, s in enumerate(symbols)}


def _number(expression):
  """A constant to `DIGITS` digits, or None where it has no finite value."""
  import sympy
  value = expression.evalf(DIGITS, maxn=200)
  if value.has(sympy.nan, sympy.zoo, sympy.oo) or not value.is_number:
    return None
  # SymPy marks a value that cancels at every precision tried by a precision of one bit: it is 0.
  real, imaginary = (
      sympy.Integer(0) if part.is_Float and part._prec <= 8 else part
      for part in value.as_real_imag())
  if imaginary == 0 or (real != 0 and abs(imaginary) < abs(real) * sympy.Float(10) ** -AGREE):
    return real if real.is_Number else None
  return value if real.is_Number and imaginary.is_Number else None


def _close(a, b) -> bool:
  return bool(_tiny(a - b, max(abs(a), abs(b))))


def _tiny(difference, scale) -> bool:
  """Below the digits that must agree; relative, so that 1/2^99 is not 1/2^98."""
  import sympy
  return bool(sympy.Abs(difference) <= sympy.Float(10) ** -AGREE * scale)
