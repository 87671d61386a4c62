"""A run that only imitates: the same weights however often it is stopped; its best is exported."""
import collections
import errno
import json
import threading
import types

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from magistral_jax import sharding
from magistral_jax.experiment import checks
from magistral_jax.metrics import read_lines
from magistral_jax.models import decoder
from magistral_jax.models.formats import checkpoint, safetensors, workdir
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.roles import Lost
from magistral_jax.orchestration.run import Run
from magistral_jax.orchestration.supervised import SupervisedRun
from magistral_jax.orchestration.time_spent import TimeSpent
from magistral_jax.orchestration.unsaved import UnsavedError
from magistral_jax.records import Verdict
from magistral_jax.runtime.local import LocalRuntime
from tests import fakes, tiny


def config(path, **changed):
  """Two epochs over two files, the second of which is seen half, and one conversation in ten."""
  for name, count in (('a', 40), ('b', 24)):
    (path / f'{name}.jsonl').write_text(''.join(json.dumps(dict(
        problem=f'{name} {i}', answer='3', solution='one two')) + '\n' for i in range(count)))
  (path / 'chat.jsonl').write_text(''.join(json.dumps(dict(messages=[
      dict(role='user', content='one'), dict(role='assistant', content='two ' * (1 + i))])) + '\n'
      for i in range(3)))
  c = tiny.load('smollm2_math')
  brought = tiny.needs(c, path)
  return tiny.shrink(c, **brought, **{
      'cold_start.path': f'{path}/a.jsonl,{path}/b.jsonl', 'cold_start.weights': '1,0.5',
      'cold_start.steps': 1000, 'cold_start.epochs': 2, 'cold_start.examples': 1000,
      'cold_start.conversations': str(path / 'chat.jsonl'), 'cold_start.conversation_share': 0.2,
      'evaluation.every': 2, 'checkpoints.every': 3, 'checkpoints.keep': 1} | changed)


class Killed(Exception):
  """Raised in the middle of a step."""


def run(c, workdir, *, judge=tiny.by_tokens, kill_at=None, stop_at=None, kind=SupervisedRun,
        display=None, make=LocalRuntime):
  """The ended run; None if it was killed. `*_at` are steps; a stop also comes in evaluations."""
  workdir.mkdir(exist_ok=True)
  parts = checks.prepare(c)
  health = Health(300.0)

  def judged(completion):
    if stop_at is not None and one.trainer.version == stop_at:
      health.stopping.set()
    return judge(completion)
  one = kind(c, workdir, parts, make(c, parts), fakes.FakeVerifier(judged), health,
             display or Display(1, False))
  note, weights = one._note_cold_start, {}
  def noted(step, metrics):
    if step == kill_at:
      raise Killed
    note(step, metrics)
    weights[step] = jax.device_get(one.trainer.params)
  one._note_cold_start, one.weights = noted, weights
  try:
    one.train()
    return one
  except Killed:
    one.checkpoints.wait()
    return None
  finally:
    one.close()


