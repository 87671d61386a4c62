"""Every config is an experiment that runs: built and stepped at toy size, in lockstep."""
import json

import jax
import pytest

from magistral_jax import metrics, sharding
from magistral_jax.experiment import build, checks
from magistral_jax.models import kernels
from magistral_jax.orchestration import report
from magistral_jax.trainer import role
from tests import tiny

NAMES = sorted(path.stem for path in tiny.CONFIGS.glob('*.py'))
# Every part of these is a part of another config, too.
ALIKE = ('free_lunch', 'magistral_medium_rl', 'mini_medium', 'mini_small',
         'quickstart_multilingual')


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.long] * (name in ALIKE)) for name in NAMES])
def test_a_config_runs_from_start_to_report(name, tmp_path, capsys, monkeypatch):
  # The judge is a fake: no program is run, so this needs no jail.
  monkeypatch.setattr(checks.sandbox, 'probe', lambda: checks.sandbox.Isolation(True, ''))
  c = tiny.load(name)
  c = tiny.shrink(c, **tiny.needs(c, tmp_path))
  workdir, trained, train = tmp_path / 'run', [], role.MeshTrainer.train
  monkeypatch.setattr(role.MeshTrainer, 'train',
                      lambda self, batch: (trained.append(batch), train(self, batch))[1])
  run = tiny.run(c, workdir)
  assert run.trainer.version == 1
  line, = metrics.read_lines(workdir / 'metrics.jsonl')
  assert line['step'] == 1 and line['skipped'] == 0 and line['grad_norm'] > 0
  assert line['logprob_gap_max'] <= 1e-4 and line['parity_tokens'] > 0
  assert ('router_usage_max' in line) == (c.model.family == 'mixtral')
  # Where there are experts, the trainer gets those that the sampler took.
  rows = [*trained[0].minibatches, *(parity.rows for parity in trained[0].parity)]
  assert {one.routes is not None for one in rows} == {c.model.family == 'mixtral'}
  summary = json.loads((workdir / 'summary.json').read_text())
  measured = set(report.SUMMARY_KEYS)
  assert {key for key in measured if summary[key] is None} == set()
  lines = metrics.read_lines(workdir / 'rollouts.jsonl')
  assert sum(line['fate'] == 'trained' for line in lines) == 2 * c.sampler.group_size
  assert 'Held-out accuracy' in capsys.readouterr().out


@pytest.mark.parametrize('name', NAMES)
def test_a_config_tells_its_question_command_and_result(name):
  text = (tiny.CONFIGS / f'{name}.py').read_text()
  command = 'train' if tiny.load(name).total_steps else 'sft'
  for words in ('Run:', f'python -m magistral_jax.{command} --config=configs/{name}.py', 'Result:'):
    assert words in text, words


@pytest.mark.parametrize('name', NAMES)
def test_parity_is_measured_by_the_attention_that_trains(name):
  """In the kernel if rows of the batch are, however many devices cut the positions."""
  c = tiny.load(name)
  cut = c.mesh.trainer.sequence
  where = sharding.Layout(sharding.make_mesh(jax.devices()[:cut], sequence=cut), sharding.TRAINER)
  fits = lambda tokens: kernels.rows_fit(where, tokens, 128)
  room = build.parity_room(c)
  assert fits(room.row_tokens) == fits(c.batching.row_tokens)
  # Late positions go wrong, too: a completion of usual length fits beside its prompt.
  assert room.row_tokens >= min(c.batching.row_tokens, c.data.max_prompt_tokens + 6500)
