"""A process that is killed at any point of a save leaves the checkpoint before or the new one."""
import builtins
import contextlib
import errno
import os
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest

from magistral_jax import durable
from magistral_jax.models.formats import committed
from magistral_jax.trainer import checkpoint, checkpoint_writer

CHANGES = {'replace', 'remove', 'rename', 'mkdir', 'makedirs', 'fsync'}


class Killed(BaseException):
  """The process ends here: nothing that it would do afterwards is done."""


class Disk:
  """Lets so many changes through and ends the process at the next, before or in it.

  Args:
    full: there is no room for that one change, and the process goes on.
  """

  def __init__(self, monkeypatch, left, *, full=False):
    self.left, self.done, self.full = left, [], full
    at = lambda module: types.SimpleNamespace(
        **{name: value for name, value in vars(module).items() if name not in CHANGES},
        **{name: self.counted(f'{module.__name__}.{name}', vars(module)[name])
           for name in CHANGES & vars(module).keys()})
    removing = types.SimpleNamespace(rmtree=self.counted('rmtree', shutil.rmtree, self.half_tree))
    for module in (durable, committed, checkpoint_writer):
      monkeypatch.setattr(module, 'os', at(os))
      monkeypatch.setattr(module, 'open', self.open, raising=False)
    monkeypatch.setattr(committed, 'shutil', removing)

  def counted(self, name, change, half=lambda *args: None):
    def call(*args, **kwargs):
      if self.left <= 0:
        if self.left == 0:
          half(*args)
        self.left = 10 ** 6 if self.full else -1
        raise OSError(errno.ENOSPC, 'No space left on device') if self.full else Killed(name)
      self.left -= 1
      self.done.append(name)
      return change(*args, **kwargs)
    return call

  def open(self, path, mode='r', **kwargs):
    if mode == 'r':
      return builtins.open(path, **kwargs)
    # A file that was being written is there, and empty.
    return self.counted(f'open {os.path.basename(path)}', builtins.open,
                        lambda path, mode: builtins.open(path, mode).close())(path, mode, **kwargs)

  @staticmethod
  def half_tree(folder):
    """What a removal that was interrupted leaves behind: every other file."""
    files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    for path in sorted(files)[::2]:
      os.remove(path)


def state_of(template, step):
  return jax.tree.map(lambda x: (x + step).astype(x.dtype), template)


def opened(folder):
  return checkpoint.CheckpointFolder(folder, keep=1, patience_s=60.0)


def save(folder, template, step):
  store = opened(folder)
  store.save(step, state_of(template, step), dict(step=step), None)
  store.wait()


def restored(folder, template):
  """The record of the newest readable checkpoint, whose state is that of the same step."""
  store = opened(folder)
  abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template)
  (state, record), damaged = checkpoint.newest_readable(
      'folder', store.steps(), lambda step: store.restore(step, abstract))
  assert not damaged
  jax.tree.map(np.testing.assert_array_equal, state, state_of(template, record['step']))
  return record['step']


def test_killed_at_any_change_of_a_save_the_old_or_the_new_checkpoint_is_whole(
    toy, tmp_path, monkeypatch):
  template, _ = toy.build(toy.mesh())
  base = tmp_path / 'base'
  save(base, template, 1)
  found, changes = [], 0
  while True:
    folder = shutil.copytree(base, tmp_path / str(changes))
    with monkeypatch.context() as patch:
      disk = Disk(patch, changes)
      with contextlib.suppress(Killed):
        save(folder, template, 2)
    found.append(restored(folder, template))
    if disk.left >= 0:
      break
    changes += 1
  assert found == sorted(found) and found[0] == 1 and found[-1] == 2 and found.count(2) > 1
  assert {name.split('.')[-1] for name in disk.done} >= {'replace', 'fsync', 'rmtree', 'makedirs'}
  # Whatever was left behind, the next save works and clears it away.
  for killed in (found.index(2) - 1, changes - 1):
    folder = tmp_path / str(killed)
    save(folder, template, 3)
    assert restored(folder, template) == 3 and os.listdir(folder) == ['3']


def test_a_full_disk_at_any_change_of_a_save_costs_that_save_and_the_next_one_works(
    toy, tmp_path, monkeypatch, caplog):
  template, _ = toy.build(toy.mesh())
  base, changes, failed = tmp_path / 'base', 0, []
  save(base, template, 1)
  while True:
    folder = shutil.copytree(base, tmp_path / str(changes))
    store = opened(folder)
    with monkeypatch.context() as patch:
      disk = Disk(patch, changes, full=True)
      store.save(2, state_of(template, 2), dict(step=2), None)
      store.wait()
    failed.append(store.failed_saves)
    assert store.latest() == 2 - store.failed_saves
    # What cannot count takes no room, which the files of the run need.
    assert store.latest() == 2 or files(folder) == files(folder / '1')
    if disk.left < 10 ** 5:
      break
    # There is room again: the same step is saved if it was not.
    assert store.save(2, state_of(template, 2), dict(step=2), None) == bool(store.failed_saves)
    store.wait()
    whole = committed.found(folder)[2]
    assert store.latest() == 2 and not committed.fault(whole)
    changes += 1
  # The removal of older ones, at the end, costs no checkpoint.
  assert failed == sorted(failed, reverse=True) and failed[0] == 1 and failed[-2:] == [0, 0]
  assert 'No space left on device' in caplog.text


