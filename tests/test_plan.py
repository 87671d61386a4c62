"""python -m magistral_jax.plan: what it prints, and that it compiles with the TPU compiler."""
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from magistral_jax import plan
from tests import tiny

ROOT = tiny.CONFIGS.parent
PLANNED = ('magistral_small_rl', 'magistral_small_sft', 'mixtral_8x7b_rl', 'pixtral_12b_rl')
# Pods of 8 devices for a trainer and of some for a sampler, one of each chip.
PODS = {'v4': ('2x2x2', '2x2x1', 4), 'v5e': ('2x4', '2x2', 4), 'v5p': ('2x2x2', '2x2x1', 4),
        'v6e': ('2x4', '2x2', 4), 'tpu7x': ('2x2x1', '2x2x1', 8)}
PACKED = {'packed_softmax', 'packed_query_gradient', 'packed_key_gradients'}
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='libtpu, of the extra [plan], is missing')
# A model of whole tiles, so that the kernels are compiled: sequence and heads are cut.
SMALL = {
    'model.layers': 3, 'model.dim': 256, 'model.heads': 4, 'model.kv_heads': 4,
    'model.head_dim': 128, 'model.ffn_dim': 512, 'model.vocab': 1024, 'model.dtype': 'bfloat16',
    'data.max_prompt_tokens': 256, 'sampler.max_new_tokens': 768, 'sampler.slots': 16,
    'sampler.page_tokens': 256, 'evaluation.max_new_tokens': 768, 'batching.row_tokens': 1024,
    'trainer.microbatch_rows': 2, 'cold_start.rows': 2, 'trainer.remat': 'attention',
    'trainer.unroll': 1, 'mesh.trainer.fsdp': 2, 'mesh.trainer.sequence': 2,
    'mesh.trainer.tensor': 2, 'mesh.sampler.tensor': 2}


def run(name, *arguments, **overrides):
  command = [sys.executable, '-m', 'magistral_jax.plan', f'--config={tiny.CONFIGS / name}.py',
             *arguments, *(f'--config.{key}={value}' for key, value in overrides.items())]
  return subprocess.run(command, cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT), XLA_FLAGS=''),
                        capture_output=True, text=True, timeout=3000)


@pytest.mark.parametrize('name, arguments, words', [
    ('magistral_small_rl', ['--topology=v5p:4x4'], "--topology='v5p:4x4' must have three sides"),
    ('quickstart', [], '--topology is missing'),
])
def test_mistakes_are_one_sentence(name, arguments, words):
  done = run(name, *arguments)
  if 'libtpu' in done.stderr and not importlib.util.find_spec('libtpu'):
    assert 'pip install' in done.stderr and done.returncode == 2
    return
  assert done.returncode == 2, done.stderr
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith('error: ') and words in last and not done.stdout


@needs_libtpu
def test_a_small_plan_is_compiled_for_tpus():
  done = run('quickstart', '--topology=v5e:2x4', '--sampler_topology=v5e:1x2', '--json',
             **SMALL)
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout)
  assert found['fits'] and found['trainer']['fits'] and found['sampler']['fits']
  learn, *_, parity = found['trainer']['programs']
  # Forwards alone, with the kernel of training.
  assert parity['name'] == 'parity' and set(parity['kernels']) == {'packed_softmax'}
  assert parity['flops_over_model'] < 2 and parity['hbm_in_use'] > 0
  # With the attention kept, only the feed-forward and the projections are computed again; in rows
  # of two tiles a device, attention computes half more than it needs.
  assert 1.1 < learn['flops_over_model'] < 1.7
  assert found['trainer']['attention_over_needed'] == pytest.approx(1.5, rel=0.01)
  assert set(learn['kernels']) == PACKED
  # The gradient of every matrix is added up in pieces, over two axes of the mesh.
  assert learn['collectives']['reduce-scatter']['count'] >= 7 * SMALL['model.layers']
  assert not any(p['not_counted'] for s in ('trainer', 'sampler') for p in found[s]['programs'])
  generate = found['sampler']['programs'][-1]
  assert generate['name'] == 'generate' and 'ragged_paged_attention' in generate['kernels']
  # The pool is updated in place: no second copy of it among the temporaries.
  assert generate['temporary'] < found['sampler']['memory']['KV pages'] / 2
  assert found['sampler']['sequences_full_length'] >= 16


@needs_libtpu
@pytest.mark.long
@pytest.mark.parametrize('family', ['mistral', 'mixtral'])
@pytest.mark.parametrize('chip', PODS)
def test_the_kernels_compile_for_every_chip(chip, family):
  """Attention of rows and of pages, and grouped products with their gradients."""
  trainer, sampler, devices = PODS[chip]
  expert = 2 if family == 'mixtral' else 1
  changed = SMALL | {'model.heads': 8, 'model.kv_heads': 8, 'trainer.microbatch_rows': 4,
                     'cold_start.rows': 4, 'mesh.trainer.expert': expert,
                     'mesh.trainer.sequence': 2 // expert, 'mesh.sampler.expert': expert,
                     'mesh.sampler.tensor': devices // expert}
  if expert > 1:
    changed |= {'model.family': family, 'model.experts': 4, 'model.experts_per_token': 2}
  done = run('quickstart', f'--topology={chip}:{trainer}', f'--sampler_topology={chip}:{sampler}',
             '--json', **changed)
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout)
  wanted = PACKED
  wanted |= {'gmm', 'tgmm'} if expert > 1 else set()
  learn, generate = found['trainer']['programs'][0], found['sampler']['programs'][-1]
  assert set(learn['kernels']) == wanted
  assert 'ragged_paged_attention' in generate['kernels']
  assert ('gmm' in generate['kernels']) == (expert > 1)


@needs_libtpu
@pytest.mark.long
@pytest.mark.parametrize('name', PLANNED)
def test_the_plans_of_the_configs_hold(name):
  done = run(name, '--json')
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout)
  for side in ('trainer', 'sampler'):
    assert found[side]['fits'] and found[side]['left'] >= 0.1
    assert not any(p['not_counted'] for p in found[side]['programs'])
  if name.startswith('magistral'):
    assert found['sampler']['full_length_tokens'] >= 40960


@needs_libtpu
@pytest.mark.long
def test_a_config_that_cannot_fit_is_reported():
  """Its pages alone are 146 GiB, cut over two chips of 16."""
  done = run('quickstart', '--topology=v5e:2x4', '--sampler_topology=v5e:1x2', '--json',
             **SMALL | {'sampler.pages': 100_000})
  assert done.returncode == plan.DOES_NOT_FIT, done.stderr[-3000:]
  found = json.loads(done.stdout)
  assert not found['fits'] and found['trainer']['fits'] and not found['sampler']['fits']
  assert 'Set sampler.pages=' in ' '.join(found['sampler']['advice'])
