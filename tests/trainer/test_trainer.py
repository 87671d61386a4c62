"""Bookkeeping of the trainer: versions, bad steps, metrics, transfers, compilations."""
import dataclasses

import chex
import jax
import numpy as np
import pytest

from magistral_jax import records
from magistral_jax.trainer.role import DivergedError


def on_cpu(tree):
  return jax.tree.map(np.array, jax.device_get(tree))


def poisoned(rows):
  """Rows whose loss is not a number."""
  advantage = rows.advantage.copy()
  advantage[0, 2] = np.nan
  return dataclasses.replace(rows, advantage=advantage)


def test_a_batch_is_one_version_however_many_minibatches(toy):
  trainer = toy.trainer()
  trainer.train(toy.batch(toy.rows(seed=1), toy.rows(seed=2), toy.rows(seed=3)))
  assert (trainer.version, int(trainer.state.step)) == (1, 1)
  trainer.supervised(toy.rows())
  assert (trainer.version, int(trainer.state.step)) == (2, 2)


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(toy):
  trainer = toy.trainer(loss=dict(kl_reference='ema'))
  trainer.train(toy.batch(toy.rows()))
  before = on_cpu(dataclasses.replace(trainer.state, step=0))
  metrics = trainer.train(toy.batch(poisoned(toy.rows())))
  chex.assert_trees_all_equal(on_cpu(dataclasses.replace(trainer.state, step=0)), before)
  assert metrics['skipped'] == 1
  assert trainer.version == int(trainer.state.step) == 1
  assert trainer.train(toy.batch(toy.rows()))['skipped'] == 0


@pytest.mark.parametrize('bad, version', [([0], 1), ([1], 1), ([0, 1], 0), ([], 1)])
def test_one_finite_gradient_of_a_batch_makes_a_version(toy, bad, version):
  trainer = toy.trainer()
  minibatches = [poisoned(toy.rows(seed=i)) if i in bad else toy.rows(seed=i) for i in range(2)]
  before = on_cpu(trainer.params)
  metrics = trainer.train(toy.batch(*minibatches))
  assert metrics['skipped'] == len(bad)
  assert (trainer.version, int(trainer.state.step)) == (version, version)
  changed = not jax.tree.all(jax.tree.map(np.array_equal, on_cpu(trainer.params), before))
  assert changed == bool(version)


def test_bad_steps_in_a_row_stop_the_run_and_a_good_one_resets_the_count(toy):
  trainer = toy.trainer(max_bad_steps=2)
  good, bad = toy.batch(toy.rows()), toy.batch(poisoned(toy.rows()))
  for batch in (bad, good, bad):
    trainer.train(batch)
  with pytest.raises(DivergedError, match='2 steps in a row .*optimizer.max_bad_steps'):
    trainer.train(bad)


def test_a_bad_minibatch_does_not_hide_the_metrics_of_the_good_ones(toy):
  metrics = toy.trainer().train(toy.batch(toy.rows(), poisoned(toy.rows())))
  assert metrics['skipped'] == 1 and all(map(np.isfinite, metrics.values()))


def compared(trainer, toy, *, off=0.0, version=None):
  """Rows for parity that the trainer's own weights drew, with log-probabilities that are `off`."""
  rows = toy.rows(number=2)
  rows = dataclasses.replace(rows, sampler_logp=(
      toy.scores(trainer.params, rows) + off) * rows.mask)
  version = trainer.version if version is None else version
  return records.ParityRows(version, int(rows.mask.sum()), rows)


@pytest.mark.parametrize('devices', [1, 2])
def test_tokens_are_compared_under_the_weights_that_drew_them(toy, devices):
  """Also after updates, on fewer rows than a microbatch has; tokens of forgotten weights are not.
  """
  trainer = toy.trainer(fsdp=devices, parity_versions=2, loss=dict(vocab_chunk=8))
  rows = toy.rows()
  train = lambda *parity: trainer.train(toy.batch(rows, parity=parity))
  first, off = compared(trainer, toy), compared(trainer, toy, off=-0.25)
  metrics = train(first)
  assert metrics['logprob_gap_max'] < 1e-5 and metrics['parity_version'] == 0
  assert metrics['parity_tokens'] == first.tokens > 0
  metrics = train(off)
  assert metrics['logprob_gap_mean'] == pytest.approx(0.25, rel=1e-4)
  second = compared(trainer, toy)
  assert train(first, second)['parity_version'] == 2
  train(second)
  metrics = train(first)
  assert metrics['parity_tokens'] == 0 and 'logprob_gap_max' not in metrics
  # The weights have changed: under others the same tokens are further off.
  wrong = dataclasses.replace(second, version=trainer.version)
  assert train(wrong)['logprob_gap_mean'] > 1e-3


