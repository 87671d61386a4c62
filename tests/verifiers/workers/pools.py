"""Shared by the tests of the pool: jobs, and waiting for its processes."""
import contextlib
import time

import psutil

REWARDS = dict(format=0.1, correct=0.9, length_max=0, length_cache=0, length_penalty=0.1,
               language=0.0, code_reward='all')
# Far more than the 2 s that a verdict may take: on a busy machine only a true hang times out.
LIMITS = dict(timeout_s=60.0, memory_mb=1024, queue=10**6, language_model='', rewards=REWARDS,
              sandbox='bubblewrap', test_timeout_s=4.0, test_memory_mb=300)
WAIT_S = 120.0            # Deadline of events that must come, however loaded the machine is.


def job(box, answer='5'):
  return dict(response=f'<think>a</think>\\boxed{{{box}}}', answer=answer, domain='math',
              n_tokens=9, language='en', problem='2+3=?')


def alive(pid):
  try:
    with open(f'/proc/{pid}/stat') as f:
      return f.read().rsplit(')', 1)[1].split()[0] != 'Z'
  except (FileNotFoundError, ProcessLookupError):
    return False


def eventually(condition):
  deadline = time.monotonic() + WAIT_S
  while not condition():
    assert time.monotonic() < deadline, 'waited in vain'
    time.sleep(0.01)


def started(pool, workers=1):
  """Process ids of the workers, once all of them run and one has judged a job."""
  assert pool.submit(job('5')).result(WAIT_S).status == 'correct'
  eventually(lambda: len(pool.pids()) == workers)
  return pool.pids()


def parents(pids):
  """Process ids of the parents of these processes; fewer if some have just ended."""
  found = []
  for pid in pids:
    with contextlib.suppress(psutil.NoSuchProcess):
      found.append(psutil.Process(pid).ppid())
  return found


TESTS = dict(kind='stdin', language='python', checker='tokens', tolerance=0.0,
             cases=[dict(stdin='2 3', stdout='5'), dict(stdin='4 5', stdout='9')])


def program(source):
  return dict(response=source, bare=True, tests=TESTS, domain='code', n_tokens=9, language='en',
              problem='Add.')
