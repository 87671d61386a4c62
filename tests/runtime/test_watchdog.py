"""The watchdog and the restart of the trainer, with handles that are no processes."""
import types

import pytest

from magistral_jax.orchestration.health import StoppedError
from magistral_jax.orchestration.roles import Lost

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import actor_handle  # noqa: E402
from magistral_jax.runtime.actor_handle import NotStarted, Watchdog  # noqa: E402
from magistral_jax.runtime.trainer_proxy import TrainerGang  # noqa: E402


@pytest.fixture
def clock(monkeypatch):
  now = [1.0]
  monkeypatch.setattr(actor_handle, 'time', types.SimpleNamespace(monotonic=lambda: now[0]))
  return now


class Handle:
  """Answers its greeting, and then as long as `alive`."""

  def __init__(self, name='sampler-0'):
    self.name, self.alive, self.seen, self.killed = name, True, None, []
    self.start('first')

  def start(self, name):
    self.actor = types.SimpleNamespace(
        name=name, ping=types.SimpleNamespace(remote=lambda: 'ping'))
    self.greeting = 'greeting'

  def arrived(self, reference):
    return reference == 'greeting' or self.alive

  def kill(self, actor=None):
    self.killed.append((actor or self.actor).name)


def test_the_watchdog_kills_the_actor_that_it_asked_and_not_the_one_that_replaced_it(clock):
  handle, dog, asked = Handle(), Watchdog(5.0), {}
  for _ in range(3):
    dog._look(handle, asked)
  handle.alive = False
  clock[0] += 6.0
  # It is replaced by its own thread while the watchdog looks whether it answers.
  arrived = handle.arrived
  handle.arrived = lambda reference: handle.start('second') or arrived(reference)
  dog._look(handle, asked)
  assert handle.killed == ['first']


def test_a_failure_at_one_actor_ends_the_watch_over_no_other(clock, caplog):
  broken, well = Handle('sampler-0'), Handle('sampler-1')
  def fail(reference):
    raise OSError('no more files')
  broken.arrived = fail
  dog = Watchdog(5.0)
  dog.add(broken)
  dog.add(well)
  looks = iter([False] * 4 + [True])
  dog._ended = types.SimpleNamespace(wait=lambda seconds: next(looks))
  dog._run()
  assert well.seen == clock[0] and 'failed at sampler-0' in caplog.text
  assert 'no more files' in caplog.text


class TrainerHandle:
  """Ready after so many failures."""

  def __init__(self, failures):
    self.name, self.failures, self.did = 'trainer-0', list(failures), []

  def wait_ready(self, timeout_s, check):
    check()
    if self.failures:
      raise self.failures.pop(0)

  def kill(self, actor=None):
    self.killed = True

  def restart(self, error):
    self.killed = False
    self.did.append('restart')
    if self.did.count('restart') > 2:
      raise RuntimeError('lost 3 times in a row')

  def replace(self, error):
    self.killed = False
    self.did.append('replace')

  def call(self, method, *args, timeout_s):
    return 'here:1'

  def ask(self, method, *args):
    return method

  def arrivals(self, references, wait_s):
    return [True] * len(references)

  def get(self, reference, timeout_s):
    return (0, 1)


def test_waiting_for_a_node_is_no_loss_of_the_trainer():
  handle = TrainerHandle([NotStarted('no node')] * 20)
  TrainerGang([handle], deadline_s=1.0, microbatch_rows=1).restart(Lost('preempted'))
  assert handle.did == ['restart'] + ['replace'] * 20
  other = TrainerHandle([Lost('it failed while it was built')] * 20)
  with pytest.raises(RuntimeError, match='3 times in a row'):
    TrainerGang([other], deadline_s=1.0, microbatch_rows=1).restart(Lost('preempted'))


def test_a_request_to_stop_ends_the_wait_for_a_node_of_the_trainer():
  """Or the failure of another role: nothing else would ever end it."""
  handle = TrainerHandle([NotStarted('no node')] * 20)
  gang = TrainerGang([handle], deadline_s=1.0, microbatch_rows=1,
                     stopping=lambda: handle.did.count('replace') == 3)
  with pytest.raises(StoppedError, match='goes on from the newest checkpoint'):
    gang.restart(Lost('preempted'))
  assert handle.killed and handle.did == ['restart', 'replace', 'replace', 'replace']
