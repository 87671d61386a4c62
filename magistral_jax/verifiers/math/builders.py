r"""Sets of what obeys conditions: '\{x \in \mathbb{R} : x > 1, x \neq 3\}'.

    parted(text)   ->  ('x', '\mathbb{R}', 'x > 1, x \neq 3')

The letter is bound, so \{t : t > 1\} is the same set, and so is (1, \infty).
"""

from __future__ import annotations

import re

_NAME = re.compile(r'(?:[A-Za-z]|\\[a-z]+)(?:_(?:\w|\{\w+\}))?')
_SIGN = re.compile(r':|\\(?:mid|vert)(?![A-Za-z])|\|')
_IN = re.compile(r'\\in(?![A-Za-z])')
_REAL = re.compile(r'\s*\\in\s*\\mathbb\{R\}$')


def parted(text: str) -> tuple[str, str, str] | None:
  r"""(letter, the set that it is in, conditions) of a tidy set; None for other texts.

  The set is '' where the text names none before its sign; of the conditions, that the letter is
  real is left out.
  """
  text = text.strip()
  if not text.startswith('\\{') or not text.endswith('\\}') or '\\}' in text[2:-2]:
    return None
  name, *such = _SIGN.split(text[2:-2], maxsplit=1)
  name, *domain = _IN.split(name, maxsplit=1)
  if not such or not _NAME.fullmatch(name.strip()):
    return None
  said = [c.strip() for c in re.split(r',|\\land(?![A-Za-z])', such[0])]
  kept = [c for c in said if _REAL.sub('', c) != name.strip()]
  if '' in said:
    return None
  return name.strip(), ''.join(domain).strip(), ' , '.join(kept)
