"""Bookkeeping of the trainer: versions, bad steps, metrics, transfers, compilations."""
import dataclasses

import chex
import jax
import numpy as np
import pytest


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
  assert metrics['skipped'] == 1 and trainer.bad_steps == 1
  # The batch still counts as a version.
  assert trainer.version == 2
  assert trainer.train(toy.batch(toy.rows()))['skipped'] == 0


def test_bad_steps_in_a_row_stop_the_run_and_a_good_one_resets_the_count(toy):
  trainer = toy.trainer(max_bad_steps=2)
  good, bad = toy.batch(toy.rows()), toy.batch(poisoned(toy.rows()))
  for batch in (bad, good, bad):
    trainer.train(batch)
  with pytest.raises(RuntimeError, match='2 steps in a row .*optimizer.max_bad_steps'):
    trainer.train(bad)


def test_a_bad_minibatch_does_not_hide_the_metrics_of_the_good_ones(toy):
  metrics = toy.trainer().train(toy.batch(toy.rows(), poisoned(toy.rows())))
  assert metrics['skipped'] == 1 and all(map(np.isfinite, metrics.values()))


def test_gap_on_the_same_weights_is_reported_only_for_fresh_batches(toy):
  trainer = toy.trainer(loss=dict(vocab_chunk=8))
  rows = toy.rows()
  rows = dataclasses.replace(rows, sampler_logp=trainer.score(rows) * rows.mask)
  metrics = trainer.train(toy.batch(rows, version=0))
  assert metrics['logprob_gap_max'] < 1e-5
  assert metrics['ratio'] == pytest.approx(1.0) and metrics['effective_sample_size'] == (
      pytest.approx(1.0))
  assert 'logprob_gap_max' not in trainer.train(toy.batch(rows, version=0))


def test_loss_goes_down(toy):
  trainer, rows = toy.trainer(), toy.rows()
  losses = [trainer.supervised(rows)['loss'] for _ in range(20)]
  assert losses[-1] < 0.8 * losses[0]


def test_no_hidden_transfer_and_no_second_compilation(toy):
  trainer = toy.trainer(fsdp=2, tensor=2, microbatch_rows=4)
  batch = toy.batch(toy.rows(8), toy.rows(4))
  with jax.transfer_guard('disallow'):
    for _ in range(3):
      trainer.train(batch)
      trainer.supervised(toy.rows())
      trainer.score(toy.rows())
  sizes = {f.name: getattr(trainer._step, f.name)._cache_size()
           for f in dataclasses.fields(trainer._step)}
  assert set(sizes.values()) == {1}, sizes


def test_rows_must_divide_over_the_mesh(toy):
  with pytest.raises(ValueError, match='trainer.microbatch_rows is 3 .*mesh.trainer.fsdp'):
    toy.trainer(fsdp=2, microbatch_rows=3)
