"""Bounds of what a comparison of forms may cost."""

from __future__ import annotations

import re

from magistral_jax.verifiers.math.structure import Form
from magistral_jax.verifiers.math.trees import Unreadable

MAX_LEAVES = 120          # Values of an answer, in sets of sets too.
MAX_PAIRS = 400           # Comparisons of items, a millisecond each; plain numbers cost far less.
_NUMBER = re.compile(r'[-+]?[\d.,]+')


def require_few_leaves(form: Form) -> None:
  """Raises Unreadable where a form has too many values."""
  if _leaves(form) > MAX_LEAVES:
    raise Unreadable(f'more than {MAX_LEAVES} values')


def require_affordable(items: tuple[Form, ...], others: tuple[Form, ...]) -> None:
  """Raises Unreadable where comparing all items with all others takes too long."""
  plain = all(_NUMBER.fullmatch(i.text) for i in (*items, *others))
  if len(items) * len(others) > MAX_PAIRS and not plain:
    raise Unreadable(f'{len(items)} items that are no plain numbers')


def _leaves(form: Form) -> int:
  """The number of values of a form."""
  return sum(map(_leaves, form.items)) if form.items else 1
