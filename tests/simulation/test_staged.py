"""Stages of a simulated run: the controller of runs opens them by simulated lengths and pages."""
import dataclasses

import numpy as np
import pytest

from magistral_jax.experiment.stage import Stage
from magistral_jax.orchestration.stages import Controller, Room
from magistral_jax.simulation import staged
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.system import System, lengths_of

SYSTEM = System(
    samplers=2, slots=16, decode_steps=4, token_s=0.01, sequence_s=0.0, group_size=4,
    prompts_per_batch=8, in_flight=32, backlog_batches=1, max_staleness=0, verifier_workers=8,
    verifier_queue=256, verdict_s=0.001, train_s=0.1, train_token_s=0.0, publish_s=0.0, pages=200,
    page_tokens=8)
STAGES = (Stage('longer', 'length', window=16, rise=0.1, risk=0.05), Stage('smaller', 'memory'),
          Stage('harder', 'reward', window=16, rise=0.1, risk=0.05))


def in_force(opened):
  small = dict(prompts_per_batch=4, in_flight=16) if 'smaller' in opened else {}
  return dataclasses.replace(SYSTEM, **small), 100 if 'longer' in opened else 50


def room(opened):
  system, most = in_force(opened)
  return Room(system.pages, system.in_flight // system.samplers, most)


def simulated(system=SYSTEM, updates=90, given=(), growth=0.05):
  lengths = staged.GrowingLengths(lengths_of('lognormal:15,0.2'), growth, 50)
  return staged.run(Simulation(system, lengths), lengths, Controller(STAGES, room), in_force,
                    updates=updates, given=dict(given))


def test_lengths_grow_to_their_limit_and_then_it_is_raised():
  first, longer, *_ = simulated()
  assert (first['stage'], first['max_new_tokens']) == ('first', 50)
  assert longer['stage'].startswith('longer') and longer['reason'].startswith('length')
  # From 15 tokens on 5 % an update are 25 updates to the limit, 8 more for the short ones; then
  # comes a window of 16 and its next look.
  assert 25 < longer['update'] <= 33 + 16 + 4
  assert first['tokens_mean'] < 50 < longer['tokens_mean'] <= 100


def test_memory_makes_batches_smaller_when_the_next_length_would_not_fit(monkeypatch):
  roomy = simulated()
  assert [row['n_batch'] for row in roomy] == [32] * len(roomy)
  monkeypatch.setitem(globals(), 'SYSTEM', dataclasses.replace(SYSTEM, pages=90))
  first, longer = simulated(dataclasses.replace(SYSTEM, pages=90))
  assert longer['stage'] == 'longer + smaller' and longer['reason'] == 'length + memory'
  assert (first['n_batch'], longer['n_batch'], longer['n_async']) == (32, 16, 16)


def test_what_is_not_simulated_opens_when_it_is_said():
  rows = simulated(updates=20, given=dict(harder=7), growth=0.0)
  assert [(row['stage'], row['update']) for row in rows] == [('first', 0), ('harder', 7)]
  assert all(np.isfinite(row['step_s_median']) for row in rows)


def test_without_an_opening_the_figures_are_those_of_a_simulation():
  row, = simulated(updates=12, growth=0.0)
  lengths = staged.GrowingLengths(lengths_of('lognormal:15,0.2'), 0.0, 50)
  expected = Simulation(SYSTEM, lengths).run(12, warmup=0)
  assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize('text', ['longer', 'longest:3', 'longer:x'])
def test_openings_that_are_none_are_told(text):
  with pytest.raises(ValueError, match='--open=.* must name stages .longer, smaller. and updates'):
    staged._given(text, ('longer', 'smaller'))
