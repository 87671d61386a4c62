"""The simulated loop against figures worked out by hand."""
import dataclasses
import itertools

import numpy as np
import pytest

from magistral_jax.simulation import inputs
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.sampler import SimulatedSampler, SimulatedSequence
from magistral_jax.simulation.system import System, lengths_of
from tests import tiny

SYSTEM = System(
    samplers=2, slots=64, decode_steps=1, token_s=0.01, sequence_s=0.0, group_size=8,
    prompts_per_batch=8, in_flight=0, backlog_batches=1, max_staleness=0, verifier_workers=8,
    verifier_queue=4096, verdict_s=0.0, train_s=0.1, train_token_s=0.0, publish_s=0.0)


def run(lengths='fixed:100', updates=40, **changed):
  return Simulation(dataclasses.replace(SYSTEM, **changed), lengths_of(lengths)).run(updates)


def test_samplers_that_never_wait_give_one_token_per_slot_and_step():
  found = run(lengths='uniform:50,150')
  assert found['slots_idle'] == pytest.approx(0, abs=1e-9)
  assert found['tokens_per_s'] == pytest.approx(2 * 64 / 0.01, rel=0.03)


def test_a_synchronous_run_takes_the_longest_completion_and_then_the_update():
  found = run(synchronous=True, publish_s=0.05, verdict_s=0.002)
  # 64 completions end together; 8 verifiers judge 8 each.
  assert found['step_s'] == pytest.approx(100 * 0.01 + 8 * 0.002 + 0.1 + 0.05)
  assert found['staleness_most'] == 0 and found['versions_per_completion'] == 1
  assert found['slots_idle'] == pytest.approx(1 - 64 * 1.0 / (128 * found['step_s']))


def test_decoding_slows_with_occupancy():
  slow = run(synchronous=True, sequence_s=0.001, samplers=1, train_s=0.0)
  assert slow['step_s'] == pytest.approx(100 * (0.01 + 64 * 0.001))


def test_a_dispatch_ends_for_all_its_slots_together():
  found = run(synchronous=True, decode_steps=64, train_s=0.0)
  assert found['step_s'] == pytest.approx(128 * 0.01)


def test_a_slow_trainer_is_never_idle_and_the_backlog_bounds_what_waits():
  found = run(train_s=20.0)
  assert found['trainer_idle'] < 0.01
  assert found['step_s'] == pytest.approx(20.0, rel=0.01)
  # A batch in training, one that waits, and two in flight.
  assert found['staleness_most'] <= 4 and found['slots_idle'] > 0.8


def test_dropped_groups_cost_samples_and_no_updates():
  lengths = lengths_of('uniform:50,150', filtered=0.75)
  found = Simulation(SYSTEM, lengths).run(80)
  whole = run(lengths='uniform:50,150', updates=80)
  assert found['step_s'] / whole['step_s'] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize('n_batch', [64, 128, 256])
