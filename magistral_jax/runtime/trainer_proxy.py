"""The trainer as the loop sees it when it is several processes; trainer/role.py says what it does.

If one of them is lost, all start again from the newest checkpoint, while the samplers keep what
they are writing (Loop.update).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import ray

from magistral_jax.orchestration.health import Lost
from magistral_jax.records import Batch, Rows
from magistral_jax.runtime.actor_handle import ActorHandle

# Whoever waits looks often; the processes of a pod are asked this often.
_ASK_AGAIN_S = 0.5


@dataclasses.dataclass(frozen=True)
class Share:
  """What one trainer process needs of a batch: its own rows of every microbatch.

  Share(minibatches=(Rows(...),), oldest_version=11)
  """
  minibatches: tuple[Rows, ...]
  oldest_version: int


class RemoteTrainer:
  """The trainer's processes, which act as one."""

  def __init__(self, group: TrainerGang, version: int, lineage: int):
    self.group, self.version, self.lineage = group, version, lineage

  @property
  def params(self) -> RemoteTrainer:
    """Stands for the parameters, which never come here: publishers and places take it."""
    return self

  @property
  def state(self) -> RemoteTrainer:
    """Stands for the train state: checkpoints take it."""
    return self

  def train(self, batch: Batch) -> dict[str, float]:
    """One batch on all processes; see trainer/role.py. Raises Lost."""
    shares = [Share(tuple(self.group.rows_of(i, rows) for rows in batch.minibatches),
                    batch.oldest_version) for i in range(len(self.group))]
    metrics = self.group.each('train', [(share,) for share in shares])[0]
    self.version += 1
    if metrics.get('skipped', 0) < len(batch.minibatches):
      self.group.mark_healthy('update', self.version)
    return metrics

  def supervised(self, rows: Rows) -> dict[str, float]:
    """One step of supervised learning on all processes. Raises Lost."""
    metrics = self.group.each(
        'supervised', [(self.group.rows_of(i, rows),) for i in range(len(self.group))])[0]
    self.version += 1
    self.group.mark_healthy('cold start', self.version)
    return metrics


class TrainerGang:
  """T trainer processes that compute together; if one is lost, all are.

  Args:
    microbatch_rows: rows of a microbatch, over all processes.
  """

  def __init__(self, handles: Sequence[ActorHandle], *, deadline_s: float, microbatch_rows: int):
    self._handles, self._deadline_s = list(handles), deadline_s
    self._microbatch_rows = microbatch_rows
    self._spans: list[tuple[int, int]] = []
    self._furthest: dict[str, int] = {}
    self._pings: dict[ActorHandle, ray.ObjectRef] = {}    # Not answered, and when they were sent.
    self._asked = 0.0

  def __len__(self) -> int:
    return len(self._handles)

  @property
  def actors(self) -> tuple:
    """The processes as they are now."""
    return tuple(handle.actor for handle in self._handles)

  def each(self, method: str, arguments: Sequence[tuple]) -> list:
    """Every process's answer to a method, each with arguments of its own. Raises Lost."""
    asked = [handle.ask(method, *args)
             for handle, args in zip(self._handles, arguments, strict=True)]
    # The first that fails is the news; the others hang in a collective until they are killed.
    left = dict(zip(asked, self._handles, strict=True))
    began, answers = time.monotonic(), {}
    while left:
      done, _ = ray.wait(list(left), timeout=1.0)
      for reference in done:
        answers[reference] = left.pop(reference).get(reference, self._deadline_s)
      if time.monotonic() - began > self._deadline_s:
        names = ', '.join(handle.name for handle in left.values())
        raise Lost(f'{names} gave no answer to {method} within {self._deadline_s:.0f} s')
    return [answers[reference] for reference in asked]

  def all(self, method: str, *args) -> list:
    """Every process's answer to one and the same call. Raises Lost."""
    return self.each(method, [args] * len(self))

  def mark_healthy(self, phase: str, version: int) -> None:
    """Notes a step of a phase; one that was done before a failure is no sign of health."""
    if version > self._furthest.get(phase, 0):
      self._furthest[phase] = version
      for handle in self._handles:
        handle.mark_healthy()

  def check(self) -> None:
    """Raises Lost if it is known by now that one of the processes is dead; never waits.

    For those who wait for something that comes from the trainer without a call of it.
    """
    for handle in [one for one, ping in self._pings.items() if one.arrived(ping)]:
      handle.get(self._pings.pop(handle), self._deadline_s)
    if not self._pings and time.monotonic() - self._asked > _ASK_AGAIN_S:
      self._asked = time.monotonic()
      self._pings = {handle: handle.actor.ping.remote() for handle in self._handles}

  def wait_ready(self) -> None:
    """Returns when all processes have built their role and formed one mesh. Raises Lost."""
    for handle in self._handles:
      handle.wait_ready(self._deadline_s)
    address = self._handles[0].call('address', timeout_s=self._deadline_s)
    self.each('join', [(address, len(self), i, self._deadline_s) for i in range(len(self))])
    self._spans = self.all('span')

  def restart(self, error: Lost) -> None:
    """New processes in place of all. Raises RuntimeError after too many."""
    for handle in self._handles:
      handle.kill()
    for handle in self._handles:
      handle.restart(error)
    self._pings.clear()
    self.wait_ready()

  def rows_of(self, process: int, rows: Rows) -> Rows:
    """The rows of one process: its span of every microbatch, the last filled with empty rows."""
    start, stop = self._spans[process]
    size = self._microbatch_rows
    missing = -len(rows) % size
    places = np.concatenate([np.arange(first + start, first + stop)
                             for first in range(0, len(rows) + missing, size)])
    return rows.filled(len(rows) + missing)[places]
