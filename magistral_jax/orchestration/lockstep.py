"""The roles in turn: sample a batch, score it, train on it. Staleness is 0 and a run with the same
seed is the same bit for bit, resumed or not, because nothing depends on who was faster."""

import functools
import time

from magistral_jax.orchestration import evaluations


def run(loop, total_steps: int) -> None:
  """Trains until `total_steps`, until asked to stop, or until no group has anything to teach."""
  loop.start_clock()
  loop.display.watch(loop.roles)
  with loop.health.minding(loop.display.note, *_roles(loop)):
    while loop.trainer.version < total_steps and not loop.health.stopping.is_set():
      batch = _gather(loop)
      if batch is None:
        return
      loop.health.beat('trainer', f'training on {len(batch.groups)} groups')
      due = loop.evaluation_every and (loop.trainer.version + 1) % loop.evaluation_every == 0
      loop.update(batch, functools.partial(_evaluate, loop) if due else dict)
      loop.health.beat('trainer', 'waiting for a batch')


def _gather(loop):
  """Samples exactly the prompts that a batch still needs, again until it is full."""
  while (batch := loop.next_batch()) is None:
    loop.mind_trainer()
    if loop.health.stopping.is_set() or loop.exhausted:
      return None
    missing = loop.prompts_per_batch - loop.batcher.waiting
    for i in range(missing):
      loop.admit(loop.samplers[i % len(loop.samplers)], most=1)
    last, scored = time.monotonic(), []
    while any(sampler.open for sampler in loop.samplers) or loop.verifier.pending():
      # Samplers may be waiting for its weights.
      loop.mind_trainer()
      for i, sampler in enumerate(loop.samplers):
        loop.health.beat(f'sampler-{i}', f'decoding {sampler.open} sequences' if sampler.open else
                         'waiting for the others')
        loop.sample(sampler)
      busy = any(sampler.open for sampler in loop.samplers)
      found = loop.verifier.drain() if busy else loop.verifier.drain(1.0)
      scored += found
      # While tokens are drawn nothing is overdue; a sampler that draws none is.
      last = time.monotonic() if found else last
      loop.health.overdue('verdict', time.monotonic() - last)
    # Workers finish in any order; groups and files must not depend on it.
    loop.judge(sorted(scored, key=lambda pair: (pair[0].ordinal, pair[0].sample)))
  for i in range(len(loop.samplers)):
    loop.health.beat(f'sampler-{i}', 'waiting for the trainer')
  return batch


def _evaluate(loop) -> dict:
  result, _ = evaluations.hold(loop.evaluation_prompts, loop.evaluation_sampling, loop.samplers, loop.verifier,
                         deadline_s=loop.health.deadline_s, check=loop.check_trainer,
                         progress=lambda done, total:
                         loop.health.beat('sampler-0', f'evaluation: {done} of {total} scored'))
  return loop.held_out(result)


def _roles(loop) -> list[str]:
  """Those that one thread speaks for here."""
  return ['trainer', *(f'sampler-{i}' for i in range(len(loop.samplers)))]
