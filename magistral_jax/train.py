"""Trains a policy: cold start, then asynchronous reinforcement learning.

    python -m magistral_jax.train --config=configs/quickstart.py --workdir=runs/quickstart

The same command again resumes; Ctrl-C or SIGTERM saves and ends. --dry_run prints the resolved
config and the memory of each part, and ends.
"""

import contextlib
import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags, logging
from rich.console import Console

from magistral_jax.batching.role import Batcher
from magistral_jax.batching.staleness import window_groups
from magistral_jax.experiment import build, checks, cli
from magistral_jax.experiment.schema import ON_CLUSTER
from magistral_jax.models.formats.workdir import EXPERIMENT, read_experiment, write_experiment
from magistral_jax.orchestration import cold_start, evaluations, lockstep, report, threads
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health, Lost
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.loop import Loop
from magistral_jax.runtime.local import LocalRuntime

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run keeps its files.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print config and memory, and end.')

MODES = dict(threads=threads.run, lockstep=lockstep.run, ray=threads.run,
             ray_lockstep=lockstep.run)


class UnsavedError(RuntimeError):
  """A run has come to its end, and its last weights are not on disk."""


class Run:
  """One run in one workdir: builds the parts, then cold start, loop, report."""

  def __init__(self, c, workdir: Path, display: Display, health: Health, parts: checks.Parts,
               verifier, place=None):
    self.c, self.workdir, self.display, self.health = c, workdir, display, health
    self.tok, self.config, self.verifier = parts.tokenizer, parts.config, verifier
    self.stream, self.place = parts.stream, place or LocalRuntime(c, parts)
    self.evaluation_prompts = self.stream.held_out(c.evaluation.problems)
    self.checkpoints = self.place.checkpoints(str(workdir / 'checkpoints'), keep=c.checkpoints.keep)
    window = (window_groups(c.batching.max_staleness, c.batching.prompts_per_batch)
              if c.runtime.mode in ('threads', 'ray') else None)
    self.ledger = Ledger(window)
    self.journal = Journal(workdir, self.ledger)
    self.sampling, self.evaluation_sampling = build.samplings(c)
    self.samples = []
    self.samplers = []

  def train(self) -> None:
    """From the newest checkpoint, or from the start, to the report or to a request to stop."""
    self.display.watch(self.place.places)
    self.trainer = self._begin()
    if self.trainer is None:
      self.display.note('Stopped in the cold start; the same command goes on from there.')
      return
    loop = self._loop()
    # From here on every byte between host and device is moved on purpose, in all threads.
    jax.config.update('jax_transfer_guard', 'disallow')
    self.display.phase('reinforcement learning', self.c.total_steps)
    while True:
      try:
        MODES[self.c.runtime.mode](loop, self.c.total_steps)
      finally:
        # Also after a failure: what was trained is kept.
        loop.save()
        self.checkpoints.wait()
      try:
        saved = self.checkpoints.latest()    # Tells whether the trainer was lost at that.
        break
      except Lost as error:
        loop.recover(error)
    if not self.health.stopping.is_set():
      self._end(loop)
    elif saved == self.trainer.version:
      self.display.note(f'Stopped at step {saved} and saved; the same command goes on from there.')
    if saved != self.trainer.version:
      raise UnsavedError(f'the weights of step {self.trainer.version} could not be saved in '
                         f'{self.workdir}, whose newest checkpoint is of step {saved}: make room '
                         f'there, then the same command goes on from that one.')

  def _end(self, loop) -> None:
    if loop.exhausted:
      self.display.note(f'Ended at step {self.trainer.version}: {loop.patience} groups gave not '
                        f'one batch of groups with different rewards. All is solved, or nothing '
                        f'is.')
    self._finish(loop)

  def close(self) -> None:
    self.journal.close()
    self.checkpoints.close()

  def _begin(self):
    """The trainer that the loop begins with, a checkpoint of it on disk and its weights in the
    samplers; None if asked to stop in the cold start."""
    while True:
      try:
        trainer = self._resumed()
        self._note_changes()
        write_experiment(str(self.workdir), self.config, build.tokenizer_place(self.c),
                         json.loads(self.c.to_json_best_effort()))
        trainer = trainer or self._warmed_up()
        if trainer is not None:
          self._save_first(trainer)
        return trainer
      except Lost as error:
        began = time.monotonic()
        self.place.restart(error)
        self.display.note(f'The trainer was lost before the loop and is back after '
                          f'{time.monotonic() - began:.0f} s. {str(error).splitlines()[0][:200]}')

  def _note_changes(self) -> None:
    """Says what the config has otherwise than the run before this one in the same workdir."""
    if self.checkpoints.latest() is None or not (self.workdir / EXPERIMENT).exists():
      return
    before = dict(cli.flat(read_experiment(str(self.workdir))['config']))
    now = dict(cli.flat(json.loads(self.c.to_json_best_effort())))
    for key in sorted(now.keys() & before.keys()):
      if now[key] != before[key]:
        self.display.note(f'Changed since the last time: {key} was {before[key]}, is {now[key]}.')

  def _resumed(self):
    """The trainer and the journal of the newest checkpoint; None if there is none yet."""
    if self.checkpoints.latest() is None:
      if self.journal.measured('seed') is None:
        self.journal.start_over()
        self.journal.note(seed=self.c.seed)
      return None
    with cli.one_sentence():
      trainer = self._restored(self.checkpoints)
    self._seat_samplers(trainer)
    return trainer

  def _save_first(self, trainer) -> None:
    """Saves what the loop begins with, which the cold start is not needed for any more."""
    self.checkpoints.save(trainer.version, trainer.state, self.journal.record(), None)
    self.checkpoints.wait()
    # If the trainer was lost meanwhile, it is this that raises Lost; if the disk is full, None.
    if self.checkpoints.latest() is not None:
      shutil.rmtree(self.workdir / 'cold_start', ignore_errors=True)

  def _warmed_up(self):
    """Fresh weights, evaluated before and after the cold start, which goes on where it was left."""
    c = self.c
    if not c.cold_start.steps:
      trainer = self._new_trainer()
      self._seat_samplers(trainer)
      if self.journal.measured('accuracy_start') is None:
        self._evaluate('start')
      self.journal.note(accuracy_cold_start=None)
      return trainer
    saved = self.place.checkpoints(str(self.workdir / 'cold_start'), keep=1)
    trainer = self._cold_trainer(saved)
    self._seat_samplers(trainer, version=-1)
    if self.journal.measured('accuracy_start') is None:
      self._evaluate('start')
    self._cold_start(trainer, saved)
    saved.close()
    if self.health.stopping.is_set():
      return None
    self._seat_samplers(trainer, version=0)
    self._evaluate('cold_start')
    # Another optimizer: its moments and its step count start afresh. Released first, for memory.
    weights, trainer = trainer.params, None
    return self.place.trainer(weights)

  def _cold_trainer(self, saved):
    """The trainer of the cold start, from where an earlier run of it was stopped, if one was."""
    c = self.c
    changed = {k: c.cold_start[k] for k in ('learning_rate', 'warmup_steps')}
    if saved.latest() is None:
      return self._new_trainer(**changed)
    with cli.one_sentence():
      return self._restored(saved, **changed)

  def _new_trainer(self, **changed):
    # The files of a checkpoint are looked into only here.
    with cli.one_sentence():
      return self.place.trainer(**changed)

  def _restored(self, checkpoints, **changed):
    """A trainer and the journal, as the newest of `checkpoints` has them."""
    trainer, record = self.place.restored(checkpoints, **changed)
    self.journal.restore(record)
    # Prompts and draws are addressed by the seed: with another one, what was trained is not known.
    if self.journal.measured('seed') != self.c.seed:
      raise ValueError(f'seed={self.c.seed}, but the run in {self.workdir} began with '
                       f'seed={self.journal.measured("seed")}: keep that one, or take another '
                       f'--workdir.')
    self.display.note(f'Resumed at step {trainer.version} of {self.workdir}.')
    return trainer

  def _cold_start(self, trainer, saved) -> None:
    c = self.c.cold_start
    self.display.phase('cold start', c.steps)
    examples = build.cold_start_examples(self.c, self.tok, self.config, self.stream)
    self.display.note(f'Cold start: {len(examples)} examples of a row or less.')
    cold_start.run(
        trainer, examples, steps=c.steps, rows=c.rows, row_tokens=self.c.batching.row_tokens,
        patches=build.patches(self.c, self.config), seed=self.c.seed,
        stopping=self.health.stopping, save_every=self.c.checkpoints.every,
        save=lambda: saved.save(trainer.version, trainer.state, self.journal.record(), None),
        progress=lambda step, m: self.display.update(dict(step=step, loss=m['loss'])))

  def _seat_samplers(self, trainer, version: int | None = None) -> None:
    """Makes the samplers, or gives those there are the trainer's weights."""
    version = trainer.version if version is None else version
    snapshots = (publisher.snapshot(trainer.params, version) for publisher in self.place.publishers)
    if not self.samplers:
      self.samplers = self.place.samplers(snapshots)
      return
    for sampler, snapshot in zip(self.samplers, snapshots, strict=True):
      sampler.offer(snapshot)

  def _evaluate(self, stage: str) -> None:
    """Holds an evaluation with the samplers' newest weights and keeps its result for the summary."""
    if not self.evaluation_prompts or self.health.stopping.is_set():
      return
    self.display.phase(f'evaluation: {stage}', len(self.evaluation_prompts) * self.evaluation_sampling.samples)
    result, evaluation = evaluations.hold(
        self.evaluation_prompts, self.evaluation_sampling, self.samplers, self.verifier,
        deadline_s=self.health.deadline_s, check=self.place.check_trainer,
        progress=lambda done, total: self.display.update(
            dict(waits={'evaluation': f'{done} of {total} completions scored'})))
    self.journal.note(**{f'accuracy_{stage}': result.accuracy,
                         f'accuracy_{stage}_se': result.accuracy_se})
    self.display.note(f'Held-out accuracy ({stage}): {result.accuracy:.3f} ± '
                      f'{result.accuracy_se:.3f}, {result.problems} problems x {result.samples}, '
                      f'{result.mean_tokens:.0f} tokens. {result.statuses}')
    pairs = list(evaluation.answers.values())
    problems = {p.ordinal: p.problem.text for p in self.evaluation_prompts}
    self.samples = [(problems[completion.ordinal], completion.text, verdict.reward)
                    for completion, verdict in random.Random(0).sample(pairs, min(3, len(pairs)))]

  def _loop(self) -> Loop:
    c, b = self.c, self.c.batching
    batcher = Batcher(
        group_size=c.sampler.group_size, microbatch_rows=c.trainer.microbatch_rows,
        max_new_tokens=c.sampler.max_new_tokens, patches=build.patches(c, self.config),
        **{k: b[k] for k in ('prompts_per_batch', 'minibatches', 'max_staleness', 'row_tokens',
                             'advantage_norm', 'normalizer')})
    loop = Loop(
        stream=self.stream, samplers=self.samplers, verifier=self.verifier, batcher=batcher,
        trainer=self.trainer, publishers=self.place.publishers, ledger=self.ledger,
        journal=self.journal, health=self.health, display=self.display,
        checkpoints=self.checkpoints, sampling=self.sampling, evaluation_sampling=self.evaluation_sampling,
        evaluation_prompts=self.evaluation_prompts, evaluation_every=c.evaluation.every,
        checkpoint_every=c.checkpoints.every, prompts_per_batch=b.prompts_per_batch,
        patience_batches=b.patience_batches, places=self.place.places,
        transfers=self.place.transfers, check_trainer=self.place.check_trainer,
        discard_in_flight=c.runtime.mode in ('lockstep', 'ray_lockstep'))
    self.place.on_lost(loop.reissue)
    return loop

  def _finish(self, loop) -> None:
    for sampler in self.samplers:
      sampler.abandon()
    evaluations.discard(self.verifier, self.health.deadline_s)
    self.display.watch(self.place.places)
    while True:
      try:
        loop.publish()
        self._evaluate('final')
        break
      except Lost as error:
        loop.recover(error)
    self.samples = self.samples[:3]
    self.journal.note(failed_saves=self.checkpoints.failed_saves)
    report.finish(self.workdir, self.journal.summary(), self.samples)


