"""Backlog: complete groups that wait for a batch, in the order of their issue."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar('T')


class Backlog(Generic[T]):
  """Complete groups that wait for a batch; the one that was issued first is trained first.

  That order is what the guarantee of admission.py rests on: no group is overtaken by one that was
  issued after it was complete, whatever the weights that wrote either of them.
  """

  def __init__(self):
    # A heap: position of issue, number of arrival, oldest version of its tokens, and the group.
    self._waiting: list[tuple[int, int, int, T]] = []
    self._arrivals = 0

  def __len__(self) -> int:
    return len(self._waiting)

  def __iter__(self):
    return (group for *_, group in self._waiting)

  def offer(self, group: T, *, position: int, oldest_version: int) -> None:
    """Adds a group; `position` is that of its issue."""
    self._arrivals += 1
    heapq.heappush(self._waiting, (position, self._arrivals, oldest_version, group))

  def expire(self, version: int, max_staleness: int) -> list[T]:
    """Removes the groups with a token over `max_staleness` versions old; 0 removes none."""
    is_stale = lambda entry: bool(max_staleness) and version - entry[2] > max_staleness
    stale = [entry[-1] for entry in sorted(self._waiting, key=lambda e: e[:2]) if is_stale(entry)]
    if stale:
      self._waiting = [entry for entry in self._waiting if not is_stale(entry)]
      heapq.heapify(self._waiting)
    return stale

  def take(self, number: int) -> list[T] | None:
    """Takes exactly `number` groups, first issued first; None while there are fewer."""
    if len(self._waiting) < number:
      return None
    return [heapq.heappop(self._waiting)[-1] for _ in range(number)]

  def clear(self) -> None:
    """Drops everything."""
    self._waiting.clear()
