"""Imitation alone: the cold start as a run of its own, whose best checkpoint is the result.

    (evaluation) -> steps, with an evaluation every so often -> best/, and summary.json

Every checkpoint of the workdir has the weights of one step. One that was evaluated has its score,
and the best of these stays beside the newest ones. A run that was stopped or killed goes on from
its newest checkpoint, and the weights are those of the run that was not.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

from magistral_jax import durable
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.experiment import build, cli
from magistral_jax.models.formats import conversion, workdir
from magistral_jax.orchestration import cold_start
from magistral_jax.orchestration.base_run import BaseRun
from magistral_jax.orchestration.display import LOG_EVERY_S
from magistral_jax.orchestration.roles import Lost, Trainer
from magistral_jax.orchestration.unsaved import UnsavedError

BEST = 'best'               # Folder of the workdir that gets the exported weights.


class SupervisedRun(BaseRun):
  """A run that only imitates; arguments as `BaseRun`. All calls from the main thread."""
  command = 'sft'

  def _train(self) -> None:
    self.display.watch(self.runtime.role_status)
    while True:
      try:
        finished = self._imitate()
        self.checkpoints.wait()
        saved = self.checkpoints.latest()
        break
      except Lost as error:
        began = time.monotonic()
        self.runtime.restart(error)
        self.display.note(f'The trainer was lost and is back after '
                          f'{time.monotonic() - began:.0f} s. {str(error).splitlines()[0][:200]}')
    if saved != self.trainer.version:
      raise UnsavedError(f'the weights of step {self.trainer.version} could not be saved in '
                         f'{self.workdir}: make room there, then the same command goes on from '
                         f'step {saved}.')
    if finished:
      self._finish()
      self.finished = True
    else:
      self.display.note(f'Stopped at step {self.trainer.version}, and saved; the same command goes '
                        f'on from there.')

  def _imitate(self) -> bool:
    """Trains from the newest checkpoint, or from the start; False if asked to stop before the end.

    Either way what was trained is saved.
    """
    with self.journal.time.doing('starting'):
      self.trainer = trainer = self._newest_trainer()
    examples, how = self._imitation(trainer)
    self._note_changes()
    build.describe(self.c, self.tok, self.config, str(self.workdir))
    self.display.note(f'{len(examples):,} examples, {self._cold_steps:,} steps.')

    def after_step(step: int, metrics: dict) -> None:
      self._note_cold_start(step, metrics)
      if self._due(step) and self._measured():
        self.display.phase('imitation', self._cold_steps, done=step, log_every_s=LOG_EVERY_S)

    # The evaluation of a resumed checkpoint may have been broken off.
    if not self._due(trainer.version) or self._measured():
      self.display.phase('imitation', self._cold_steps, done=trainer.version,
                         log_every_s=LOG_EVERY_S)
      self._take_steps(trainer, examples, how, save=self._save, progress=after_step)
    self._save()
    return trainer.version >= self._cold_steps and not self.health.stopping.is_set()

  def _newest_trainer(self) -> Trainer:
    """The trainer of the newest checkpoint, the journal set back to it; a new one without any."""
    changed = cold_start.optimizer(self.c, self._imitated['steps'])
    with cli.one_sentence():           # The files of a checkpoint are read only here.
      if self.checkpoints.latest() is not None:
        return self._restored(self.checkpoints, **changed)
      self._check_unbegun()
      self.journal.start_stages()
      self.journal.note(seed=self.c.seed, measured_step=None)
      return self.runtime.trainer(**changed)

  def _due(self, step: int) -> bool:
    """Whether the weights of a step are to be evaluated."""
    every = self.c.evaluation.every
    return bool(self.evaluation_prompts) and bool(
        step in (0, self._cold_steps) or every and step % every == 0)

  def _measured(self) -> bool:
    """Evaluates the weights, unless that was done; saves them with their score.

    Returns:
      False if asked to stop before the result was there.
    """
    step = self.trainer.version
    if self.health.stopping.is_set():
      return False
    if self.journal.measured('measured_step') == step:
      return True
    self._offer_weights(self.trainer, step)
    result = self._evaluate('cold_start' if step else 'start')
    if result is None:
      return False
    self.journal.note(measured_step=step)
    if step and not self._save(result.accuracy):
      self.checkpoints.score(step, result.accuracy)
    return True

  def _save(self, score: float | None = None) -> bool:
    """Saves the weights, unless they are on disk or untrained; returns whether it does."""
    return bool(self.trainer.version) and self.checkpoints.save(
        self.trainer, self.journal.record(), score)

  def _position(self, stage: str, result: Result) -> tuple[int, dict[str, Any], int | None]:
    return result.version, result.figures(), None

  def _finish(self) -> None:
    """Exports the best checkpoint, or the newest where none has a score, and writes the summary."""
    scored = bool(self.evaluation_prompts)
    step = workdir.choose_step(str(self.workdir), BEST if scored else 'newest')
    target = self.workdir / BEST
    self.display.note(f'Writes the checkpoint of step {step} to {target}.')
    shutil.rmtree(target, ignore_errors=True)
    try:
      conversion.convert(str(self.workdir), str(target), 'hf', dtype=self.config.dtype,
                         step=str(step))
    except OSError as error:
      raise UnsavedError(f'{target} cannot be written ({error.strerror or error}): make room '
                         f'there, then the same command writes it.') from error
    measured = self.journal.summary()
    durable.write_json(self.workdir / 'summary.json', dict(
        steps=self.trainer.version, epochs=self.c.cold_start.epochs,
        examples=len(self.examples or ()), best_step=step,
        failed_saves=self.checkpoints.failed_saves,
        **{key: measured.get(key) for key in (
            'accuracy_start', 'accuracy_start_se', 'accuracy_cold_start', 'accuracy_cold_start_se',
            'wall_s', 'seed')}), indent=2)
    how = 'the best one' if scored else 'the last one; nothing was evaluated'
    self.display.note(f'Done: {self.trainer.version} steps. {target} has the weights of step '
                      f'{step}, {how}.')