def finished(directory, step):
  """A checkpoint of a few small files."""
  folder = committed.new_folder(directory, step)
  for name in ('state/_METADATA', 'state/d/1', 'state/d/2', 'record.json'):
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    with open(os.path.join(folder, name), 'w') as file:
      file.write(f'{name} of {step}')
  committed.commit(folder)
  return folder


def files(folder):
  return sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)


@pytest.mark.parametrize('how', ['missing', 'empty', 'half'])
def test_a_checkpoint_that_lacks_any_part_of_any_file_is_damaged_or_not_there(tmp_path, how):
  folder = finished(tmp_path, 1)
  assert committed.fault(folder) is None and len(files(folder)) == 5
  for path in files(folder):
    whole = pathlib.Path(path).read_bytes()
    if how == 'missing':
      os.remove(path)
    else:
      with open(path, 'wb') as file:
        file.write(whole[:len(whole) // 2] if how == 'half' else b'')
    assert not committed.found(tmp_path) or committed.fault(folder), path
    with open(path, 'wb') as file:
      file.write(whole)
  assert committed.fault(folder) is None


def test_a_checkpoint_with_a_flipped_bit_in_a_file_that_checks_nothing_itself_is_damaged(tmp_path):
  folder = finished(tmp_path, 1)
  record = pathlib.Path(folder, 'record.json')
  for path in map(pathlib.Path, files(folder)):
    if path.parent.name == 'd':        # Orbax has checksums of these.
      continue
    whole = path.read_bytes()
    for position in range(len(whole)):
      for bit in (1, 4):               # A digit stays a digit, mostly.
        flipped = bytearray(whole)
        flipped[position] ^= bit
        path.write_bytes(flipped)
        assert committed.fault(folder) or path.name == 'whole.json', (path, position)
    path.write_bytes(whole)
  assert committed.fault(folder) is None
  record.write_text(record.read_text().replace('1', '2'))
  assert committed.fault(folder) == 'record.json has other content than it had'


def test_files_may_appear_in_any_order_on_a_bucket_whole_json_says_when_all_are_there(tmp_path):
  source, names = finished(tmp_path / 'a', 1), files(tmp_path / 'a')
  rng = np.random.default_rng(0)
  for trial in range(20):
    directory, order = tmp_path / f'b{trial}', rng.permutation(len(names))
    for count, index in enumerate(order, 1):
      target = names[index].replace(str(tmp_path / 'a'), str(directory))
      os.makedirs(os.path.dirname(target), exist_ok=True)
      shutil.copy(names[index], target)
      readable = [folder for folder in committed.found(directory).values()
                  if not committed.fault(folder)]
      assert bool(readable) == (count == len(names))
  assert not committed.fault(source)


def test_a_removal_that_was_killed_leaves_no_damaged_checkpoint(tmp_path, monkeypatch):
  for changes in range(3):
    directory = tmp_path / str(changes)
    finished(directory, 1)
    folder = finished(directory, 2)
    with monkeypatch.context() as patch:
      disk = Disk(patch, changes)
      with contextlib.suppress(Killed):
        committed.remove(folder)
    there = committed.found(directory)
    assert list(there) == ([1, 2] if changes == 0 else [1])
    assert not any(map(committed.fault, there.values()))
    committed.sweep(str(directory), besides='')
    assert sorted(os.listdir(directory)) == sorted(map(str, there))
  assert disk.left == 0


def test_a_damaged_checkpoint_is_kept_aside_and_its_step_can_be_saved_again(tmp_path):
  folder = finished(tmp_path, 2)
  os.remove(os.path.join(folder, 'state/_METADATA'))
  assert 'state/_METADATA cannot be found' in committed.fault(folder)
  committed.set_aside(folder)
  again = finished(tmp_path, 2)
  committed.sweep(str(tmp_path), besides='')
  assert committed.found(tmp_path) == {2: again} and os.path.exists(folder)
  # A further attempt takes its place, as the newest of that step.
  newest = finished(tmp_path, 2)
  assert committed.found(tmp_path) == {2: newest} and os.path.basename(newest) == '2.2'


def test_folders_of_another_layout_are_refused_and_not_deleted(tmp_path):
  folder = finished(tmp_path, 3)
  committed.check_layout(str(tmp_path))
  os.remove(os.path.join(folder, 'whole.json'))
  pathlib.Path(folder, '_CHECKPOINT_METADATA').touch()
  with pytest.raises(ValueError, match='3 was not saved by this version.*--workdir'):
    committed.check_layout(str(tmp_path))


def test_a_file_that_is_replaced_is_the_old_or_the_new_one_wherever_that_stops(
    tmp_path, monkeypatch):
  path, found = tmp_path / 'experiment.json', []
  for changes in range(5):
    path.write_text('"old"')
    with monkeypatch.context() as patch:
      disk = Disk(patch, changes)
      with contextlib.suppress(Killed):
        durable.write_json(path, 'new')
    found.append(path.read_text().strip())
  assert found == ['"old"'] * 3 + ['"new"'] * 2 and disk.left == 0
