r"""Sets of real numbers: unions, differences and intersections of intervals in one form.

    [1,2] \cup [2,3]              ->  [1,3]
    \mathbb{R} \setminus [0,1]    ->  (-\infty,0) \cup (1,\infty)

The ends of all intervals cut the line into points and open gaps; a set is the cells that it has:

    ends 0, 1:   (-inf,0)  {0}  (0,1)  {1}  (1,inf)
    [0,1)           -       x     x     -      -
"""

from __future__ import annotations

from fractions import Fraction

from magistral_jax.verifiers.math import values
from magistral_jax.verifiers.math.structure import Form, is_interval

COMBINED = frozenset(('union', 'difference', 'intersection', 'all but'))
# Ends are known to over a hundred digits; numbers closer than this are one end.
_SAME = Fraction(1, 10 ** 90)
_LOWEST, _HIGHEST = Form('value', text='-\\infty'), Form('value', text='\\infty')


def normal(form: Form) -> Form | None:
  """A set of real numbers in one form; None where it is none, or its inequalities disagree.

  It is none where an end is no real number; they disagree where they are about different names.

  The result is an interval, a finite set, or a union of intervals and at most one finite set, from
  left to right.
  """
  ends: list[tuple[Fraction, Form]] = []
  names = _names(form)
  if len(names) > 1 or not _collect(form, ends):
    return None
  ends.sort(key=lambda end: end[0])
  ends = [end for i, end in enumerate(ends)
          if not i or end[0] - ends[i - 1][0] > _SAME * max(1, abs(end[0]))]
  has = _cells(form, [value for value, _ in ends])
  return _form(has, [end for _, end in ends], ''.join(names))


def listed(form: Form) -> Form:
  """The set of 'x>1, x<5', intervals about one name in a list; other forms as they are.

  All hold if all can: the comma is 'and' in 'x>1, x<5', but 'or' in 'x<1, x>5'. A number that is
  excepted ('0<x<5, x \\neq 2') is excepted from the rest.
  """
  if form.kind == 'list' and any(i.kind == 'all but' for i in form.items) and all(
      (is_interval(i) or i.kind == 'all but') and i.text == form.items[0].text != ''
      for i in form.items):
    return normal(Form('intersection', form.items)) or form
  parts = form.items if form.kind == 'list' else ()
  if not parts or not all(is_interval(p) and p.text == parts[0].text != '' for p in parts):
    return form
  shared = normal(Form('intersection', parts))
  return shared if shared is not None and shared.items else Form('union', parts)


def end(item: Form) -> Fraction | None:
  """The value of a finite end; None for others."""
  if item.kind != 'value' or item in (_LOWEST, _HIGHEST) or item.text == '+\\infty':
    return None
  return values.real_number(item.text)


def _collect(form: Form, ends: list) -> bool:
  """Adds the finite ends and points of a set; False where it is none, or has other ends.

  '(5,3)' is a point and no empty interval: 'or (5,3)' adds an answer.
  """
  if form.kind in COMBINED - {'all but'}:
    return all(_collect(item, ends) for item in form.items)
  if not (is_interval(form) or form.kind in ('set', 'all but')):
    return False
  found = []
  for item in form.items:
    if item in (_LOWEST, _HIGHEST) or item.text == '+\\infty':
      continue
    value = values.real_number(item.text) if item.kind == 'value' else None
    if value is None:
      return False
    found.append((value, item))
  ends += found
  return not (is_interval(form) and len(found) == 2 and found[0][0] > found[1][0])


def _cells(form: Form, ends: list[Fraction]) -> list[bool]:
  """Which cells a set has: cell 2i is the gap before end i, cell 2i + 1 the end itself."""
  if form.kind == 'union':
    return [any(cell) for cell in zip(*(_cells(i, ends) for i in form.items), strict=True)]
  if form.kind == 'intersection':
    return [all(cell) for cell in zip(*(_cells(i, ends) for i in form.items), strict=True)]
  if form.kind == 'difference':
    left, right = (_cells(i, ends) for i in form.items)
    return [a and not b for a, b in zip(left, right, strict=True)]
  count = 2 * len(ends) + 1
  if form.kind in ('set', 'all but'):
    points = {_cell(item, ends) for item in form.items}
    return [(i in points) == (form.kind == 'set') for i in range(count)]
  low, high = (_cell(item, ends) for item in form.items)
  low += form.kind[0] != '['
  high -= form.kind[1] != ']'
  return [low <= i <= high for i in range(count)]


def _cell(item: Form, ends: list[Fraction]) -> int:
  """The cell of an end; -1 and one past the last cell for the infinite ones."""
  if item == _LOWEST:
    return -1
  if item == _HIGHEST or item.text == '+\\infty':
    return 2 * len(ends) + 1
  value = values.real_number(item.text)
  return 2 * min(range(len(ends)), key=lambda i: abs(ends[i] - value)) + 1


def _names(form: Form) -> set[str]:
  """The names that inequalities in a form are about."""
  own = {form.text} if is_interval(form) and form.text else set()
  return own.union(*map(_names, form.items))


def _form(has: list[bool], ends: list[Form], name: str) -> Form:
  """The form of a set of cells."""
  pieces, points, i = [], [], 0
  while i < len(has):
    first = i
    while i < len(has) and has[i]:
      i += 1
    last = i - 1
    if first == last and first % 2:
      points.append(ends[first // 2])
    elif first <= last:
      low = _LOWEST if first == 0 else ends[(first - 1) // 2]
      high = _HIGHEST if last == len(has) - 1 else ends[last // 2]
      kind = ('[' if first % 2 else '(') + (']' if last % 2 else ')')
      pieces.append(Form(kind, (low, high), name))
    i += 1
  if not pieces:
    return Form('set', tuple(points))
  if points:
    pieces.append(Form('set', tuple(points)))
  return pieces[0] if len(pieces) == 1 else Form('union', tuple(pieces))
