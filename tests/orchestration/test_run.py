"""What a run sets up before it begins, and what it says at its end."""
import json

import jax
import pytest

from magistral_jax.models.formats.workdir import read_experiment
from magistral_jax.records import Verdict
from magistral_jax.runtime.launch import keep_compiled
from tests import tiny
from tests.test_profiling import names

SHORT = {'total_steps': 2, 'cold_start.steps': 0, 'evaluation.every': 0, 'evaluation.problems': 0,
         'batching.patience_batches': 1}


@pytest.fixture
def cache():
  before = jax.config.jax_compilation_cache_dir
  yield lambda: jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', before)


def test_compiled_programs_stay_in_the_workdir(tmp_path, cache):
  jax.config.update('jax_compilation_cache_dir', None)
  keep_compiled(tmp_path)
  assert cache() == str(tmp_path / 'compiled')


def test_unless_another_folder_is_named(tmp_path, cache):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'shared'))
  keep_compiled(tmp_path)
  assert cache() == str(tmp_path / 'shared')


@pytest.mark.parametrize('status, unlearnt', [('wrong', True), ('correct', False)])
def test_a_run_that_cannot_learn_says_why_and_one_that_has_learnt_is_well(
    tmp_path, status, unlearnt):
  one = tiny.run(tiny.load(**SHORT), tmp_path, judge=lambda completion: Verdict(status, 0.5, {}))
  assert one.trainer.version == 0 and bool(one.unlearnt) == unlearnt
  if unlearnt:
    assert 'ended at step 0 of 2' in one.unlearnt and 'teach nothing' in one.unlearnt


def test_rounded_weights_of_samplers_show_in_the_gap_and_the_trainer_stays_exact(tmp_path):
  settings = SHORT | {'batching.patience_batches': 100, 'runtime.mode': 'lockstep'}
  found = {}
  for weight_dtype in ('model', 'int8'):
    one = tiny.run(tiny.shrink(tiny.load(), **settings | {'sampler.weight_dtype': weight_dtype}),
                   tmp_path / weight_dtype)
    assert one.trainer.version == 2
    assert {x.dtype.name for x in jax.tree.leaves(one.trainer.params)} == {'float32'}
    found[weight_dtype] = json.loads((tmp_path / weight_dtype / 'summary.json').read_text())
  assert found['model']['logprob_gap_mean'] < 1e-5 < 1e-4 < found['int8']['logprob_gap_mean'] < 0.1
  assert found['int8']['parity_tokens'] > 0


def test_fewer_steps_than_were_made_are_a_mistake(tmp_path, capsys):
  settings = SHORT | {'batching.patience_batches': 100}
  tiny.run(tiny.load(**settings), tmp_path)
  assert tiny.run(tiny.load(**settings), tmp_path).trainer.version == 2   # It only reports again.
  with pytest.raises(SystemExit) as ended:
    tiny.run(tiny.load(**settings | {'total_steps': 1}), tmp_path)
  assert ended.value.code == 2
  assert 'total_steps=1 is below the 2 updates' in capsys.readouterr().err


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew_over_its_files(tmp_path, capsys):
  settings = SHORT | {'batching.patience_batches': 100, 'total_steps': 1}
  tiny.run(tiny.load(**settings), tmp_path)
  for checkpoint in (tmp_path / 'checkpoints').glob('*'):
    (checkpoint / 'whole.json').unlink()
  files = {path: path.read_bytes() for path in tmp_path.glob('*.json*')
           if path.name != 'starts.jsonl'}
  assert len(files) >= 4
  for gone in ((), ('summary.json',), ('summary.json', 'metrics.jsonl')):
    for name in gone:
      (tmp_path / name).unlink(missing_ok=True)
      files.pop(tmp_path / name, None)
    with pytest.raises(SystemExit) as ended:
      tiny.run(tiny.load(**settings), tmp_path)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and 'no checkpoint to go on from' in said
    assert 'rollouts.jsonl' in said and files.items() <= {
        path: path.read_bytes() for path in tmp_path.glob('*.json*')}.items()


@pytest.mark.parametrize('content', ['', '{"model": {', '[1]', '\xff'])
def test_a_damaged_description_of_a_run_is_named(tmp_path, content):
  (tmp_path / 'experiment.json').write_text(content, 'latin-1')
  with pytest.raises(ValueError, match='experiment.json is damaged: put back'):
    read_experiment(str(tmp_path))


def test_a_run_beside_a_damaged_description_ends_with_a_sentence(tmp_path, capsys):
  settings = SHORT | {'batching.patience_batches': 100, 'total_steps': 0}
  tiny.run(tiny.load(**settings), tmp_path)
  (tmp_path / 'experiment.json').write_text('{')
  with pytest.raises(SystemExit):
    tiny.run(tiny.load(**settings), tmp_path)
  assert 'experiment.json is damaged' in capsys.readouterr().err
  (tmp_path / 'experiment.json').unlink()
  tiny.run(tiny.load(**settings), tmp_path)
  assert read_experiment(str(tmp_path))['config']['total_steps'] == 0


@pytest.mark.long
def test_a_trace_has_the_roles_by_the_names_of_their_functions(tmp_path):
  settings = SHORT | {'batching.patience_batches': 100, 'runtime.mode': 'lockstep'}
  tiny.run(tiny.shrink(tiny.load(), **settings), tmp_path, profile_steps=1)
  found = names(tmp_path / 'profile')
  assert found['update'] == found['MeshTrainer.train'] == 1
  assert {'EngineSampler.step', 'EngineSampler._admit', 'Engine.prefill', 'Engine.insert',
          'Engine.generate', 'unpack', 'MeshTrainer._update', 'Loop.sample'} <= set(found)
  # What the devices run has the names of the functions, too.
  assert any('_decode' in name for name in found if name)
