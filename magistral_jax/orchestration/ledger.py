"""Which prompt of the stream has which fate, so that each is trained exactly once or accounted for.

    ordinal   0        1        2         3        4        5 ...
    fate      trained  trained  (issued)  trained  (issued) not issued
              frontier = 2: all before it are settled

What is issued and not settled when a run dies is issued again: the frontier is saved, not the
generation cursor, so nothing that was on its way is lost.
"""

import collections
import threading

from magistral_jax.records import FATES


class Ledger:
  """Hands out ordinals and books their fates; safe to use from several threads.

  Args:
    window: an ordinal is handed out only while it is less than this many beyond the frontier.
      None for no limit.
  """

  def __init__(self, window: int | None):
    self._window = window
    self._lock = threading.Lock()
    self._next, self._frontier, self._closed = 0, 0, False
    self._again: collections.deque[int] = collections.deque()
    self._settled: set[int] = set()          # At or beyond the frontier.
    self.counts = collections.Counter(dict.fromkeys(FATES, 0))

  def issue(self) -> int | None:
    """The next ordinal to sample, or None while the window or the end of the run forbids it."""
    with self._lock:
      if self._closed:
        return None
      if self._again:
        return self._again.popleft()
      if self._window is not None and self._next >= self._frontier + self._window:
        return None
      self._next += 1
      return self._next - 1

  def settle(self, ordinal: int, fate: str) -> None:
    """Books the fate of an ordinal that is on its way.

    Raises:
      ValueError: an unknown fate, or an ordinal that is settled already or was never issued.
    """
    with self._lock:
      if fate not in FATES:
        raise ValueError(f'Prompt {ordinal} cannot be {fate!r}: a fate is one of {FATES}.')
      if ordinal < self._frontier or ordinal in self._settled or ordinal >= self._next:
        raise ValueError(f'Prompt {ordinal} cannot be {fate}: it is settled or was never issued.')
      self._settled.add(ordinal)
      self.counts[fate] += 1
      while self._frontier in self._settled:
        self._settled.remove(self._frontier)
        self._frontier += 1

  def close(self) -> None:
    """Hands out no more."""
    with self._lock:
      self._closed = True

  @property
  def on_the_way(self) -> int:
    """Ordinals issued and not settled."""
    with self._lock:
      return self._next - self._frontier - len(self._settled)

  def record(self) -> dict:
    """All of it, for a checkpoint."""
    with self._lock:
      return dict(next=self._next, frontier=self._frontier, settled=sorted(self._settled),
                  counts=dict(self.counts))

  def restore(self, record: dict) -> None:
    """Takes up a `record`; what was on its way then is handed out again, lowest first."""
    with self._lock:
      self._next, self._frontier = record['next'], record['frontier']
      self._settled = set(record['settled'])
      self.counts = collections.Counter(record['counts'])
      self._again = collections.deque(
          o for o in range(self._frontier, self._next) if o not in self._settled)


def window_groups(max_staleness: int, prompts_per_batch: int) -> int:
  """The widest window for which no group can fall more than `max_staleness` versions behind.

  While a group with ordinal s is on its way, only ordinals within the window W of s can be: at
  most W - 1 smaller and W - 1 larger ones. So at most 2 W - 2 other groups are trained between its
  first token and its own update, which is at most `max_staleness` whole batches of
  `prompts_per_batch` if 2 W - 2 < (max_staleness + 1) * prompts_per_batch.
  """
  return ((max_staleness + 1) * prompts_per_batch + 1) // 2
