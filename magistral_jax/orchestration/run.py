"""One run in one workdir, from its start or from its newest checkpoint to its report.

    cold start  ->  evaluation  ->  the loop, in one of MODES  ->  evaluation  ->  report
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from typing import Any

import jax

from magistral_jax import sinks
from magistral_jax.batching.recorded import RecordedRoom
from magistral_jax.batching.role import Batcher
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.experiment import build, cli
from magistral_jax.orchestration import (
  answering,
  cold_start,
  lockstep,
  report,
  run_stages,
  starts,
  threads,
  unsaved,
)
from magistral_jax.orchestration.base_run import LOCKSTEP, BaseRun
from magistral_jax.orchestration.display import LOG_EVERY_S
from magistral_jax.orchestration.health import StoppedError
from magistral_jax.orchestration.loop import Loop
from magistral_jax.orchestration.loop_parts import Books, Roles, Settings
from magistral_jax.orchestration.roles import Checkpoints, Lost, Trainer
from magistral_jax.orchestration.run_stages import RunStages
from magistral_jax.orchestration.token_texts import TokenTexts
from magistral_jax.profiling import Profile

# How the roles take their turns, by runtime.mode.
MODES = dict(threads=threads.run, lockstep=lockstep.run, ray=threads.run,
             ray_lockstep=lockstep.run)


class Run(BaseRun):
  """One run: builds the loop, then cold start, loop, report; arguments as `BaseRun`.

  Args:
    profile_steps: updates to trace into the folder `profile` of the workdir, from the second on;
      the first one compiles.
    trackers: names of sinks.py that get the figures, too.
    tokens_share: share of the groups whose rollouts have their tokens, see token_texts.py.
  """
  command = 'train'
  unlearnt = ''             # Why it ended early with its problems unsolved, if it did.

  def __init__(self, *arguments, profile_steps: int = 0, tokens_share: float = 0.0,
               trackers: Sequence[str] = ()):
    super().__init__(*arguments)
    self.journal.send_to(sinks.open_sinks(
        trackers, self.workdir, starts.identity(self.workdir),
        json.loads(self.c.to_json_best_effort()) if trackers else {}))
    if tokens_share:
      self.journal.token_texts = TokenTexts(
          tokens_share, self.tok.decode, RecordedRoom(
              self.c.batching.row_tokens, self.c.trainer.microbatch_rows,
              build.patches(self.c, self.config)))
    self._profile = Profile(str(self.workdir / 'profile'), profile_steps, name='update', skip=1,
                            done=self.display.note)

  def _train(self) -> None:
    self.display.watch(self.runtime.role_status)
    with self.journal.time.doing('starting'):
      trainer = self._begin()
    if trainer is None:
      self.display.note('Stopped before reinforcement learning; the same command goes on from '
                        'there.')
      return
    self.trainer = trainer
    loop = self._loop()
    # From here on every byte between host and device is moved on purpose, in all threads.
    jax.config.update('jax_transfer_guard', 'disallow')
    self.display.phase('reinforcement learning', self.c.total_steps, done=trainer.version)
    while True:
      try:
        MODES[self.c.runtime.mode](loop, self.c.total_steps)
      except KeyboardInterrupt:
        raise                      # Asked to end at once.
      except BaseException as failure:
        self._keep_after(failure, loop)
        raise
      finally:
        self._profile.close()
      try:
        self._keep(loop)
        saved = self.checkpoints.latest()    # Raises Lost if the trainer was lost while saving.
        break
      except Lost as error:
        loop.recover(error)
    if self.health.stopping.is_set() or not self._end(loop):
      self.display.note(f'Stopped at step {self.trainer.version}, '
                        f'{"and saved" if saved == self.trainer.version else "not saved"}; the '
                        f'same command goes on from there.')
    if saved != self.trainer.version:
      raise unsaved.UnsavedError(
          f'the weights of step {self.trainer.version} could not be saved in {self.workdir}, whose '
          f'newest checkpoint is of step {saved}: make room there, then the same command goes on '
          f'from that one.')

  def _keep(self, loop: Loop) -> None:
    """Saves what was trained, also after a failure, and waits until it is on disk."""
    loop.save()
    with self.journal.time.doing('saving'):
      self.checkpoints.wait()

  def _keep_after(self, failure: BaseException, loop: Loop) -> None:
    """Does as `_keep` after a failure, which is the one to tell if saving fails as well.

    Raises:
      RuntimeError, OSError, TimeoutError: there was no failure but that of the save.
    """
    try:
      self._keep(loop)
    except Exception as error:
      if isinstance(failure, StoppedError):
        self.health.check()        # A role that has failed says more.
        raise
      self.display.note(f'What was trained could not be saved after a failure: {error}')

  def _begin(self) -> Trainer | None:
    """The trainer that the loop begins with; None if asked to stop before it.

    A checkpoint of it is on disk then, and its weights are in the samplers.
    """
    while True:
      try:
        trainer = self._resumed()
        self._note_changes()
        build.describe(self.c, self.tok, self.config, str(self.workdir))
        trainer = trainer or self._warmed_up()
        if trainer is not None:
          self._save_first(trainer)
        return trainer
      except Lost as error:
        began = time.monotonic()
        self.runtime.restart(error)
        self.display.note(f'The trainer was lost before the loop and is back after '
                          f'{time.monotonic() - began:.0f} s. {str(error).splitlines()[0][:200]}')

  def _resumed(self) -> Trainer | None:
    """The trainer of the newest checkpoint, the journal set back to it; None if there is none."""
    if self.checkpoints.latest() is None:
      if self.journal.measured('seed') is None:
        with cli.one_sentence():
          self._check_unbegun()
        self.journal.note(seed=self.c.seed)
      return None
    with cli.one_sentence():
      trainer = self._restored(self.checkpoints)
      if trainer.version > self.c.total_steps:
        raise ValueError(f'total_steps={self.c.total_steps} is below the {trainer.version} updates '
                         f'that the run in {self.workdir} has made: raise it, or take another '
                         f'--workdir.')
    self._offer_weights(trainer, trainer.version)
    return trainer

  def _save_first(self, trainer: Trainer) -> None:
    """Saves what the loop begins with, and removes the checkpoints of the cold start."""
    # One of a resumed run is on disk, with its own score.
    score = self.journal.measured('accuracy_cold_start')
    if not self.c.cold_start.steps:
      score = self.journal.measured('accuracy_start')
    with self.journal.time.doing('saving'):
      self.checkpoints.save(trainer, self.journal.record(), score if trainer.version == 0 else None)
      self.checkpoints.wait()
    # Raises Lost if the trainer was lost meanwhile; None if the disk is full.
    if self.checkpoints.latest() is not None:
      shutil.rmtree(self.workdir / 'cold_start', ignore_errors=True)

  def _warmed_up(self) -> Trainer | None:
    """A trainer after the cold start, with evaluations before and after; None if asked to stop.

    The cold start goes on where an earlier run left it. Nothing is saved, or taken for done,
    before the evaluation that belongs to it has been held: it could not be held later.
    """
    if not self.c.cold_start.steps:
      self._start_stages()
      with cli.one_sentence():     # The files of a checkpoint are read only here.
        trainer = self.runtime.trainer()
      self._offer_weights(trainer, trainer.version)
      if not self._evaluated('start'):
        return None
      self.journal.note(accuracy_cold_start=None)
      return trainer
    saved = self.runtime.checkpoints(str(self.workdir / 'cold_start'), keep=1)
    trainer = self._cold_trainer(saved)
    self._offer_weights(trainer, -1)
    if not self._evaluated('start'):
      return None
    self._cold_start(trainer, saved)
    if self.health.stopping.is_set():
      saved.close()
      return None
    self._offer_weights(trainer, 0)
    if not self._evaluated('cold_start'):
      saved.save(trainer, self.journal.record(), None)
      saved.close()
      return None
    saved.close()
    # Another optimizer: its moments and its step count begin at zero.
    return self.runtime.trainer(trainer)

  def _cold_trainer(self, saved: Checkpoints) -> Trainer:
    """The trainer of the cold start, from where an earlier run of it was stopped, if one was."""
    changed = cold_start.optimizer(self.c, self._imitated['steps'])
    with cli.one_sentence():       # The files of a checkpoint are read only here.
      if saved.latest() is None:
        self._start_stages()
        return self.runtime.trainer(**changed)
      return self._restored(saved, **changed)

  def _start_stages(self) -> None:
    """Empties the lines of the stages, unless one was measured before a trainer was lost."""
    if self.journal.measured('accuracy_start') is None:
      self.journal.start_stages()

  def _cold_start(self, trainer: Trainer, saved: Checkpoints) -> None:
    examples, how = self._imitation(trainer)
    self.display.phase('cold start', self._cold_steps, done=trainer.version,
                       log_every_s=LOG_EVERY_S)
    if trainer.version == 0:
      self.journal.begin_cold_start()
    self.display.note(f'The cold start imitates {len(examples):,} examples in '
                      f'{self._cold_steps:,} steps.')
    self._take_steps(trainer, examples, how, progress=self._note_cold_start,
                     save=lambda: saved.save(trainer, self.journal.record(), None))

  def _evaluated(self, stage: str) -> bool:
    """Holds an evaluation of a stage, unless it has been held; False if asked to stop before."""
    if self.health.stopping.is_set():
      return False
    if not self.evaluation_prompts or self.journal.measured(f'accuracy_{stage}') is not None:
      return True
    return self._evaluate(stage) is not None

  def _position(self, stage: str, result: Result) -> tuple[int, dict[str, Any], int | None]:
    step, update = {
        'start': (0, None if self.c.cold_start.steps else 0),
        'cold_start': (self._cold_steps, 0),
        'final': (result.version, result.version)}[stage]
    return step, result.figures(), update

  def _loop(self) -> Loop:
    c, b = self.c, self.c.batching
    batcher = Batcher(
        group_size=c.sampler.group_size, microbatch_rows=c.trainer.microbatch_rows,
        parity=build.parity_room(c),
        max_new_tokens=c.sampler.max_new_tokens, patches=build.patches(c, self.config),
        **{k: b[k] for k in ('prompts_per_batch', 'minibatches', 'max_staleness', 'row_tokens',
                             'share_prompts', 'advantage_norm', 'normalizer')})
    loop = Loop(
        Roles(self.stream, self.samplers, self.verifier, batcher, self.trainer, self.checkpoints,
              self.runtime),
        Books(self.ledger, self.journal, self._stages(), self.health, self.display,
              self._profile),
        Settings(c.sampler.slots, self.sampling, self.evaluation_sampling, self.evaluation_prompts,
                 evaluation_every=c.evaluation.every, checkpoint_every=c.checkpoints.every,
                 parity_limit=c.trainer.parity_limit, patience_batches=b.patience_batches,
                 discard_in_flight=c.runtime.mode in LOCKSTEP))
    self.runtime.on_lost(loop.reissue)
    return loop

  def _stages(self) -> RunStages:
    return RunStages(run_stages.controller(self.c), run_stages.effects(self.c), self.journal,
                     self.ledger, self.stream.dealer, self.workdir)

  def _end(self, loop: Loop) -> bool:
    """Holds the last evaluation and writes the report; False if asked to stop before.

    Then there is no report: the same command holds the evaluation and writes it.
    """
    if loop.exhausted:
      sentence = (f'The run ended at step {self.trainer.version} of {self.c.total_steps}. '
                  f'{loop.exhaustion.sentence()}')
      if loop.exhaustion.solved:
        self.display.note(sentence)
      else:
        self.unlearnt = sentence
    loop.measurements.end()
    for sampler in self.samplers:
      sampler.abandon()
    answering.discard(self.verifier, self.health.deadline_s)
    self.display.watch(self.runtime.role_status)
    while True:
      try:
        loop.publish()
        final = self._evaluate('final') if self.evaluation_prompts else None
        break
      except Lost as error:
        loop.recover(error)
    if final is not None:
      self.checkpoints.score(self.trainer.version, final.accuracy)
    elif self.evaluation_prompts:
      return False
    else:
      self.display.note('No accuracy was measured: evaluation.problems is 0.')
    self.journal.note(failed_saves=self.checkpoints.failed_saves)
    report.finish(self.workdir, self.journal.summary(), self.samples, self.display.show)
    self.finished = True
    return True
