"""Plans of a side worked out by hand, and the mistakes that are found before anything compiles."""
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from magistral_jax.planning import chips, cost, disk, flops, programs, report, rows, sides, table
from tests import tiny


def fake(side, *, gib, program=None):
  """The plan of a side on v5p whose resident parts take so much of 95 GiB."""
  program = program or programs.Program(
      'generate', 0, 0, report.GIB, cost.Cost(flops=459e9, bytes=2765e7, collectives={
          'all-reduce': [1, 6e9]}), 4 * 459e9 / 2, 1.0)
  resident = {'parameters': 10 * report.GIB, 'KV pages': int((gib - 10) * report.GIB)}
  return sides.SidePlan(side, 'v5p:2x2x1', chips.CHIPS['v5p'], 4, resident, [program], 0.1)


def test_the_slowest_limit_binds():
  found = fake('trainer', gib=50)
  program, = found.programs
  assert found.times(program) == dict(
      compute=pytest.approx(1e-3), hbm=pytest.approx(10e-3), ici=pytest.approx(10e-3))
  limit, seconds = found.bound(program)
  assert limit in ('hbm', 'ici') and seconds == pytest.approx(10e-3)
  # Four devices could do 4 x 459e10 FLOPs in that time; half of 4 x 459e9 are asked for.
  assert found.mfu(program) == pytest.approx(0.05)
  assert found.repeated(program) == pytest.approx(2.0)


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


def test_a_program_that_brings_weights_of_its_own_runs_where_the_gradients_are_not():
  learn = programs.Program('gradient', 0, 0, 5 * report.GIB, cost.Cost(), 0.0, 1.0)
  parity = programs.Program('parity', 0, 0, report.GIB, cost.Cost(), 0.0, 1.0,
                            brought=30 * report.GIB, without='gradients')
  resident = dict(parameters=10 * report.GIB, gradients=20 * report.GIB)
  plan = sides.SidePlan('trainer', 'v5p:2x2x1', chips.CHIPS['v5p'], 4, resident, [learn, parity],
                        0.1)
  assert plan.in_use(learn) == 35 * report.GIB and plan.in_use(parity) == 41 * report.GIB
  assert report.memory(plan) == {
      'parameters': 10 * report.GIB, 'weights of an older version': 30 * report.GIB,
      'activations (parity)': report.GIB}
  assert plan.peak == sum(report.memory(plan).values())
  assert table._rest(report.memory(plan)) == '1.0 (parity)'


def test_the_advice_for_a_sampler_is_a_number_of_pages_that_fits():
  c = tiny.load(**{'sampler.pages': 1000})
  over = fake('sampler', gib=110)   # 100 GiB of pages beside 10 and 1 of temporaries.
  said = report.advice(over, c)[-1]
  assert 'sampler.pages=745 (now 1000)' in said
  assert fake('sampler', gib=10 + 100 * 744 / 1000).fits
  assert not fake('sampler', gib=10 + 100 * 747 / 1000).fits


def test_pages_of_half_the_bytes_have_room_for_twice_the_tokens():
  c = tiny.load(**{'sampler.pages': 1000, 'sampler.page_tokens': 16})
  most = lambda gib: report.sequences(fake('sampler', gib=10 + gib), c)['most_tokens']
  assert most(100) == 745 * 16 and most(50) == 2 * most(100)
  full = sides.SidePlan('sampler', 'v5p:2x2x1', chips.CHIPS['v5p'], 4,
                        {'parameters': 90 * report.GIB, 'KV pages': report.GIB},
                        fake('sampler', gib=11).programs, 0.1)
  assert report.sequences(full, c)['most_tokens'] == 0


def test_flops_of_the_mathematics_follow_from_the_shape():
  c = programs.model_config(tiny.load('magistral_small_rl'))
  assert c.parameters == 23_572_403_200
  assert flops.matmul_parameters(c) == 23_572_403_200 - 131072 * 5120
  tokens = 16 * 45056
  attention = 6 * 40 * 32 * 128 * 45056 * tokens
  assert flops.training(c, 16, [45056]) == 6 * 22_901_314_560 * tokens + attention
  # Cut into two halves, a row has half of the pairs.
  assert flops.training(c, 16, [22528] * 2) == 6 * 22_901_314_560 * tokens + attention / 2


