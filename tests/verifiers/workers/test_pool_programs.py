"""Programs in the pool: they share its workers, and jails end with their workers."""
import contextlib
import os
import signal
import sys
import time

import psutil
import pytest

from magistral_jax.verifiers.workers.pool import Pool
from tests.verifiers.workers.pools import LIMITS, WAIT_S, alive, eventually, job, program, started


def test_programs_and_answers_share_the_workers(jails):
  del jails                  # Skips where there are none.
  right, wrong = 'print(sum(map(int, input().split())))', 'print(5)'
  with Pool(2, **LIMITS) as pool:
    jobs = [program(right), job('5'), program(wrong), job('6'), program('def'), program(right)]
    futures = [pool.submit(one) for one in jobs]
    assert [f.result(WAIT_S).status for f in futures] == [
        'correct', 'correct', 'wrong', 'wrong', 'compile_error', 'correct']
    assert pool.stats()['code_service_p50_s'] > 0


def test_a_program_is_judged_although_its_workers_are_killed(jails):
  del jails
  wait = 'import time; time.sleep(1); print(sum(map(int, input().split())))'
  with Pool(2, **LIMITS) as pool:
    started(pool, 2)
    futures = [pool.submit(program(wait)) for _ in range(2)]
    eventually(lambda: pool.stats()['in_flight'] == 2)
    victims = pool.pids()
    for pid in victims:
      os.kill(pid, signal.SIGKILL)
    assert [f.result(WAIT_S).status for f in futures] == ['correct'] * 2
    assert pool.stats()['restarts'] == 2
  eventually(lambda: not any(map(alive, victims)))


def jails_below():
  """Process ids of the jails that descend from this process, dead ones included."""
  found = set()
  for child in psutil.Process().children(recursive=True):
    with contextlib.suppress(psutil.NoSuchProcess):
      if child.name() == 'bwrap':
        found.add(child.pid)
  return found


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_worker_that_is_killed_while_it_starts_a_jail_leaves_none(jails):
  del jails                  # The fixture has made this process the parent of orphans below it.
  before = jails_below()     # Dead ones that other tests left to this process.
  wait = 'import time; time.sleep(0.1); print(sum(map(int, input().split())))'
  with Pool(1, **LIMITS) as pool:
    assert pool.submit(program(wait)).result(WAIT_S).status == 'correct'
    for i in range(10):
      pid, = started(pool)
      # Another program every time: the worker remembers how it judged one.
      future = pool.submit(program(f'{wait}  # {i}'))
      eventually(lambda: not alive(pid) or psutil.Process(pid).children())
      time.sleep(i % 5 * 0.002)
      os.kill(pid, signal.SIGKILL)
      assert future.result(WAIT_S).status == 'correct'
      eventually(lambda: jails_below() <= before)
