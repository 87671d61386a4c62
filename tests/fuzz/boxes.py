r"""Boxes by the thousand: drawn from a grammar of answers, mutated, and glued together from pieces.

Seeded, so that a box that fails is found again by its number. GOLDS are answers that are fine.
"""
import random
import re
from fractions import Fraction

GOLDS = (
    '5', '-17', '0.33', '1,000', r'\frac{3}{7}', r'\sqrt{7}', r'2\pi', r'50\%', r'5\text{ cm}',
    r'150 \text{ (days)}', '90^\\circ', '101_2', 'FF_{16}', 'x^2+1', r'\frac{x+1}{x-1}', 'x=5',
    'y=2x+3', 'f(-2)=-17', '1,2', r'\{1,2,3\}', r'\{\{1\},2\}', '(3,4)', r'\pm 2', 'x>3',
    r'[1,3)', r'(-\infty,1)\cup(1,\infty)', r'\mathbb{R}\setminus[0,1]', r'x\neq 1', '3:4',
    '3:30', '12:15', r'2 \pmod 5', 'A', 'AD', r'\textbf{(D)}\ 12', r'\text{yes}',
    r'\text{Monday}', 'Alice and Bob', 'March 5, 2020', r'\emptyset', r'\infty',
    r'\begin{pmatrix}1&2\\3&4\end{pmatrix}', '2+3i', r'e^{2\pi i/3}', r'\ln 2', r'\binom{5}{2}',
    '7!', '1, 2, \\ldots, n', r'\$18', 'x<0 or x>1', r'\left(-\frac12,\frac34\right)',
    '3 \\text{ or } 5', r'\sin x', r'\log_2 3', '10^{100}', r'\{x: x>5\}', 'four', '2516_8',
    r'y>2x', r'2\frac13', '1.5\\times10^{9}', 'a_1')

_LEAVES = (
    '0', '1', '2', '7', '-3', '0.5', '.5', '3.14', '1,000', '10^{9}', 'x', 'y', 'n', 'a', 'e',
    'i', r'\pi', r'\infty', r'\theta', '?', '...', '', r'\emptyset', r'\mathbb{R}', r'\text{cm}',
    'A', 'B', r'\text{no solution}', r'\foo', '9^{9^{9}}', '99999999!', '10^{10^{400}}',
    '0.1\\overline{6}', r'\frac{1}{0}', '0/0', '00', '1e9', '½', '²', '٣', '％', '１２', r'\alpha',
    r'\text{{7}}', 'NaN', r'\exp(2)^{10^{400}}', r'\sinh(1)^{10^{400}}', '\\', '{', '}', '$', '#',
    '%', '&', '_', '^', '~')
_ONE = (
    r'\sqrt{%s}', r'\sqrt[3]{%s}', '(%s)', '[%s]', '{%s}', r'\{%s\}', '|%s|', '-%s', '+%s', '%s!',
    r'%s\%%', r'%s^\circ', r'%s\text{ cm}', r'%s\text{ (days)}', r'\$%s', r'\text{%s}', 'x=%s',
    'f(%s)', 'f(2)=%s', 'x>%s', r'x\neq %s', r'\pm %s', r'\sin(%s)', r'\ln %s', r'\exp(%s)',
    r'\lfloor %s\rfloor', r'%s_2', r'%s_{16}', r'%s \pmod 5', r'5 \pmod{%s}', r'\boxed{%s}',
    r'\overline{%s}', r'\mathbb{R}\setminus\{%s\}', r'\{x: %s\}', r'\cosh(%s)', '%s:%s', '0:%s',
    r'\begin{pmatrix}%s\end{pmatrix}', r'\begin{vmatrix}%s&1\\2&3\end{vmatrix}', r'\max(%s,1)',
    r'\text{either } %s', r'\binom{5}{%s}', r'\left(%s\right)', r'\sum_{k=1}^{%s}k', '%s...',
    '"%s"')
_TWO = (
    '%s+%s', '%s-%s', r'%s\cdot %s', '%s/%s', '%s^{%s}', r'\frac{%s}{%s}', '%s,%s', '%s, %s',
    '%s;%s', '(%s,%s)', '[%s,%s)', r'\{%s,%s\}', r'%s\cup %s', r'%s\cap %s', r'%s\setminus %s',
    '%s:%s', '%s=%s', '%s<%s', r'%s\leq %s', r'%s\text{ or }%s', r'%s\text{ and }%s', '%s or %s',
    '%s %s', r'%s\approx %s', r'%s\equiv %s', r'\log_{%s}(%s)', r'\sqrt[%s]{%s}', r'%s\in %s',
    '%s_{%s}', r'\begin{pmatrix}%s&%s\end{pmatrix}', r'%s\begin{pmatrix}1\\%s\end{pmatrix}',
    '%s%s')
