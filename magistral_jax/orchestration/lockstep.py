"""The roles in turn: sample a batch, judge it, train on it. Staleness is 0, and a run with the same
seed is the same bit for bit, resumed or not, because nothing depends on which role was faster."""

from __future__ import annotations

import functools
import time

from magistral_jax.evaluation.evaluation import Result
from magistral_jax.orchestration import evaluations
from magistral_jax.orchestration.loop import Loop
from magistral_jax.records import Batch


def run(loop: Loop, total_steps: int) -> None:
  """Trains until `total_steps`, until asked to stop, or until no group has anything to teach.

  Raises:
    TimeoutError: a sampler, a verifier or an evaluation made no progress within the deadline.
  """
  loop.start_clock()
  loop.display.watch(loop.role_status)
  with loop.health.reporting_silence(loop.display.note, *_roles(loop)):
    while loop.trainer.version < total_steps and not loop.health.stopping.is_set():
      batch = _gather(loop)
      if batch is None:
        return
      loop.health.busy('trainer', f'training on {len(batch.groups)} groups')
      due = loop.measurements.due(loop.trainer.version + 1)
      with loop.profile.step():
        loop.update(batch, functools.partial(_evaluate, loop) if due else None)
      loop.health.waiting('trainer', 'a batch')


def _gather(loop: Loop) -> Batch | None:
  """Samples exactly the prompts that a batch still needs, again until it is full.

  Returns None when asked to stop, or when the run has nothing left to learn.
  """
  while (batch := loop.next_batch()) is None:
    loop.recover_if_lost()
    if loop.health.stopping.is_set() or loop.nothing_left():
      return None
    missing = loop.prompts_per_batch - loop.batcher.waiting
    for i in range(missing):
      loop.admit(loop.samplers[i % len(loop.samplers)], most=1)
    last, scored = time.monotonic(), []
    while any(sampler.open for sampler in loop.samplers) or loop.verifier.pending():
      # Samplers may be waiting for its weights.
      if loop.recover_if_lost():
        last = time.monotonic()
      for i, sampler in enumerate(loop.samplers):
        if sampler.open:
          loop.health.busy(f'sampler-{i}', f'decoding {sampler.open} sequences')
        else:
          loop.health.waiting(f'sampler-{i}', 'the others')
        with loop.journal.time.doing('sampling'):
          loop.sample(sampler)
      busy = any(sampler.open for sampler in loop.samplers)
      with loop.journal.time.doing('verifying'):
        found = loop.verifier.drain() if busy else loop.verifier.drain(1.0)
      scored += found
      # While tokens are drawn nothing is overdue; a sampler that draws none is.
      last = time.monotonic() if found else last
      loop.health.overdue('verdict', time.monotonic() - last)
    # Workers finish in any order; groups and files must not depend on it.
    loop.judge(sorted(scored, key=lambda pair: (pair[0].ordinal, pair[0].sample)))
  for i in range(len(loop.samplers)):
    loop.health.waiting(f'sampler-{i}', 'the trainer')
  return batch


def _evaluate(loop: Loop) -> Result | None:
  """Holds an evaluation on the newest weights while nothing else runs; None if asked to stop."""
  settings = loop.settings
  held = evaluations.hold(
      settings.evaluation_prompts, settings.evaluation_sampling, loop.samplers, loop.verifier,
      deadline_s=loop.health.deadline_s, check=loop.runtime.check_trainer,
      stopping=loop.health.stopping.is_set,
      progress=lambda done, total: loop.health.busy(
          'sampler-0', f'evaluation: {done} of {total} scored'))
  return held[0] if held else None


def _roles(loop: Loop) -> list[str]:
  """The roles that one thread gives signs of life for here."""
  return ['trainer', *(f'sampler-{i}' for i in range(len(loop.samplers)))]
