"""What a run says of its starts, and of how each of them ended."""
import json

import pytest

from magistral_jax import command_line
from magistral_jax.orchestration import starts


def start(workdir, how=None, error=None):
  with starts.noted(workdir, 'train', ['--config=a.py', '--config.seed=1'], '8 cpu') as ended:
    if error:
      raise error
    ended(how)


def test_every_start_has_its_end_and_a_killed_one_has_none(tmp_path):
  assert starts.read(tmp_path) == []
  start(tmp_path, 'stopped')
  with pytest.raises(RuntimeError):
    start(tmp_path, error=RuntimeError('the sampler died'))
  with open(tmp_path / starts.FILE, 'a') as file:      # As a process that is killed leaves it.
    file.write(json.dumps(dict(at='x', command=['train'])) + '\n')
  start(tmp_path, 'finished')
  found = starts.read(tmp_path)
  assert [(one['ended'], one['why']) for one in found] == [
      ('stopped', ''), ('failed', 'RuntimeError: the sampler died'), ('', ''), ('finished', '')]
  assert found[0]['command'] == ['train', '--config=a.py', '--config.seed=1']
  assert found[0]['at'] <= found[0]['ended_at'] and found[2]['ended_at'] == ''
  assert found[0]['packages']['jax'] and found[0]['devices'] == '8 cpu'


@pytest.mark.parametrize('left', [lambda data: data[:-30], lambda data: data + bytes(100),
                                  lambda data: data[:50] + bytes(60) + data[110:]])
def test_what_a_machine_that_crashed_has_left_keeps_no_run_from_starting(tmp_path, left, caplog):
  """It is not flushed: a crash may leave half of a line, or zeros in place of some."""
  start(tmp_path, 'stopped')
  path = tmp_path / starts.FILE
  path.write_bytes(left(path.read_bytes()))
  start(tmp_path, 'finished')
  assert starts.read(tmp_path)[-1]['ended'] == 'finished'
  assert len(starts.identity(tmp_path)) == 12


def test_an_exit_with_a_sentence_is_named_by_its_mistake(tmp_path, capsys):
  with pytest.raises(SystemExit), starts.noted(tmp_path, 'train', [], ''), \
      command_line.one_sentence():
    raise ValueError('seed=2, but the run began with seed=1.')
  assert starts.read(tmp_path)[0]['why'] == 'ValueError: seed=2, but the run began with seed=1.'


def test_sources_outside_a_repository_have_no_commit(tmp_path):
  assert starts.commit(tmp_path) == dict(commit='', changed=False)


def test_a_run_keeps_its_identity_when_it_is_resumed(tmp_path):
  one, another = tmp_path / 'one', tmp_path / 'another'
  for workdir in (one, another):
    workdir.mkdir()
    start(workdir, 'stopped')
  before = starts.identity(one)
  start(one, 'finished')
  assert starts.identity(one) == before != starts.identity(another)
