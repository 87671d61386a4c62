"""Runs resume from their newest readable checkpoint, on any mesh."""
import dataclasses
import errno
import gc
import os
import resource
import shutil

import chex
import jax
import numpy as np
import pytest

from magistral_jax.models.formats import committed, workdir
from magistral_jax.trainer import checkpoint


def described(tree):
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def opened(folder, *, keep, keep_every=0):
  return checkpoint.CheckpointFolder(folder, keep=keep, keep_every=keep_every, patience_s=60.0)


def restore(store, abstract):
  """As a run does: the newest that can be read; those that cannot are set aside."""
  store.wait()
  found, damaged = checkpoint.newest_readable(
      'the folder', store.steps(), lambda step: store.restore(step, abstract))
  store.set_aside(damaged)
  return found


@pytest.fixture
def saved(toy, tmp_path):
  """Folder in which five checkpoints were saved, two are kept, and number 1 is the best."""
  state, _ = toy.build(toy.mesh(4, 2))
  store = opened(tmp_path, keep=2)
  for step, metric in enumerate([.1, .9, .2, None, .3]):
    assert store.save(step, state, {'step': step, 'ledger': [1, [2, 3]]}, metric)
  store.wait()
  yield store, state, tmp_path
  store.close()


def damage(folder, how):
  if how == 'record':
    (folder / 'record.json').write_text('{"step":')
  elif how == 'missing':
    shutil.rmtree(folder / 'state')
  for file in folder.glob('state/**/d/*'):
    data = bytearray(file.read_bytes())
    if how == 'truncated':
      file.write_bytes(data[:len(data) // 2])
    elif how == 'flipped':
      data[len(data) // 2] ^= 0xff
      file.write_bytes(data)


def test_round_trip_keeps_values_shardings_and_record(saved):
  store, state, _ = saved
  restored, record = restore(store, described(state))
  chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(state))
  same = lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim)
  assert jax.tree.all(jax.tree.map(same, restored, state))
  assert record == {'step': 4, 'ledger': [1, [2, 3]]}


def test_restores_onto_another_mesh(saved, toy):
  store, state, _ = saved
  other, _ = toy.build(toy.mesh(2, 1))
  restored, _ = restore(store, described(other))
  chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(state))
  assert len(restored.params['mix'].sharding.device_set) == 2


def test_keeps_the_last_and_the_best(saved):
  store, _, folder = saved
  kept = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
  assert (kept, store.latest(), store.best()) == ([1, 3, 4], 4, 1)


def test_the_best_stays_the_best_in_a_resumed_run(saved):
  _, state, folder = saved
  store = opened(folder, keep=1)
  store.save(5, state, {}, 0.5)
  store.wait()
  kept = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
  assert (kept, store.best()) == ([1, 5], 1)
  store.close()


def on_disk(folder):
  return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def save_unscored(store, state, *steps):
  for step in steps:
    assert store.save(step, state, {'step': step}, None)
  store.wait()


def test_a_score_that_comes_late_belongs_to_the_checkpoint_that_was_measured(toy, tmp_path):
  state, _ = toy.build(toy.mesh())
  store = opened(tmp_path, keep=1)
  store.await_score(6)
  save_unscored(store, state, 3, 6, 9, 12)
  assert on_disk(tmp_path) == [6, 12] and store.best() is None
  assert store.score(6, 0.9) and store.best() == 6
  # A policy that collapses afterwards changes nothing: not its weights, not its score.
  store.await_score(15)
  save_unscored(store, state, 15, 18)
  assert store.score(15, 0.1)
  save_unscored(store, state, 21)
  assert on_disk(tmp_path) == [6, 21] and store.best() == 6
  again = opened(tmp_path, keep=1)
  assert again.best() == 6
  again.close()
  store.close()


def test_a_score_that_the_disk_refuses_is_written_later_and_keeps_its_checkpoint(
    tmp_path, monkeypatch):
  store = opened(tmp_path, keep=1)
  for step in (1, 2, 3):
    committed.commit(committed.new_folder(str(tmp_path), step))
  store.score(1, 0.5)
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')
  with monkeypatch.context() as patch:
    patch.setattr(workdir, 'write_score', full)
    assert store.score(2, 0.9)
    store._prune()
    assert store.steps() == [1, 2, 3]
  store.begin(4)
  assert store.best() == 2 and workdir.read_score(str(tmp_path), 2) == 0.9
  store._prune()
  assert store.steps() == [2, 3]


