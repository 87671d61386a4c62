"""The roles on threads of one process: samplers never wait for the trainer, nor for verdicts.

  thread       waits for                          is woken by
  sampler-i    an ordinal within the window, and  an update, a filtered group, a verdict (it polls:
               verifiers that keep up             POLL_S); what it has begun it goes on writing
  verifier     a verdict of the pool              the pool
  trainer      a batch (this is the main thread)  the verifier thread, at every group kept
Everything in between is bounded by the ledger's window: a group that is on its way holds its place
from admission until it is settled.
"""

import threading
import time

# How long a role sleeps before it looks again for work or for the request to stop.
POLL_S = 0.05
# Hundreds of idle samplers look more rarely, so that all together look no more often than this.
POLLS_PER_S = 640


def run(loop, total_steps: int) -> None:
  """Trains until `total_steps`, until asked to stop, or until no group has anything to teach.

  Raises:
    RuntimeError: a role failed; its error is the cause.
    TimeoutError: no batch came within the deadline; names what every role was doing.
  """
  # Daemons: one that hangs in a call must not keep a failed run from ending.
  as_thread = lambda name, target, *args: threading.Thread(
      target=target, args=(loop, *args), name=name, daemon=True)
  threads = [as_thread(f'sampler-{i}', _sampling, i) for i in range(len(loop.samplers))]
  threads.append(as_thread('verifier', _judging))
  ended = threading.Event()
  loop.ended = ended
  loop.start_clock()
  loop.display.watch(loop.roles)
  for thread in threads:
    thread.start()
  try:
    with loop.health.minding(loop.display.note, 'trainer'):
      while loop.trainer.version < total_steps:
        batch = _next_batch(loop)
        if batch is None:
          break
        loop.health.beat('trainer', f'training on {len(batch.groups)} groups')
        loop.update(batch)
        _open_evaluation(loop, total_steps)
  finally:
    ended.set()
    for thread in threads:
      thread.join(loop.health.deadline_s)
  loop.health.check()


def _next_batch(loop):
  began = time.monotonic()
  while True:
    # Samplers may be waiting for its weights.
    loop.mind_trainer()
    loop.health.check()
    if loop.health.stopping.is_set():
      return None
    batch = loop.next_batch()
    if batch is not None or loop.exhausted:
      return batch
    with loop.arrived:
      doing = f'waiting for a batch ({loop.batcher.waiting} of {loop.prompts_per_batch} groups)'
      loop.health.beat('trainer', doing)
      loop.arrived.wait(POLL_S)
    loop.health.overdue('batch', time.monotonic() - began, loop.held)


def _open_evaluation(loop, total_steps) -> None:
  """Every so often, but not while one is open, nor at the end, where the final one follows."""
  step = loop.trainer.version
  if loop.evaluation_every and step % loop.evaluation_every == 0 and step < total_steps and loop.evaluation is None:
    loop.open_evaluation()


def _sampling(loop, index: int) -> None:
  sampler, role = loop.samplers[index], f'sampler-{index}'
  with loop.health.watching(role):
    while not (loop.ended.is_set() or loop.health.stopping.is_set()):
      loop.submit_evaluation(sampler)
      loop.admit(sampler)
      if sampler.open:
        loop.health.beat(role, f'decoding {sampler.open} sequences')
        loop.sample(sampler)
      else:
        loop.health.beat(role, 'waiting for the verifiers: as many completions wait as may be'
                         if loop.verifier.full else sampler.idle)
        time.sleep(max(POLL_S, len(loop.samplers) / POLLS_PER_S))


def _judging(loop) -> None:
  with loop.health.watching('verifier'):
    while not (loop.ended.is_set() or loop.health.stopping.is_set()):
      pending = loop.verifier.pending()
      loop.health.beat('verifier', f'scoring {pending}' if pending else 'waiting for completions')
      scored = loop.verifier.drain(POLL_S)
      loop.judge(scored)
      if not scored and not pending:
        time.sleep(POLL_S / 10)
