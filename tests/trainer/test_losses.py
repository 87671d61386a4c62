"""Losses equal values worked out by hand, and gradients equal finite differences."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.trainer import losses

CLIP = dict(clip_low=0.2, clip_high=0.28, importance_cap=0.0)


def one(x):
  return jnp.full((1, 1), x, jnp.float32)


@pytest.mark.parametrize('advantage, ratio, expected, why', [
    (+1.0, 1.0, -1.00, 'on-policy: the loss is minus the advantage'),
    (+1.0, 2.0, -1.28, 'already likelier: the gain stops at 1 + clip_high'),
    (+1.0, 0.5, -0.50, 'moved the wrong way: never clipped'),
    (-1.0, 0.5, +0.80, 'already rarer: the gain stops at 1 - clip_low'),
    (-1.0, 2.0, +2.00, 'moved the wrong way: never clipped'),
    (-2.0, 0.9, +1.80, 'inside the bounds: ratio times advantage'),
])
def test_loss_of_one_token(advantage, ratio, expected, why):
  loss, _ = losses.clipped_policy_loss(
      one(np.log(ratio) - 3), one(-3), one(advantage), one(1.0), one(1) > 0, **CLIP)
  np.testing.assert_allclose(loss, expected, rtol=1e-6, err_msg=why)


@pytest.mark.parametrize('advantage, ratio, low, high', [
    (+1.0, 2.0, 0, 1), (-1.0, 0.5, 1, 0), (+1.0, 0.5, 0, 0), (-1.0, 2.0, 0, 0), (1.0, 1.1, 0, 0)])
def test_clipped_tokens_are_counted_by_side_and_have_no_gradient(advantage, ratio, low, high):
  f = lambda logp: losses.clipped_policy_loss(
      logp, one(0), one(advantage), one(1.0), one(1) > 0, **CLIP)
  _, sums = f(one(np.log(ratio)))
  assert (sums['clip_fraction_low'], sums['clip_fraction_high']) == (low, high)
  gradient = jax.grad(lambda logp: f(logp)[0])(one(np.log(ratio)))
  expected = 0.0 if low or high else -advantage * ratio
  np.testing.assert_allclose(gradient, one(expected), rtol=1e-6)


def test_the_cap_truncates_the_weight_and_leaves_the_gradient():
  capped = dict(CLIP, importance_cap=5.0)
  f = lambda logp: losses.clipped_policy_loss(
      logp, one(0), one(-1.0), one(1.0), one(1) > 0, **capped)[0]
  for ratio, counts in [(3.0, 3.0), (50.0, 5.0)]:
    np.testing.assert_allclose(f(one(np.log(ratio))), counts, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(f)(one(np.log(ratio))), one(counts), rtol=1e-6)


@pytest.mark.parametrize('ratio, counts', [(0.1, 0.1), (2.0, 2.0), (50.0, 5.0)])
@pytest.mark.parametrize('advantage', [1.0, -2.0])
def test_truncated_loss_never_clips(ratio, counts, advantage):
  f = lambda logp: losses.truncated_policy_loss(
      logp, one(np.log(0.01)), one(advantage), one(1.0), one(1) > 0,
      **dict(CLIP, importance_cap=5.0))[0]
  logp = one(np.log(0.01 * ratio))
  np.testing.assert_allclose(f(logp), -counts * advantage * float(logp[0, 0]), rtol=1e-5)
  np.testing.assert_allclose(jax.grad(f)(logp), one(-counts * advantage), rtol=1e-5)


def numpy_clipped(logp, sampler_logp, advantage, weight, mask):
  """Clipped loss in float64 with loops."""
  total = 0.0
  for i in np.ndindex(logp.shape):
    if mask[i]:
      r, a = np.exp(logp[i] - sampler_logp[i]), advantage[i]
      total -= weight[i] * min(r * a, min(max(r, 0.8), 1.28) * a)
  return total


def test_value_and_gradient_agree_with_an_independent_reference():
  rng = np.random.default_rng(0)
  logp, sampler_logp = rng.normal(-2, 0.4, (2, 3, 7))
  advantage, weight = rng.normal(size=(3, 7)), rng.random((3, 7))
  mask = rng.random((3, 7)) < 0.7
  f = lambda x: losses.clipped_policy_loss(
      x, jnp.array(sampler_logp), jnp.array(advantage), jnp.array(weight), jnp.array(mask),
      **CLIP)[0]
  value, gradient = jax.value_and_grad(f)(jnp.array(logp))
  rest = sampler_logp, advantage, weight, mask
  np.testing.assert_allclose(value, numpy_clipped(logp, *rest), rtol=1e-5)
  for i in np.ndindex(logp.shape):
    step = np.zeros_like(logp)
    step[i] = 1e-6
    numeric = (numpy_clipped(logp + step, *rest) - numpy_clipped(logp - step, *rest)) / 2e-6
    np.testing.assert_allclose(gradient[i], numeric, atol=1e-5)


@pytest.mark.parametrize('rubbish', [np.nan, np.inf, 1e9])
def test_padding_may_hold_anything(rubbish):
  mask = jnp.array([[True, False]])
  array = lambda x: jnp.array([[x, rubbish]], jnp.float32)
  f = lambda logp: losses.clipped_policy_loss(
      logp, array(-1.0), array(1.0), jnp.array([[1.0, 0.0]]), mask, **CLIP)[0]
  value, gradient = jax.value_and_grad(f)(array(-1.0))
  assert value == -1.0
  np.testing.assert_array_equal(gradient, [[-1.0, 0.0]])
  kl, _ = losses.reference_kl(array(-1.0), array(-2.0), jnp.array([[1.0, 0.0]]), mask)
  sums, gap = losses.drift(array(-1.0), array(-1.5), mask)
  assert np.isfinite(kl) and gap == 0.5 and all(map(np.isfinite, sums.values()))


def test_a_ratio_beyond_float32_does_not_void_the_step():
  f = lambda logp: losses.clipped_policy_loss(
      logp, one(-200.0), one(-1.0), one(1.0), one(1) > 0, **CLIP)[0]
  value, gradient = jax.value_and_grad(f)(one(0.0))
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_reference_kl_by_hand():
  d = np.log([0.5, 2.0])
  logp = jnp.array([[-1.0, -1.0]])
  weight, mask = jnp.array([[0.25, 0.75]]), jnp.ones((1, 2), bool)
  weighted, plain = losses.reference_kl(logp, logp + jnp.array(d), weight, mask)
  each = np.exp(d) - d - 1
  np.testing.assert_allclose(weighted, each @ [0.25, 0.75], rtol=1e-5)
  np.testing.assert_allclose(plain, each.sum(), rtol=1e-5)
  gradient = jax.grad(lambda x: losses.reference_kl(x, logp + jnp.array(d), weight, mask)[0])(logp)
  np.testing.assert_allclose(gradient[0], (1 - np.exp(d)) * [0.25, 0.75], rtol=1e-5)


def test_drift_by_hand():
  r = np.array([1.0, 2.0, 0.5])
  sums, gap = losses.drift(jnp.log(r)[None] - 1, jnp.full((1, 3), -1.0), jnp.ones((1, 3), bool))
  expected = dict(ratio=3.5, ratio_squared=5.25, kl_k1=0.0, kl_k3=0.5)
  for key, value in expected.items():
    np.testing.assert_allclose(sums[key], value, atol=1e-6, err_msg=key)
  np.testing.assert_allclose(gap, np.log(2), rtol=1e-6)


def test_supervised_loss_by_hand():
  logp = jnp.array([[-1.0, -2.0, np.nan]])
  weight, mask = jnp.array([[0.5, 0.25, 0.0]]), jnp.array([[True, True, False]])
  loss = losses.supervised_loss(logp, weight, mask)
  np.testing.assert_allclose(loss, 1.0)
