"""The roles on threads of one process: samplers wait only for a trainer or verifiers that lag.

  thread       waits for                          is woken by
  sampler-i    admission (batching/admission.py), an update, a filtered group, a verdict (it polls:
               verifiers that keep up             POLL_S); open sequences are decoded meanwhile
  verifier     a verdict of the pool              the pool
  trainer      a batch (this is the main thread)  the verifier thread, at every group kept
Everything in between is bounded by admission: what is in flight by sampler.in_flight, what waits
for the trainer or a verdict by batching.backlog_batches.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from absl import logging

from magistral_jax.orchestration.loop import Loop
from magistral_jax.records import Batch

# A role that has nothing to do looks for work, or for the request to stop, this often.
POLL_S = 0.05
# The threads of a run that stops or fails have so long to end, all together; the launcher waits for
# ten minutes, in which the checkpoint must be written, too.
STOP_S = 120.0
# Idle samplers together look no more often than this, so that hundreds of them cost no more.
POLLS_PER_S = 640


def run(loop: Loop, total_steps: int) -> None:
  """Trains until `total_steps`, until asked to stop, or until no group has anything to teach.

  Raises:
    RuntimeError: a role failed; its error is the cause.
    TimeoutError: no batch came within the deadline, or a thread did not end; names what every role
      was doing, or the threads. What was trained is saved before.
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
        with loop.journal.time.doing('waiting'):
          batch = _next_batch(loop)
        if batch is None:
          break
        loop.health.busy('trainer', f'training on {len(batch.groups)} groups')
        before = loop.trainer.version
        with loop.profile.step():
          loop.update(batch)
        step = loop.trainer.version
        # At the end the final evaluation follows.
        if step != before and loop.measurements.due(step) and step < total_steps:
          loop.measurements.begin(step, loop.save)
  except KeyboardInterrupt:
    ended.set()                    # Asked to end at once: not even a save is begun.
    raise
  except BaseException:
    ended.set()
    # The failure itself says more; whoever drives the run tries to save once more, and tells.
    with contextlib.suppress(Exception):
      _end(loop, threads, STOP_S)
    raise
  ended.set()
  _end(loop, threads, STOP_S if loop.health.stopping.is_set() else loop.health.deadline_s)
  loop.health.check()


def _end(loop: Loop, threads: Sequence[threading.Thread], within_s: float) -> None:
  """Saves, then waits for the threads, which were told to end.

  Raises:
    TimeoutError: some are in a call that does not return; names them. None of them begins another.
  """
  loop.save()          # First: how long a hanging call takes must not decide about the weights.
  until = time.monotonic() + min(within_s, loop.health.deadline_s)
  for thread in threads:
    thread.join(max(0.0, until - time.monotonic()))
  hanging = [thread.name for thread in threads if thread.is_alive()]
  if hanging:
    sentence = (f'{", ".join(hanging)} did not end within '
                f'{min(within_s, loop.health.deadline_s):.0f} s: a call does not return.')
    logging.error('%s', sentence)
    raise TimeoutError(sentence)


def _next_batch(loop: Loop) -> Batch | None:
  """The next batch; None when asked to stop, or when the run has nothing left to learn."""
  began = time.monotonic()
  while True:
    # Samplers may be waiting for its weights.
    if loop.recover_if_lost():
      began = time.monotonic()
    loop.measurements.tend()
    loop.health.check()
    if loop.health.stopping.is_set():
      return None
    batch = loop.next_batch()
    if batch is not None or loop.nothing_left():
      return batch
    with loop.arrived:
      loop.health.waiting('trainer', f'a batch ({loop.batcher.waiting} of '
                                     f'{loop.prompts_per_batch} groups)')
      loop.arrived.wait(POLL_S)
    loop.health.overdue('batch', time.monotonic() - began, loop.held)


def _sampling(loop: Loop, ended: threading.Event, index: int) -> None:
  """Drives one sampler until the run ends."""
  sampler, role = loop.samplers[index], f'sampler-{index}'
  with loop.health.watching(role):
    while not (ended.is_set() or loop.health.stopping.is_set()):
      loop.evaluation.submit(index, sampler)
      loop.admit(sampler)
      if ended.is_set():           # Meanwhile: another thread may drive this sampler next.
        return
      if sampler.open:
        loop.health.busy(role, f'decoding {sampler.open} sequences')
        loop.sample(sampler)
      else:
        loop.health.waiting(role, 'the verifiers to catch up' if loop.verifier.full
                            else sampler.waits_for)
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
