r"""Whether two values are the same: their trees are evaluated by SymPy, to `DIGITS` digits.

Constants must agree to a hundred significant digits or more, functions at points of the real line.
SymPy's `simplify`, `solve` and `equals` are not used, since their cost has no bound; nor are
readers of LaTeX that work out what they read.

Loading SymPy takes about half a second; `preload` does it before the first answer.
"""

from __future__ import annotations

import contextlib
import functools
import math
from fractions import Fraction

from magistral_jax.verifiers.math import expression, trees
from magistral_jax.verifiers.math.trees import Unreadable

DIGITS = 110              # Values are equal if this many digits, but for the last ten, agree, ...
MOST_DIGITS = 1500        # ... or as many as their largest numbers have, up to this limit.
GLANCE = 30               # Digits that show most differences.
CANCELLED = 400           # Digits that may cancel in an evaluation.

# Points at which functions are compared, in 1/1024: no special angles, no roots of likely
# polynomials.
_POINTS = (1403, 2785, 631, 8019, -1325, -423, -5509)
# More of them for functions that are hardly ever real there: near 0, and far out.
_MORE_POINTS = (229, 14519, 47123, 314159, 2718281, 5400007, 27182819, -97, -877, -14519, -47123)
_FEW_SYMBOLS = 3          # With more symbols the further points are not tried.
_REAL_POINTS = 3          # So many points at which both sides are real decide.


def preload() -> None:
  """Imports SymPy and uses it once, to spare the first answer."""
  equal(expression.parse(r'\sqrt{3}\pi'), expression.parse(r'\sqrt{2}\pi'))


@contextlib.contextmanager
def _library():
  """Turns whatever SymPy raises over an odd expression into Unreadable."""
  try:
    yield
  except (MemoryError, Unreadable):
    raise
  except Exception as e:
    raise Unreadable(f'SymPy gave up ({type(e).__name__})') from None


@functools.cache
def _constants() -> dict:
  """{name in a 'constant' node: SymPy's value}."""
  import sympy
  return {'pi': sympy.pi, 'e': sympy.E, 'i': sympy.I}


@functools.cache
def _functions() -> dict:
  """{name in a 'call' node: SymPy's function}."""
  import sympy
  return {
      'sin': sympy.sin, 'cos': sympy.cos, 'tan': sympy.tan, 'cot': sympy.cot, 'sec': sympy.sec,
      'csc': sympy.csc, 'arcsin': sympy.asin, 'arccos': sympy.acos, 'arctan': sympy.atan,
      'arccot': sympy.acot, 'sinh': sympy.sinh, 'cosh': sympy.cosh, 'tanh': sympy.tanh,
      'exp': sympy.exp, 'cis': lambda x: sympy.exp(sympy.I * x), 'ln': sympy.log,
      'log': sympy.log, 'lg': lambda x: sympy.log(x, 10),
      'sqrt': sympy.sqrt, 'root': _root, 'abs': sympy.Abs, 'floor': sympy.floor,
      'ceiling': sympy.ceiling, 'factorial': sympy.factorial, 'factorial2': sympy.factorial2,
      'binomial': sympy.binomial, 'max': sympy.Max, 'min': sympy.Min,
      'gcd': lambda *v: sympy.Integer(math.gcd(*map(int, v))),
      'lcm': lambda *v: sympy.Integer(math.lcm(*map(int, v)))}


def _root(value, index):
  """The root of a value; the real one of a negative number where there is one: -2 of -8."""
  import sympy
  if index.is_Integer and index % 2 and value.is_real is not False:
    return sympy.sign(value) * sympy.Abs(value) ** (1 / index)
  return value ** (1 / index)


def value(tree: tuple):
  """The SymPy expression of a tree; Unreadable where it has no finite value."""
  import sympy
  with _library():
    found = _value(tree)
    if found.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
      raise Unreadable('no finite value')
    return found


def _value(node: tuple):
  """The SymPy expression of a node."""
  import sympy
  kind = node[0]
  if kind == 'number':
    return sympy.Rational(node[1].numerator, node[1].denominator)
  if kind == 'symbol':
    return sympy.Symbol(node[1])
  if kind == 'constant':
    return _constants()[node[1]]
  values = [_value(n) for n in trees.parts(node)]
  if kind == 'add':
    return sympy.Add(*values)
  if kind == 'mul':
    return sympy.Mul(*values)
  if kind == 'neg':
    return -values[0]
  if kind == 'div':
    return values[0] / values[1]
  if kind == 'pow':
    return values[0] ** values[1]
  return _functions()[node[1]](*values)


def equal(gold: tuple, answer: tuple) -> bool:
  """Whether two trees are the same number or the same function of the same symbols.

  Raises:
    Unreadable: they agree to the largest number of digits tried, which cannot tell numbers of this
      size apart.
  """
  needed = DIGITS // 2 + int(0.302 * (trees.bits(gold) + trees.bits(answer)))
  gold, answer = value(gold), value(answer)
  with _library():
    same = _same(gold, answer, min(max(DIGITS, needed), MOST_DIGITS))
  if same and needed > MOST_DIGITS and gold != answer:
    raise Unreadable(f'the same to {MOST_DIGITS} digits, which is not enough to tell')
  return same


