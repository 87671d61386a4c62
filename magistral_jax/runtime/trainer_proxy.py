"""The trainer as the loop sees it when it is several processes; orchestration/roles.py: Trainer.

If one of them is lost, all restart from the newest checkpoint, while the samplers keep what is open
in them (Loop.recover).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from magistral_jax.orchestration.health import StoppedError
from magistral_jax.orchestration.roles import Lost
from magistral_jax.records import Batch, ParityRows, Rows
from magistral_jax.runtime.actor_handle import ActorHandle, NotStarted

# A thread that waits looks often; the processes are asked no more often than this.
_ASK_AGAIN_S = 0.5
# While answers are missing, the deadline is looked at this often.
_WAIT_S = 1.0


@dataclasses.dataclass(frozen=True)
class Share:
  """What one trainer process needs of a batch: its own rows of every microbatch.

  Share(minibatches=(Rows(...),), parity=(ParityRows(11, 93, ...),), clip_scale=1., rate_scale=1.)
  """
  minibatches: tuple[Rows, ...]
  parity: tuple[ParityRows, ...]
  clip_scale: float
  rate_scale: float


class RemoteTrainer:
  """The trainer's processes, which act as one; their weights never leave them by this object.

  Args:
    version: of the weights in the processes.
    lineage: how often the trainer has gone back to a checkpoint.
  """

  def __init__(self, gang: TrainerGang, version: int, lineage: int):
    self._gang, self.version, self.lineage = gang, version, lineage

  def train(self, batch: Batch) -> dict[str, float]:
    shares = [Share(tuple(self._gang.rows_of(i, rows) for rows in batch.minibatches),
                    tuple(self._gang.parity_of(i, one) for one in batch.parity),
                    batch.clip_scale, batch.rate_scale)
              for i in range(len(self._gang))]
    metrics = self._gang.each('train', [(share,) for share in shares])[0]
    if metrics.get('skipped', 0) < len(batch.minibatches):
      self.version += 1
      self._gang.mark_healthy('update', self.version)
    return metrics

  def logps(self, rows: Rows) -> np.ndarray:
    # Every process has those of all rows.
    return self._gang.each(
        'logps', [(self._gang.rows_of(i, rows),) for i in range(len(self._gang))])[0][:len(rows)]

  def supervised(self, rows: Rows) -> dict[str, float]:
    metrics = self._gang.each(
        'supervised', [(self._gang.rows_of(i, rows),) for i in range(len(self._gang))])[0]
    self.version += 1
    self._gang.mark_healthy('cold start', self.version)
    return metrics


class TrainerGang:
  """T trainer processes that compute together; if one is lost, all are.

  Args:
    deadline_s: seconds that an answer may take.
    microbatch_rows: rows of a microbatch, over all processes.
    stopping: whether the run was asked to stop, or a role has failed.
  """

  def __init__(self, handles: Sequence[ActorHandle], *, deadline_s: float, microbatch_rows: int,
               stopping: Callable[[], bool] = lambda: False):
    self._handles, self._deadline_s = list(handles), deadline_s
    self._stopping = stopping
    self._microbatch_rows = microbatch_rows
    self._spans: list[tuple[int, int]] = []
    self._furthest: dict[str, int] = {}
    self._pings: dict[ActorHandle, Any] = {}    # Not answered yet.
    self._asked = 0.0                           # When they were sent.

  def __len__(self) -> int:
    return len(self._handles)

  @property
  def actors(self) -> tuple:
    """The processes that run now."""
    return tuple(handle.actor for handle in self._handles)

  def each(self, method: str, arguments: Sequence[tuple]) -> list:
    """Every process's answer to a method, each with arguments of its own. Raises Lost."""
    asked = [(handle, handle.ask(method, *args))
             for handle, args in zip(self._handles, arguments, strict=True)]
    # The first failure ends the wait: the other processes hang in a collective until killed.
    began, left, answers = time.monotonic(), asked, {}
    while left:
      there = self._handles[0].arrivals([reference for _, reference in left], _WAIT_S)
      for (handle, reference), here in zip(left, there, strict=True):
        if here:
          answers[handle.name] = handle.get(reference, self._deadline_s)
      left = [pair for pair, here in zip(left, there, strict=True) if not here]
      if left and time.monotonic() - began > self._deadline_s:
        names = ', '.join(handle.name for handle, _ in left)
        raise Lost(f'{names} gave no answer to {method} within {self._deadline_s:.0f} s')
    return [answers[handle.name] for handle in self._handles]

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
    """Raises Lost if it is known by now that one of the processes is dead; never waits."""
    for handle in [one for one, ping in self._pings.items() if one.arrived(ping)]:
      handle.get(self._pings.pop(handle), self._deadline_s)
    if not self._pings and time.monotonic() - self._asked > _ASK_AGAIN_S:
      self._asked = time.monotonic()
      self._pings = {handle: handle.ask_ping() for handle in self._handles}

  def wait_ready(self) -> None:
    """Returns when all processes have built their role and formed one mesh.

    Raises:
      Lost: one of them was lost, or is not there within the deadline.
      StoppedError: the run is to end; no process is left that could be waited for.
    """
    for handle in self._handles:
      handle.wait_ready(self._deadline_s, self._heed_stop)
    address = self._handles[0].call('address', timeout_s=self._deadline_s)
    self.each('join', [(address, len(self), i, self._deadline_s) for i in range(len(self))])
    self._spans = self.all('span')

  def _heed_stop(self) -> None:
    if self._stopping():
      for handle in self._handles:
        handle.kill()          # A save would wait for those that have not started.
      raise StoppedError('The run was to end while it waited for processes of its trainer: the '
                         'same command goes on from the newest checkpoint.')

  def restart(self, error: Lost) -> None:
    """Starts new processes in place of all, until they are ready.

    Waiting for a node, which takes as long as it takes, is said once a deadline and does not count
    as a loss. Only a request to stop ends it.

    Raises:
      RuntimeError: they were lost too often in a row.
      StoppedError: as `wait_ready`.
    """
    while True:
      for handle in self._handles:
        handle.kill()
      for handle in self._handles:
        (handle.replace if isinstance(error, NotStarted) else handle.restart)(error)
      self._pings.clear()
      try:
        self.wait_ready()
        return
      except Lost as another:
        error = another

  def parity_of(self, process: int, parity: ParityRows) -> ParityRows:
    """The rows of one process for parity, which are fewer than those of a microbatch."""
    start, stop = (at * len(parity.rows) // self._microbatch_rows for at in self._spans[process])
    return dataclasses.replace(parity, rows=parity.rows[start:stop])

  def rows_of(self, process: int, rows: Rows) -> Rows:
    """The rows of one process: its span of every microbatch, the last filled with empty rows."""
    start, stop = self._spans[process]
    size = self._microbatch_rows
    missing = -len(rows) % size
    own = np.concatenate([np.arange(first + start, first + stop)
                          for first in range(0, len(rows) + missing, size)])
    return rows.filled(len(rows) + missing)[own]
