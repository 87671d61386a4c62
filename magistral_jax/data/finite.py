"""Finite source: problems held in memory, served epoch after epoch, each in a new order."""
from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from magistral_jax.records import Problem


class FiniteSource:
  """Source of training problems in endless epochs, with held-out problems for evaluation.

  Args:
    seed: decides the order of the training problems.
    training, evaluation: the two sides; the caller sees to it that they share no text
      (`without_texts`).
  """

  def __init__(self, seed: int | str, training: Iterable[Problem],
               evaluation: Iterable[Problem]):
    self.seed, self.training, self.evaluation = seed, tuple(training), tuple(evaluation)

  @property
  def size(self) -> int:
    """Number of training problems in an epoch."""
    return len(self.training)

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal, the same in every process."""
    epoch, position = divmod(ordinal, self.size)
    return self.training[permutation(self.size, f'{self.seed} epoch {epoch}')[position]]

  def held_out(self, n: int) -> list[Problem]:
    """First `n` held-out problems, or all there are if fewer."""
    return list(self.evaluation[:n])

  def of(self, training: Iterable[Problem], evaluation: Iterable[Problem]) -> FiniteSource:
    """Source of other problems in the order that this one's seed decides."""
    return FiniteSource(self.seed, training, evaluation)

  def select(self, keep: Callable[[Problem], bool]) -> FiniteSource:
    """Copy of this source with only the problems that `keep` accepts."""
    return self.of(filter(keep, self.training), filter(keep, self.evaluation))


# Of a mix, every source has an epoch or two in use at a time.
@functools.lru_cache(maxsize=32)
def permutation(n: int, address: str) -> np.ndarray:
  """Permutation of the numbers below n, [n] int64, that only the address decides."""
  key = int.from_bytes(hashlib.blake2b(address.encode(), digest_size=16).digest(), 'little')
  # The raw stream of a bit generator is stable across numpy versions; shuffles are not.
  return np.argsort(np.random.Philox(key=key).random_raw(n), kind='stable')


def split(problems: Sequence[Problem], held_out: int) -> tuple[list[Problem], list[Problem]]:
  """Splits problems into training and `held_out` others, whatever the seed of the run."""
  order = permutation(len(problems), 'held out')
  cut = len(problems) - held_out
  return [problems[i] for i in np.sort(order[:cut])], [problems[i] for i in order[cut:]]


def without_texts(problems: Sequence[Problem], others: Sequence[Problem]) -> list[Problem]:
  """Filters out problems whose text and images are also among `others`.

  Two lines of a file can ask the same; the same words about other images ask something else.
  """
  asked = {folded(problem) for problem in others}
  return [problem for problem in problems if folded(problem) not in asked]


def folded(problem: Problem) -> tuple[str, ...]:
  """What a problem asks: its text without layout and case, and its images."""
  return ' '.join(problem.text.split()).casefold(), *problem.images