def listen(health: Health) -> None:
  """The first SIGINT or SIGTERM asks the run to save and end; the second ends it at once."""
  def stop(number, frame):
    del frame
    if health.stopping.is_set():
      signal.signal(number, signal.SIG_DFL)
      raise KeyboardInterrupt
    logging.warning('Ending after this step; once more to end at once.')
    health.stopping.set()
  signal.signal(signal.SIGINT, stop)
  signal.signal(signal.SIGTERM, stop)


def keep_compiled(workdir: Path) -> None:
  """What XLA compiles stays in the workdir, so that a run or a role that starts again need not
  wait for it; unless JAX_COMPILATION_CACHE_DIR names another folder."""
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', str(workdir.resolve() / 'compiled'))


def _place(c, parts: checks.Parts, workdir: Path):
  """Where the roles of this config live."""
  if c.runtime.mode not in ON_CLUSTER:
    return LocalRuntime(c, parts)
  with cli.one_sentence():
    try:
      from magistral_jax.runtime.ray_cluster import ClusterRuntime, check_address
    except ModuleNotFoundError as error:
      raise ValueError(f'runtime.mode={c.runtime.mode!r} needs {error.name}, which is not '
                       f'installed: pip install "magistral_jax[cluster]".') from None
    check_address(c.runtime.address)
  width = jnp.dtype(parts.config.dtype).itemsize
  return ClusterRuntime(c, workdir, weight_bytes=parts.config.parameters * width)