_PIECES = tuple(sorted(
    {*'0123456789+-*/^_!(){}[]|,;:.=<>$%&#~?\'"\\ abexyinABD', *_LEAVES, *GOLDS}))
_PIECE = re.compile(r'\\[A-Za-z]+|\\.|.', re.DOTALL)


def drawn(rng: random.Random, depth: int) -> str:
  """A text from the grammar, nested at most `depth` deep."""
  if depth == 0 or rng.random() < 0.2:
    return rng.choice(_LEAVES if rng.random() < 0.8 else GOLDS)
  pattern = rng.choice(_ONE if rng.random() < 0.5 else _TWO)
  return re.sub('%s', lambda _: drawn(rng, depth - 1), pattern).replace('%%', '%')


def mutated(rng: random.Random, text: str) -> str:
  """A text with a few pieces dropped, doubled, swapped or put in."""
  pieces = _PIECE.findall(text)
  for _ in range(rng.randint(1, 4)):
    i = rng.randrange(len(pieces) + 1)
    kind = rng.randrange(4)
    if kind == 0:
      pieces[i:i + 1] = []
    elif kind == 1:
      pieces[i:i] = [rng.choice(_PIECES)]
    elif kind == 2:
      pieces[i:i + 1] = [rng.choice(_PIECES)]
    else:
      j = rng.randrange(len(pieces) + 1)
      pieces[i:i] = pieces[min(i, j):max(i, j)][:20]
  return ''.join(pieces)


def box(seed: int) -> str:
  """The box of a number."""
  rng = random.Random(seed)
  kind = rng.random()
  if kind < 0.4:
    return drawn(rng, rng.randint(1, 4))
  if kind < 0.75:
    return mutated(rng, rng.choice(GOLDS) if rng.random() < 0.6 else drawn(rng, 2))
  return ''.join(rng.choice(_PIECES) for _ in range(rng.randint(1, 12)))


def valued(rng: random.Random, depth: int) -> tuple[str, Fraction]:
  """A text in LaTeX and its value, worked out here by Python's fractions alone."""
  if depth == 0 or rng.random() < 0.25:
    top, bottom = rng.randint(0, 40), rng.choice((1, 1, 2, 3, 4, 5, 7, 8, 10, 25))
    value = Fraction(top, bottom)
    spellings = [rf'\frac{{{top}}}{{{bottom}}}', f'({top}/{bottom})', rf'({top}\div {bottom})']
    if bottom in (2, 4, 5, 8, 10, 25):
      spellings.append(f'{top / bottom:g}')
    return (str(top) if bottom == 1 else rng.choice(spellings)), value
  (a, left), (b, right) = valued(rng, depth - 1), valued(rng, depth - 1)
  kind = rng.randrange(7)
  if kind == 0:
    return f'({a}+{b})', left + right
  if kind == 1:
    return f'({a}-{b})', left - right
  if kind == 2:
    return rng.choice((rf'({a})\cdot({b})', rf'{{{a}}}\times {{{b}}}', f'({a})({b})')), left * right
  if kind == 3 and right:
    return rf'\frac{{{a}}}{{{b}}}', left / right
  if kind == 4:
    return rf'\left({a}\right)^{{2}}', left * left
  if kind == 5:
    return f'-({a})', -left
  return rf'\sqrt{{({a})^2}}', abs(left)


# Around a value: what leaves it, and what adds to it, takes from it or offers another one.
SAME = (
    '%s', '(%s)', r'\left(%s\right)', '$%s$', 'x=%s', 'f(2)=%s', r'%s\text{ cm}', r'\text{%s}',
    r'%s \text{ (days)}', r'\{%s\}', r'1\cdot(%s)', '0+%s', r'%s.', r'\displaystyle %s',
    r'%s \approx 8', r'\mathbf{%s}', '-(-(%s))')
OTHER = (
    '1+(%s)', '977=%s', 'x=1+(%s)', r'\{%s, 977\}', '%s, 977', r'%s \text{ or } 977',
    r'\pm(977+%s)', '(%s, 977)', r'x\neq %s', r'x\geq %s', '2x=%s', '2f(1)=%s', '(%s):0',
    r'%s\text{ or so}', '?', r'\frac{%s}{0}', r'%s \pmod 0', r'\text{not } %s', '%s = 977',
    r'\{\{%s\}\}', r'\boxed{}', r'[%s,977]', r'\begin{pmatrix}%s&1\end{pmatrix}',
    r'%s\text{ (or 977)}', '%s; 977')
