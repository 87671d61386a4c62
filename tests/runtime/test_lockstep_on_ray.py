"""Real roles in processes of their own compute what one process computes."""
import json
import os
import shutil
import signal
import threading
import time

import jax
import pytest

from magistral_jax import metrics
from magistral_jax.experiment import checks
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.run import Run
from magistral_jax.runtime.local import LocalRuntime
from tests import tiny

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import ray_cluster  # noqa: E402

STEPS = 20
# A model that is right now and then after its cold start, so that there is something to train on.
OVERRIDES = {
    'data.arithmetic.max_terms': 2, 'data.max_prompt_tokens': 8, 'model.layers': 1, 'model.dim': 64,
    'model.heads': 2, 'model.kv_heads': 2, 'model.head_dim': 16, 'model.ffn_dim': 64,
    'trainer.unroll': 1, 'cold_start.steps': 150, 'cold_start.examples': 512, 'sampler.slots': 16,
    'sampler.group_size': 4, 'sampler.max_new_tokens': 32, 'batching.prompts_per_batch': 4,
    'batching.row_tokens': 64, 'batching.patience_batches': 200, 'evaluation.every': 0,
    'evaluation.problems': 0, 'evaluation.max_new_tokens': 32, 'checkpoints.every': 0}
SPREAD = {'runtime.mode': 'ray_lockstep', 'runtime.trainers': 2, 'runtime.samplers': 2,
          'runtime.verifiers': 2, 'mesh.trainer.fsdp': 4}


def run(workdir, kill_at=None, **overrides):
  """The losses of a run that is resumed in, or begun in, `workdir`; of its trainer's processes one
  is killed once there have been `kill_at` updates.
  """
  c = tiny.load(**OVERRIDES | overrides)
  workdir.mkdir(exist_ok=True)
  guard = jax.config.jax_transfer_guard
  parts = checks.prepare(c)
  on_cluster = c.runtime.mode == 'ray_lockstep'
  runtime = ray_cluster.ClusterRuntime(c, workdir) if on_cluster else LocalRuntime(c, parts)
  with runtime:
    one = Run(c, workdir, parts, runtime, runtime.verifier(), Health(c.runtime.deadline_s),
              Display(c.total_steps, False))
    killer = threading.Thread(target=kill, args=(one, runtime, kill_at), daemon=True)
    if kill_at:
      killer.start()
    try:
      one.train()
    finally:
      one.close()
      jax.config.update('jax_transfer_guard', guard)
    assert not kill_at or sum(handle.lost for handle in runtime.handles) == 2    # Both trainers.
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line)['loss'] for line in lines]


def kill(one, runtime, update):
  trainer = next(handle for handle in runtime.handles if handle.name == 'trainer-1')
  while getattr(getattr(one, 'trainer', None), 'version', 0) < update:
    time.sleep(0.02)
  os.kill(trainer.where['pid'], signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize('transport, kill_at', [('host', None), ('device', None), ('host', 10)])
def test_two_trainers_two_samplers_two_verifiers_have_the_losses_of_one_process(
    tmp_path, transport, kill_at):
  start = tmp_path / 'start'
  start.mkdir()
  run(start, **{'runtime.mode': 'lockstep', 'total_steps': 0})
  for name in ('one', 'many'):
    shutil.copytree(start, tmp_path / name)
  one = run(tmp_path / 'one', **{'runtime.mode': 'lockstep', 'total_steps': STEPS})
  many = run(tmp_path / 'many', kill_at=kill_at, **SPREAD | {
      'runtime.transport': transport, 'checkpoints.every': 4, 'total_steps': STEPS})
  assert len(one) == len(many) == STEPS
  assert many == pytest.approx(one, abs=1e-5)


@pytest.mark.long
def test_the_experts_of_samplers_reach_trainers_in_other_processes(tmp_path):
  mixture = {'model.family': 'mixtral', 'model.experts': 4, 'total_steps': 3}
  spread = SPREAD | {'mesh.trainer.fsdp': 2, 'mesh.trainer.expert': 2}
  one = run(tmp_path / 'one', **mixture | {'runtime.mode': 'lockstep'})
  many = run(tmp_path / 'many', **mixture | spread)
  assert many == pytest.approx(one, abs=1e-5) and len(one) == 3
  for line in metrics.read_lines(tmp_path / 'many' / 'metrics.jsonl'):
    assert line['logprob_gap_max'] <= 1e-4 and line['router_flips'] <= 0.01
