"""The checkpoints of a trainer of several processes: those that were not written are counted."""
import types

import pytest

from magistral_jax.orchestration.roles import Lost
from tests import tiny

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import actors  # noqa: E402
from magistral_jax.runtime.checkpoint_proxy import Reading, RemoteCheckpoints  # noqa: E402


class Gang:
  """Processes that write steps 1, 2, ... to a disk that may be full, and may die."""

  def __init__(self):
    self.actors, self.disk, self.full, self.dead, self._failed = ('a',), [], False, False, 0
    self._writing = None

  def restart(self):
    self.actors, self.dead, self._failed, self._writing = (*self.actors, 'b'), False, 0, None

  def all(self, method, folder, keep, *args):
    if self.dead:
      raise Lost('trainer-0 died')
    return [getattr(self, method)(*args)]

  def steps(self):
    return self.disk

  def begin(self, version):
    self._failed += self.full
    return None if self.full or version in self.disk else str(version)

  def write(self, name, record, metric):
    self._writing = int(name)
    return True

  def give_up(self):
    pass

  def wait(self):
    if self._writing is not None:
      self.disk.append(self._writing)
    self._writing = None
    return self._failed


@pytest.fixture
def gang():
  return Gang()


def save(checkpoints, step):
  return checkpoints.save(types.SimpleNamespace(version=step), dict(step=step), None)


def test_a_full_disk_is_still_counted_when_other_processes_have_taken_over(gang):
  checkpoints = RemoteCheckpoints(gang, 'folder', 2)
  gang.full = True
  assert not save(checkpoints, 1)
  gang.full = False
  gang.restart()
  assert save(checkpoints, 2)
  checkpoints.wait()
  assert checkpoints.failed_saves == 1 and checkpoints.latest() == 2


def test_what_a_process_was_still_writing_when_it_died_is_counted(gang):
  checkpoints = RemoteCheckpoints(gang, 'folder', 2)
  assert save(checkpoints, 1) and save(checkpoints, 2)
  gang.restart()
  assert save(checkpoints, 2)
  checkpoints.wait()
  assert checkpoints.failed_saves == 1 and gang.disk == [1, 2]


def test_a_save_that_no_process_took_up_is_counted_and_a_wait_for_nothing_is_not(gang):
  checkpoints = RemoteCheckpoints(gang, 'folder', 2)
  assert save(checkpoints, 1)
  checkpoints.wait()
  gang.dead = True
  checkpoints.wait()
  assert checkpoints.failed_saves == 0
  assert not save(checkpoints, 2)
  gang.restart()
  assert save(checkpoints, 3)
  assert checkpoints.failed_saves == 1


class Keeping(Gang):
  """A gang whose processes keep the newest checkpoint and the one whose score is awaited."""
  awaiting = None

  def restart(self):
    super().restart()
    self.awaiting = None

  def await_score(self, version):
    self.awaiting = version

  def score(self, version, accuracy):
    self.awaiting = None
    return version in self.disk

  def wait(self):
    failed = super().wait()
    self.disk = [step for step in self.disk if step in (max(self.disk), self.awaiting)]
    return failed


@pytest.mark.parametrize('dies', ['before', 'after'])
def test_what_is_being_measured_stays_on_disk_when_other_processes_have_taken_over(dies):
  gang = Keeping()
  checkpoints = RemoteCheckpoints(gang, 'folder', 1)
  if dies == 'before':
    gang.dead = True
  checkpoints.await_score(1)
  if dies == 'before':
    gang.restart()
  assert save(checkpoints, 1)
  checkpoints.wait()
  if dies == 'after':
    gang.restart()
  for step in (2, 3):
    assert save(checkpoints, step)
    checkpoints.wait()
  assert gang.disk == [1, 3]
  assert checkpoints.score(1, 0.5)
  gang.restart()
  assert save(checkpoints, 4)
  checkpoints.wait()
  assert gang.disk == [4]


class Process:
  """One of several trainer processes, which sees some checkpoints and can read some of them.

  Args:
    readable: {step: its record}.
  """

  def __init__(self, readable, unreadable=()):
    self._readable, self._unreadable, self.version, self.aside = readable, unreadable, None, []
    self.begins = True

  def steps(self):
    return [*self._readable, *self._unreadable]

  def restored(self, step, changed):
    if step in self._unreadable:
      return Reading(damage='Input/output error')
    self.version = step
    return Reading(step, self._readable[step])

  def set_aside(self, steps):
    self.aside += steps

  def begin(self, version):
    self.given_up = False
    return str(version)

  def write(self, name, record, metric):
    return self.begins

  def give_up(self):
    self.given_up = True

  def wait(self):
    return int(not self.begins)