def state(one):
  return jax.device_get(one.trainer.state)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The run that nothing interrupts, its config and its folder."""
  path = tmp_path_factory.mktemp('whole')
  c = config(path)
  return run(c, path / 'run'), c, path / 'run'


def test_a_stopped_and_killed_run_is_the_run_that_was_not(whole, tmp_path):
  one, c, folder = whole
  total = one.trainer.version
  assert total >= 5
  other = tmp_path / 'run'
  assert run(c, other, kill_at=5) is None            # Goes on from step 4, which was measured.
  stopped = run(c, other, stop_at=4)
  assert stopped is None or stopped.trainer.version <= total
  last = run(c, other)
  assert last.trainer.version == total
  jax.tree.map(np.testing.assert_array_equal, state(one), state(last))
  stages = [[{k: v for k, v in line.items() if not k.endswith('_s')}
             for line in read_lines(where / 'stages.jsonl')] for where in (folder, other)]
  assert stages[0] == stages[1]


class Restarting(LocalRuntime):
  """Its trainer is lost at some steps, and is back at once."""

  def lose(self, *steps):
    self.left, self.restarts = list(steps), 0
    return self

  def trainer(self, *args, **changed):
    return self._losing(super().trainer(*args, **changed))

  def restored(self, checkpoints, **changed):
    # A process that died writes nothing more, and takes no checkpoint away that is being read.
    checkpoints.wait()
    trainer, record = super().restored(checkpoints, **changed)
    return self._losing(trainer), record

  def restart(self, error):
    self.restarts += 1

  def _losing(self, trainer):
    supervised = trainer.supervised
    def step(rows):
      if trainer.version in self.left:
        self.left.remove(trainer.version)
        raise Lost('trainer-0 died')
      return supervised(rows)
    trainer.supervised = step
    return trainer


def test_a_trainer_that_is_lost_again_and_again_changes_nothing(whole, tmp_path):
  one, c, folder = whole
  made = []
  lost = run(c, tmp_path / 'run', make=lambda *args: made.append(
      Restarting(*args).lose(0, 1, 4, 5, 5)) or made[0])
  assert made[0].restarts == 5 and not made[0].left
  jax.tree.map(np.testing.assert_array_equal, state(one), state(lost))
  steps = [line['step'] for line in read_lines(tmp_path / 'run/stages.jsonl') if 'loss' in line]
  assert steps == list(range(1, one.trainer.version + 1))


def test_evaluations_come_every_so_often_and_at_both_ends(whole):
  one, _, folder = whole
  total = one.trainer.version
  lines = [line['step'] for line in read_lines(folder / 'stages.jsonl') if 'accuracy' in line
           or 'eval/accuracy' in line]
  assert lines == [0, *range(2, total, 2), total]


def test_the_best_checkpoint_is_kept_and_exported(tmp_path, caplog):
  scores = {2: 0.25, 4: 1.0}
  def judge(completion):
    right = float(-completion.ordinal <= 4 * scores.get(completion.versions[0][1], 0))
    return Verdict('correct' if right else 'wrong', right, {}, 'x')
  c = config(tmp_path)
  one = run(c, tmp_path / 'run', judge=judge)
  path = str(tmp_path / 'run')
  assert 'does not exist' not in caplog.text         # Of files of Orbax that are not ours.
  assert workdir.choose_step(path, 'best') == 4 < one.trainer.version
  assert set(workdir.steps(path)) == {4, one.trainer.version}
  summary = json.loads((tmp_path / 'run/summary.json').read_text())
  assert summary['best_step'] == 4 and summary['steps'] == one.trainer.version
  exported = f'{path}/best'
  shape = checkpoint.read_config(exported, dtype='float32')
  mesh = checks.prepare(c).meshes.trainer
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(shape)[1])
  loaded = checkpoint.load(exported, shape, shardings, param_dtype='float32')
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(loaded), one.weights[4])


def fails(c, workdir, capsys, **how):
  """The sentence that a run ends with, before it has changed its files."""
  before = {path: path.read_bytes() for path in workdir.glob('*.jsonl')}
  with pytest.raises(SystemExit) as ended:
    run(c, workdir, **how)
  assert ended.value.code == 2
  assert before == {path: path.read_bytes() for path in workdir.glob('*.jsonl')}
  return capsys.readouterr().err


def test_fewer_steps_than_were_made_are_refused(whole, capsys):
  one, c, folder = whole
  with c.unlocked():
    less = c.copy_and_resolve_references()
    less.cold_start.steps = 3
  said = fails(less, folder, capsys)
  assert f'3 steps, fewer than the {one.trainer.version} that' in said and 'raise' in said


def test_a_run_of_train_does_not_take_the_folder_for_its_own(whole, capsys):
  _, c, folder = whole
  assert 'holds a run of sft' in fails(c, folder, capsys, kind=Run)


def test_a_resumed_run_says_what_has_changed(whole):
  _, c, folder = whole
  said = []
  class Noting(Display):
    def note(self, sentence):
      said.append(sentence)
  with c.unlocked():
    other = c.copy_and_resolve_references()
    other.checkpoints.keep = 2
  file = folder.parent / 'b.jsonl'
  before = file.read_text()
  file.write_text(before.replace('b 3', 'b three'))
  run(other, folder, display=Noting(1, False))
  file.write_text(before)
  assert 'Changed since the last time: checkpoints.keep was 1, is 2.' in said
  changed, = [note for note in said if 'stands in the files' in note]
  assert changed.startswith(
      'Changed since the last time: what stands in the files of cold_start.path.')


def test_a_step_of_imitation_that_never_ends_is_told(monkeypatch):
  told, health = threading.Event(), Health(0.2)
  one = SupervisedRun.__new__(SupervisedRun)
  one.health, one.display, one._cold_steps = health, Display(1, False), 9
  one.journal = types.SimpleNamespace(time=TimeSpent())
  one.c = ConfigDict(dict(checkpoints=dict(every=1)))
  said = []
  one.display.note = lambda sentence: (said.append(sentence), told.set())
  def step_that_hangs(trainer, examples, *, progress, **how):
    progress(4, {})
    assert told.wait(60.0)
  monkeypatch.setattr('magistral_jax.orchestration.cold_start.run', step_that_hangs)
  one._take_steps(fakes.FakeTrainer(3), [], {}, save=lambda: None, progress=lambda *step: None)
  assert 'Nothing is heard of trainer' in said[0] and 'imitating, step 5 of 9' in said[0]


def test_a_disk_without_room_for_the_export_is_one_sentence(whole, monkeypatch):
  _, c, folder = whole
  def full(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')
  with monkeypatch.context() as patch:
    patch.setattr(safetensors, 'write', full)
    with pytest.raises(UnsavedError, match='best.*No space left.*the same command'):
      run(c, folder)
  run(c, folder)
  assert (folder / 'best/config.json').exists()


def test_an_epoch_has_each_example_as_often_as_its_file_weighs(whole):
  _, c, _ = whole
  examples = checks.prepare(c).examples
  counts = [collections.Counter(examples.epoch(number)) for number in range(2)]
  for epoch in counts:
    assert [epoch[i] for i in range(40)] == [1] * 40
    assert sum(epoch[i] for i in range(40, 64)) == 12
    assert sum(epoch[i] for i in range(64, 67)) == 13         # A fifth of all.
  both = counts[0] + counts[1]
  assert [both[i] for i in range(40, 64)] == [1] * 24


@pytest.mark.parametrize('weights, words', [
    ('1', 'has 1 numbers and'), ('1,x', 'must be numbers above 0'), ('1,0', 'must be numbers')])
def test_weights_that_cannot_be(tmp_path, weights, words):
  with pytest.raises(ValueError, match=words):
    checks.prepare(config(tmp_path, **{'cold_start.weights': weights}))