def main(_) -> None:
  logging.set_verbosity(logging.WARNING)
  c = _CONFIG.value
  if c.runtime.mode in ON_CLUSTER:
    # This process drives the others; the accelerators are theirs.
    jax.config.update('jax_platforms', 'cpu')
  with cli.one_sentence():
    parts = checks.prepare(c)
    if _DRY_RUN.value:
      checks.describe(c, parts, Console())
      return
    workdir = cli.folder('workdir', _WORKDIR.value)
  with contextlib.ExitStack() as stack:
    with cli.one_sentence():
      stack.enter_context(cli.claimed('workdir', workdir))
    train(c, workdir, parts)


def train(c, workdir: Path, parts: checks.Parts) -> None:
  """A run in a workdir that is its own."""
  keep_compiled(workdir)
  health = Health(c.runtime.deadline_s)
  listen(health)
  with Display(c.total_steps, True) as display, _place(c, parts, workdir) as place:
    listen(health)     # Once more: ray.init puts a handler of its own in place of ours.
    run = Run(c, workdir, display, health, parts, place.verifier(), place)
    try:
      run.train()
    except UnsavedError as error:
      print(f'error: {error}', file=sys.stderr)
      raise SystemExit(1) from None
    finally:
      run.close()


if __name__ == '__main__':
  cli.run(main)
