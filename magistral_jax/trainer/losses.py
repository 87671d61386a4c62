"""Losses: arrays in, sums out. Letters: B packed rows, T tokens.

Every loss is sum(weight x cost). A token's weight is its share of the minibatch and is fixed
before packing, so losses and gradients of microbatches simply add up. Metrics are sums over
trained tokens; divided by `tokens`, they are means.
"""

import chex
import jax
import jax.numpy as jnp

# Ratios beyond exp(20) are of no use; unbounded, exp overflows and one token voids the step.
_MAX_LOG_RATIO = 20.0


def clipped_policy_loss(
    logp, sampler_logp, advantage, weight, mask, *, clip_low, clip_high, importance_cap):
  """Clipped policy-gradient loss against the log-probabilities that the sampler recorded.

  With r = exp(logp - sampler_logp), a token of advantage A costs
  -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A).

  Clipping leaves one side open: a token of negative advantage that has become likelier counts r
  times, however large r is. `importance_cap` truncates r there: r then counts as
  min(r, importance_cap), in the value and in the gradient.

  Args:
    logp: [B, T] log-probability (nats) under the weights being trained.
    sampler_logp: [B, T] the same, recorded while sampling; a constant.
    advantage: [B, T] advantage of the completion that owns the token.
    weight: [B, T] the token's share of the loss.
    mask: [B, T] bool, True where the sampler chose the token.
    clip_low, clip_high: how far below and above 1 the ratio may count.
    importance_cap: largest value that the ratio counts as; 0 for no limit.
  Returns:
    [] loss; dict of [] sums over tokens.
  References: ratio clipping arXiv:1707.06347 eq. 7; two bounds arXiv:2503.14476.
  """
  chex.assert_equal_shape([logp, sampler_logp, advantage, weight, mask])
  r = _truncate(_ratio(logp, sampler_logp, mask), importance_cap)
  clipped = jnp.clip(r, 1.0 - clip_low, 1.0 + clip_high)
  gain = jnp.minimum(r * advantage, clipped * advantage)
  bound = mask & (clipped * advantage < r * advantage)
  return -_sum(weight * gain, mask), dict(
      clip_fraction_low=jnp.sum(bound & (advantage < 0), dtype=jnp.float32),
      clip_fraction_high=jnp.sum(bound & (advantage > 0), dtype=jnp.float32))


def truncated_policy_loss(
    logp, sampler_logp, advantage, weight, mask, *, clip_low, clip_high, importance_cap):
  """Policy gradient with truncated importance weights and no clipping.

  A token of advantage A costs -min(r, importance_cap) A logp, where the factor before logp is a
  constant: unlike with clipping, no token loses its gradient. Arguments and results are those of
  `clipped_policy_loss`; the clip bounds only decide which ratios are counted as outside.

  Reference: arXiv:2509.19128 (PipelineRL), with a cap of 5.
  """
  chex.assert_equal_shape([logp, sampler_logp, advantage, weight, mask])
  r = _ratio(logp, sampler_logp, mask)
  constant = jax.lax.stop_gradient(jnp.minimum(r, importance_cap) if importance_cap else r)
  outside = lambda where: jnp.sum(mask & where, dtype=jnp.float32)
  return -_sum(weight * constant * advantage * jnp.where(mask, logp, 0.0), mask), dict(
      clip_fraction_low=outside(r < 1.0 - clip_low),
      clip_fraction_high=outside(r > 1.0 + clip_high))


LOSSES = dict(clipped=clipped_policy_loss, truncated=truncated_policy_loss)


def reference_kl(logp, reference_logp, weight, mask):
  """Weighted estimate of KL(policy || reference): with d = reference_logp - logp, e^d - d - 1.

  It is never negative and has a small variance. It is unbiased only for tokens drawn by the policy
  itself; asynchronous tokens are slightly off.

  Returns:
    [] weighted sum, to be multiplied by the coefficient; [] sum over tokens, for metrics.
  Reference: arXiv:2402.03300 eq. 4 (k3 of Schulman's note on approximating KL).
  """
  d = jnp.where(mask, jax.lax.stop_gradient(reference_logp) - logp, 0.0)
  d = jnp.minimum(d, _MAX_LOG_RATIO)
  kl = jnp.exp(d) - d - 1.0
  return _sum(weight * kl, mask), _sum(kl, mask)


def supervised_loss(logp, weight, mask):
  """Weighted negative log-likelihood of the trained tokens: [] sum of -weight logp."""
  chex.assert_equal_shape([logp, weight, mask])
  return -_sum(weight * logp, mask)


def drift(logp, sampler_logp, mask):
  """Distance of the trained policy from the policies that sampled the tokens.

  With r = exp(logp - sampler_logp): k1 = -log r and k3 = r - 1 - log r both estimate
  KL(sampler || policy); (sum r)^2 / sum r^2 is the effective sample size.

  Returns:
    Dict of [] sums over tokens; [] largest |logp - sampler_logp|.
  """
  log_r = jax.lax.stop_gradient(jnp.where(mask, logp - sampler_logp, 0.0))
  r = jax.lax.stop_gradient(_ratio(logp, sampler_logp, mask))
  sums = dict(ratio=_sum(r, mask), ratio_squared=_sum(r * r, mask), kl_k1=_sum(-log_r, mask),
              kl_k3=_sum(r - 1.0 - log_r, mask))
  return sums, jnp.max(jnp.abs(log_r))


def gap(logp, sampler_logp, mask):
  """Differences from the recorded log-probabilities, in nats.

  Returns:
    [3] float32: the tokens of `mask`, the sum of |logp - sampler_logp| over them, and the largest.
  """
  distance = jnp.abs(jnp.where(mask, logp - sampler_logp, 0.0))
  return jnp.stack([jnp.sum(mask, dtype=jnp.float32), jnp.sum(distance), jnp.max(distance)])


def _ratio(logp, sampler_logp, mask):
  # Masked before exp: padding can hold anything, and inf * 0 is nan.
  log_r = jnp.where(mask, logp - sampler_logp, 0.0)
  return jnp.exp(jnp.clip(log_r, -_MAX_LOG_RATIO, _MAX_LOG_RATIO))


def _truncate(r, cap):
  """Returns min(r, cap), with a gradient above the cap of cap times that of log r, not zero."""
  return r * jax.lax.stop_gradient(jnp.minimum(1.0, cap / r)) if cap else r


def _sum(x, mask):
  return jnp.sum(jnp.where(mask, x, 0.0))
