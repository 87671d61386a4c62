"""Sources of problems, by the name in `data.source`."""
from __future__ import annotations

from typing import Protocol

from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.jsonl import JsonlSource
from magistral_jax.data.prepared import TfdsSource
from magistral_jax.records import Problem


class Source(Protocol):
  """Endless stream of training problems, and fixed held-out ones; the two share no text.

  A source with a `size` is a `FiniteSource`, which can leave problems out; one without has
  `longest()`, its longest problem.
  """

  @property
  def seed(self) -> int | str: ...

  @property
  def size(self) -> int | None:
    """Problems in an epoch; None where there are no epochs."""

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal, the same in every process."""
    ...

  def held_out(self, n: int) -> list[Problem]:
    """Held-out problems: the first `n`, or all there are if fewer."""
    ...


SOURCES = {
    'arithmetic': ArithmeticSource,
    'jsonl': JsonlSource,
    'tfds': TfdsSource,
}
