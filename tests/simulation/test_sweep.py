"""Other systems of the same chips, worked out by hand."""
import dataclasses

import pytest

from magistral_jax.simulation import sweep
from magistral_jax.simulation.system import System

SYSTEM = System(
    samplers=4, slots=64, decode_steps=1, token_s=0.01, sequence_s=0.0, group_size=8,
    prompts_per_batch=8, in_flight=0, backlog_batches=1, max_staleness=2, verifier_workers=8,
    verifier_queue=64, verdict_s=0.0, train_s=6.0, train_token_s=0.001, publish_s=0.5)


def test_chips_that_take_turns_are_twice_the_samplers_and_twice_the_trainer():
  found = sweep.synchronous(SYSTEM)
  assert found.synchronous and found.pace is None
  assert (found.samplers, found.train_s, found.train_token_s) == (8, 3.0, 0.0005)
  assert found.publish_s == SYSTEM.publish_s


@pytest.mark.parametrize('share, samplers, train_s', [
    (0.25, 2, 4.0), (0.5, 4, 6.0), (0.75, 6, 12.0)])
def test_chips_that_sample_do_not_train(share, samplers, train_s):
  found = sweep.split(SYSTEM, share)
  assert (found.samplers, found.train_s) == (samplers, pytest.approx(train_s))


def test_a_sweep_tries_every_combination_once():
  tried = []
  found = sweep.sweep(SYSTEM, lambda system: tried.append(system) or {})
  assert len(set(tried)) == len(found) == 27
  assert {(s.slots, s.n_batch) for s in tried} == {
      (slots, batch) for slots in (32, 64, 128) for batch in (32, 64, 128)}
  # Of the same chips: the work of a completion stays the same.
  assert {s.train_s / s.n_batch for s in tried if s.samplers == 4} == {6.0 / 64}


def test_a_sweep_keeps_the_share_of_the_slots_that_is_in_flight():
  tried = []
  sweep.sweep(dataclasses.replace(SYSTEM, in_flight=128), lambda system: tried.append(system) or {})
  assert {s.in_flight / s.all_slots for s in tried} == {0.5}


@pytest.mark.parametrize('figures, best, why', [
    ([(10, 1.0), (20, 2.0), (30, 2.1)], 1, 'twice the least staleness is near, more is not'),
    ([(10, 0.1), (20, 0.6), (30, 0.7)], 1, 'half a version more is near'),
    ([(10, 1.0), (10, 0.5)], 1, 'of equally fast ones the least stale')])
def test_the_fastest_that_is_not_much_staler_is_recommended(figures, best, why):
  tried = [dict(completions_per_s=speed, staleness_mean=stale) for speed, stale in figures]
  assert sweep.recommend(tried) is tried[best], why
