"""Occupancy: which share of the samplers' slots had no sequence, by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Occupancy:
  """Integral of the slots in use over time. Any thread.

  A sampler that is down or has nothing to do has idle slots, too; one that pauses a sequence for
  want of a page has not.

  Args:
    samplers: how many there are; they go by their index.
    slots: sequences that one of them decodes at once.
    clock: seconds.
  """

  def __init__(self, samplers: int, slots: int, clock: Callable[[], float] = time.monotonic):
    self._slots, self._clock, self._lock = slots, clock, threading.Lock()
    self._used = [0] * samplers               # Slots.
    self._since = [clock()] * samplers
    self._began, self._slot_s = clock(), 0.0

  def note(self, sampler: int, sequences: int) -> None:
    """Notes how many sequences a sampler has open from now on."""
    with self._lock:
      self._advance(sampler)
      self._used[sampler] = min(sequences, self._slots)

  def idle(self) -> float:
    """Share of the slots, over the time since the last call, that had no sequence."""
    with self._lock:
      for sampler in range(len(self._used)):
        self._advance(sampler)
      seconds = self._clock() - self._began
      whole = seconds * self._slots * len(self._used)
      used, self._slot_s, self._began = self._slot_s, 0.0, self._began + seconds
      return max(0.0, 1 - used / whole) if whole else 0.0

  def _advance(self, sampler: int) -> None:
    now = self._clock()
    self._slot_s += self._used[sampler] * (now - self._since[sampler])
    self._since[sampler] = now
