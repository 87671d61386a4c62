"""The pool loses no job and judges none twice, whatever happens to its processes."""
import collections
import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from magistral_jax.records import Verdict
from magistral_jax.verifiers import reward
from magistral_jax.verifiers.workers import fork_server, process
from magistral_jax.verifiers.workers.pool import Pool
from magistral_jax.verifiers.workers.worker import pack
from tests.verifiers.workers import pools
from tests.verifiers.workers.pools import (
  LIMITS,
  REWARDS,
  WAIT_S,
  alive,
  eventually,
  job,
  program,
  started,
)


@pytest.fixture(scope='module')
def pool():
  with Pool(1, **LIMITS) as pool:
    yield pool


def test_verdicts_are_those_of_score(pool):
  jobs = [job('5'), job('6'), job(r'\sqrt{25}'), job('+*('), job('5') | dict(response='5')]
  for one, future in [(j, pool.submit(j)) for j in jobs]:
    found, expected = future.result(WAIT_S), reward.score(one, **REWARDS)
    assert (found.status, found.reward, found.parts) == (
        expected.status, expected.reward, expected.parts)


@pytest.mark.parametrize('box', [
    '9' * 10**6, '{' * 10**5 + '5' + '}' * 10**5, '1\0', '(' * 10**5, '9^{9^{9^{9}}}',
    '\\sqrt' * 900,
    '|' * 500, '-' * 700 + '1', r'\frac{' * 300, '\ud800', '\\text{' * 500 + '}' * 500, '^' * 700,
    ',' * 3000, '\\pm' * 1000, '=' * 3000, '1,' * 39 + '1', r'\cup' * 900, '9' * 190 + '!'],
    ids=lambda box: ascii(box[:12]))
def test_hostile_answers_cost_no_worker(pool, box):
  before = started(pool)
  verdict = pool.submit(job(box, r'\sqrt{7}')).result(WAIT_S)
  assert verdict.status in ('wrong', 'unparsable', 'bad_format')
  assert verdict.parts['correct'] == 0
  assert pool.pids() == before


def test_a_reply_that_has_arrived_counts_although_it_is_read_after_the_deadline():
  def fork(worker_id, files):
    os.write(files[1], pack({'verdict': 'there'}))
    return 0
  past, one = time.monotonic() - 1.0, process.Process(0, fork, lambda pid: 0)
  assert one.exchange(b'', past) == {'verdict': 'there'}
  one.reap()
  silent = process.Process(0, lambda worker_id, files: None, lambda pid: 0)
  with pytest.raises((TimeoutError, process.WorkerDied)):
    silent.exchange(b'', past)
  silent.reap()


def test_a_job_that_needs_too_much_memory():
  with Pool(1, **(LIMITS | dict(memory_mb=256))) as pool:
    started(pool)
    huge = job('5') | dict(problem='x' * (200 << 20))
    assert pool.submit(huge).result(WAIT_S).status == 'memory'
    assert pool.submit(job('5')).result(WAIT_S).status == 'correct'


def test_an_idle_worker_that_died_is_replaced():
  with Pool(1, **LIMITS) as pool:
    pid, = started(pool)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: (pids := pool.pids()) and pid not in pids and alive(pids[0]))
    assert pool.submit(job('5')).result(WAIT_S).status == 'correct'
    assert pool.stats()['restarts'] == 1


def fork_servers():
  """Process ids of this process's live children."""
  found = set()
  for child in psutil.Process().children():
    with contextlib.suppress(psutil.NoSuchProcess):
      if child.status() != psutil.STATUS_ZOMBIE:
        found.add(child.pid)
  return found


@pytest.mark.skipif(sys.platform != 'linux', reason='needs the kernel to tell the worker')
def test_a_fork_server_that_died_is_replaced_by_the_one_in_waiting():
  others = fork_servers()
  with Pool(2, **LIMITS) as pool:
    first, = set(pools.parents(started(pool, 2)))
    eventually(lambda: len(fork_servers() - others) == 2)
    second, = fork_servers() - others - {first}
    futures = [pool.submit(job(str(i), str(i))) for i in range(500)]
    os.kill(first, signal.SIGKILL)
    assert [f.result(WAIT_S).status for f in futures] == ['correct'] * 500
    eventually(lambda: pools.parents(pool.pids()) == [second] * 2)
    eventually(lambda: len(fork_servers() - others) == 2)
  assert fork_servers() == others


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_fork_server_has_one_thread_and_so_may_fork(pool):
  its_pid, = pools.parents(started(pool))
  assert os.listdir(f'/proc/{its_pid}/task') == [str(its_pid)]


