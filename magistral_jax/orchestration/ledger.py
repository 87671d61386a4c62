"""The fate of every prompt of the stream: each is trained exactly once, or accounted for.

    ordinal   0        1        2         3         4           5 ...
    state     trained  trained  flying    trained   complete    not issued
              frontier = 2: all before it are settled

    flying    issued, and some completion of it is not judged yet
    complete  all its completions are judged and worth training on; not trained yet

Prompts that are issued and not settled when a run dies are issued again: the frontier is saved,
not the generation cursor, so that no prompt in flight is lost.
"""

from __future__ import annotations

import collections
import dataclasses
import threading

from magistral_jax.records import FATES


@dataclasses.dataclass
class _Issue:
  """One issue of an ordinal."""
  ordinal: int
  flying: bool = True
  counted: bool = True       # It is or may still be trained, and no older one has landed yet.


class Ledger:
  """Hands out ordinals and books their fates; safe to use from several threads.

  Args:
    window: paces admission, see batching/staleness.py. An ordinal is handed out only while
      fewer than `window` groups are unsettled, and fewer than `window` groups that are or may
      still be trained were issued since the oldest issue that is flying. None: no limit.
  """

  def __init__(self, window: int | None):
    self._window = window
    self._lock = threading.Lock()
    self._next, self._frontier = 0, 0
    self._again: collections.deque[int] = collections.deque()
    self._flying: dict[int, _Issue] = {}
    self._complete: dict[int, _Issue] = {}
    self._settled: dict[int, str] = {}       # At or beyond the frontier.
    # The issues from the oldest flying one on, in the order of their issue, which is not that of
    # the ordinals once some were lost; and how many of them count. Kept up to date, so that a
    # question costs the same however wide the window is.
    self._line: collections.deque[_Issue] = collections.deque()
    self._since = 0
    self.counts = collections.Counter(dict.fromkeys(FATES, 0))

  def issue(self) -> int | None:
    """The next ordinal to sample, or None while the window forbids it."""
    with self._lock:
      if not self._may_issue():
        return None
      if self._again:
        ordinal = self._again.popleft()
      else:
        ordinal = self._next
        self._next += 1
      self._flying[ordinal] = self._append(ordinal)
      return ordinal

  def complete(self, ordinal: int) -> None:
    """Notes that a group is complete and waits to be trained: it is not flying any more."""
    with self._lock:
      self._check_flying(ordinal, 'complete')
      self._complete[ordinal] = self._flying.pop(ordinal)
      self._land(self._complete[ordinal])

  def settle(self, ordinal: int, fate: str) -> None:
    """Books the fate of an ordinal that is flying or complete.

    Raises:
      ValueError: an unknown fate, or an ordinal that is settled already or was never issued.
    """
    with self._lock:
      if fate not in FATES:
        raise ValueError(f'Prompt {ordinal} cannot be {fate!r}: a fate is one of {FATES}.')
      one = self._complete.pop(ordinal, None)
      if one is None:
        self._check_flying(ordinal, fate)
        one = self._flying.pop(ordinal)
      self._settled[ordinal] = fate
      self.counts[fate] += 1
      if fate != 'trained':
        self._discount(one)
      self._land(one)
      while self._frontier in self._settled:
        del self._settled[self._frontier]
        self._frontier += 1

  def _check_flying(self, ordinal: int, what: str) -> None:
    if ordinal not in self._flying:
      raise ValueError(f'Prompt {ordinal} cannot be {what}: it is settled or was never issued.')

  def _may_issue(self) -> bool:
    return self._window is None or (
        len(self._flying) + len(self._complete) < self._window and self._since < self._window)

  def _append(self, ordinal: int) -> _Issue:
    self._line.append(_Issue(ordinal))
    self._since += 1
    return self._line[-1]

  def _discount(self, one: _Issue) -> None:
    self._since -= one.counted
    one.counted = False

  def _land(self, one: _Issue) -> None:
    one.flying = False
    while self._line and not self._line[0].flying:
      self._discount(self._line.popleft())

  @property
  def oldest(self) -> int | None:
    """The ordinal that was issued first of those that are flying; None if none is."""
    with self._lock:
      return self._line[0].ordinal if self._line else None

  @property
  def on_the_way(self) -> int:
    """How many ordinals are issued and not settled."""
    with self._lock:
      return len(self._flying) + len(self._complete)

  def record(self) -> dict:
    """The whole ledger as JSON has it, for a checkpoint."""
    with self._lock:
      return dict(next=self._next, frontier=self._frontier, settled=sorted(self._settled.items()),
                  counts=dict(self.counts))

  def reissue(self, ordinal: int) -> None:
    """Issues an ordinal again, before all others: the sampler that had it was lost."""
    with self._lock:
      if ordinal in self._flying:
        one = self._flying.pop(ordinal)
        self._discount(one)
        self._land(one)
        self._again.appendleft(ordinal)

  def restore(self, record: dict, *, flying=(), complete=()) -> None:
    """Takes up a `record`; what was not settled in it is issued again, lowest ordinal first.

    Args:
      flying, complete: ordinals that are in flight now, and stay so.
    """
    with self._lock:
      self._next = max(self._next, record['next'])
      self._frontier, self._settled = record['frontier'], dict(record['settled'])
      self.counts = collections.Counter(record['counts'])
      order = {one.ordinal: number for number, one in enumerate(self._line)}
      self._line, self._since = collections.deque(), 0
      kept = {ordinal: self._append(ordinal) for ordinal in sorted(
          {*flying, *complete}, key=lambda ordinal: (order.get(ordinal, -1), ordinal))}
      self._flying = {ordinal: kept[ordinal] for ordinal in flying}
      self._complete = {ordinal: kept[ordinal] for ordinal in complete}
      for one in self._complete.values():
        self._land(one)
      known = self._settled.keys() | kept.keys()
      self._again = collections.deque(
          o for o in range(self._frontier, self._next) if o not in known)
