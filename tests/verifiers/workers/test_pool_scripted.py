"""What becomes of a job whose workers do as a script says: die, hang, or reply anything."""
import collections
import random
import signal
import time

import pytest

from magistral_jax.verifiers.workers import pool as pool_module
from magistral_jax.verifiers.workers import process
from magistral_jax.verifiers.workers.pool import Pool
from tests.verifiers.workers import pools
from tests.verifiers.workers.pools import LIMITS, REWARDS, WAIT_S, eventually, job


class ScriptedForkServers:
  def __init__(self, settings):
    del settings

  def fork(self, worker_id):
    del worker_id
    return ScriptedProcess()

  def stop(self):
    pass

  close = stop


class ScriptedProcess:
  """A stand-in for a worker, in which each job ends as the script says next."""
  pid = 0

  def exchange(self, message, deadline):
    del deadline
    if not message:
      return {'ready': True}
    outcome = SCRIPT.popleft()
    if outcome == 'hangs':
      raise TimeoutError
    if isinstance(outcome, dict):
      return outcome
    self.code = outcome
    raise process.WorkerDied

  def alive(self):
    return True

  def cpu_s(self):
    return 0.0

  def last_words(self):
    return 'its last words'

  def kill(self):
    pass

  def reap(self):
    return getattr(self, 'code', -signal.SIGKILL)


SCRIPT = collections.deque()
PARTS = dict(format=0.1, correct=0.9, length=0.0, language=0.0)
VERDICT = {'verdict': dict(status='correct', reward=1.0, parts=PARTS, answer='5', detail='',
                           seconds=0.1)}
FAILED = {'verdict': dict(status='error', reward=0.0, parts=dict.fromkeys(PARTS, 0.0), answer='',
                          detail='no jail', seconds=0.1)}


@pytest.mark.parametrize('script, status, restarts, why', [
    ([VERDICT], 'correct', 0, 'the rule'),
    ([-signal.SIGKILL, VERDICT], 'correct', 1, 'killed from outside: retried'),
    ([-signal.SIGKILL] * 4 + [VERDICT], 'correct', 4, 'killed four times: retried each time'),
    ([-signal.SIGKILL] * 5, 'error', 5, 'killed five times: given up'),
    ([1, 1], 'error', 2, 'ended by itself, twice'),
    ([-signal.SIGSEGV, -signal.SIGSEGV], 'memory', 2, 'the job crashes workers'),
    ([{'error': 'traceback'}, VERDICT], 'correct', 1, 'our own failure: retried'),
    ([{'error': 'traceback'}, {'error': 'traceback'}], 'error', 2, 'our own failure, twice'),
    ([FAILED, VERDICT], 'correct', 1, 'the sandbox failed: retried'),
    ([FAILED, FAILED], 'error', 2, 'the sandbox failed, twice'),
    ([{'memory': 'too much'}], 'memory', 1, 'not retried'),
])
def test_what_becomes_of_a_job(monkeypatch, script, status, restarts, why):
  monkeypatch.setattr(pool_module, 'ForkServers', ScriptedForkServers)
  SCRIPT.clear()
  SCRIPT.extend(script)
  with Pool(1, **LIMITS) as pool:
    verdict = pool.submit(job('5')).result(WAIT_S)
    assert (verdict.status, not SCRIPT) == (status, True), why
    eventually(lambda: pool.stats()['restarts'] == restarts)
    assert pool.stats()['errors'] == (status == 'error')
  if status != 'correct':
    assert verdict.detail, 'a failure says why'
    assert verdict.reward == (0.0 if status == 'error' else REWARDS['format'])


@pytest.mark.parametrize('used_s, status', [
    ([0.0, 1.9], 'correct'), ([7.0, 8.9], 'correct'), ([0.0, 2.1], 'timeout'),
    ([7.0, 9.1], 'timeout'), ([None, None], 'correct'), ([0.0, None], 'correct')])