def test_a_completion_is_overtaken_by_as_many_updates_as_batches_are_in_flight(n_batch):
  found = run(lengths='uniform:200,1000', prompts_per_batch=n_batch // 8, train_s=0.0, updates=60)
  assert found['versions_per_completion'] == pytest.approx(1 + 128 / n_batch, rel=0.06)


def test_the_same_seed_gives_the_same_figures():
  assert run(lengths='lognormal:100,0.5') == run(lengths='lognormal:100,0.5')


def test_sequences_in_flight_are_limited_over_all_samplers():
  found = run(lengths='uniform:50,150', in_flight=64, group_size=1, prompts_per_batch=64)
  assert found['slots_idle'] == pytest.approx(0.5, abs=0.01)
  assert found['staleness_expected'] == 1.0 and found['n_async'] == 64


@pytest.mark.parametrize('changed', [
    dict(), dict(late_s=(0.0, 3.0)), dict(train_s=2.0), dict(late_s=(1.0, 4.0), samplers=5)])
def test_the_guarantee_holds_and_drops_nothing(changed):
  lengths = lengths_of('lognormal:100,0.8', filtered=0.3)
  system = dataclasses.replace(SYSTEM, max_staleness=3, **changed)
  found = Simulation(system, lengths).run(60)
  assert found['staleness_most'] <= 3 and found['stale_share'] == 0
  free = Simulation(dataclasses.replace(system, max_staleness=0), lengths).run(60)
  assert free['staleness_most'] > 3 and free['slots_idle'] <= found['slots_idle']


def test_late_weights_add_their_lateness_to_the_staleness():
  found = run(lengths='uniform:50,150')
  late = run(lengths='uniform:50,150', late_s=(found['step_s'], found['step_s']))
  assert late['staleness_mean'] - found['staleness_mean'] == pytest.approx(1, abs=0.15)
  assert late['step_s'] == pytest.approx(found['step_s'], rel=0.03)


def test_a_full_verifier_holds_what_is_new():
  found = run(verifier_workers=1, verifier_queue=16, verdict_s=0.05)
  assert found['verifier_queue_most'] <= 16 + 1 + 128
  assert found['completions_per_s'] == pytest.approx(20, rel=0.04)     # One in 0.05 s.


def test_lengths_end_at_the_longest_that_may_be():
  draw = lengths_of('lognormal:100,0.8', most=120)
  lengths, _ = draw(np.random.default_rng(0), 1000)
  assert lengths.max() == 120 and lengths.min() >= 1


def sampling(**changed):
  return SimulatedSampler(dataclasses.replace(
      SYSTEM, samplers=1, slots=8, decode_steps=1, pages=1 + 100, page_tokens=10, **changed))


def start(sampler, *groups, tokens=1000, drawn=0):
  for group in groups:
    one = SimulatedSequence(group, tokens)
    one.drawn = drawn
    sampler.waiting.append(one)
  sampler.fill(itertools.count())


def test_a_group_holds_the_pages_of_its_prompt_once_and_each_sequence_the_rest():
  """Of 35 tokens 34 are cached: three pages for all, and 4 tokens in pages of its own."""
  sampler = sampling(prompt_tokens=35)
  start(sampler, 'a', 'a', 'b')
  assert len(sampler.active) == 3
  # The last page of each sequence is half full.
  assert sampler._free_tokens(3) == 1000 - 2 * 30 - 3 * 4 - 3 * 5
  for number in (2, 1):
    sampler._preempt()
    assert len(sampler.active) == number and len(sampler._sharing) == 1
  sampler._preempt()
  assert sampler._free_tokens(0) == 1000 and not sampler._sharing


def test_a_sequence_that_was_preempted_has_its_prompt_for_itself_and_its_tokens_again():
  sampler = sampling(prompt_tokens=35, prefill_token_s=1.0)
  start(sampler, 'a', drawn=50)
  assert sampler._free_tokens(1) == 1000 - 34 - 50 - 5 and sampler.prefill_s == 84.0
  sampler._preempt()
  assert sampler.waiting[0].drawn == 50


def test_prompts_take_room_that_sequences_had():
  of = lambda tokens: run(samplers=1, slots=32, group_size=8, prompts_per_batch=4, pages=100,
                          page_tokens=16, prompt_tokens=tokens)
  assert of(0)['slots_idle'] < of(200)['slots_idle'] < of(600)['slots_idle']


@pytest.mark.parametrize('changed, words', [
    (dict(slots=0), 'slots is 0'), (dict(train_s=-1.0), 'train_s is -1.0'),
    (dict(in_flight=4), 'at least a group of 8 and at most the 128 slots'),
    (dict(in_flight=129), 'in_flight is 129'), (dict(backlog_batches=0), 'backlog_batches is 0'),
    (dict(max_staleness=-1), 'max_staleness is -1'), (dict(late_s=(2.0, 1.0)), 'the lesser first'),
    (dict(token_s=0.0), 'decoding must take some time'),
    (dict(train_s=1e300), 'train_s is 1e.300')])
def test_a_system_that_cannot_be_is_refused(changed, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(SYSTEM, **changed)


@pytest.mark.parametrize('text', [
    'uniform', 'uniform:5', 'uniform:1,1e30', 'normal:3,4', 'lognormal:0,1', 'lognormal:40,1e9',
    'lognormal:inf,1', 'fixed:x', 'fixed:nan', 'fixed:inf'])
def test_lengths_that_no_distribution_describes_are_refused(text):
  with pytest.raises(ValueError, match='is no distribution of lengths'):
    lengths_of(text)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('filtered', [-0.5, 1.0, 1.5, float('nan')])
def test_a_share_that_leaves_nothing_to_train_on_is_refused(filtered):
  with pytest.raises(ValueError, match='filtered is .*at least 0 and below 1'):
    lengths_of('fixed:3', filtered=filtered)


def test_no_share_is_below_zero():
  """Busy times are sums of many floats, which here exceed the time that has passed."""
  for samplers, token_s in ((3, 0.07), (8, 0.03)):
    found = run(lengths='lognormal:60,0.6', updates=12, samplers=samplers, token_s=token_s,
                slots=32, train_s=0.3, prompts_per_batch=4)
    assert min(found[key] for key in ('samplers_idle', 'slots_idle', 'trainer_idle')) >= 0


def test_the_youngest_gives_its_pages_back_and_is_prefilled_when_there_is_room():
  """Two sequences of 100 tokens on pages for 150: one stops at 75 and goes on when the other ends.
  """
  found = run(synchronous=True, samplers=1, slots=2, group_size=2, prompts_per_batch=1, pages=152,
              page_tokens=1, prefill_token_s=0.004)
  assert found['preemptions'] == 1
  assert found['step_s'] == pytest.approx((75 + 25 + 25) * 0.01 + 75 * 0.004 + 0.1, rel=0.02)
  assert found['prefill_again'] == pytest.approx(75 * 0.004 / found['step_s'], rel=0.03)


def test_few_pages_cost_time_and_change_no_lengths():
  plenty, few = (run(lengths='uniform:50,450', updates=60, page_tokens=8, pages=pages,
                     prefill_token_s=1e-5) for pages in (0, 64 * 250 // 8 * 2 // 3))
  length = lambda found: found['tokens_per_s'] / found['completions_per_s']
  assert not plenty['preemptions'] and not plenty['prefill_again']
  assert few['preemptions'] > 0 and few['slots_idle'] > 0.02
  assert few['completions_per_s'] < plenty['completions_per_s']
  # Only the speed differs: short ones are not preferred.
  assert length(few) == pytest.approx(length(plenty), rel=0.02)


def test_pages_for_one_sequence_at_a_time_are_enough():
  found = run(lengths='uniform:50,450', updates=5, samplers=1, slots=8, page_tokens=8, pages=62)
  assert found['preemptions'] > 0 and found['completions_per_s'] > 0


def test_a_system_takes_its_pages_from_the_config():
  system = inputs.from_config(tiny.load('magistral_small_rl'), token_s=0.03, sequence_s=0.0,
                              verdict_s=0.0, train_s=60.0, train_token_s=0.0, publish_s=0.0)
  assert (system.pages, system.page_tokens, system.prompt_tokens) == (10240, 128, 4096)
  with pytest.raises(ValueError, match='pages is -1; it must be at least 0'):
    dataclasses.replace(system, pages=-1)
