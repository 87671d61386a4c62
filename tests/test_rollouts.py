"""Completions on disk: their lines, and the parts that these stand in."""
import contextlib
import json

import numpy as np
import pytest

from magistral_jax import records, rollouts
from magistral_jax.durable import WriteError
from magistral_jax.rollouts import RolloutsReader, RolloutsWriter

ROLLOUT_KEYS = [
    'ordinal', 'sample', 'id', 'domain', 'language', 'source', 'gold', 'fate', 'step', 'versions',
    'status', 'reward', 'parts', 'advantage', 'n_prompt_tokens', 'n_tokens', 'finish', 'prompt',
    'completion', 'answer', 'detail', 'seconds']


def rollout(fate='trained', step=7, advantage=0.5):
  problem = records.Problem('p1', '7+12=?', '19', 'arithmetic')
  return rollouts.rollout_line(
      records.Prompt(12, problem, np.array([1, 52, 43], np.int32)),
      records.Completion(
          ordinal=12, sample=3, tokens=np.array([7, 9, 2], np.int32),
          sampler_logp=np.zeros(3, np.float32), versions=((0, 4), (2, 5)), finish='stop',
          text='<think></think>\\boxed{19}', seconds=1.5),
      records.Verdict('correct', 1.0, {'format': 0.1, 'correct': 0.9}, answer='19', seconds=0.01),
      advantage, fate, step)


def test_a_rollout_line_has_exactly_the_fixed_keys_and_survives_json():
  line = rollout()
  assert list(line) == ROLLOUT_KEYS
  assert json.loads(json.dumps(line)) == line
  assert line['versions'] == [[0, 4], [2, 5]]
  assert (line['prompt'], line['answer'], line['seconds']) == ('7+12=?', '19', 1.5)
  assert (line['n_prompt_tokens'], line['n_tokens']) == (3, 3)


def test_only_a_trained_rollout_names_its_step():
  assert rollout('trained', 7)['step'] == 7
  assert rollout('filtered', 7)['step'] is None
  assert rollout('failed', None, advantage=None)['advantage'] is None


def test_an_unknown_fate_is_an_error():
  with pytest.raises(ValueError, match="'lost'.*trained"):
    rollout('lost')


@pytest.fixture
def opened(monkeypatch):
  """opened(workdir) -> a writer whose parts are full with two lines; closed in the end."""
  monkeypatch.setattr(rollouts, 'PART_BYTES', 100)
  with contextlib.ExitStack() as stack:
    yield lambda workdir: stack.enter_context(contextlib.closing(RolloutsWriter(workdir)))


def write(writer, *numbers):
  """A checkpoint after each: where the files ended then."""
  ends = []
  for number in numbers:
    writer.turn()
    ends.append(json.loads(json.dumps(writer.end)))
    writer.write_all([dict(n=number, text='x' * 40)])
    writer.sync()
  return ends


def numbers(workdir):
  return [line['n'] for line in rollouts.read(workdir)]


def test_a_part_ends_at_the_first_checkpoint_that_finds_it_full(tmp_path, opened):
  writer = opened(tmp_path)
  writer.write_all([dict(n=n, text='x' * 40) for n in range(5)])       # However long.
  assert [path.name for path in rollouts.parts(tmp_path)] == ['rollouts.jsonl']
  write(writer, *range(5, 10))
  assert [path.name for path in rollouts.parts(tmp_path)] == [
      'rollouts.jsonl', *(f'rollouts-00000{n}.jsonl' for n in (2, 3, 4))]
  assert numbers(tmp_path) == list(range(10))
  (tmp_path / 'rollouts-000002.jsonl.part').touch()                    # None of ours.
  (tmp_path / 'rollouts-old.jsonl').touch()
  assert numbers(tmp_path) == list(range(10))


@pytest.mark.parametrize('again', [True, False], ids=['another process', 'the same one'])
def test_from_every_checkpoint_the_lines_go_on_as_if_nothing_had_happened(tmp_path, opened, again):
  whole = opened(tmp_path / 'whole')
  write(whole, *range(9))
  for at in range(9):
    folder = tmp_path / str(at)
    writer = opened(folder)
    end = write(writer, *range(9))[at]
    if again:
      writer.close()
      writer = opened(folder)
    writer.truncate(end)
    write(writer, *range(at, 9))
    assert {path.name: path.read_bytes() for path in rollouts.parts(folder)} == {
        path.name: path.read_bytes() for path in rollouts.parts(tmp_path / 'whole')}


def test_old_parts_may_be_gone_and_the_one_of_the_checkpoint_may_not(tmp_path, opened):
  writer = opened(tmp_path)
  ends = write(writer, *range(6))
  writer.close()
  (tmp_path / 'rollouts.jsonl').unlink()
  writer = opened(tmp_path)
  writer.truncate(ends[-1])
  assert numbers(tmp_path) == [2, 3, 4]
  with pytest.raises(ValueError, match='rollouts.jsonl is missing, .* it held 61 bytes: put it '):
    writer.truncate(ends[1])
  assert numbers(tmp_path) == [2, 3, 4]


def test_a_disk_without_room_for_a_new_part_leaves_the_lines_in_the_old_one(
    tmp_path, opened, monkeypatch):
  writer = opened(tmp_path)
  write(writer, *range(3))
  def full(path):
    raise OSError(28, 'No space left on device', str(path))
  with monkeypatch.context() as patch:
    patch.setattr(rollouts, 'JsonlWriter', full)
    write(writer, 3)
  write(writer, 4)
  assert numbers(tmp_path) == list(range(5))
  assert rollouts.parts(tmp_path)[-1].name == 'rollouts-000003.jsonl'


def test_a_full_part_is_flushed_with_the_next_checkpoint_or_the_run_ends(
    tmp_path, opened, monkeypatch):
  writer = opened(tmp_path)
  writer.write_all([dict(n=0, text='x' * 100)])
  synced = []
  monkeypatch.setattr('os.fsync', synced.append)
  writer.turn()
  assert not synced                              # The journal is locked there.
  def refused(number):
    raise OSError(5, 'Input/output error')
  with monkeypatch.context() as patch:
    patch.setattr('os.fsync', refused)
    with pytest.raises(WriteError, match='rollouts.jsonl'):
      writer.sync()
  writer.sync()
  assert len(synced) == 3                        # Both parts, and the name of the second.


def test_lines_are_found_again_by_their_start(tmp_path, opened):
  write(opened(tmp_path), *range(7))
  with open(tmp_path / 'rollouts-000003.jsonl', 'ab') as file:
    file.write(b'{"n": 7, "te')                  # Being written.
  with RolloutsReader(tmp_path) as reader:
    found = list(reader)
    assert [json.loads(line)['n'] for _, _, line in found] == list(range(7))
    assert found[5][1] == f'{tmp_path}/rollouts-000003.jsonl, line 2'
    for start, _, line in reversed(found):
      assert reader.line(start) == line
