"""Dealer: which problem every ordinal has, and what that depends on besides the config.

    changes    of a mix, each from an ordinal on: weights, ranges of difficulty
    rewards    the latest of every problem that is dealt by pools
    rounds     of those problems: where each begins, and the pools as they were then

All of it is part of a checkpoint, so that a resumed run deals what an uninterrupted one does. Pools
depend on results, and results on time; but once a round has begun, its ordinals have their
problems for good. In lockstep a resumed run has the same rounds, too, since it has the same
results.
"""
from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magistral_jax.data.mix import Changes, MixSource, Part, Place
from magistral_jax.data.pools import NAMES
from magistral_jax.data.rounds import Rewards, Rounds
from magistral_jax.data.sources import Source
from magistral_jax.records import Problem


class Dealer:
  """Deals the problems of a source; safe to use from several threads.

  Args:
    source: what the config describes.
  """

  def __init__(self, source: Source):
    self._first, self._lock = source, threading.Lock()
    parts = source.parts if isinstance(source, MixSource) else ()
    self._rewards = {part.name: Rewards(part.source.training) for part in parts if part.pools}
    self._mark = _mark(parts) if self._rewards else ''
    self._rounds: dict[tuple[str, int], Rounds] = {}
    self._start()

  def _start(self) -> None:
    self._source: Source = self._first
    self._changes: list[tuple[int, Changes]] = []

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal, the same whenever it is asked."""
    with self._lock:
      if not self._rewards:
        return self._source.problem(ordinal)
      place = _mix(self._source).place(ordinal)
      if place.part.pools is None:
        return place.dealt.source.problem(place.index)
      return self._rounds_of(place).problem(place.index)

  def note(self, ordinal: int, name: str, mean: float) -> None:
    """Notes the mean reward of the group of an ordinal.

    Args:
      name: id of its problem.
    """
    with self._lock:
      for rewards in self._rewards.values():
        rewards.note(ordinal, name, mean)

  def figures(self) -> dict[str, int]:
    """Number of problems in each pool: {'pools/math/hard': 12, ...}, for metrics."""
    with self._lock:
      found = {}
      for part in _mix(self._source).parts if self._rewards else ():
        if part.pools:
          counts = np.bincount(part.pools.of(self._rewards[part.name].means), minlength=len(NAMES))
          found |= {f'pools/{part.name}/{name}': int(count)
                    for name, count in zip(NAMES, counts, strict=True)}
      return found

  def change(self, ordinal: int, changes: Changes) -> None:
    """Deals otherwise from an ordinal on; those before keep their problems.

    Args:
      ordinal: at least that of the change before, and above every ordinal that was issued.
      changes: {name of a part: {weight, difficulty_low, difficulty_high: its new value}}; what is
        not named stays.
    Raises:
      ValueError: as `check`.
    """
    with self._lock:
      self._source = _mix(self._source).changed(ordinal, changes)
      self._changes.append((ordinal, changes))

  def check(self, changes: Sequence[Changes]) -> None:
    """Checks changes that are to come one after the other.

    Raises:
      ValueError: the source is no mix; a part or key that there is not, or that leaves no problem.
    """
    source = self._first
    for change in changes:
      if change:
        source = _mix(source).changed(0, change)

  def record(self, frontier: int) -> dict[str, Any]:
    """What `restore` takes up, as JSON has it.

    Args:
      frontier: an ordinal below which none will be asked for again.
    """
    with self._lock:
      return dict(
          changes=[[ordinal, dict(changes)] for ordinal, changes in self._changes],
          mark=self._mark,
          rewards={name: rewards.record() for name, rewards in self._rewards.items()},
          rounds=self._record_rounds(frontier))

  def restore(self, record: Mapping[str, Any], *, keep: bool = False) -> None:
    """Takes up a `record`: later changes are forgotten, and what was noted since.

    Rounds of problems that the config has changed begin anew, by the rewards of those that are
    still there.

    Args:
      keep: rounds that have begun since stay, for the prompts of them that are on their way.
    """
    with self._lock:
      self._start()
      for ordinal, changes in record['changes']:
        self._source = _mix(self._source).changed(ordinal, changes)
        self._changes.append((ordinal, changes))
      for name, rewards in self._rewards.items():
        rewards.restore(record['rewards'].get(name, {}))
      begins = [0, *(ordinal for ordinal, _ in self._changes)]
      self._rounds = {key: rounds for key, rounds in self._rounds.items()
                      if keep and key[1] in begins}
      if not self._rewards or record['mark'] != self._mark:
        return
      places = {(place.part.name, place.dealt.since): place for begin in begins
                for place in _mix(self._source).places(begin)}
      for name, since, rounds in record['rounds']:
        self._rounds_of(places[name, since]).restore(rounds)

  def _rounds_of(self, place: Place) -> Rounds:
    key = place.part.name, place.dealt.since
    if key not in self._rounds:
      self._rounds[key] = Rounds(place.part.pools, place.dealt.source,
                                 self._rewards[place.part.name])
    return self._rounds[key]

  def _record_rounds(self, frontier: int) -> list[list]:
    """[name of a part, since when, rounds] of those with ordinals at or above the frontier."""
    found = []
    for place in _mix(self._source).places(frontier) if self._rewards else ():
      for (name, since), rounds in self._rounds.items():
        if name == place.part.name and since >= place.dealt.since:
          # All of what a later change has begun lies above.
          index = place.index if since == place.dealt.since else 0
          found.append([name, since, rounds.record(index)])
    return found


def _mark(parts: Sequence[Part]) -> str:
  """A digest of what decides which index an ordinal has, and which problems there are."""
  digest = hashlib.blake2b(digest_size=16)
  for part in parts:
    digest.update(repr((part.name, part.weight, part.difficulty, part.pools)).encode())
    if part.pools:
      digest.update(json.dumps([(p.id, p.difficulty) for p in part.source.training]).encode())
  return digest.hexdigest()


def _mix(source: Source) -> MixSource:
  if not isinstance(source, MixSource):
    raise ValueError("Only the parts of a mix can be changed while a run goes on: set "
                     "data.source='mix', with the source as its only part if there is one.")
  return source
