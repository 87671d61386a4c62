r"""Matrices and determinants as texts: rows of cells, and a determinant written out.

    '\frac{1}{2}\begin{pmatrix}1&x\\0&3\end{pmatrix}'  ->  rows  (1/2)(1) (1/2)(x) | (1/2)(0) ...
    '\begin{vmatrix}a&b\\c&d\end{vmatrix}'             ->  '(a)(d)-(b)(c)'
"""

from __future__ import annotations

import re

from magistral_jax.verifiers.math.trees import Unreadable

MAX_DETERMINANT = 4       # Rows; a determinant of n rows has n! products.
MAX_CELLS = 100

_ENVIRONMENT = re.compile(
    r'\\begin\{([pbBvV]?matrix|smallmatrix|array)\}(?:\{[lcr|]*\})?(.*?)\\end\{\1\}', re.DOTALL)
_FACTOR_SIGN = re.compile(r'(?:\\cdot|\\times)\s*$')
_FACTOR_BEHIND = re.compile(r'(\\cdot(?![A-Za-z])|\\times(?![A-Za-z])|/)\s*(.+)')
_TRANSPOSED = re.compile(r'\^\s*\{?\s*(?:\\text\{T\}|\\mathsf\{?T\}?|\\top|\\intercal|T)\s*\}?')
_BRACKETS = {'(': ')', '[': ']', '|': '|', r'\lvert': r'\rvert', '': ''}


def rows(text: str) -> list[list[str]] | None:
  """The cells of a matrix, times the factor before it; None for other texts and determinants."""
  found = _parts(text)
  if found is None or found[1]:
    return None
  factor, _, cells = found
  return [[f'({factor})({cell})' if factor else cell for cell in row] for row in cells]


def determinant(text: str) -> str | None:
  """The determinant of a matrix in bars or behind \\det, written out; None for other texts.

  Raises:
    Unreadable: the matrix is empty, not square, or has more than MAX_DETERMINANT rows.
  """
  found = _parts(text)
  if found is None or not found[1]:
    return None
  factor, _, cells = found
  if not 1 <= len(cells) <= MAX_DETERMINANT or any(len(row) != len(cells) for row in cells):
    raise Unreadable(f'a determinant of no rows or over {MAX_DETERMINANT}, or not square')
  value = _expanded(cells)
  return f'({factor})({value})' if factor else value


def is_unworked(text: str) -> bool:
  """Whether a text is a determinant, or a matrix with a factor before it."""
  found = _parts(text)
  return found is not None and bool(found[0] or found[1])


def _parts(text: str) -> tuple[str, bool, list[list[str]]] | None:
  """(factor or '', whether it is a determinant, cells) of a text that holds one matrix."""
  match = _ENVIRONMENT.search(text)
  if not match:
    return None
  before, after = text[:match.start()].strip(), text[match.end():].strip()
  opening = next(o for o, closing in _BRACKETS.items()
                 if before.endswith(o) and after.startswith(closing) or not o)
  before = before[:len(before) - len(opening)].strip()
  after = after[len(_BRACKETS[opening]):].strip()
  bars = match.group(1) == 'vmatrix' or opening in ('|', r'\lvert')
  if before.endswith('\\det'):
    before, bars = before[:-len('\\det')].strip(), True
  factor = _FACTOR_SIGN.sub('', before).strip()
  factor = {'-': '-1', '+': ''}.get(factor, factor)
  cells = [[cell.strip() for cell in row.split('&')]
           for row in match.group(2).split('\\\\') if row.strip()]
  if sum(map(len, cells)) > MAX_CELLS:
    raise Unreadable(f'a matrix of more than {MAX_CELLS} cells')
  if _TRANSPOSED.fullmatch(after) and len(set(map(len, cells))) == 1 and not bars:
    return factor or '1', bars, list(map(list, zip(*cells, strict=True)))
  if behind := _FACTOR_BEHIND.fullmatch(after):
    sign, other = behind.groups()
    if '\\begin' in other:
      return None
    factor = f'({factor or 1}){"/" if sign == "/" else ""}({other})'
  elif after:
    return None
  return factor, bars, cells


def _expanded(cells: list[list[str]]) -> str:
  """The determinant of square cells by its first row: '(a)(d)-(b)(c)'."""
  if len(cells) == 1:
    return f'({cells[0][0]})'
  terms = []
  for i, cell in enumerate(cells[0]):
    rest = _expanded([row[:i] + row[i + 1:] for row in cells[1:]])
    terms.append(f'{"-" if i % 2 else "+"}({cell})({rest})')
  return ''.join(terms).lstrip('+')