class Processes:
  """A gang of them, as one that cannot lose any."""

  def __init__(self, *processes):
    self.actors = self.processes = processes

  def all(self, method, folder, keep, *args):
    return [getattr(process, method)(*args) for process in self.processes]


A, B = dict(step=1), dict(step=2)


def test_all_processes_take_up_one_checkpoint_though_one_of_them_cannot_read_the_newest():
  """An error of reading that passes: without the driver's choice, shards of two steps mix."""
  gang = Processes(Process({1: A, 2: B}), Process({1: A}, unreadable=[2]))
  assert RemoteCheckpoints(gang, 'folder', 2).restore({}) == (1, A)
  assert [process.version for process in gang.processes] == [1, 1]
  assert gang.processes[0].aside == [2]


def test_a_checkpoint_that_one_process_does_not_see_is_not_taken_up(caplog):
  gang = Processes(Process({1: A, 2: B}), Process({1: A}))
  assert RemoteCheckpoints(gang, 'folder', 2).restore({}) == (1, A)
  assert 'see different checkpoints in folder: [[1, 2], [1]]' in caplog.text


@pytest.mark.parametrize('other', [Process({}), Process({3: A}), Process({2: A})])
def test_disks_that_differ_between_the_machines_of_the_trainer_are_an_error(other):
  gang = Processes(Process({2: B}), other)
  with pytest.raises(ValueError, match='mount one and the same disk'):
    RemoteCheckpoints(gang, 'folder', 2).restore({})


def test_none_that_all_can_read_is_an_error_and_nothing_is_set_aside():
  gang = Processes(Process({1: A}, unreadable=[2]), Process({2: B}, unreadable=[1]))
  with pytest.raises(ValueError, match='None of the 2 checkpoints'):
    RemoteCheckpoints(gang, 'folder', 2).restore({})
  assert not gang.processes[0].aside


def test_a_process_that_cannot_begin_to_write_is_not_waited_for():
  gang = Processes(Process({}), Process({}))
  checkpoints = RemoteCheckpoints(gang, 'folder', 2)
  assert save(checkpoints, 1) and checkpoints.failed_saves == 0
  gang.processes[1].begins = False
  assert not save(checkpoints, 2)
  assert gang.processes[0].given_up and checkpoints.failed_saves == 1


def trainer_process(monkeypatch, **overrides):
  """The actor of a trainer process, in this process, and the gang of it alone."""
  monkeypatch.setattr(actors.ray.util, 'get_node_ip_address', lambda: '127.0.0.1')
  monkeypatch.setattr(actors.device, 'DeviceLender', lambda *args: None)
  c = tiny.shrink(tiny.load(), **{'runtime.mode': 'ray', 'mesh.trainer.fsdp': 8,
                                  'trainer.microbatch_rows': 8} | overrides)
  process = actors.TrainerActor(c.to_json_best_effort())
  process.join('', 1, 0, 60.0)
  return process, types.SimpleNamespace(
      actors=(process,), all=lambda method, *args: [getattr(process, method)(*args)])


def test_a_trainer_process_says_why_it_cannot_take_up_a_checkpoint(tmp_path, monkeypatch):
  """It is no failure of the process, which would be started again for nothing."""
  process, gang = trainer_process(monkeypatch)
  process.new(False, {})
  checkpoints = RemoteCheckpoints(gang, str(tmp_path / 'checkpoints'), 2)
  for step in (1, 2):
    process._trainer.version = step
    assert checkpoints.save(process._trainer, dict(step=step), None)
  checkpoints.wait()
  assert checkpoints.latest() == 2 and checkpoints.failed_saves == 0
  assert not checkpoints.save(process._trainer, {}, None), 'it is there already'
  (tmp_path / 'checkpoints' / '2' / 'state' / '_METADATA').unlink()
  assert checkpoints.restore({})[1] == dict(step=1) and checkpoints.latest() == 1
  _, other = trainer_process(monkeypatch, **{'model.ffn_dim': 32})
  checkpoints = RemoteCheckpoints(other, checkpoints.folder, 2)
  with pytest.raises(ValueError, match='of shape .* restore the sections model'):
    checkpoints.restore({})
  assert checkpoints.latest() == 1
