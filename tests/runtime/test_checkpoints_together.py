"""A save of several trainer processes ends in all of them, whatever the disk of one does."""
import concurrent.futures
import itertools
import os
import threading
import time
import types

import jax
import jax.numpy as jnp
import pytest

from magistral_jax.models.formats import committed
from magistral_jax.trainer import checkpoint, checkpoint_writer
from magistral_jax.trainer.state import TrainState

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime.checkpoint_proxy import RemoteCheckpoints  # noqa: E402

LONG_S = 60.0


class Disk:
  """Stands for the writer of arrays of one process: what it writes, and how it fails.

  Args:
    at_once: an error before the background begins.
    later: its error in the background.
  """

  def __init__(self):
    self.at_once = self.later = None
    self.goes_on, self.gone, self.joined = threading.Event(), [], 0
    self.goes_on.set()

  async def async_save(self, path, args):
    if self.at_once:
      raise self.at_once
    files = [path / f'shard.{id(self)}.{number}' for number in range(2)]
    done = concurrent.futures.Future()
    threading.Thread(target=self._write, args=(files, done, self.later), daemon=True).start()
    return [done]

  def _write(self, files, done, error):
    files[0].write_text('begun')
    if error:
      done.set_exception(error)
      return
    self.goes_on.wait(LONG_S)
    self.gone += [file for file in files[:1] if not file.exists()]
    if not self.gone:
      files[1].write_text('ended')
    done.set_result(None)

  def finalize(self, path):
    self.joined = len(list(path.iterdir()))


class Process:
  """A trainer process as far as it saves; `runtime/actors.py` without the cluster."""

  def __init__(self, folder):
    self._folder = folder

  def write(self, name, record, metric):
    state = TrainState({'embed': jnp.zeros(2)}, (), jnp.zeros((), jnp.int32))
    return self._folder.write(name, state, record, metric)

  def wait(self):
    self._folder.wait()
    return self._folder.failed_saves

  def __getattr__(self, name):
    return getattr(self._folder, name)


@pytest.fixture
def disks(monkeypatch):
  """Those of the processes that `together` makes."""
  made = []
  def handler():
    made.append(Disk())
    return made[-1]
  monkeypatch.setattr(checkpoint_writer.ocp, 'StandardCheckpointHandler', handler)
  return made


@pytest.fixture
def together(tmp_path, disks, monkeypatch):
  """Makes two processes that save into one folder, and their driver's view of it."""
  def make(*patience_s):
    processes = []
    for number, seconds in enumerate(patience_s or [LONG_S] * 2):
      monkeypatch.setattr(jax, 'process_index', lambda number=number: number)
      monkeypatch.setattr(jax, 'process_count', lambda: 2)
      processes.append(Process(checkpoint.CheckpointFolder(
          tmp_path, keep=2, patience_s=seconds)))
      del disks[number + 1:]       # The folder itself has another, to read.
    gang = types.SimpleNamespace(actors=tuple(processes), all=lambda method, folder, keep, *args: [
        getattr(process, method)(*args) for process in processes])
    return processes, RemoteCheckpoints(gang, str(tmp_path), 2)
  return make


def save(checkpoints, step):
  return checkpoints.save(types.SimpleNamespace(version=step), dict(step=step), None)


FAILURES = {
    'no room': OSError(28, 'No space left on device'),
    'the same of arrays': ValueError("INTERNAL: Error writing [source='os_error_code=27']"),
    'no file': ValueError('NOT_FOUND: Error reading Byte range [0, 122) of local file "d/694f"'),
    'another type': RuntimeError('ABORTED: the manifest has changed'),
    'no answer of a mount': TimeoutError(110, 'Connection timed out'),
}


@pytest.mark.parametrize('unlucky', [0, 1])
@pytest.mark.parametrize('when, what', [
    ('at_once', 'no room'), ('at_once', 'the same of arrays'),
    ('at_once', 'no answer of a mount'), *[('later', what) for what in FAILURES]])
def test_a_disk_that_fails_one_process_costs_that_save_alone(
    tmp_path, together, disks, unlucky, when, what):
  _, checkpoints = together()
  assert save(checkpoints, 1)
  setattr(disks[unlucky], when, FAILURES[what])
  assert save(checkpoints, 2) == (when == 'later')
  checkpoints.wait()
  assert checkpoints.latest() == 1 and checkpoints.failed_saves == 1
  assert not os.listdir(tmp_path / '2')
  setattr(disks[unlucky], when, None)
  assert save(checkpoints, 3)
  checkpoints.wait()
  assert checkpoints.latest() == 3 and checkpoints.failed_saves == 1
  assert disks[0].joined == 4 and sorted(os.listdir(tmp_path)) == ['1', '3']


@pytest.mark.parametrize('when', ['at_once', 'later'])
def test_no_process_takes_files_from_under_another(tmp_path, together, disks, when):
  """The one that still writes would take that for a disk that fails, or hang."""
  processes, checkpoints = together()
  setattr(disks[0], when, FAILURES['no room'])
  disks[1].goes_on.clear()
  saving = threading.Thread(target=save, args=(checkpoints, 1), daemon=True)
  saving.start()
  saving.join(0.3)                 # Long enough for a fault to show; a sound one shows nothing.
  disks[1].goes_on.set()
  saving.join(LONG_S)
  checkpoints.wait()
  assert not disks[1].gone
  assert [process.failed_saves for process in processes] == [1, 0]
  assert checkpoints.latest() is None and not os.listdir(tmp_path / '1')


def test_a_process_whose_disk_does_not_answer_holds_up_the_others_for_half_the_patience(
    together, disks, monkeypatch):
  processes, checkpoints = together(LONG_S, 0.01)
  disks[1].goes_on.clear()
  assert save(checkpoints, 1)
  # A sixth of the patience passes whenever the clock is looked at.
  clock = itertools.count(0, LONG_S / 6)
  monkeypatch.setattr(checkpoint_writer, 'time', types.SimpleNamespace(
      monotonic=lambda: next(clock), sleep=time.sleep))
  assert processes[0].wait() == 1 and next(clock) <= LONG_S
  with pytest.raises(TimeoutError, match='the disk does not answer'):
    processes[1].wait()
  assert checkpoints.latest() is None
  disks[1].goes_on.set()


def test_a_slow_disk_has_all_the_time_in_which_nobody_waits(tmp_path, together, disks):
  processes, checkpoints = together(0.01, 0.01)
  disks[1].goes_on.clear()
  assert save(checkpoints, 1)
  time.sleep(0.1)
  assert not committed.found(tmp_path)
  disks[1].goes_on.set()
  until = time.monotonic() + LONG_S
  while not committed.found(tmp_path) and time.monotonic() < until:
    time.sleep(0.01)
  assert checkpoints.latest() == 1 and not any(process.failed_saves for process in processes)