@pytest.mark.parametrize('devices', [1, 2])
def test_log_probabilities_are_those_of_the_rows_in_their_order_before_the_update(toy, devices):
  trainer = toy.trainer(fsdp=devices)
  rows = toy.rows(number=8)                 # Two microbatches.
  for _ in range(2):
    expected = toy.scores(trainer.params, rows)
    found = trainer.logps(rows)
    np.testing.assert_allclose(found[rows.mask], expected[rows.mask], atol=1e-5)
    trainer.train(toy.batch(rows))


def test_without_kept_weights_nothing_is_compared(toy):
  trainer = toy.trainer()
  metrics = trainer.train(toy.batch(toy.rows(), parity=(compared(trainer, toy),)))
  assert not [key for key in metrics if 'parity' in key or 'logprob_gap' in key]


@pytest.mark.parametrize('schedule, clipped', [
    ('constant', [1, 1, 1, 1]), ('linear', [1, 1, 0, 0])])
def test_the_upper_clip_bound_follows_its_schedule(toy, schedule, clipped):
  """All ratios are 1.5; bounds rise in a line from 1.1 at the first update to 1.9 at the last."""
  trainer = toy.trainer(optimizer=dict(learning_rate=0.0), loss=dict(
      clip_high=0.1, clip_schedule=schedule, final_clip_high=0.9, steps=4))
  rows = toy.rows()
  rows = dataclasses.replace(rows, advantage=np.float32(rows.mask), sampler_logp=np.float32(
      np.where(rows.mask, toy.scores(trainer.params, rows) - np.log(1.5), 0.0)))
  found = [trainer.train(toy.batch(rows)) for _ in clipped]
  assert [metrics['clip_fraction_high'] for metrics in found] == clipped
  bounds = [1.1] * 4 if schedule == 'constant' else [1.1, 1.1 + 0.8 / 3, 1.5, 1.5]
  np.testing.assert_allclose([metrics['loss'] for metrics in found],
                             -np.array(bounds) * rows.weight.sum(), rtol=1e-5)


def test_loss_goes_down(toy):
  trainer, rows = toy.trainer(), toy.rows()
  losses = [trainer.supervised(rows)['loss'] for _ in range(20)]
  assert losses[-1] < 0.8 * losses[0]


def test_no_hidden_transfer_and_no_second_compilation(toy):
  trainer = toy.trainer(fsdp=2, tensor=2, microbatch_rows=4, parity_versions=2)
  with jax.transfer_guard('disallow'):
    for _ in range(3):
      batch = toy.batch(toy.rows(8), toy.rows(4), parity=(compared(trainer, toy),))
      trainer.train(batch)
      trainer.supervised(toy.rows())
      trainer.logps(toy.rows(8))
  sizes = {f.name: getattr(trainer._step, f.name)._cache_size()
           for f in dataclasses.fields(trainer._step)}
  assert set(sizes.values()) == {1}, sizes


def test_rows_must_divide_over_the_mesh(toy):
  with pytest.raises(ValueError, match='trainer.microbatch_rows is 3 .*mesh.trainer.fsdp'):
    toy.trainer(fsdp=2, microbatch_rows=3)


def test_a_stage_multiplies_the_learning_rate_and_the_clip_bound(toy):
  """As if the config had said so, without another compilation."""
  batch = toy.batch(toy.rows())
  expected = toy.trainer(loss=dict(clip_high=0.42), optimizer=dict(learning_rate=5e-3))
  wanted = expected.train(batch)
  trainer = toy.trainer()
  found = trainer.train(dataclasses.replace(batch, clip_scale=1.5, rate_scale=0.5))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8),
               on_cpu(trainer.params), on_cpu(expected.params))
  np.testing.assert_allclose(found['clip_fraction_high'], wanted['clip_fraction_high'])
  assert wanted['clip_fraction_high'] < toy.trainer().train(batch)['clip_fraction_high']
  compiled = trainer._step.accumulate._cache_size(), trainer._step.apply._cache_size()
  trainer.train(batch)
  assert (trainer._step.accumulate._cache_size(), trainer._step.apply._cache_size()) == compiled
