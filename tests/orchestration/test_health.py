"""Heartbeats, the first failure, deadlines, requests to stop."""
import ast
import os
import pathlib
import signal
import threading

import pytest

from magistral_jax.orchestration import health as health_module
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.roles import RoleStatus


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands until it is set."""
  now = [100.0]
  monkeypatch.setattr(health_module.time, 'monotonic', lambda: now[0])
  return now


def test_only_time_that_is_not_spent_waiting_is_busy(clock):
  health = Health(60.0)
  for at, sign, what in (
      (100, health.waiting, 'a batch'), (103, health.busy, 'training'),
      (110, health.waiting, 'a batch'), (111, health.busy, 'training'),
      (113, health.busy, 'waiting on purpose: the word means nothing'),
      (114, health.waiting, 'a batch')):
    clock[0] = at
    sign('trainer', what)
  assert health.busy_s == dict(trainer=7 + 2 + 1)
  clock[0] = 120
  assert health.role_status() == dict(
      trainer=RoleStatus('waiting for a batch', heard_s=6, waiting=True))


def test_the_first_failure_is_the_one_that_is_told():
  health = Health(60.0)
  health.check()
  with health.watching('sampler-0'):
    pass
  assert not health.stopping.is_set()
  with health.watching('verifier'):
    raise OSError('disk full')
  with health.watching('sampler-0'):
    raise ValueError('because of that')
  assert health.stopping.is_set()
  with pytest.raises(RuntimeError, match='The verifier failed: OSError: disk full') as caught:
    health.check()
  assert isinstance(caught.value.__cause__, OSError)


def test_a_thread_that_exits_is_a_failure_too():
  health = Health(60.0)
  with health.watching('sampler-0'):
    raise SystemExit(3)
  with pytest.raises(RuntimeError, match='The sampler-0 failed: SystemExit: 3'):
    health.check()


def test_a_wait_names_every_role_once_the_deadline_has_passed(clock):
  health = Health(60.0)
  health.waiting('verifier', 'completions')
  clock[0] = 130.0
  health.busy('sampler-0', 'decoding 8 sequences')
  clock[0] = 170.0
  health.overdue('batch', 59.9)
  with pytest.raises(TimeoutError) as caught:
    health.overdue('batch', 60.0)
  assert str(caught.value) == (
      'No batch for 60 s (runtime.deadline_s). sampler-0: decoding 8 sequences, seen 40 s ago; '
      'verifier: waiting for completions, seen 70 s ago.')


def test_progress_starts_the_deadline_anew(clock):
  health = Health(60.0)
  clock[0] += 59.0
  health.progress()
  clock[0] += 2.0
  health.overdue('batch', 61.0)
  clock[0] += 60.0
  with pytest.raises(TimeoutError, match='No batch for 62 s'):
    health.overdue('batch', 121.0)


def test_no_deadline_looks_at_a_clock_that_can_be_set():
  """`time.time` and `datetime` jump when a clock is set right; `time.monotonic` does not."""
  package = pathlib.Path(health_module.__file__).parents[1]
  # Events of TensorBoard and answers of the sampler host carry the time of day.
  dated = {package / 'tensorboard.py', package / 'serving/dates.py'}
  for path in {*package.rglob('*.py')} - dated:
    for node in ast.walk(ast.parse(path.read_text())):
      name = ast.unparse(node) if isinstance(node, ast.Attribute) else ''
      assert name not in ('time.time', 'time.time_ns', 'datetime.now', 'datetime.utcnow'), path


@pytest.fixture
def handlers():
  """Restores what signals do."""
  before = {number: signal.getsignal(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
  yield
  signal.set_wakeup_fd(-1)
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_or_a_closed_terminal_saves_and_the_second_ends_at_once(handlers, number):
  signal.signal(number, signal.SIG_DFL)     # These tests, too, may run under nohup.
  health, said = Health(60.0), []
  health_module.stop_on_signals(health, said.append)
  os.kill(os.getpid(), number)
  assert health.stopping.is_set() and len(said) == 1
  with pytest.raises(KeyboardInterrupt):
    os.kill(os.getpid(), number)


def test_a_request_to_stop_is_told_while_the_main_thread_runs_no_python(handlers):
  health, told, seen = Health(60.0), threading.Event(), []
  health_module.stop_on_signals(health, lambda _: told.set())
  def ask():
    # The handler of a signal that another thread gets waits for the main thread.
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    seen.append(told.wait(30.0))
  asking = threading.Thread(target=ask)
  asking.start()
  asking.join()
  assert seen == [True] and health.stopping.is_set()


def test_a_run_that_is_to_outlive_its_terminal_does(handlers):
  """Under nohup, which has a closed terminal ignored."""
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  health = Health(60.0)
  health_module.stop_on_signals(health, pytest.fail)
  os.kill(os.getpid(), signal.SIGHUP)
  assert not health.stopping.is_set()
