r"""Vectors as sums of unit vectors: '3i - 4j + k' is (3, -4, 1).

Without a mark, as in i + 2j, a unit vector is a letter like others, and i the imaginary unit; so a
sum is a vector only beside one that is written as a tuple or matrix.
"""

from __future__ import annotations

import re

from magistral_jax.verifiers.math import values
from magistral_jax.verifiers.math.structure import Form

_UNITS = 'ijk'
_UNIT = re.compile(r'(?<![A-Za-z\\_])[ijk](?![A-Za-z_])')
_BOLD = re.compile(r'\\text\{\s*([ijk])\s*\}')
# Small numbers that no likely sum of components makes 0 or equal by chance.
_POINT = ('7', '13', '29')


def of_sum(text: str, size: int) -> Form | None:
  """The tuple of the components of a sum of unit vectors; None for other values.

  Args:
    size: number of components, 2 or 3.
  """
  text = _BOLD.sub(r' \1', text)
  found = {m.group() for m in _UNIT.finditer(text)}
  if not 2 <= size <= len(_UNITS) or not found or not found <= set(_UNITS[:size]):
    return None
  at = lambda point: _UNIT.sub(lambda m: f'({point[_UNITS.index(m.group())]})', text)
  components = [at(['1' if i == k else '0' for i in range(size)]) for k in range(size)]
  sum_ = '+'.join(f'({c})({p})' for c, p in zip(components, _POINT, strict=False))
  if not values.same_value('0', at('000')) or not values.same_value(sum_, at(_POINT)):
    return None
  return Form('()', tuple(Form('value', text=c) for c in components))


def as_tuple(form: Form) -> Form | None:
  """The tuple (3,4) of 'x=3, y=4' or 'y=4, x=3': single letters, in alphabetical order."""
  if any(f.kind != 'equation' or len(f.items) != 2 for f in form.items):
    return None
  given = {f.items[0].text: f.items[1] for f in form.items}
  if len(given) < len(form.items) or any(len(n) != 1 or not n.isalpha() for n in given):
    return None
  return Form('()', tuple(given[name] for name in sorted(given)))


def as_matrix(form: Form) -> Form:
  """The matrix of '[[1,2],[3,4]]'; other forms as they are."""
  if form.kind == 'matrix' or any(f.kind != '[]' for f in form.items):
    return form
  return Form('matrix', tuple(Form('row', f.items) for f in form.items))


def as_vector(form: Form) -> Form:
  """The tuple of the cells of a matrix with one row or column; other forms as they are."""
  if form.kind != 'matrix' or len(form.items) > 1 and any(len(r.items) > 1 for r in form.items):
    return form
  return Form('()', tuple(cell for row in form.items for cell in row.items))
