"""Optimizers warm up to a constant rate, clip long gradients and keep float32 moments."""
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.trainer import optimizer


def test_warm_up_then_constant():
  rate = optimizer.rates(0.4, 4)
  np.testing.assert_allclose([rate(i) for i in range(6)], [.1, .2, .3, .4, .4, .4], rtol=1e-6)
  assert float(optimizer.rates(0.4, 0)(0)) == np.float32(0.4)


@pytest.mark.parametrize('schedule, expected', [
    ('constant', [.2, .4, .4, .4, .4, .4]),
    ('linear', [.2, .4, .325, .25, .175, .1]),
    # Half of the way at half of the steps, and a cosine between.
    ('cosine', [.2, .4, .1 + .3 * (1 + .5 ** .5) / 2, .25, .1 + .3 * (1 - .5 ** .5) / 2, .1])])
def test_after_the_warm_up_the_rate_falls_until_the_last_step(schedule, expected):
  rate = optimizer.rates(0.4, 2, schedule, 0.1, steps=6)
  np.testing.assert_allclose([rate(i) for i in range(6)], expected, rtol=1e-6)
  assert float(rate(20)) == pytest.approx(expected[-1])     # A run that goes on for longer.


def test_an_unknown_schedule_is_a_mistake():
  with pytest.raises(ValueError, match="optimizer.schedule is 'exponential': choose one of "
                                       "constant, linear, cosine"):
    optimizer.rates(0.4, 2, 'exponential')


@pytest.mark.parametrize('clip_norm, expected', [(1.0, [-0.06, -0.08]), (0.0, [-0.6, -0.8])])
def test_sgd_with_and_without_clipping(toy, clip_norm, expected):
  chain = optimizer.make_optimizer(**dict(
      toy.OPTIMIZER, name='sgd', learning_rate=0.1, warmup_steps=0, beta1=0.0, clip_norm=clip_norm))
  weights = jnp.zeros(2)
  updates, _ = chain.update(jnp.array([6.0, 8.0]), chain.init(weights), weights)
  np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_first_adamw_step_by_hand(toy):
  chain = optimizer.make_optimizer(**dict(
      toy.OPTIMIZER, learning_rate=0.1, warmup_steps=0, weight_decay=0.5, clip_norm=0.0))
  weights = jnp.array([2.0, -4.0])
  updates, _ = chain.update(jnp.array([3.0, -7.0]), chain.init(weights), weights)
  # The first Adam direction is the sign; decay adds rate x weight_decay x weight.
  np.testing.assert_allclose(updates, [-0.1 - 0.1, 0.1 + 0.2], rtol=1e-5)


def test_unknown_name(toy):
  with pytest.raises(ValueError, match="optimizer.name is 'adam': choose one of adamw, sgd"):
    optimizer.make_optimizer(**dict(toy.OPTIMIZER, name='adam'))