def approximation(tree: tuple) -> Fraction | None:
  """A value to `DIGITS` digits; None where it is not real or has symbols."""
  import sympy
  found = value(tree)
  with _library():
    found = None if found.free_symbols else _number(found)
    return None if found is None or not found.is_real else Fraction(str(sympy.Float(found, DIGITS)))


def factor(gold: tuple, answer: tuple) -> int:
  """The sign of the constant k in gold = k * answer; 0 if there is none or one side is constant.

  Applied to differences of sides, it shows that 2x - y + 3 = 0 is y = 2x + 3, and that an equation
  true of everything is no other equation.
  """
  gold, answer = value(gold), value(answer)
  with _library():
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    ratios = []
    for point in _points(symbols) if symbols else ():
      g, a = _number(gold, point), _number(answer, point)
      if g is None or a is None or not g.is_real or not a.is_real:
        continue
      if not g or not a:
        return 0
      ratios.append(g / a)
    constant = len(ratios) >= 3 and all(_close(r, ratios[0]) for r in ratios[1:])
    return (1 if ratios[0] > 0 else -1) if constant else 0


def _same(gold, answer, digits: int) -> bool:
  """Whether two SymPy expressions agree to some digits, at several points if they have symbols.

  Functions are compared where both are real, and their roots and logarithms, too: |x| is not x,
  sqrt(x)^2 is x, and sqrt(x-1) sqrt(x+1) is sqrt(x^2-1), though not below -1.
  """
  if gold == answer:
    return True
  if gold.is_Rational and answer.is_Rational:
    return False
  symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
  if not symbols:
    return all(_agree(_number(gold, None, n), _number(answer, None, n), n)
               for n in (GLANCE, digits))
  real, others = 0, []
  for i, point in enumerate(_points(symbols, digits, _POINTS + _MORE_POINTS)):
    if i >= len(_POINTS) and (real >= _REAL_POINTS or len(symbols) > _FEW_SYMBOLS):
      break
    # Few digits show most differences.
    for precision in (GLANCE, digits):
      a, b = _number(gold, point, precision), _number(answer, point, precision)
      agree = _agree(a, b, precision)
      if not agree:
        break
    if a is None or b is None:
      continue
    if a.is_real and b.is_real:
      if not agree:
        if _has_complex_root(gold, point) or _has_complex_root(answer, point):
          continue
        return False
      real += 1
    elif all(v > 0 for v in point.values()):
      others.append(agree)
  # Away from the real line roots have branches, and there (x-1)^(1/3) is not the real root of x-1.
  # So such points count only for functions that are hardly ever real, and then only positive ones:
  # sqrt(1/n) is 1/sqrt(n).
  return real >= _REAL_POINTS or real + len(others) >= _REAL_POINTS and all(others)


def _has_complex_root(function, point) -> bool:
  """Whether a root or logarithm in a function of real numbers has no real value at a point."""
  import sympy
  if function.has(sympy.I):
    return False
  return any(found is None or not found.is_real for part in function.atoms(sympy.Pow, sympy.log)
             if part.func == sympy.log or part.exp.is_Rational and not part.exp.is_Integer
             for found in (_number(part, point, GLANCE),))


def _points(symbols, digits: int = DIGITS, coordinates: tuple[int, ...] = _POINTS):
  """Yields substitutions for the symbols; each symbol takes every coordinate in turn."""
  import sympy
  # Floats of full precision and not rationals, of whose powers SymPy would look for factors.
  for i in range(len(coordinates)):
    yield {s: sympy.Float(coordinates[(i + 2 * k) % len(coordinates)] + 146 * k, digits + 40) / 1024
           for k, s in enumerate(symbols)}


def _number(expression, point=None, digits: int = DIGITS):
  """The value of an expression at a point to some digits; None where it has no finite value."""
  import sympy
  found = expression.evalf(digits, subs=point, maxn=digits + CANCELLED)
  if found.has(sympy.nan, sympy.zoo, sympy.oo) or not found.is_number:
    return None
  # SymPy gives a value that cancels at every precision tried a precision of one bit: it is 0.
  real, imaginary = (
      sympy.Integer(0) if part.is_Float and part._prec <= 8 else part
      for part in found.as_real_imag())
  noise = abs(real) * sympy.Float(10) ** (10 - digits)
  if imaginary == 0 or (real != 0 and abs(imaginary) < noise):
    return real if real.is_Number else None
  return found if real.is_Number and imaginary.is_Number else None


def _agree(a, b, digits: int = DIGITS) -> bool:
  """Whether two values exist and are close."""
  return a is not None and b is not None and _close(a, b, digits)


def _close(a, b, digits: int = DIGITS) -> bool:
  """Whether two values agree but for the last ten digits; relative, so 1/2^99 is not 1/2^98."""
  import sympy
  return bool(sympy.Abs(a - b) <= sympy.Float(10) ** (10 - digits) * max(abs(a), abs(b)))
