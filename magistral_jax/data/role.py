"""Dealer: which problem every ordinal has, and what that depends on besides the config.

    changes    of a mix, each from an ordinal on: weights, ranges of difficulty

All of it is part of a checkpoint, so that a resumed run deals what an uninterrupted one does.
"""
from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.data.mix import Changes, MixSource
from magistral_jax.data.sources import Source
from magistral_jax.records import Problem


class Dealer:
  """Deals the problems of a source; safe to use from several threads.

  Args:
    source: what the config describes.
  """

  def __init__(self, source: Source):
    self._first, self._lock = source, threading.Lock()
    self._start()

  def _start(self) -> None:
    self._source: Source = self._first
    self._changes: list[tuple[int, Changes]] = []

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal."""
    with self._lock:
      return self._source.problem(ordinal)

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

  def record(self) -> dict[str, Any]:
    """What `restore` takes up, as JSON has it."""
    with self._lock:
      return dict(changes=[[ordinal, dict(changes)] for ordinal, changes in self._changes])

  def restore(self, record: Mapping[str, Any]) -> None:
    """Takes up a `record`: later changes are forgotten."""
    with self._lock:
      self._start()
      for ordinal, changes in record['changes']:
        self._source = _mix(self._source).changed(ordinal, changes)
        self._changes.append((ordinal, changes))


def _mix(source: Source) -> MixSource:
  if not isinstance(source, MixSource):
    raise ValueError("Only the parts of a mix can be changed while a run goes on: set "
                     "data.source='mix', with the source as its only part if there is one.")
  return source