def test_a_pool_may_be_closed_before_it_is_loaded():
  others = fork_servers()
  pool = Pool(2, **LIMITS)
  future = pool.submit(job('5'))
  pool.close()
  assert future.done() and fork_servers() == others


def test_workers_that_cannot_start_make_errors_that_say_why(monkeypatch):
  monkeypatch.setattr(fork_server.sys, 'executable', '/bin/false')
  with Pool(1, **LIMITS) as pool:
    verdict = pool.submit(job('5')).result(WAIT_S)
  assert verdict.status == 'error' and 'no worker could be started' in verdict.detail


def test_the_pool_is_full_when_as_many_wait_as_may():
  with Pool(1, **(LIMITS | dict(queue=3))) as pool:
    os.kill(started(pool)[0], signal.SIGSTOP)
    futures = [pool.submit(job('5'))]
    eventually(lambda: pool.stats()['in_flight'] == 1)
    assert not pool.full
    futures += [pool.submit(job('5')) for _ in range(3)]
    assert pool.full and pool.stats()['queue_depth'] == 3
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert [f.result(WAIT_S).status for f in futures] == ['correct'] * 4
    assert not pool.full


def test_the_language_bonus_comes_through_the_worker_and_through_a_timeout(monkeypatch):
  rewards = REWARDS | dict(language=0.1)
  text = 'We add two and three, which gives five in all of them.'
  one = job('5') | dict(response=rf'<think>{text}</think>\boxed{{5}}')
  with Pool(1, **(LIMITS | dict(rewards=rewards, timeout_s=1.5))) as pool:
    assert pool.submit(one).result(WAIT_S).parts['language'] == 0.1
    os.kill(pool.pids()[0], signal.SIGSTOP)
    monkeypatch.setattr(process.Process, 'cpu_s', lambda self: time.monotonic())
    cut_short = pool.submit(one).result(WAIT_S)
  assert (cut_short.status, cut_short.parts['language']) == ('timeout', 0.1)
  assert cut_short.seconds >= 1.5


def test_a_check_that_got_no_processor_is_tried_again_with_nothing_beside_it(monkeypatch):
  """The first attempts all pass their wall time, as on a machine with too many workers."""
  lock, inside, seen, tried = threading.Lock(), [0], [], collections.Counter()
  verdict = Verdict('correct', 0.0, dict.fromkeys(reward.PARTS, 0.0))
  def exchange(self, process, task):
    box, code = task['response'], task['domain'] == 'code'
    with lock:
      tried[box] += 1
      inside[0] += 1
      again = tried[box] > 1
    time.sleep(0.005)
    with lock:
      seen.append((again, inside[0]))
      inside[0] -= 1
    if not again and not code:
      raise TimeoutError
    return dict(verdict=dataclasses.asdict(verdict))
  monkeypatch.setattr(Pool, '_exchange', exchange)
  monkeypatch.setattr(Pool, '_ready', lambda self, worker_id: None)
  with Pool(4, **LIMITS) as pool:
    futures = [pool.submit(job(str(i))) for i in range(12)]
    futures += [pool.submit(program(str(i))) for i in range(12)]
    assert all(future.result(WAIT_S).status == 'correct' for future in futures)
  assert [number for again, number in seen if again] == [1] * 12
  assert max(number for again, number in seen if not again) > 1


def test_times_are_kept_by_domain(pool):
  started(pool)
  stats = pool.stats()
  assert stats['workers'] == 1
  assert {'queue_depth', 'in_flight', 'done', 'restarts', 'errors', 'timeouts',
          'memory'} <= set(stats)
  for name in ('latency_p50_s', 'latency_p99_s', 'service_p50_s', 'math_latency_p99_s'):
    assert 0 < stats[name] < WAIT_S
  assert stats['service_p50_s'] <= stats['latency_p50_s']