def test_a_reply_counts_by_the_processor_time_that_it_took(monkeypatch, used_s, status):
  """Whether it comes before anybody looks at that time depends on the machine alone."""
  used = collections.deque(used_s)
  monkeypatch.setattr(ScriptedProcess, 'cpu_s', lambda self: used.popleft())
  monkeypatch.setattr(pool_module, 'ForkServers', ScriptedForkServers)
  SCRIPT.clear()
  SCRIPT.append(VERDICT)
  with Pool(1, **(LIMITS | dict(timeout_s=2.0))) as pool:
    verdict = pool.submit(job('5')).result(WAIT_S)
  assert (verdict.status, verdict.reward) == (status, 1.0 if status == 'correct' else 0.1)


def test_programs_have_their_own_time(monkeypatch):
  seen = []
  class Timed(ScriptedProcess):
    def exchange(self, message, deadline):
      if message:
        seen.append(deadline - time.monotonic())
      return super().exchange(message, deadline)
  monkeypatch.setattr(ScriptedForkServers, 'fork', lambda self, worker_id: Timed())
  monkeypatch.setattr(pool_module, 'ForkServers', ScriptedForkServers)
  SCRIPT.clear()
  SCRIPT.extend([VERDICT, VERDICT])
  with Pool(1, **(LIMITS | dict(timeout_s=2.0, test_timeout_s=1000.0))) as pool:
    assert pool.submit(job('5')).result(WAIT_S).status == 'correct'
    assert pool.submit(pools.program('x')).result(WAIT_S).status == 'correct'
  assert seen[0] <= 2.0
  assert 2000 < seen[1] < 40000    # Two tests, 1000 s of processor time each, on a slow machine.


@pytest.mark.parametrize('script, status', [
    (['hangs', VERDICT], 'correct'), (['hangs', 'hangs'], 'error'),
    (['hangs', -signal.SIGKILL, VERDICT], 'correct')])
def test_a_program_is_not_blamed_for_a_worker_that_hangs(monkeypatch, script, status):
  monkeypatch.setattr(pool_module, 'ForkServers', ScriptedForkServers)
  SCRIPT.clear()
  SCRIPT.extend(script)
  with Pool(1, **LIMITS) as pool:
    verdict = pool.submit(pools.program('x')).result(WAIT_S)
  assert (verdict.status, not SCRIPT) == (status, True)


def test_any_reply_of_a_worker_makes_a_verdict(monkeypatch):
  """What a broken worker says is an error of ours, never an exception, a hang or a reward."""
  monkeypatch.setattr(pool_module, 'ForkServers', ScriptedForkServers)
  rng = random.Random(0)
  values = ('correct', '', None, 1.0, -1, [], {}, {'status': 'correct'}, 'x' * 10**5, True,
            {'format': 'x'}, float('nan'))
  keys = ('verdict', 'memory', 'error', 'status', 'reward', 'parts', 'detail', 'ready', 'seconds')
  with Pool(1, **LIMITS) as pool:
    for _ in range(300):
      reply = {rng.choice(keys): rng.choice(values) for _ in range(rng.randint(0, 3))}
      if rng.random() < 0.7:
        change = {rng.choice(keys): rng.choice(values) for _ in range(rng.randint(0, 3))}
        reply = {'verdict': VERDICT['verdict'] | change}
        if reply == VERDICT:
          continue
      SCRIPT.clear()
      SCRIPT.extend([reply] * pool_module.KILLED_ATTEMPTS)
      one = pools.program('x') if rng.random() < 0.5 else job('5')
      verdict = pool.submit(one).result(WAIT_S)
      judged = verdict.status == 'correct' and verdict.reward == 1.0
      assert judged or verdict.status in ('error', 'memory'), (reply, verdict)
      assert judged or verdict.reward <= REWARDS['format'] and len(verdict.detail) <= 1000
