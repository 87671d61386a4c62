"""CPU time decides of a check in mathematics; a machine that is busy makes no answer wrong."""
import concurrent.futures
import os
import signal
import time

import psutil
import pytest

from magistral_jax.verifiers.workers import process
from magistral_jax.verifiers.workers.pool import Pool
from tests.verifiers.workers.pools import LIMITS, REWARDS, WAIT_S, job, started


def test_a_job_that_hangs_costs_one_worker_and_nothing_else():
  """Nor is it called too slow: it has used no CPU time, so it is judged by another worker."""
  with Pool(1, **(LIMITS | dict(timeout_s=1.0))) as pool:
    os.kill(started(pool)[0], signal.SIGSTOP)      # It will never answer.
    futures = [pool.submit(job('5')) for _ in range(20)]
    assert [f.result(WAIT_S).status for f in futures] == ['correct'] * 20
    assert (pool.stats()['restarts'], pool.stats()['timeouts']) == (1, 0)


def test_a_job_that_has_to_wait_for_the_processor_is_judged_when_it_gets_it():
  with Pool(1, **(LIMITS | dict(timeout_s=1.0))) as pool:
    pid, = started(pool)
    os.kill(pid, signal.SIGSTOP)
    future = pool.submit(job('5'))
    with pytest.raises(concurrent.futures.TimeoutError):
      future.result(2.0)                             # Twice the time that the job may take.
    os.kill(pid, signal.SIGCONT)
    assert future.result(WAIT_S).status == 'correct' and pool.pids() == [pid]


def test_a_job_that_hangs_in_two_workers_is_our_failure(monkeypatch):
  def hang(self, process, job):
    raise TimeoutError
  with Pool(1, **LIMITS) as pool:
    monkeypatch.setattr(Pool, '_exchange', hang)
    verdict = pool.submit(job('5')).result(WAIT_S)
    assert (verdict.status, verdict.reward) == ('error', 0.0)
    assert 'not judged within 480.0 s' in verdict.detail


def test_a_job_that_uses_up_its_processor_time_is_not_tried_again(monkeypatch):
  with Pool(1, **(LIMITS | dict(timeout_s=1.0))) as pool:
    os.kill(started(pool)[0], signal.SIGSTOP)
    monkeypatch.setattr(process.Process, 'cpu_s', lambda self: time.monotonic())
    verdict = pool.submit(job('5')).result(WAIT_S)
    assert (verdict.status, verdict.reward) == ('timeout', REWARDS['format'])
    assert verdict.seconds >= 1.0 and '1.0 s of CPU time' in verdict.detail
    monkeypatch.undo()
    assert pool.submit(job('5')).result(WAIT_S).status == 'correct'


def test_the_processor_time_of_a_worker_is_that_of_its_process():
  with Pool(1, **LIMITS) as pool:
    pid, = started(pool)
    used = sum(psutil.Process(pid).cpu_times()[:2])
    assert pool._processes[0].cpu_s() == pytest.approx(used, abs=0.1)