def test_killing_workers_at_random_loses_nothing_and_judges_nothing_twice():
  seen, rng = collections.Counter(), random.Random(0)
  with Pool(2, **LIMITS) as pool:
    started(pool, 2)
    futures = [pool.submit(job(str(i), str(i))) for i in range(3000)]
    for i, future in enumerate(futures):
      future.add_done_callback(lambda f, i=i: seen.update([(i, f.result().answer)]))
    for _ in range(12):
      time.sleep(rng.random() * 0.2)
      if pids := pool.pids():
        with contextlib.suppress(ProcessLookupError):     # It may have been replaced just now.
          os.kill(rng.choice(pids), signal.SIGKILL)
    verdicts = [f.result(WAIT_S) for f in futures]
    stats = pool.stats()
  assert seen == collections.Counter((i, str(i)) for i in range(3000))
  assert [v.status for v in verdicts] == ['correct'] * 3000
  assert (stats['queue_depth'], stats['in_flight']) == (0, 0)


def test_close_leaves_no_process_and_cancels_what_waits():
  pool = Pool(2, **LIMITS)
  pids = started(pool, 2)
  for pid in pids:
    os.kill(pid, signal.SIGSTOP)
  futures = [pool.submit(job('5')) for _ in range(10)]
  pool.close()
  pool.close()
  assert not any(map(alive, pids))
  assert all(f.done() for f in futures)
  with pytest.raises(RuntimeError, match='closed'):
    pool.submit(job('5'))


@pytest.mark.skipif(sys.platform != 'linux', reason='needs the kernel to tell the worker')
def test_workers_die_with_a_parent_that_is_killed():
  code = (
      'import os, signal\n'
      'from magistral_jax.verifiers.workers.pool import Pool\n'
      f'pool = Pool(1, **{LIMITS!r})\n'
      f'pool.submit({job("5")!r}).result({WAIT_S})\n'
      'pid, = pool.pids()\n'
      'print(pid, flush=True)\n'
      'os.kill(os.getpid(), signal.SIGKILL)\n')
  found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                         timeout=WAIT_S, check=False,
                         env=os.environ | dict(PYTHONPATH=os.pathsep.join(sys.path)))
  assert found.returncode == -signal.SIGKILL, found.stderr
  eventually(lambda: not alive(int(found.stdout)))


def test_works_off_the_main_thread_and_loads_no_jax(pool):
  import concurrent.futures as cf
  with cf.ThreadPoolExecutor(2) as threads:
    futures = list(threads.map(lambda _: pool.submit(job(r'\sqrt{25}')), range(4)))
  assert [f.result(WAIT_S).status for f in futures] == ['correct'] * 4
  code = ('import sys; from magistral_jax.verifiers import reward, role\n'
          f'reward.score({job("5")!r}, **{REWARDS!r})\n'
          'assert not {"jax", "jaxlib"} & set(sys.modules)\n'
          'assert "sympy" not in sys.modules, "a plain number needs no algebra"')
  subprocess.run([sys.executable, '-c', code], check=True, timeout=WAIT_S,
                 env=os.environ | dict(PYTHONPATH=os.pathsep.join(sys.path)))


@pytest.mark.parametrize('workers, change, words', [
    (0, {}, 'runtime.verifier_workers is 0'),
    (1, dict(timeout_s=0), 'verifiers.timeout_s is 0'),
    (1, dict(memory_mb=10), 'raise verifiers.memory_mb'),
    (1, dict(rewards=REWARDS | dict(correct=-1)), 'verifiers.correct is -1'),
])
def test_settings_that_cannot_work_are_named(workers, change, words):
  with pytest.raises(ValueError, match=words):
    Pool(workers, **(LIMITS | change))


def test_a_job_of_an_unknown_domain_is_refused_at_the_door(pool):
  with pytest.raises(ValueError, match="'chess'"):
    pool.submit(job('5') | dict(domain='chess'))
