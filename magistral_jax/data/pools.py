"""Difficulty pools: what a policy solves always, or never, is dealt less often.

    mean reward of its latest group    pool      is in a round
    none yet                           new       always
    up to hard_reward                  hard      with weight hard_weight
    between                            normal    always
    above easy_reward                  easy      with weight easy_weight

Problems are dealt in rounds, each in an order of its own, as epochs are. A problem comes once in a
round at most, so that its pool only matters when the next round begins: then all pools are read,
and kept as they were. A problem of weight 0.2 is in every fifth round, and others in those between.

Reference for the thresholds and weights that configs start with: prime-rl's buffer.
"""
from __future__ import annotations

import dataclasses

import numpy as np

from magistral_jax.data.finite import permutation

NAMES = ('new', 'hard', 'normal', 'easy')


@dataclasses.dataclass(frozen=True)
class Pools:
  """Where pools begin, and how often their problems are dealt.

  Pools(hard_reward=0.25, hard_weight=0.2, easy_reward=0.75, easy_weight=0.2)

  Raises:
    ValueError: the hard pool does not end before the easy one begins.
  """
  hard_reward: float
  hard_weight: float
  easy_reward: float
  easy_weight: float

  def __post_init__(self):
    if self.hard_reward > self.easy_reward:
      raise ValueError(f'data.mix.NAME.hard_reward={self.hard_reward} is above data.mix.NAME.'
                       f'easy_reward={self.easy_reward}: what is solved less often is harder.')

  def of(self, rewards: np.ndarray) -> np.ndarray:
    """Pools of problems, [n] int8 indices of NAMES, by their latest mean rewards, [n], or NaN."""
    found = np.full(len(rewards), NAMES.index('new'), np.int8)
    found[rewards <= self.hard_reward] = NAMES.index('hard')
    found[(rewards > self.hard_reward) & (rewards <= self.easy_reward)] = NAMES.index('normal')
    found[rewards > self.easy_reward] = NAMES.index('easy')
    return found

  def roster(self, seed: int | str, number: int, pools: np.ndarray) -> np.ndarray:
    """Problems of a round in their order, as indices; there may be none.

    Args:
      seed: of the source.
      number: of the round, from 0.
      pools: [n] pool of each problem when the round began.
    """
    weights = np.array([1.0, self.hard_weight, 1.0, self.easy_weight])[pools]
    # Each has a phase of its own, so that every round has about its share of a pool.
    phases = permutation(len(pools), f'{seed} phases') / len(pools)
    comes = np.floor((number + 1) * weights + phases) > np.floor(number * weights + phases)
    order = permutation(len(pools), f'{seed} epoch {number}')
    return order[comes[order]]
