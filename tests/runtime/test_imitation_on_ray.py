"""A run that only imitates, with its trainer in other processes."""
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from magistral_jax.experiment import checks
from magistral_jax.metrics import read_lines
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.supervised import SupervisedRun
from magistral_jax.runtime.local import LocalRuntime
from tests import fakes, tiny

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import ray_cluster  # noqa: E402

DEADLINE_S = 300.0


def config(path, **changed):
  c = tiny.load('smollm2_math')
  traces = path / 'traces.jsonl'
  traces.write_text(''.join(json.dumps(dict(
      problem=f'one {i}', answer='3', solution='one two ' * (1 + i % 3))) + '\n'
      for i in range(48)))
  return tiny.shrink(c, **tiny.needs(c, path), **{
      'cold_start.path': str(traces), 'cold_start.steps': 1000, 'cold_start.epochs': 2,
      'cold_start.examples': 1000, 'mesh.trainer.fsdp': 2, 'mesh.trainer.sequence': 1,
      'mesh.trainer.tensor': 1, 'evaluation.every': 2, 'checkpoints.every': 3} | changed)


def run(c, workdir, runtime, parts, kill=lambda step: None):
  """The run to its end; `kill` is called with every step that is over."""
  workdir.mkdir()
  one = SupervisedRun(c, workdir, parts, runtime, fakes.FakeVerifier(tiny.by_tokens),
                      Health(DEADLINE_S), Display(1, False))
  note = one._note_cold_start
  def noted(step, metrics):
    note(step, metrics)
    kill(step)
  one._note_cold_start = noted
  guard = jax.config.jax_transfer_guard
  try:
    one.train()
  finally:
    one.close()
    jax.config.update('jax_transfer_guard', guard)
  losses = {line['step']: line['loss'] for line in read_lines(workdir / 'stages.jsonl')
            if 'loss' in line}
  return losses, load_file(workdir / 'best/model.safetensors'), json.loads(
      (workdir / 'summary.json').read_text())


@pytest.mark.long
def test_imitation_on_a_cluster_is_that_of_one_process_although_a_trainer_is_lost(tmp_path):
  c = config(tmp_path)
  parts = checks.prepare(c)
  losses, best, summary = run(c, tmp_path / 'here', LocalRuntime(c, parts), parts)
  c = config(tmp_path, **{'runtime.mode': 'ray', 'runtime.trainers': 2,
                          'runtime.heartbeat_s': 60.0, 'runtime.restarts': 2})
  killed = []
  with ray_cluster.ClusterRuntime(c, tmp_path) as runtime:
    def kill(step):
      if step == 5 and not killed:        # Goes on from the checkpoint of step 4.
        killed.append(step)
        next(h for h in runtime.handles if h.name == 'trainer-1').kill()
    found = run(c, tmp_path / 'there', runtime, checks.prepare(c), kill)
    assert sum(handle.lost for handle in runtime.handles) == 2       # Both of the gang.
  assert killed and found[0].keys() == losses.keys() and max(losses) >= 6
  for step, loss in losses.items():
    assert found[0][step] == pytest.approx(loss, rel=1e-4), step
  for key in ('steps', 'examples', 'best_step', 'accuracy_cold_start'):
    assert found[2][key] == summary[key], key
  for name, value in best.items():
    np.testing.assert_allclose(found[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
