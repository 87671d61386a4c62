"""python -m magistral_jax.plan: what it says, and that it compiles with the TPU compiler."""
import importlib.util
import json
import os
import runpy
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from magistral_jax import plan
from magistral_jax.planning import chips, cost, flops, programs, report
from tests import tiny

ROOT = tiny.CONFIGS.parent
PLANNED = ('magistral_small_rl', 'magistral_small_sft', 'mixtral_8x7b_rl', 'pixtral_12b_rl')
# Pods of 8 devices for a trainer and of some for a sampler, one of each chip.
PODS = {'v4': ('2x2x2', '2x2x1', 4), 'v5e': ('2x4', '2x2', 4), 'v5p': ('2x2x2', '2x2x1', 4),
        'v6e': ('2x4', '2x2', 4), 'tpu7x': ('2x2x1', '2x2x1', 8)}
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


def fake(side, *, gib, program=None):
  """A verdict on a v5p host whose resident part takes so much of its 95 GiB."""
  program = program or programs.Program(
      'generate', 0, 0, report.GIB, cost.Cost(flops=459e9, bytes=2765e7, collectives={
          'all-reduce': [1, 6e9]}), 4 * 459e9 / 2, 1.0)
  resident = {'parameters': 10 * report.GIB, 'KV pages': int((gib - 10) * report.GIB)}
  return report.verdict(side, 'v5p:2x2x1', chips.CHIPS['v5p'], 4,
                        programs.Side(resident, [program]), 0.1)


def test_the_slowest_limit_binds():
  v = fake('trainer', gib=50)
  program, = v.programs
  times = v.times(program)
  assert times == dict(compute=pytest.approx(1e-3), hbm=pytest.approx(10e-3),
                       ici=pytest.approx(10e-3))
  limit, seconds = v.bound(program)
  assert limit in ('hbm', 'ici') and seconds == pytest.approx(10e-3)
  # Four devices could do 4 x 459e10 FLOPs in that time; half of 4 x 459e9 are asked for.
  assert v.mfu(program) == pytest.approx(0.05) and v.repeated(program) == pytest.approx(2.0)


def test_it_fits_while_the_margin_is_left():
  c = tiny.load()
  good = fake('trainer', gib=84)
  assert good.fits and report.advice(good, c) == []
  assert good.left == pytest.approx(10 / 95, abs=1e-6)
  full = fake('trainer', gib=88)
  assert not full.fits and 'left, 10% wanted' in report.advice(full, c)[0]
  over = fake('trainer', gib=100)
  said = ' '.join(report.advice(over, c))
  for words in ('too much', 'mesh.trainer.sequence', 'trainer.remat', 'loss.vocab_chunk',
                'mesh.trainer.fsdp'):
    assert words in said
  refused = programs.Program('update', 0, 0, 0, cost.Cost(), 0.0, 1.0, refused='Used 99G of 95G.')
  assert not fake('trainer', gib=20, program=refused).fits


def test_the_advice_for_a_sampler_is_a_number_of_pages_that_fits():
  c = tiny.load(**{'sampler.pages': 1000})
  over = fake('sampler', gib=110)   # 100 GiB of pages beside 10 and 1 of temporaries.
  said = report.advice(over, c)[-1]
  assert 'sampler.pages=745 (now 1000)' in said
  assert fake('sampler', gib=10 + 100 * 744 / 1000).fits
  assert not fake('sampler', gib=10 + 100 * 747 / 1000).fits


def test_flops_of_the_mathematics_follow_from_the_shape():
  c = programs.model_config(tiny.load('magistral_small_rl'))
  assert c.parameters == 23_572_403_200
  assert flops.matmul_parameters(c) == 23_572_403_200 - 131072 * 5120
  tokens = 16 * 45056
  attention = 6 * 40 * 32 * 128 * 45056 * tokens
  assert flops.training(c, 16, 45056) == 6 * 22_901_314_560 * tokens + attention


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


