"""The notebook runs from top to bottom; here at toy size, by its code cells in order."""
import json
import pathlib
import subprocess
import sys

import matplotlib
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Sums of two small numbers, which a tiny model learns to write out within seconds, with a mistake
# in every third, so that the rewards of a group differ.
TOY = [
    '--config.total_steps=2', '--config.data.arithmetic.operations=+',
    '--config.data.arithmetic.max_terms=2', '--config.data.arithmetic.max_number=3',
    '--config.model.layers=1', '--config.model.dim=32', '--config.model.heads=4',
    '--config.model.head_dim=8', '--config.model.ffn_dim=64', '--config.trainer.unroll=1',
    '--config.cold_start.steps=120', '--config.cold_start.examples=512',
    '--config.cold_start.learning_rate=1e-2', '--config.sampler.slots=32',
    '--config.sampler.max_new_tokens=24', '--config.batching.prompts_per_batch=4',
    '--config.evaluation.problems=2', '--config.evaluation.every=0',
    '--config.evaluation.max_new_tokens=24']


def code_cells():
  notebook = json.loads((ROOT / 'launch/colab_smoke.ipynb').read_text('utf-8'))
  return [''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'code']


def replaced(text, old, new):
  assert text.count(old) == 1, old
  return text.replace(old, new)


def test_cells_run_in_order(tmp_path, monkeypatch, capsys):
  matplotlib.use('Agg')
  shown = []
  monkeypatch.setattr('matplotlib.pyplot.show', lambda: shown.append(True))
  monkeypatch.chdir(ROOT / 'launch')
  install, train, plot, sample = code_cells()
  train = replaced(train, "ROOT / 'runs' / 'colab'", f'pathlib.Path({str(tmp_path)!r})')
  train = replaced(train, 'OVERRIDES = []', f'OVERRIDES = {TOY!r}')
  names = {}
  for cell in (install, train, plot, sample):
    exec(compile(cell, 'colab_smoke.ipynb', 'exec'), names)
  said = capsys.readouterr().out
  assert names['ROOT'] == ROOT and 'magistral_jax is in' in said
  assert [line['step'] for line in names['updates']][-1] == 2 and shown
  # Two answers to each of three problems, by a model that has learned nothing yet.
  asked = [problem for problem, _ in names['problems']]
  assert sorted(line['prompt'] for line in names['answers']) == sorted(2 * asked)


@pytest.mark.parametrize('folder', ['', 'magistral_jax', 'magistral_jax/launch'])
@pytest.mark.parametrize('installed', [False, True])
def test_it_installs_unless_pip_says_that_it_is_installed(tmp_path, folder, installed):
  """The clone lies beside the notebook, or around it; the Python has no package of ours."""
  clone = tmp_path / 'magistral_jax'
  for path in ('magistral_jax/__init__.py', 'launch/README.md', 'setup.py', 'pip/pip.py',
               'magistral_jax.egg-info/PKG-INFO'):
    (clone / path).parent.mkdir(parents=True, exist_ok=True)
    (clone / path).write_text('')
  (clone / 'pip/pip.py').write_text(
      f'import sys\nprint(sys.argv[1:], flush=True)\n'
      f'sys.exit(sys.argv[1] == "show" and {not installed})\n')
  done = subprocess.run(
      [sys.executable, '-S', '-c', code_cells()[0]], cwd=tmp_path / folder, timeout=60,
      env=dict(PYTHONPATH=str(clone / 'pip')), capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert f'magistral_jax is in {clone}' in done.stdout
  assert (f"['install', '--quiet', '-e', '{clone}']" in done.stdout) == (not installed)


def test_it_is_committed_without_outputs():
  notebook = json.loads((ROOT / 'launch/colab_smoke.ipynb').read_text('utf-8'))
  assert all(not cell.get('outputs') and not cell.get('execution_count')
             for cell in notebook['cells'])
