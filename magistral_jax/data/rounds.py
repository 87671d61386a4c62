"""Rounds: the problems of a source with pools in the order in which they are dealt.

    index     0 1 2 3 4 | 5 6 7 | 8 ...      in the stream of one part of a mix
    round     0           1       2          of all problems; of those that come in it; ...

Only the dealer (role.py) holds these, and calls them one at a time.
"""
from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.pools import Pools
from magistral_jax.records import Problem


class Rewards:
  """The latest mean reward of every training problem of a part with pools.

  Args:
    problems: the training problems of the part, of any difficulty.
  """

  def __init__(self, problems: Sequence[Problem]):
    self.positions = {problem.id: i for i, problem in enumerate(problems)}
    self.means = np.full(len(self.positions), np.nan)
    self._ordinals = np.full(len(self.positions), -1)

  def note(self, ordinal: int, name: str, mean: float) -> None:
    """Notes the mean reward of a group; the latest is that of the greatest ordinal."""
    position = self.positions.get(name)
    if position is not None and ordinal >= self._ordinals[position]:
      self._ordinals[position], self.means[position] = ordinal, mean

  def record(self) -> dict[str, list]:
    """{id: [ordinal, mean reward]} of those that have one."""
    return {name: [int(self._ordinals[i]), float(self.means[i])]
            for name, i in self.positions.items() if self._ordinals[i] >= 0}

  def restore(self, record: Mapping[str, Sequence]) -> None:
    """Takes up a `record`; problems that are no more are forgotten."""
    self.means[:], self._ordinals[:] = np.nan, -1
    for name, (ordinal, mean) in record.items():
      self.note(ordinal, name, mean)


@dataclasses.dataclass(frozen=True)
class Round:
  """Problems that are dealt in a row, from index `begin` of a part's stream on."""
  number: int
  begin: int
  pools: np.ndarray         # [n] int8, of every problem of the source when it began.
  roster: np.ndarray        # Indices of the problems that are in it, in their order.

  @property
  def end(self) -> int:
    return self.begin + len(self.roster)


class Rounds:
  """The rounds of one source with pools, begun one after the other as they are needed.

  Args:
    settings: thresholds and weights of its pools.
    source: a `FiniteSource` of some of the problems that have `rewards`.
    rewards: read whenever a round begins.
  """

  def __init__(self, settings: Pools, source: FiniteSource, rewards: Rewards):
    self._settings, self._source, self._rewards = settings, source, rewards
    self._positions = np.array([rewards.positions[p.id] for p in source.training])
    self.rounds: list[Round] = []

  def problem(self, index: int) -> Problem:
    """The problem at an index of the stream, of a round that begins now if need be."""
    while not self.rounds or index >= self.rounds[-1].end:
      last = self.rounds[-1] if self.rounds else None
      pools = self._settings.of(self._rewards.means[self._positions])
      # A round in which nothing comes is followed by another: no weight is 0.
      self.rounds.append(self._round(last.number + 1 if last else 0, last.end if last else 0,
                                     pools))
    found = self.rounds[bisect.bisect_right(self.rounds, index, key=lambda r: r.begin) - 1]
    return self._source.training[found.roster[index - found.begin]]

  def record(self, index: int) -> list[list]:
    """[number, begin, pools as digits] of the rounds that do not end below an index."""
    kept = [r for r in self.rounds if r.end > index] or self.rounds[-1:]
    return [[r.number, r.begin, ''.join(map(str, r.pools))] for r in kept]

  def restore(self, record: Iterable[Sequence]) -> None:
    """Takes up a `record`; rounds before and after those in it stay as they are."""
    found = [self._round(number, begin, np.frombuffer(pools.encode(), np.int8) - ord('0'))
             for number, begin, pools in record]
    own = {r.number: r for r in self.rounds}
    while found and (before := own.get(found[0].number - 1)) and before.end == found[0].begin:
      found.insert(0, before)
    while found and (after := own.get(found[-1].number + 1)) and after.begin == found[-1].end:
      found.append(after)
    self.rounds = found

  def _round(self, number: int, begin: int, pools: np.ndarray) -> Round:
    return Round(number, begin, pools,
                 self._settings.roster(self._source.seed, number, pools))
