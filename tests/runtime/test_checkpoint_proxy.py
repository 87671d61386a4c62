"""The checkpoints of a trainer of several processes: those that were not written are counted."""
import types

import pytest

from magistral_jax.orchestration.roles import Lost

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime.checkpoint_proxy import RemoteCheckpoints  # noqa: E402


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

  def latest(self):
    return max(self.disk, default=None)

  def save(self, record, metric):
    self.wait()
    self._failed += self.full
    self._writing = None if self.full else record['step']
    return not self.full, self._failed

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
