"""Best checkpoint of a whole run: its weights are those that were measured, and are exported."""
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from magistral_jax import metrics
from magistral_jax.experiment import checks
from magistral_jax.models.formats import conversion
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.run import Run
from magistral_jax.records import Verdict
from magistral_jax.runtime.local import LocalRuntime
from magistral_jax.trainer.checkpoint import CheckpointFolder
from tests import fakes, tiny
from tests.fakes import FakeVerifier

STEPS, COLLAPSE = 9, 5


def judge(completion):
  """Evaluations get better up to a version, and after it nothing of them is right."""
  if completion.purpose == 'training':
    return fakes.every_other(completion)
  version = completion.oldest_version
  right = version <= COLLAPSE and -completion.ordinal <= 1 + version // 2
  return Verdict('correct' if right else 'wrong', float(right), {})


def train(workdir, mode='lockstep', health=None, **overrides):
  c = tiny.shrink(tiny.load(), **{
      'total_steps': STEPS, 'cold_start.steps': 0, 'evaluation.problems': 4, 'evaluation.every': 2,
      'checkpoints.every': 3, 'checkpoints.keep': 1, 'runtime.mode': mode,
      'optimizer.learning_rate': 0.01} | overrides)
  parts, guard = checks.prepare(c), jax.config.jax_transfer_guard
  run = Run(c, workdir, parts, LocalRuntime(c, parts), fakes.FakeVerifier(judge),
            health or Health(300.0), Display(c.total_steps, False))
  try:
    run.train()
  finally:
    run.close()
    jax.config.update('jax_transfer_guard', guard)
  return run


class Stopped(Health):
  """Asked to stop as soon as an evaluation of a version has begun."""

  def __init__(self, version, monkeypatch):
    super().__init__(300.0)
    real = FakeVerifier.put
    def put(verifier, completion, problem):
      if completion.purpose == 'evaluation' and completion.oldest_version == version:
        self.stopping.set()                        # Before there is a verdict.
      else:
        real(verifier, completion, problem)
    monkeypatch.setattr(FakeVerifier, 'put', put)


@pytest.mark.parametrize('version, cold', [(0, 0), (2, 0), (-1, 2), (0, 2)])
def test_what_a_stop_kept_from_being_measured_is_measured_when_the_run_goes_on(
    tmp_path, version, cold, monkeypatch):
  changed = {'total_steps': 2, 'evaluation.every': 0, 'cold_start.steps': cold}
  with monkeypatch.context() as patch:
    stopped = Stopped(version, patch)
    train(tmp_path, health=stopped, **changed)
  assert stopped.stopping.is_set() and not (tmp_path / 'summary.json').exists()
  train(tmp_path, **changed)
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['accuracy_start'] == (0.0 if cold else 0.25) and summary['accuracy_final'] == 0.5
  assert summary['accuracy_cold_start'] == (0.25 if cold else None) and summary['steps'] == 2


@pytest.mark.parametrize('mode', ['lockstep', 'threads'])
def test_best_is_the_version_of_the_best_score_and_is_what_is_exported(tmp_path, mode, monkeypatch,
                                                                       capsys):
  seen, save = {}, CheckpointFolder.save
  def keep(self, step, state, *rest):
    seen[step] = np.array(jax.device_get(state.params['norm']))
    return save(self, step, state, *rest)
  monkeypatch.setattr(CheckpointFolder, 'save', keep)
  workdir = tmp_path / 'run'
  run = train(workdir, mode)
  # By hand: every score stands in metrics.jsonl, but for the first and the last.
  summary = json.loads((workdir / 'summary.json').read_text())
  scores = {line['eval/version']: line['eval/accuracy']
            for line in metrics.read_lines(workdir / 'metrics.jsonl') if 'eval/version' in line}
  scores |= {0: summary['accuracy_start'], STEPS: summary['accuracy_final']}
  best = min(version for version, score in scores.items() if score == max(scores.values()))
  assert summary['accuracy_final'] == 0.0
  kept = {int(path.name) for path in (workdir / 'checkpoints').iterdir() if path.name.isdigit()}
  assert {best, STEPS} <= kept and run.checkpoints.latest() == STEPS
  done = conversion.convert(str(workdir), str(tmp_path / 'best'), 'hf', step='best')
  assert int(done['step']) == best
  tensors = load_file(tmp_path / 'best' / 'model.safetensors')
  np.testing.assert_array_equal(tensors['model.norm.weight'], seen[best])
  assert not np.array_equal(seen[best], seen[STEPS])
  if mode == 'lockstep':         # Every evaluation ends before the next update begins.
    assert set(scores) == {0, 2, 4, 6, 8, STEPS} and best == 4
