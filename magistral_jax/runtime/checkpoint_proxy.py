"""Checkpoints that all trainer processes write together; orchestration/roles.py: Checkpoints."""

from __future__ import annotations

from absl import logging

from magistral_jax.orchestration.roles import Lost
from magistral_jax.runtime.trainer_proxy import RemoteTrainer, TrainerGang


class RemoteCheckpoints:
  """The checkpoints of a folder, as the trainer's processes see it under this name.

  If a process is lost while they write, that checkpoint is lost too, and the next call that asks
  the trainer for anything raises Lost. `failed_saves` counts those, and those that could not be
  written.
  """

  def __init__(self, gang: TrainerGang, folder: str, keep: int):
    self._gang, self.folder, self.keep = gang, folder, keep
    self._actors = gang.actors
    self._failed, self._before = 0, 0  # By the processes that run now, and by those before them.
    self._writing: int | None = None   # The version that may not be on disk yet.

  @property
  def failed_saves(self) -> int:
    return self._failed + self._before

  def save(self, trainer: RemoteTrainer, record: dict, metric: float | None) -> bool:
    saved, self._failed = self._try('save', record, metric) or (False, self._failed)
    self._writing = trainer.version if saved else self._writing
    return saved

  def await_score(self, version: int | None) -> None:
    self._try('await_score', version)

  def score(self, version: int, accuracy: float) -> bool:
    return bool(self._try('score', version, accuracy))

  def latest(self) -> int | None:
    return self._gang.all('latest', self.folder, self.keep)[0]

  def wait(self) -> None:
    failed = self._try('wait')
    if failed is not None:
      self._failed, self._writing = failed, None

  def close(self) -> None:
    self._try('close')

  def _try(self, method: str, *args):
    """The first process's answer, or None if the trainer was lost at that."""
    try:
      self._count_anew()
      return self._gang.all(method, self.folder, self.keep, *args)[0]
    except Lost as error:
      if method == 'save':
        self._before += 1
      logging.error('The trainer was lost at a checkpoint (%s): the newest whole one in %s stands.',
                    str(error).split('\n')[0][:300], self.folder)
      return None

  def _count_anew(self) -> None:
    """Accounts for new processes, which count from 0 and do not know what was being written."""
    if self._actors == self._gang.actors:
      return
    self._before, self._failed, self._actors = self.failed_saves, 0, self._gang.actors
    writing, self._writing = self._writing, None
    if writing is not None and (self.latest() or 0) < writing:
      self._before += 1
