"""Schedule: the turns of several streams by their weights, addressed by ordinal."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction

from magistral_jax.data.finite import permutation

BLOCK = 64                # Ordinals whose order is shuffled together.


class Schedule:
  """Order in which several streams take turns: ordinal -> (stream, index in that stream).

  Of any n ordinals from 0 on, each stream gets n times its share, to within one for each stream
  and one block. Every index of a stream is given out exactly once, in the order of the ordinals.

  Args:
    seed: decides the order within a block of ordinals.
    weights: of the streams, at least 0; what counts is their proportion. A stream of weight 0 never
      gets a turn.
  Raises:
    ValueError: no weight is above 0.
  """

  def __init__(self, seed: int | str, weights: Sequence[float]):
    if not any(weights):
      raise ValueError('The weights of a mix are all 0: set one data.mix.NAME.weight above 0.')
    self._seed, self._shares, self._streams = seed, [], len(weights)
    self._turns = functools.lru_cache(maxsize=4)(self._block)
    # Exact numbers: the same turns at any ordinal, on any machine.
    rest = sum(map(Fraction, weights), Fraction(0))
    for stream, weight in enumerate(weights):
      if weight:
        self._shares.append((stream, Fraction(weight) / rest))
        rest -= Fraction(weight)

  def __call__(self, ordinal: int) -> tuple[int, int]:
    block, position = divmod(ordinal, BLOCK)
    return self._turns(block)[position]

  def counts(self, ordinal: int) -> list[int]:
    """How many ordinals below this one each stream has."""
    block, position = divmod(ordinal, BLOCK)
    counts = self._counts(block * BLOCK)
    for stream, _ in self._turns(block)[:position]:
      counts[stream] += 1
    return counts

  def _counts(self, turns: int) -> list[int]:
    """How many of the first turns each stream has."""
    counts = [0] * self._streams
    for stream, share in self._shares:
      counts[stream] = turns * share.numerator // share.denominator
      turns -= counts[stream]
    return counts

  def _block(self, block: int) -> list[tuple[int, int]]:
    """(stream, index) of each ordinal of a block."""
    counts, found = self._counts(block * BLOCK), []
    for turn in permutation(BLOCK, f'{self._seed} mix {block}'):
      stream, _ = self.unshuffled(block * BLOCK + int(turn))
      found.append((stream, counts[stream]))
      counts[stream] += 1
    return found

  def unshuffled(self, turn: int) -> tuple[int, int]:
    """The same with turns as regular as they can be.

    Of the first n turns the first stream takes floor(n s), where s is its share; the second takes
    its share of the turns that are left, and so on.
    """
    for stream, share in self._shares:
      before = turn * share.numerator // share.denominator
      if (turn + 1) * share.numerator // share.denominator > before:
        return stream, before
      turn -= before
    raise AssertionError('the last stream takes every turn that is left')
