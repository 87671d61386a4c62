"""What every run has in common: its files, its checkpoints, evaluations of a stage, imitation.

run.py is a run of the loop, supervised.py one that only imitates.
"""

from __future__ import annotations

import abc
import functools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax import rollouts
from magistral_jax.batching.admission import Pace
from magistral_jax.data.examples import Examples
from magistral_jax.evaluation import results
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.experiment import benchmarks, build, checks, cli, named_files, values
from magistral_jax.models.formats import committed
from magistral_jax.models.formats.workdir import EXPERIMENT, read_experiment
from magistral_jax.orchestration import cold_start, evaluations, unsaved
from magistral_jax.orchestration.display import LOG_EVERY_S, Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.roles import Checkpoints, Runtime, Sampler, Trainer, Verifier

LOCKSTEP = ('lockstep', 'ray_lockstep')     # Values of runtime.mode.
# Completions of the last evaluation that the report shows.
SAMPLES = 3


class BaseRun(abc.ABC):
  """A run in one workdir; a subclass says what is trained. All calls from the main thread.

  Args:
    c: the config, checked; parts: what `checks.prepare` made of it.
    workdir: the folder of the run's files, which no other run uses meanwhile.
    runtime, verifier: where the roles run, and the verifier that it made.
    health, display: of this run alone.
  """
  command: str              # Whose workdirs it goes on with.
  finished = False          # Whether it has come to its report.

  def __init__(self, c, workdir: Path, parts: checks.Parts, runtime: Runtime, verifier: Verifier,
               health: Health, display: Display):
    self.c, self.workdir, self.display, self.health = c, workdir, display, health
    assert parts.stream is not None     # Only commands without a run leave the problems out.
    self.tok, self.config, self.stream = parts.tokenizer, parts.config, parts.stream
    self.examples = parts.examples
    self.runtime, self.verifier = runtime, benchmarks.judged(c, verifier)
    problems = self.stream.held_out(c.evaluation.problems)
    self.evaluation_prompts = problems + benchmarks.prompts(
        c, self.tok, self.config, first=-1 - len(problems))
    with cli.one_sentence():
      committed.check_layout(str(workdir / 'checkpoints'))
    self.checkpoints = runtime.checkpoints(str(workdir / 'checkpoints'), keep=c.checkpoints.keep,
                                           keep_every=c.checkpoints.keep_every)
    self.ledger = Ledger(None if c.runtime.mode in LOCKSTEP else Pace(
        group_size=c.sampler.group_size, in_flight=c.sampler.in_flight,
        **{k: c.batching[k] for k in ('prompts_per_batch', 'backlog_batches', 'max_staleness')}))
    self.journal = Journal(workdir, self.ledger, self.stream.dealer)
    self.sampling, self.evaluation_sampling = build.samplings(c)
    self.samples: list[tuple[str, str, float]] = []    # Problem, completion, reward.
    self.samplers: Sequence[Sampler] = ()
    self._cold_steps = 0

  def train(self) -> None:
    """Runs from the newest checkpoint, or from the start, to the report or to a request to stop.

    Raises:
      UnsavedError: its last weights could not be saved, or its files not be written.
      RuntimeError, TimeoutError: a role failed or made no progress; what was trained is saved.
    """
    with unsaved.one_sentence():
      self._train()

  @abc.abstractmethod
  def _train(self) -> None:
    """Does what `train` promises."""

  def close(self) -> None:
    """Closes the run's files."""
    self.journal.close()
    self.checkpoints.close()

  def _check_unbegun(self) -> None:
    """Refuses to begin in a folder that has a run whose checkpoints are gone.

    A run that is killed before its first checkpoint leaves none of these lines.

    Raises:
      ValueError: it has what a run writes only after that.
    """
    left = [path.name for path in (self.workdir / 'summary.json', self.workdir / 'metrics.jsonl',
                                   *rollouts.parts(self.workdir))
            if path.exists() and path.stat().st_size]
    if left:
      raise ValueError(f'{self.workdir} has the {" and ".join(left)} of a run but no checkpoint to '
                       f'go on from: put its checkpoints back, take another --workdir, or delete '
                       f'it.')

  def _note_changes(self) -> None:
    """Says what differs from the run before this one in the same workdir: keys, and files."""
    begun = self.checkpoints.latest() is not None or (self.workdir / 'cold_start').exists()
    if not begun or not (self.workdir / EXPERIMENT).exists():
      return
    with cli.one_sentence():
      experiment = read_experiment(str(self.workdir))
    before = dict(values.flat(experiment['config']))
    now = dict(values.flat(json.loads(self.c.to_json_best_effort())))
    for key in sorted(now.keys() & before.keys()):
      if now[key] != before[key]:
        self.display.note(f'Changed since the last time: {key} was {before[key]}, is {now[key]}.')
    digests = experiment.get('files', {})
    for key, digest in named_files.digests(self.c).items():
      if digests.get(key, digest) != digest:
        self.display.note(f'Changed since the last time: what stands in the files of {key}. What '
                          f'follows is not what an uninterrupted run would do.')

  def _restored(self, checkpoints: Checkpoints, **changed) -> Trainer:
    """A trainer as the newest of `checkpoints` has it, the journal set back to the same moment."""
    trainer, record = self.runtime.restored(checkpoints, **changed)
    # Prompts and draws are addressed by the seed: another one would not know what was trained.
    # Refused before the journal cuts its files.
    command = 'sft' if 'measured_step' in record['measured'] else 'train'    # Only sft notes it.
    if command != self.command:
      raise ValueError(f'{self.workdir} holds a run of {command}: take another --workdir.')
    seed = record['measured'].get('seed')
    if seed != self.c.seed:
      raise ValueError(f'seed={self.c.seed}, but the run in {self.workdir} began with seed={seed}: '
                       f'keep that one, or take another --workdir.')
    self.journal.restore(record)
    self.display.note(f'Resumed at step {trainer.version} of {self.workdir}; what was trained '
                      f'after it and not saved is trained again.')
    return trainer

  @functools.cached_property
  def _imitated(self) -> dict[str, Any]:
    """How this run imitates its examples, see `cold_start.settings`."""
    assert self.examples is not None        # Checked with the problems.
    return cold_start.settings(self.c, self.examples, build.patches(self.c, self.config))

  def _imitation(self, trainer: Trainer) -> tuple[Examples, dict[str, Any]]:
    """What a trainer is to imitate, and how, as `cold_start.run` takes it."""
    how = self._imitated
    self._cold_steps = how['steps']
    with cli.one_sentence():
      if trainer.version > self._cold_steps:
        raise ValueError(f'cold_start.steps={self.c.cold_start.steps} and cold_start.epochs='
                         f'{self.c.cold_start.epochs} are {self._cold_steps} steps, fewer than the '
                         f'{trainer.version} that the run in {self.workdir} has made: raise them, '
                         f'or take another --workdir.')
    assert self.examples is not None
    return self.examples, how

  def _take_steps(self, trainer: Trainer, examples: Examples, how: Mapping[str, Any],
                  save: Callable[[], object], progress: Callable[[int, dict], None]) -> None:
    """Imitates as `cold_start.run` does; says so while no step ends within the deadline."""
    def after_step(step: int, metrics: dict) -> None:
      self.health.busy('trainer', f'imitating, step {step + 1} of {self._cold_steps}')
      progress(step, metrics)

    self.health.busy('trainer', f'imitating, step {trainer.version + 1} of {self._cold_steps}')
    with (self.journal.time.doing('cold_start'),
          self.health.reporting_silence(self.display.note, 'trainer')):
      cold_start.run(trainer, examples, **how, stopping=self.health.stopping,
                     save_every=self.c.checkpoints.every, save=save, progress=after_step)

  def _note_cold_start(self, step: int, metrics: dict) -> None:
    self.journal.stage('cold_start', step, metrics)
    self.display.update(dict(step=step, loss=metrics['loss']))

  def _offer_weights(self, trainer: Trainer, version: int) -> None:
    """Makes the samplers, or offers the trainer's weights to those there are."""
    snapshots = self.runtime.publisher.snapshots(trainer, version)
    if not self.samplers:
      self.samplers = self.runtime.samplers(snapshots)
      return
    for sampler, snapshot in zip(self.samplers, snapshots, strict=True):
      sampler.offer(snapshot)

  def _evaluate(self, stage: str) -> Result | None:
    """Evaluates the samplers' newest weights, and keeps the result for the summary.

    Returns:
      None if asked to stop before it was there.
    """
    prompts, sampling = self.evaluation_prompts, self.evaluation_sampling
    self.display.phase(f'evaluation: {stage}', len(prompts) * sampling.samples,
                       log_every_s=LOG_EVERY_S)    # Its steps are completions.

    def progress(done: int, total: int) -> None:
      self.health.waiting('trainer', f'the evaluation ({done} of {total} scored)')
      self.display.update(dict(step=done))

    with self.journal.time.doing('evaluating'):
      held = evaluations.hold(
          prompts, sampling, self.samplers, self.verifier, deadline_s=self.health.deadline_s,
          check=self.runtime.check_trainer, stopping=self.health.stopping.is_set,
          progress=progress)
    if held is None:
      return None
    result, evaluation = held
    self.journal.note(**{f'accuracy_{stage}': result.accuracy,
                         f'accuracy_{stage}_se': result.accuracy_se})
    self.journal.stage(stage, *self._position(stage, result))
    self.display.note(f'Held-out accuracy ({stage}): {results.sentence(result)}')
    pairs = list(evaluation.answers.values())
    problems = {p.ordinal: p.problem.text for p in prompts}
    shown = random.Random(0).sample(pairs, min(SAMPLES, len(pairs)))
    self.samples = [(problems[completion.ordinal], completion.text, verdict.reward)
                    for completion, verdict in shown]
    return result

  @abc.abstractmethod
  def _position(self, stage: str, result: Result) -> tuple[int, dict[str, Any], int | None]:
    """(step of the stage, figures, update of the loop) of an evaluation, for `Journal.stage`."""
