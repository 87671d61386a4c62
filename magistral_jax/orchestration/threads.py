"""The roles on threads of one process: samplers never wait for the trainer, nor for verdicts.

  thread       waits for                          is woken by
  sampler-i    an ordinal within the window, and  an update, a filtered group, a verdict (it polls:
               verifiers that keep up             POLL_S); open sequences are decoded meanwhile
  verifier     a verdict of the pool              the pool
  trainer      a batch (this is the main thread)  the verifier thread, at every group kept
Everything in between is bounded by the ledger's window: a group in flight takes part of it from
admission until it is settled.
"""

from __future__ import annotations

import threading
import time

from magistral_jax.orchestration.loop import Loop
from magistral_jax.records import Batch

# A role that has nothing to do looks for work, or for the request to stop, this often.
POLL_S = 0.05
# Idle samplers together look no more often than this, so that hundreds of them cost no more.
POLLS_PER_S = 640


def run(loop: Loop, total_steps: int) -> None:
  """Trains until `total_steps`, until asked to stop, or until no group has anything to teach.

  Raises:
    RuntimeError: a role failed; its error is the cause.
    TimeoutError: no batch came within the deadline; names what every role was doing.
  """
  ended = threading.Event()
  # Daemons: one that hangs in a call must not keep a failed run from ending.
  as_thread = lambda name, target, *args: threading.Thread(
      target=target, args=(loop, ended, *args), name=name, daemon=True)
  threads = [as_thread(f'sampler-{i}', _sampling, i) for i in range(len(loop.samplers))]
  threads.append(as_thread('verifier', _judging))
  loop.start_clock()
  loop.display.watch(loop.role_status)
  for thread in threads:
    thread.start()
  try:
    with loop.health.reporting_silence(loop.display.note, 'trainer'):
      while loop.trainer.version < total_steps:
        batch = _next_batch(loop)
        if batch is None:
          break
        loop.health.busy('trainer', f'training on {len(batch.groups)} groups')
        loop.update(batch)
        _begin_evaluation(loop, total_steps)
  finally:
    ended.set()
    for thread in threads:
      thread.join(loop.health.deadline_s)
  loop.health.check()


def _next_batch(loop: Loop) -> Batch | None:
  """The next batch; None when asked to stop, or when the run has nothing left to learn."""
  began = time.monotonic()
  while True:
    # Samplers may be waiting for its weights.
    loop.recover_if_lost()
    loop.health.check()
    if loop.health.stopping.is_set():
      return None
    batch = loop.next_batch()
    if batch is not None or loop.exhausted:
      return batch
    with loop.arrived:
      loop.health.waiting('trainer', f'a batch ({loop.batcher.waiting} of '
                                     f'{loop.settings.prompts_per_batch} groups)')
      loop.arrived.wait(POLL_S)
    loop.health.overdue('batch', time.monotonic() - began, loop.held)


def _begin_evaluation(loop: Loop, total_steps: int) -> None:
  """Every so often, but not while one is open, nor at the end, where the final one follows."""
  step, every = loop.trainer.version, loop.settings.evaluation_every
  if every and step % every == 0 and step < total_steps and not loop.evaluation.running:
    loop.evaluation.begin()


def _sampling(loop: Loop, ended: threading.Event, index: int) -> None:
  """Drives one sampler until the run ends."""
  sampler, role = loop.samplers[index], f'sampler-{index}'
  with loop.health.watching(role):
    while not (ended.is_set() or loop.health.stopping.is_set()):
      loop.evaluation.submit(sampler)
      loop.admit(sampler)
      if sampler.open:
        loop.health.busy(role, f'decoding {sampler.open} sequences')
        loop.sample(sampler)
      else:
        loop.health.waiting(role, 'the verifiers: as many completions wait as may be'
                            if loop.verifier.full else sampler.waits_for)
        time.sleep(max(POLL_S, len(loop.samplers) / POLLS_PER_S))


def _judging(loop: Loop, ended: threading.Event) -> None:
  """Routes verdicts until the run ends."""
  with loop.health.watching('verifier'):
    while not (ended.is_set() or loop.health.stopping.is_set()):
      pending = loop.verifier.pending()
      if pending:
        loop.health.busy('verifier', f'scoring {pending}')
      else:
        loop.health.waiting('verifier', 'completions')
      scored = loop.verifier.drain(POLL_S)
      loop.judge(scored)
      if not scored and not pending:
        time.sleep(POLL_S / 10)
