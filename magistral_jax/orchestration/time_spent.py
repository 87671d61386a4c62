"""Where the seconds of a run went: what its main thread was doing.

    waiting for a batch | packing it | training | publishing | evaluating | saving | other

What samplers and verifiers do meanwhile is no part of it. An activity within another counts for
itself alone, so that all of them and `other` add up to the run's wall time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping

# In the order of a run. Of these, sampling and verifying are the main thread's in lockstep alone.
ACTIVITIES = ('starting', 'cold_start', 'waiting', 'sampling', 'verifying', 'packing', 'training',
              'publishing', 'evaluating', 'saving')


class TimeSpent:
  """Seconds by activity; only the main thread calls it.

  Args:
    clock: seconds.
  """

  def __init__(self, clock: Callable[[], float] = time.monotonic):
    self._clock, self._since = clock, 0.0
    self._open: list[str] = []
    self._spent = dict.fromkeys(ACTIVITIES, 0.0)

  @contextlib.contextmanager
  def doing(self, activity: str) -> Generator[None]:
    """Counts the time of the block, less what blocks inside it count."""
    assert activity in ACTIVITIES, activity
    self._turn()
    self._open.append(activity)
    try:
      yield
    finally:
      self._turn()
      self._open.pop()

  def seconds(self, wall_s: float) -> dict[str, float]:
    """Seconds by activity so far, and `other`: what is left of `wall_s`."""
    self._turn()
    found = {name: self._spent[name] for name in ACTIVITIES if self._spent[name] > 0}
    return found | dict(other=max(0.0, wall_s - sum(found.values())))

  def restore(self, seconds: Mapping[str, float]) -> None:
    """Begins with the seconds of an earlier part of the run, `other` left out."""
    self._turn()
    self._spent = {name: seconds.get(name, 0.0) for name in ACTIVITIES}

  def _turn(self) -> None:
    """Books what has passed since the last turn."""
    now = self._clock()
    if self._open:
      self._spent[self._open[-1]] += now - self._since
    self._since = now