@pytest.mark.parametrize('name, words', [
    ('v9:4x4x4', 'chip:AxBxC'), ('v5p-64', 'is no topology'), ('v6e:2x2x1', 'two sides')])
def test_topologies_are_checked(name, words):
  with pytest.raises(ValueError, match=f'--topology={name!r}') as error:
    chips.parse('topology', name)
  assert words in str(error.value)
  assert chips.parse('topology', 'tpu7x:2x2x1')[0].hbm_bytes == 96 * report.GIB
  assert chips.smallest(chips.CHIPS['v5p'], 4) == 'v5p:2x2x1'


def test_a_mesh_of_another_size_than_the_topology_is_a_mistake(monkeypatch):
  monkeypatch.setattr(chips, 'describe', lambda flag, name: (chips.CHIPS['v5p'], [None] * 32))
  with pytest.raises(ValueError, match=r'--topology=v5p:2x4x4 has 32 devices and mesh.trainer=.* '
                                       r'takes 64'):
    plan.plan(tiny.load('magistral_small_rl'), 'v5p:2x4x4', None, 0.1, print)


@pytest.mark.parametrize('side, wanted', [
    ('both', ['trainer', 'sampler']), ('trainer', ['trainer']), ('sampler', ['sampler'])])
def test_one_side_can_be_planned_alone(monkeypatch, side, wanted):
  devices = dict(topology=64, sampler_topology=4)
  monkeypatch.setattr(chips, 'describe', lambda flag, name: (
      chips.CHIPS['v5p'], [None] * devices[flag]))
  for name in ('trainer', 'sampler'):
    monkeypatch.setattr(programs, name, lambda *_: programs.Side({}, []))
  _, verdicts = plan.plan(shipped(), None, None, 0.1, print, side)
  assert [v.side for v in verdicts] == wanted


@pytest.mark.parametrize('side, hosts, words', [
    ('trainer', 8, 'runtime.trainers=16 and the 64 devices of mesh.trainer have 8 hosts'),
    ('sampler', 2, 'mesh.sampler have 2 hosts, and a sampler is one process')])
def test_hosts_of_a_pod_are_the_processes_of_a_run(side, hosts, words):
  devices = np.array([SimpleNamespace(process_index=i % hosts) for i in range(64)])
  mesh = SimpleNamespace(devices=devices, size=64)
  with pytest.raises(ValueError, match=words):
    programs.check_hosts(shipped(), side, mesh)


def shipped():
  """The shipped config as it stands: tests elsewhere shrink it."""
  return runpy.run_path(str(tiny.CONFIGS / 'magistral_small_rl.py'))['get_config']()


@needs_libtpu
def test_a_small_plan_is_compiled_for_tpus():
  done = run('quickstart', '--topology=v5e:2x4', '--sampler_topology=v5e:1x2', '--json',
             **SMALL)
  assert done.returncode == 0, done.stderr[-3000:]
  found = json.loads(done.stdout)
  assert found['fits'] and found['trainer']['fits'] and found['sampler']['fits']
  learn, *_ = found['trainer']['programs']
  # With the attention kept, only the feed-forward and the projections are computed again.
  assert 1.1 < learn['flops_over_model'] < 1.5
  assert set(learn['kernels']) == {'splash_mha_fwd', 'splash_mha_dq', 'splash_mha_dkv'}
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
  wanted = {'splash_mha_fwd', 'splash_mha_dq', 'splash_mha_dkv'}
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
def test_a_config_that_cannot_fit_is_told_so():
  """Its pages alone are 146 GiB, cut over two chips of 16."""
  done = run('quickstart', '--topology=v5e:2x4', '--sampler_topology=v5e:1x2', '--json',
             **SMALL | {'sampler.pages': 100_000})
  assert done.returncode == plan.DOES_NOT_FIT, done.stderr[-3000:]
  found = json.loads(done.stdout)
  assert not found['fits'] and found['trainer']['fits'] and not found['sampler']['fits']
  assert 'Set sampler.pages=' in ' '.join(found['sampler']['advice'])