def test_of_equal_scores_the_earliest_is_the_best(toy, tmp_path):
  state, _ = toy.build(toy.mesh())
  store = opened(tmp_path, keep=3)
  save_unscored(store, state, 1, 2, 3)
  assert all(store.score(step, 0.5) for step in (2, 1, 3)) and store.best() == 1
  store.close()


def test_those_that_an_analysis_needs_stay_for_good_once_each(toy, tmp_path):
  state, _ = toy.build(toy.mesh())
  store = opened(tmp_path, keep=1, keep_every=4)
  save_unscored(store, state, 0, 2, 4, 6, 8, 9)
  assert on_disk(tmp_path) == [0, 4, 8, 9]
  # A run that was killed after update 9 had begun to save 12, and makes its updates again.
  committed.new_folder(tmp_path, 12)
  store = opened(tmp_path, keep=1, keep_every=4)
  assert not store.save(8, state, {}, None)
  save_unscored(store, state, 10, 12, 14)
  assert on_disk(tmp_path) == store.steps() == [0, 4, 8, 12, 14]
  # Of a run that keeps fewer from now on, the next save removes the others.
  store = opened(tmp_path, keep=1)
  save_unscored(store, state, 16)
  assert on_disk(tmp_path) == [16]
  store.close()


def test_a_score_of_weights_that_are_not_on_disk_changes_nothing(saved):
  store, state, _ = saved
  assert not store.score(2, 0.99) and store.best() == 1
  # Other weights under the number of a checkpoint that is gone have no score yet.
  save_unscored(store, state, 5)
  assert store.best() == 1


@pytest.mark.parametrize('content', ['', '{"val', '[]', 'null', '{"value": null}', '\x00'])
def test_a_damaged_score_is_no_score_and_costs_no_checkpoint(toy, tmp_path, content):
  state, _ = toy.build(toy.mesh())
  store = opened(tmp_path, keep=2)
  save_unscored(store, state, 1, 2)
  store.score(1, 0.9)
  store.close()
  (tmp_path / '1' / 'score.json').write_text(content)
  assert workdir.read_score(str(tmp_path), 1) is None


def test_nothing_saved_is_nothing_on_disk(tmp_path):
  store = opened(tmp_path / 'new', keep=1)
  assert store.steps() == [] and store.latest() is None and store.best() is None
  store.close()


def test_a_step_on_disk_is_left_as_it_is(saved):
  store, state, _ = saved
  assert not store.save(4, state, {'step': 'again'}, None)
  assert restore(store, described(state))[1]['step'] == 4


# Orbax abandons coroutines when a file cannot be read.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('how', ['record', 'missing', 'truncated', 'flipped'])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(saved, how, caplog):
  _, state, folder = saved
  damage(folder / '4', how)
  store = opened(folder, keep=2)
  _, record = restore(store, described(state))
  assert record['step'] == 3 and store.latest() == 3
  assert 'Checkpoint 4' in caplog.text and 'trying the one before' in caplog.text
  assert (folder / '4' / 'damaged.json').exists()
  # Its step can be written again.
  assert store.save(4, state, {'step': 4}, None)
  store.wait()
  assert restore(store, described(state))[1] == {'step': 4}
  store.close()


class FailingDisk:
  """Reads of some files fail, the first so many times."""

  def __init__(self, monkeypatch, name, times):
    self.name, self.left, self._open = name, times, open
    monkeypatch.setattr('builtins.open', self)

  def __call__(self, path, *args, **kwargs):
    if os.path.basename(str(path)) == self.name and self.left:
      self.left -= 1
      raise OSError(errno.EIO, 'Input/output error', str(path))
    return self._open(path, *args, **kwargs)


@pytest.mark.parametrize('name', ['whole.json', 'record.json', 'manifest.ocdbt'])
def test_a_disk_that_fails_for_a_moment_costs_no_checkpoint(saved, monkeypatch, name):
  store, state, folder = saved
  disk = FailingDisk(monkeypatch, name, 1)
  assert restore(store, described(state))[1]['step'] == 4 and not disk.left
  assert not list(folder.glob('*/damaged.json'))


