"""Several verifier hosts as the loop sees them: one role, as verifiers/role.py is one.

What a lost host had not judged goes to the others; a completion of which three have died is given
up, with the verdict 'error'.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np

from magistral_jax.orchestration.health import LOST_TOO_OFTEN, Lost
from magistral_jax.orchestration.host import Handle
from magistral_jax.records import Completion, Problem, Verdict
from magistral_jax.verifiers.reward import PARTS

_NONE = np.zeros(0, np.float32)


class RemoteVerifier:
  """Several verifier hosts; a completion goes to the one with the least to do.

  Args:
    most: completions per host that may wait before it is `full`.
  """

  def __init__(self, handles: Sequence[Handle], *, most: int, deadline_s: float):
    self._handles, self._most, self._deadline_s = list(handles), most, deadline_s
    self._queued = {handle.name: [] for handle in handles}
    self._sent: dict[str, dict[int, tuple[Completion, Problem]]] = {
        handle.name: {} for handle in handles}
    self._numbers = itertools.count()             # No job has the number of another, ever.
    self._lost = collections.Counter()            # How often a completion was in a lost host.
    self._given_up: list[tuple[Completion, Verdict]] = []
    self._stats: dict[str, dict] = {}
    self._lock = threading.Lock()

  def put(self, completion: Completion, problem: Problem) -> None:
    """Sends a completion to be judged; never blocks."""
    key = completion.ordinal, completion.sample
    with self._lock:
      if self._lost.get(key, 0) >= LOST_TOO_OFTEN:
        detail = f'{self._lost.pop(key)} verifier hosts were lost while they had it'
        verdict = Verdict('error', 0.0, dict.fromkeys(PARTS, 0.0), detail=detail)
        self._given_up.append((completion, verdict))
        return
      load = lambda h: (not h.where, len(self._queued[h.name]) + len(self._sent[h.name]))
      self._queued[min(self._handles, key=load).name].append((completion, problem))

  def drain(self, wait_s: float = 0.0) -> list[tuple[Completion, Verdict]]:
    """All that has been judged since the last call; waits up to `wait_s` if there is nothing."""
    asked = []
    for handle in self._handles:
      with self._lock:
        sent = self._sent[handle.name]
        new = {next(self._numbers): pair for pair in self._sendable(handle.name)}
        sent |= new
      # Log-probabilities stay here: a verdict depends on text and length alone.
      jobs = [(number, dataclasses.replace(c, sampler_logp=_NONE), p)
              for number, (c, p) in new.items()]
      try:
        # Asked of idle hosts too: that is how the start of a new process is noticed.
        if handle.ready() and sent or jobs:
          asked.append((handle, handle.ask('exchange', jobs, wait_s)))
      except Lost as error:
        self._lose(handle, error)
    if not asked and wait_s:
      time.sleep(wait_s)
    with self._lock:
      judged, self._given_up = self._given_up, []
    return judged + [pair for handle, reference in asked
                     for pair in self._receive(handle, reference)]

  def _sendable(self, name: str) -> list[tuple[Completion, Problem]]:
    """Takes out of a host's queue what it may have now.

    All of it; but what has seen two hosts die goes alone, so that no other is given up with it.
    """
    queued = self._queued[name]
    for i, (completion, _) in enumerate(queued if self._lost else ()):
      if self._lost[completion.ordinal, completion.sample] >= LOST_TOO_OFTEN - 1:
        return [] if self._sent[name] else [queued.pop(i)]
    self._queued[name] = []
    return queued

  @property
  def full(self) -> bool:
    """Whether so many wait for a worker that no new prompts should be started."""
    return self.pending() > self._most * len(self._handles)

  def pending(self) -> int:
    """Completions put and not yet drained."""
    with self._lock:
      return (sum(map(len, self._queued.values())) + sum(map(len, self._sent.values()))
              + len(self._given_up))

  def in_hand(self) -> dict[str, int]:
    """{host: completions that were given to it and are not judged}."""
    with self._lock:
      return {name: len(self._queued[name]) + len(sent) for name, sent in self._sent.items()}

  def stats(self) -> dict[str, float]:
    """Sums over the hosts; latencies are the worst host's."""
    total = {}
    for stats in list(self._stats.values()):
      for key, value in stats.items():
        worst = 'latency' in key or key.endswith('_s')
        total[key] = max(total.get(key, 0), value) if worst else total.get(key, 0) + value
    return total | dict(hosts_lost=sum(handle.lost for handle in self._handles))

  def _receive(self, handle: Handle, reference):
    try:
      verdicts, self._stats[handle.name] = handle.get(reference, self._deadline_s)
    except Lost as error:
      self._lose(handle, error)
      return []
    if verdicts:
      handle.well()
    with self._lock:
      judged = [(self._sent[handle.name].pop(key)[0], verdict) for key, verdict in verdicts]
      for completion, _ in judged if self._lost else ():
        self._lost.pop((completion.ordinal, completion.sample), None)
    return judged

  def _lose(self, handle: Handle, error: Lost) -> None:
    handle.restart(error)
    with self._lock:
      had, queued = [*self._sent[handle.name].values()], self._queued[handle.name]
      self._sent[handle.name], self._queued[handle.name] = {}, []
      # Any of them may be what killed it.
      self._lost.update((completion.ordinal, completion.sample) for completion, _ in had)
    for completion, problem in had + queued:
      self.put(completion, problem)
