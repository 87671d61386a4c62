"""Several verifier processes as the loop sees them: one role; orchestration/roles.py: Verifier.

Every process has at most one question open and answers when it can: no process is waited for while
another one has an answer or could be given more. What a lost process had not judged goes to the
others; a completion that was in three lost processes is given up, with the verdict 'error'.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np

from magistral_jax.orchestration.roles import LOST_TOO_OFTEN, Lost
from magistral_jax.records import Completion, Problem, Verdict
from magistral_jax.runtime.actor_handle import ActorHandle
from magistral_jax.verifiers.reward import PARTS

_NONE = np.zeros(0, np.float32)
# An answer that came between two looks may still have to be fetched from its node.
_LAST_LOOK_S = 1.0


class RemoteVerifier:
  """Several verifier processes; a completion goes to the one with the least to do.

  Args:
    workers: completions that a process judges at once.
    most: completions per process that may wait before the role is `full`.
    deadline_s: a process that leaves a question unanswered for longer is lost.
  """

  def __init__(self, handles: Sequence[ActorHandle], *, workers: int, most: int,
               deadline_s: float):
    self._handles, self._most, self._deadline_s = list(handles), most, deadline_s
    self._workers = workers
    self._queued = {handle.name: [] for handle in handles}
    self._sent: dict[str, dict[int, tuple[Completion, Problem]]] = {
        handle.name: {} for handle in handles}
    # The open question of a process, and when it was asked.
    self._asked: dict[str, tuple[object, float]] = {}
    self._numbers = itertools.count()             # No two jobs ever have the same number.
    self._lost = collections.Counter()            # How often a completion was in a lost process.
    self._given_up: list[tuple[Completion, Verdict]] = []
    self._stats: dict[str, dict] = {}
    self._lock = threading.Lock()

  def put(self, completion: Completion, problem: Problem) -> None:
    key = completion.ordinal, completion.sample
    with self._lock:
      if self._lost.get(key, 0) >= LOST_TOO_OFTEN:
        detail = f'{self._lost.pop(key)} verifier processes were lost while they had it'
        verdict = Verdict('error', 0.0, dict.fromkeys(PARTS, 0.0), detail=detail)
        self._given_up.append((completion, verdict))
        return
      self._queue(completion, problem)

  def drain(self, wait_s: float = 0.0) -> list[tuple[Completion, Verdict]]:
    self._ask(wait_s)
    with self._lock:
      judged, self._given_up = self._given_up, []
    for handle, reference in self._answered(0.0 if judged else wait_s):
      judged += self._receive(handle, reference)
    return judged

  def _ask(self, wait_s: float) -> None:
    """Sends what is queued, and asks for verdicts, wherever a process runs and owes no answer."""
    free = []
    for handle in self._handles:
      try:
        # Idle ones too: that is how the start of a new process is noticed.
        if handle.ready() and handle.name not in self._asked:
          free.append(handle)
      except Lost as error:
        self._lose(handle, error)
    with self._lock:
      dealt = self._deal(free)
    for handle in free:
      # The large arrays stay here: a verdict depends on text and length alone.
      jobs = [(number, dataclasses.replace(c, sampler_logp=_NONE, routes=None), p)
              for number, (c, p) in dealt[handle.name].items()]
      if self._sent[handle.name]:
        reference = handle.ask('exchange', jobs, wait_s)
        self._asked[handle.name] = reference, time.monotonic()

  def _queue(self, completion: Completion, problem: Problem) -> None:
    load = lambda h: (not h.where, len(self._queued[h.name]) + len(self._sent[h.name]))
    self._queued[min(self._handles, key=load).name].append((completion, problem))

  def _deal(self, free: Sequence[ActorHandle]) -> dict[str, dict[int, tuple[Completion, Problem]]]:
    """{process: what it is sent now}: its own queue, or if it is idle half of another one's.

    That is the longest of the queues that are left, whose processes are busy or hang. What waits
    for a process that has not started, and may never start, is queued anew.
    """
    for handle in self._handles if free else ():
      if not handle.where and self._queued[handle.name]:
        queued, self._queued[handle.name] = self._queued[handle.name], []
        for pair in queued:
          self._queue(*pair)
    dealt = {handle.name: self._send(handle.name) for handle in free}
    for name in dealt:
      if not self._sent[name]:
        longest = max(self._queued, key=lambda other: len(self._queued[other]))
        waiting = self._queued[longest]
        if not waiting:
          break
        half = -(-len(waiting) // 2)
        self._queued[name], self._queued[longest] = waiting[:half], waiting[half:]
        dealt[name] = self._send(name)
    return dealt

  def _send(self, name: str) -> dict[int, tuple[Completion, Problem]]:
    new = {next(self._numbers): pair for pair in self._sendable(name)}
    self._sent[name] |= new
    return new

  def _sendable(self, name: str) -> list[tuple[Completion, Problem]]:
    """Takes out of a process's queue what it may have now.

    All of it; but a completion that was in two lost processes goes alone, so that no other one is
    given up with it.
    """
    queued = self._queued[name]
    for i, (completion, _) in enumerate(queued if self._lost else ()):
      if self._lost[completion.ordinal, completion.sample] >= LOST_TOO_OFTEN - 1:
        return [] if self._sent[name] else [queued.pop(i)]
    self._queued[name] = []
    return queued

  @property
  def full(self) -> bool:
    return self.waiting >= self._most * len(self._handles)

  @property
  def waiting(self) -> int:
    at_work = sum(self._workers for handle in self._handles if handle.where)
    return max(0, self.pending() - at_work)

  def pending(self) -> int:
    with self._lock:
      return (sum(map(len, self._queued.values())) + sum(map(len, self._sent.values()))
              + len(self._given_up))

  def in_hand(self) -> dict[str, int]:
    """{process: completions that were given to it and are not judged}."""
    with self._lock:
      return {name: len(self._queued[name]) + len(sent) for name, sent in self._sent.items()}

  def stats(self) -> dict[str, float]:
    """Sums over the processes; latencies are those of the slowest."""
    total: dict[str, float] = {}
    for stats in list(self._stats.values()):
      for key, value in stats.items():
        worst = 'latency' in key or key.endswith('_s')
        total[key] = max(total.get(key, 0), value) if worst else total.get(key, 0) + value
    return total | dict(processes_lost=sum(handle.lost for handle in self._handles))

  def _answered(self, wait_s: float) -> list[tuple[ActorHandle, object]]:
    """(process, reference) of every answer that is there; waits up to `wait_s` for the first.

    A process that has owed its answer for longer than the deadline is lost.
    """
    asked = [(handle, *self._asked[handle.name]) for handle in self._handles
             if handle.name in self._asked]
    if not asked:
      time.sleep(wait_s)
      return []
    there = asked[0][0].arrivals([reference for _, reference, _ in asked], wait_s)
    answered, now = [], time.monotonic()
    for (handle, reference, since), here in zip(asked, there, strict=True):
      late = not here and now - since > self._deadline_s
      if here or late and any(handle.arrivals([reference], _LAST_LOOK_S)):
        answered.append((handle, reference))
      elif late:
        self._lose(handle, Lost(f'{handle.name} gave no answer within {self._deadline_s:.0f} s'))
    return answered

  def _receive(self, handle: ActorHandle, reference) -> list[tuple[Completion, Verdict]]:
    try:
      verdicts, self._stats[handle.name] = handle.get(reference, self._deadline_s)
    except Lost as error:
      self._lose(handle, error)
      return []
    del self._asked[handle.name]
    if verdicts:
      handle.mark_healthy()
    with self._lock:
      judged = [(self._sent[handle.name].pop(key)[0], verdict) for key, verdict in verdicts]
      for completion, _ in judged if self._lost else ():
        self._lost.pop((completion.ordinal, completion.sample), None)
    return judged

  def _lose(self, handle: ActorHandle, error: Lost) -> None:
    handle.restart(error)
    self._asked.pop(handle.name, None)
    with self._lock:
      had, queued = [*self._sent[handle.name].values()], self._queued[handle.name]
      self._sent[handle.name], self._queued[handle.name] = {}, []
      # Any of them may be what killed it.
      self._lost.update((completion.ordinal, completion.sample) for completion, _ in had)
    for completion, problem in had + queued:
      self.put(completion, problem)