def test_shorter_sequences_make_fewer_microbatches_and_attention_is_said():
  c = tiny.load('magistral_small_rl')
  one = programs.Program('gradient', 0, 0, 0, cost.Cost(), 0.0, 1.0)
  plan = sides.SidePlan('trainer', 'v5p:4x4x4', chips.CHIPS['v5p'], 64, {'parameters': 1},
                        [one] * 3, 0.1, 5632, 1.25, 280 * 10**9)
  found = report.update(plan, c)
  assert found['microbatches'] == 2048 // 8 // 16 and found['attention_over_needed'] == 1.25
  console = Console(record=True, width=200)
  report.show([plan], c, programs.model_config(c), console)
  said = console.export_text()
  assert 'if sequences have 5,632 tokens' in said and 'computes 1.25 of the pairs' in said
  # 2,048 completions an update, 250 updates.
  room = report.as_dict(plan, c)['disk']
  assert c.total_steps == 250 and room['rollouts'] == 250 * 2048 * (4 * 5632 + 2000)
  assert room['checkpoints'] == (c.checkpoints.keep + 3) * room['checkpoint'] == 5 * 280 * 10**9
  assert 'up to 5 are there at a time: 1,400 GB' in said and '13 GB in 250 updates' in said
  c.checkpoints.keep_every = 50
  assert report.as_dict(plan, c)['disk']['checkpoints_most'] == 5 + 5
  assert 'rollouts' not in disk.usage(1, tiny.load('magistral_small_sft'), 5632)


def test_a_row_is_filled_with_sequences_of_the_planned_length():
  assert rows.lengths(45056, 0) == [45056]
  assert rows.lengths(45056, 6500) == [6500] * 6 + [6056]
  assert rows.lengths(1024, 512) == [512, 512]
  assert rows.needed([3, 1]) == 6 + 1
  with pytest.raises(ValueError, match='--sequence_tokens=2000 must be at most '
                                       'batching.row_tokens=1024'):
    rows.lengths(1024, 2000)


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
    sides.plan(tiny.load('magistral_small_rl'), topology='v5p:2x4x4', sampler_topology=None,
               margin=0.1, note=print)


@pytest.mark.parametrize('side, wanted', [
    ('both', ['trainer', 'sampler']), ('trainer', ['trainer']), ('sampler', ['sampler'])])
def test_one_side_can_be_planned_alone(monkeypatch, side, wanted):
  devices = dict(topology=64, sampler_topology=4)
  monkeypatch.setattr(chips, 'describe', lambda flag, name: (
      chips.CHIPS['v5p'], [None] * devices[flag]))
  for name in ('trainer', 'sampler'):
    monkeypatch.setattr(programs, name, lambda *_, **__: programs.Side({}, []))
  _, plans = sides.plan(shipped(), topology=None, sampler_topology=None, margin=0.1, note=print,
                        side=side)
  assert [plan.side for plan in plans] == wanted


@pytest.mark.parametrize('side, machines, words', [
    ('trainer', 8, 'runtime.trainers=16 and the 64 devices of mesh.trainer have 8 machines'),
    ('sampler', 2, 'mesh.sampler have 2 machines, and a sampler is one process')])
def test_machines_of_a_pod_are_the_processes_of_a_run(side, machines, words):
  devices = np.array([SimpleNamespace(process_index=i % machines) for i in range(64)])
  mesh = SimpleNamespace(devices=devices, size=64)
  with pytest.raises(ValueError, match=words):
    programs.check_machines(shipped(), side, mesh)


def shipped():
  """The shipped config as it stands: tests elsewhere shrink it."""
  return runpy.run_path(str(tiny.CONFIGS / 'magistral_small_rl.py'))['get_config']()
