"""Problems held in memory, dealt out endlessly: every epoch all of them, each in a new order."""
from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from magistral_jax.records import Problem


class FiniteSource:
  """A training side that is dealt out epoch after epoch, and an evaluation that never is.

  Args:
    seed: of the order of the training side.
    training, evaluation: the two sides; they share no text (`split` sees to it).
  """

  def __init__(self, seed: int, training: Sequence[Problem], evaluation: Sequence[Problem]):
    self.seed, self.training, self.evaluation = seed, tuple(training), tuple(evaluation)

  @property
  def size(self) -> int:
    """Training problems in an epoch."""
    return len(self.training)

  def problem(self, ordinal: int) -> Problem:
    """The training problem at a place of the endless stream, the same in every process."""
    epoch, place = divmod(ordinal, self.size)
    return self.training[permutation(self.size, f'{self.seed} epoch {epoch}')[place]]

  def held_out(self, n: int) -> list[Problem]:
    """The first `n` problems of the evaluation, or all there are if fewer.

    Raises:
      ValueError: problems are asked for and none is held out.
    """
    if n and not self.evaluation:
      raise ValueError(
          f'evaluation.problems is {n}, but no problem is held out: set '
          f'data.jsonl.held_out or data.tfds.held_out above 0, or evaluation.problems=0.')
    return list(self.evaluation[:n])

  def select(self, keep: Callable[[Problem], bool]) -> FiniteSource:
    """The same source with only the problems that `keep` accepts."""
    return FiniteSource(self.seed, filter(keep, self.training), filter(keep, self.evaluation))


@functools.lru_cache(maxsize=4)
def permutation(n: int, address: str) -> np.ndarray:
  """[n] int64: the numbers below n in an order that only the address decides."""
  key = int.from_bytes(hashlib.blake2b(address.encode(), digest_size=16).digest(), 'little')
  # The raw stream of a bit generator is the same in every numpy; the shuffles above it are not.
  return np.argsort(np.random.Philox(key=key).random_raw(n), kind='stable')


def split(problems: Sequence[Problem], held_out: int) -> tuple[list[Problem], list[Problem]]:
  """Training problems, and `held_out` others drawn the same way whatever the seed of the run."""
  order = permutation(len(problems), 'held out')
  cut = len(problems) - held_out
  return [problems[i] for i in np.sort(order[:cut])], [problems[i] for i in order[cut:]]


def without_texts(problems: Sequence[Problem], others: Sequence[Problem]) -> list[Problem]:
  """The problems whose text is not among the others': two rows can ask the same.

  The same words about other pictures ask something else.
  """
  asked = {_folded(problem) for problem in others}
  return [problem for problem in problems if _folded(problem) not in asked]


def _folded(problem: Problem) -> tuple[str, ...]:
  return ' '.join(problem.text.split()).casefold(), *problem.images