@pytest.mark.parametrize('of_arrays', [False, True])
def test_a_disk_that_goes_on_failing_ends_the_run_and_sets_nothing_aside(
    saved, monkeypatch, of_arrays):
  store, state, folder = saved
  if of_arrays:
    def broken(*unused, **also_unused):
      raise ValueError('UNKNOWN: Error reading "d/1" [OS error 5: EIO Input/output error]')
    monkeypatch.setattr(store._handler, 'restore', broken)
  else:
    FailingDisk(monkeypatch, 'record.json', 9)
  with pytest.raises(checkpoint.UnreadableError,
                     match='Checkpoint 4 .*Input/output error.*: repair the disk, then the same'):
    restore(store, described(state))
  assert not list(folder.glob('*/damaged.json'))


def test_all_damaged_is_an_error_and_not_a_fresh_start(saved):
  store, state, folder = saved
  for step in (1, 3, 4):
    damage(folder / str(step), 'missing')
  with pytest.raises(ValueError, match='None of the 3 checkpoints .* --workdir'):
    restore(store, described(state))
  assert not list(folder.glob('*/damaged.json'))


def test_another_model_is_an_error(saved):
  store, state, _ = saved
  wider = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct([2 * n for n in x.shape], x.dtype, sharding=x.sharding), state)
  with pytest.raises(ValueError, match=r'opt_state.*of shape .*: restore the sections model'):
    restore(store, wider)
  with pytest.raises(ValueError, match=r'has reference.embed of shape None'):
    restore(store, described(dataclasses.replace(state, reference=state.params)))


def test_a_state_may_be_donated_as_soon_as_save_returns(toy, tmp_path):
  trainer = toy.trainer()
  before = jax.tree.map(np.array, jax.device_get(trainer.params))
  store = opened(tmp_path, keep=1)
  shapes = described(trainer.state)
  store.save(0, trainer.state, {}, None)
  trainer.train(toy.batch(toy.rows()))
  restored, _ = restore(store, shapes)
  chex.assert_trees_all_equal(jax.device_get(restored.params), before)
  store.close()


def test_a_failed_save_is_counted_and_the_run_goes_on(saved, monkeypatch, caplog):
  store, state, _ = saved
  def full(*args, **kwargs):
    raise OSError(28, 'No space left on device')
  with monkeypatch.context() as patch:
    patch.setattr(os, 'makedirs', full)
    assert not store.save(5, state, {}, None)
  assert store.failed_saves == 1 and 'No space left' in caplog.text
  assert store.save(6, state, {'step': 6}, None)
  assert restore(store, described(state))[1] == {'step': 6}


# The system limits files to this many bytes: it cuts the record, or the files of the arrays.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('file_bytes', [0, 100, 600, 1500])
def test_a_full_disk_costs_that_checkpoint_and_no_other(saved, file_bytes):
  store, state, folder = saved
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
  try:
    store.save(5, state, {'step': 5}, 1.0)
    store.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert store.failed_saves == 1 and store.latest() == 4
  restored, record = restore(store, described(state))
  chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(state))
  assert record['step'] == 4
  # With room again, the next one is written.
  assert store.save(6, state, {'step': 6}, None)
  store.wait()
  assert restore(store, described(state))[1] == {'step': 6}
  assert store.failed_saves == 1
  gc.collect()       # Warnings of what the failed save left behind belong to this test.
  assert store.save(7, state, {}, None)
  assert not list(folder.glob('5*'))


def test_another_attempt_never_writes_into_the_folder_of_one_that_failed(saved):
  """Its writers may still be at work there, and are not to be waited for."""
  store, state, folder = saved
  first = store.begin(5)
  late = folder / first / 'state' / 'late'
  second = store.begin(5)
  assert first != second and not (folder / first).exists()
  assert store.write(second, state, {'which': 'second'}, None)
  late.parent.mkdir(parents=True, exist_ok=True)
  late.write_text('of the first')
  assert restore(store, described(state))[1] == {'which': 'second'}


def test_what_a_killed_run_left_half_written_is_no_checkpoint(saved):
  store, state, folder = saved
  store.close()
  shutil.copytree(folder / '4', folder / '7')
  (folder / '7' / 'whole.json').unlink()
  again = opened(folder, keep=2)
  assert restore(again, described(state))[1]['step'] == 4
  assert again.save(7, state, {'step': 7}, None)
  assert restore(again, described(state))[1]['step'] == 7
  again.close()
