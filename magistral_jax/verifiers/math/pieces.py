r"""Functions in pieces as texts: which value holds where.

    'f(x)=\begin{cases} x+1, & \text{if } x>2 \\ 3 & \text{otherwise} \end{cases}'
        ->  ('f(x)', [('x+1', 'x>2'), ('3', 'otherwise')])

A system of equations is written in the same environment: '\begin{cases} x &= 2 \\ y &= 3 ...'. So a
line is a piece only if what stands behind its '&' is a condition by itself.
"""

from __future__ import annotations

import re

_PIECEWISE = re.compile(
    r'(?:([^=&]{1,60})=)?\s*(?:\\begin\{cases\}|\\\{\s*\\begin\{array\}\{[lcr| ]*\})(.*)'
    r'\\end\{(?:cases|array)\}', re.DOTALL)
_WORD = r'(?:if|for|when|where|provided(?: that)?|otherwise|else(?:where)?)'
_BEHIND_COMMA = re.compile(rf'\s(?=\\text\{{[\s,]*{_WORD}\b)|,\s*(?={_WORD}\b)')
_SAYS_WHERE = re.compile(
    rf'(?<![A-Za-z\\]){_WORD}(?![A-Za-z])|[<>]|\\(?:leq|geq|neq|in|equiv)(?![A-Za-z])|'
    r'\b(?:odd|even|integer|rational|irrational|prime|positive|negative)\b|'
    r'^([A-Za-z])\s*=[^=]+?(?:(?:\bor\b|\\lor(?![A-Za-z]))\s*\1\s*=[^=]+?)*$')
_SIGN_FIRST = re.compile(r'[=<>+]|\\(?:leq|geq|neq|in|equiv)(?![A-Za-z])')
_FILLER = re.compile(
    r'(?<![A-Za-z\\])(?:if|for|when|where|provided(?: that)?|is|are|all|any|every)(?![A-Za-z])')
_ELSE = re.compile(r'(?:otherwise|else(?:where)?)')
OTHERWISE = 'otherwise'


def parted(text: str) -> tuple[str, list[tuple[str, str]]] | None:
  """(name or '', (value, condition) of each piece) of a tidy text; None for other texts."""
  match = _PIECEWISE.fullmatch(text.strip())
  if not match:
    return None
  name, rows = match.groups(default='')
  found = [_piece(row) for row in rows.split('\\\\') if row.strip(' ,;.')]
  return None if None in found or not found else (name.strip(), found)


def _piece(row: str) -> tuple[str, str] | None:
  """(value, condition) of a line; None where it is none."""
  parts = row.split('&') if '&' in row else _BEHIND_COMMA.split(row, maxsplit=1)
  if len(parts) != 2:
    return None
  value, said = (p.strip(' ,;.') for p in parts)
  said = re.sub(r'\\text\{([^{}]*)\}', r' \1 ', said).strip(' ,;.')
  if not value or not _SAYS_WHERE.search(said) or _SIGN_FIRST.match(said):
    return None
  said = re.sub(r'\s+', ' ', _FILLER.sub(' ', said)).strip(' ,;.')
  return (value, OTHERWISE if _ELSE.fullmatch(said) else said) if said else None
