"""Checkpoints that all trainer processes write together; orchestration/roles.py: Checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import logging

from magistral_jax.orchestration.roles import Lost
from magistral_jax.runtime.trainer_proxy import RemoteTrainer, TrainerGang
from magistral_jax.trainer.checkpoint import DamagedError, newest_readable

Kept = Mapping[str, int]     # Which checkpoints stay: arguments of LocalRuntime.checkpoints.


@dataclasses.dataclass(frozen=True)
class Reading:
  """What one process made of a checkpoint: all of it, or why not.

  Reading(version=120, record={'ledger': {...}, ...})
  Reading(damage='state/_METADATA cannot be found: No such file or directory')
  """
  version: int | None = None
  record: dict | None = None
  damage: str = ''          # It cannot be read.
  refusal: str = ''         # It is of another model or optimizer.


class RemoteCheckpoints:
  """The checkpoints of a folder, as the trainer's processes see it under this name.

  Which step is restored and into which folder a step is written is decided here, once for all
  processes. If one is lost while they write, that checkpoint is lost too, and the next call that
  asks the trainer for anything raises Lost. `failed_saves` counts those, and those that could not
  be written.
  """

  def __init__(self, gang: TrainerGang, folder: str, keep: int,
               keep_every: int = 0):
    self._gang, self.folder = gang, folder
    self.kept = dict(keep=keep, keep_every=keep_every)
    self._actors = gang.actors
    self._failed, self._before = 0, 0  # By the processes that run now, and by those before them.
    self._writing: int | None = None   # The version that may not be on disk yet.
    self._awaiting: int | None = None  # The version that stays until its score is there.

  @property
  def failed_saves(self) -> int:
    return self._failed + self._before

  def save(self, trainer: RemoteTrainer, record: dict, metric: float | None) -> bool:
    try:
      self._take_up_new()
      # None begins before all have ended the save before.
      self._failed, self._writing = max(self._all('wait')), None
      begun = self._begin(trainer.version, record, metric)
      self._writing = trainer.version if begun else None
      return begun
    except Lost as error:
      self._before += 1
      self._report(error)
      return False

  def await_score(self, version: int | None) -> None:
    self._awaiting = version
    self._try('await_score', version)

  def score(self, version: int, accuracy: float) -> bool:
    if self._awaiting == version:
      self._awaiting = None
    return bool(self._try('score', version, accuracy))

  def latest(self) -> int | None:
    return max(self._all('steps')[0], default=None)

  def wait(self) -> None:
    if self._try('wait') is not None:
      self._writing = None

  def close(self) -> None:
    self._try('close')

  def restore(self, changed: Mapping[str, Any]) -> tuple[int, dict]:
    """Makes every process take up one and the same checkpoint, the newest that all can read.

    Args:
      changed: as in `Runtime.restored`.
    Returns:
      Its version and its record.
    Raises:
      Lost: a process was lost.
      ValueError: there is none, or it is of another model.
    """
    read = lambda step: _agreed(self.folder, self._all('restored', step, changed))
    found, damaged = newest_readable(self.folder, self._common(), read)
    self._all('set_aside', damaged)
    return found

  def _begin(self, version: int, record: dict, metric: float | None) -> bool:
    name = self._all('begin', version)[0]
    begun = name is not None and all(self._all('write', name, record, metric))
    if not begun:
      self._all('give_up')     # The first process would wait for those that have not begun.
      self._failed = max(self._all('wait'))
    return begun

  def _common(self) -> list[int]:
    """The steps that every process sees."""
    seen = [set(steps) for steps in self._all('steps')]
    common = set.intersection(*seen)
    if any(steps != common for steps in seen):
      logging.error('The trainer processes see different checkpoints in %s: %s.', self.folder,
                    [sorted(steps) for steps in seen])
    if not common:
      raise ValueError(f'The trainer processes see no common checkpoint in {self.folder}: mount '
                       f'one and the same disk there on all machines of the trainer.')
    return sorted(common)

  def _all(self, method: str, *args) -> list:
    return self._gang.all(method, self.folder, self.kept, *args)

  def _try(self, method: str, *args):
    """The first process's answer, or None if the trainer was lost at that."""
    try:
      self._take_up_new()
      answer = self._all(method, *args)[0]
      if method == 'wait':
        self._failed = answer
      return answer
    except Lost as error:
      self._report(error)
      return None

  def _report(self, error: Lost) -> None:
    logging.error('The trainer was lost at a checkpoint (%s): the newest whole one in %s stands.',
                  str(error).split('\n')[0][:300], self.folder)

  def _take_up_new(self) -> None:
    """Accounts for new processes, which count from 0 and do not know what was being written.

    Nor do they know what is being measured, and would remove it.
    """
    if self._actors == self._gang.actors:
      return
    self._before, self._failed, self._actors = self.failed_saves, 0, self._gang.actors
    writing, self._writing = self._writing, None
    if writing is not None and (self.latest() or 0) < writing:
      self._before += 1
    if self._awaiting is not None:
      self._all('await_score', self._awaiting)


def _agreed(folder: str, readings: list[Reading]) -> tuple[int, dict]:
  """Version and record that all processes have read.

  Raises:
    DamagedError: one of them could not read it, so that none may keep it.
    ValueError: it is of another model, or they read different files.
  """
  for number, reading in enumerate(readings):
    if reading.refusal:
      raise ValueError(reading.refusal)
    if reading.damage:
      raise DamagedError(f'trainer-{number}: {reading.damage}')
  first = readings[0]
  for number, reading in enumerate(readings):
    if (reading.version, reading.record) != (first.version, first.record):
      raise ValueError(f'trainer-{number} has read another checkpoint in {folder} than trainer-0: '
                       f'mount one and the same disk there on all machines of the trainer.')
  assert first.version is not None and first.record is not None
  return first.version, first.record
