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
from collections.abc import Callable

from magistral_jax.batching.admission import Admission, Issue, Pace, Traffic
from magistral_jax.records import FATES


class Ledger:
  """Hands out ordinals and books their fates; safe to use from several threads.

  Args:
    pace: limits of admission, see batching/admission.py; None: no limit.
  """

  def __init__(self, pace: Pace | None):
    self._admission = Admission(pace)
    self._lock = threading.Lock()
    self._next, self._frontier = 0, 0
    self._again: collections.deque[int] = collections.deque()
    self._suspects: collections.deque[int] = collections.deque()
    # In the order of their issue, which is not that of the ordinals once some were lost.
    self._flying: dict[int, Issue] = {}
    self._complete: dict[int, Issue] = {}
    self._settled: dict[int, str] = {}       # At or beyond the frontier.
    self.counts = collections.Counter(dict.fromkeys(FATES, 0))

  @property
  def pace(self) -> Pace | None:
    """The limits of admission."""
    return self._admission.pace

  def repace(self, *, prompts_per_batch: int, in_flight: int) -> None:
    """Changes limits of admission, if there are any.

    With `max_staleness`, a group in flight may be dropped as stale if batches become smaller: more
    updates than were counted on come before its own.
    """
    with self._lock:
      if self._admission.pace is not None:
        self._admission.pace = dataclasses.replace(
            self._admission.pace, prompts_per_batch=prompts_per_batch, in_flight=in_flight)

  @property
  def issued(self) -> int:
    """The first ordinal that was never issued."""
    with self._lock:
      return self._next

  def issue(self, traffic: Callable[[], Traffic] = Traffic, *, suspect: bool = False) -> int | None:
    """The next ordinal to sample, or None while admission refuses it.

    Args:
      traffic: says what is on its way. It is called under the ledger's lock: the batch of an update
        is settled after the trainer has its new version, so that a lag read here never misses one.
      suspect: issue one of those that `reissue` took as suspects, whatever is in flight; None if
        there is none, or if it would break the guarantee of staleness.
    """
    with self._lock:
      now = traffic()
      if suspect:
        if not self._suspects or not self._admission.keeps_guarantee(now.lag):
          return None
      elif not self._admission.may_issue(now):
        return None
      if suspect:
        ordinal = self._suspects.popleft()
      elif self._again:
        ordinal = self._again.popleft()
      else:
        ordinal = self._next
        self._next += 1
      self._flying[ordinal] = self._admission.issue(now.lag)
      return ordinal

  def complete(self, ordinal: int) -> None:
    """Notes that a group is complete and waits to be trained: it is not flying any more."""
    with self._lock:
      self._check_flying(ordinal, 'complete')
      self._complete[ordinal] = self._flying.pop(ordinal)
      self._admission.land(self._complete[ordinal])

  def check_open(self, ordinal: int, fate: str) -> None:
    """Raises as `settle` would."""
    with self._lock:
      self._check_open(ordinal, fate)

  def _check_open(self, ordinal: int, fate: str) -> None:
    if fate not in FATES:
      raise ValueError(f'Prompt {ordinal} cannot be {fate!r}: a fate is one of {FATES}.')
    if ordinal not in self._complete:
      self._check_flying(ordinal, fate)

  def settle(self, ordinal: int, fate: str) -> None:
    """Books the fate of an ordinal that is flying or complete.

    Raises:
      ValueError: an unknown fate, or an ordinal that is settled already or was never issued.
    """
    with self._lock:
      self._check_open(ordinal, fate)
      issue = self._complete.pop(ordinal, None)
      if issue is None:
        issue = self._flying.pop(ordinal)
      self._settled[ordinal] = fate
      self.counts[fate] += 1
      if fate == 'trained':
        self._admission.train(issue)
      else:
        self._admission.drop(issue)
      while self._frontier in self._settled:
        del self._settled[self._frontier]
        self._frontier += 1

  def _check_flying(self, ordinal: int, what: str) -> None:
    if ordinal not in self._flying:
      raise ValueError(f'Prompt {ordinal} cannot be {what}: it is settled or was never issued.')

  def position(self, ordinal: int) -> int:
    """Number of issues before that of an ordinal that is flying or complete."""
    with self._lock:
      return (self._flying.get(ordinal) or self._complete[ordinal]).position

  @property
  def oldest(self) -> int | None:
    """The ordinal that was issued first of those that are flying; None if none is."""
    with self._lock:
      return next(iter(self._flying), None)

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

  def reissue(self, ordinal: int, *, suspect: bool = False) -> None:
    """Issues an ordinal again, before all others: the sampler that had it was lost.

    Args:
      suspect: it is issued only to a sampler that takes suspects.
    """
    with self._lock:
      if ordinal in self._flying:
        self._admission.drop(self._flying.pop(ordinal))
        (self._suspects if suspect else self._again).appendleft(ordinal)

  @property
  def suspects(self) -> int:
    """Number of suspects that wait to be issued."""
    return len(self._suspects)

  def restore(self, record: dict, *, flying=(), complete=()) -> None:
    """Takes up a `record`; what was not settled in it is issued again, lowest ordinal first.

    Args:
      flying, complete: ordinals that are in flight now, and stay so.
    """
    with self._lock:
      self._next = max(self._next, record['next'])
      self._frontier, self._settled = record['frontier'], dict(record['settled'])
      self.counts = collections.Counter(record['counts'])
      before, flying, stay = self._flying | self._complete, set(flying), {*flying, *complete}
      for ordinal in before.keys() - stay:
        self._admission.drop(before.pop(ordinal))
      for ordinal in sorted(stay - before.keys()):
        before[ordinal] = self._admission.issue()
      kept = dict(sorted(before.items(), key=lambda item: item[1].position))
      self._flying = {o: issue for o, issue in kept.items() if o in flying}
      self._complete = {o: issue for o, issue in kept.items() if o not in self._flying}
      for issue in self._complete.values():
        self._admission.land(issue)
      known = self._settled.keys() | kept.keys()
      again = [o for o in range(self._frontier, self._next) if o not in known]
      suspects = set(self._suspects)
      self._suspects = collections.deque(o for o in again if o in suspects)
      self._again = collections.deque(o for o in again if o not in suspects)
