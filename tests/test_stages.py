"""The command that replays the stages of a run."""
import json

import pytest

from magistral_jax import stages
from tests import tiny


@pytest.fixture
def run(tmp_path):
  c = tiny.load(**{'stages.order': 'longer', 'batching.row_tokens': 256, 'stages.longer': dict(
      opens='update', update=3, sampler=dict(max_new_tokens=96))})
  (tmp_path / 'experiment.json').write_text(json.dumps(dict(
      config=json.loads(c.to_json_best_effort()))))
  lines = [dict(step=i, completion_tokens_mean=100.0 + i % 2) for i in range(1, 31)]
  (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  (tmp_path / 'stages.jsonl').write_text(json.dumps(dict(
      stage='longer', step=3, opens=True, reason='update', ordinal=48)) + '\n')
  return tmp_path


def replayed(run, *flags):
  stages.main(stages.parse(['stages', f'--run={run}', *flags]))


def test_a_run_is_replayed_with_other_settings(run, capsys):
  replayed(run, '--json', '--config.stages.longer.opens=length', '--config.stages.longer.window=16')
  found = json.loads(capsys.readouterr().out)
  assert found['recorded'][0]['step'] == 3
  assert [(line['step'], line['reason']) for line in found['replayed']] == [(16, 'length')]
  assert found['parts'] == 3


def test_both_are_printed(run, capsys):
  replayed(run, '--looks')
  said = capsys.readouterr().out
  assert 'The run opened' in said and 'With these settings' in said and 'part' not in said


@pytest.mark.parametrize('flag, message', [
    ('--config.stages.order=', 'has no stages'),
    ('--config.stages.longer.update=0', 'stages.longer.update=0 must be a whole number')])
def test_a_mistake_is_told_in_one_sentence(run, capsys, flag, message):
  with pytest.raises(SystemExit):
    replayed(run, flag)
  assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
  with pytest.raises(SystemExit):
    replayed(tmp_path)
  assert 'experiment.json does not exist' in capsys.readouterr().err
