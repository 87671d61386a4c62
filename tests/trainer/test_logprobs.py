"""Chunked log-probabilities equal log_softmax in value and gradient, without its array."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.trainer import logprobs
from magistral_jax.trainer.logprobs import token_logps, trained_logps

B, T, D, V = 2, 5, 8, 40
CASES = [(0, 1), (8, 1), (7, 1), (1, 1), (40, 1), (64, 1), (16, 2), (12, 4), (6, 8), (3, 8)]


def arrays(seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  hidden = jnp.array(scale * rng.normal(size=(B, T, D)), jnp.float32)
  head = jnp.array(rng.normal(size=(D, V)), jnp.float32)
  return hidden, head, jnp.array(rng.integers(0, V, (B, T)), jnp.int32)


def plain(hidden, head, targets, temperature):
  logits = jnp.einsum('btd,dv->btv', hidden, head) / jnp.broadcast_to(
      temperature, targets.shape)[..., None]
  logp = jax.nn.log_softmax(logits)
  entropy = -jnp.sum(jnp.exp(logp) * logp, axis=-1)
  return jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0], entropy


def temperatures(shape, chunk):
  """One number, or in every other case one for each position."""
  several = np.random.default_rng(3).uniform(0.5, 1.5, shape).astype(np.float32)
  return jnp.array(several) if chunk % 3 else 0.7


@pytest.mark.parametrize('chunk, shards', CASES)
def test_values_and_gradients_are_those_of_log_softmax(chunk, shards):
  hidden, head, targets = arrays()
  a, b = (jnp.array(np.random.default_rng(s).normal(size=(B, T)), jnp.float32) for s in (1, 2))
  temperature = temperatures((B, T), chunk + shards)
  ours = lambda h, w: token_logps(
      h, w, targets, temperature=temperature, vocab_chunk=chunk, vocab_shards=shards)
  reference = lambda h, w: plain(h, w, targets, temperature)
  for got, want in zip(ours(hidden, head), reference(hidden, head), strict=True):
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
  mixed = lambda f: lambda h, w: jnp.sum(a * f(h, w)[0] + b * f(h, w)[1])
  got = jax.grad(mixed(ours), (0, 1))(hidden, head)
  want = jax.grad(mixed(reference), (0, 1))(hidden, head)
  jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5), got, want)


MASKS = dict(
    some=[[0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]],
    none=np.zeros((B, 11)), all=np.ones((B, 11)))


@pytest.mark.parametrize('name, chunk, size, blocks', [
    ('some', 0, 3, 3), ('some', 8, 5, 2), ('none', 0, 3, 0), ('all', 8, 5, 5)])
def test_trained_positions_alone_are_the_same(monkeypatch, name, chunk, size, blocks):
  """Uses blocks of three or five positions, the last of which runs over the end."""
  monkeypatch.setattr(logprobs, '_LEAST_POSITIONS', 2)
  mask, rng = np.array(MASKS[name], bool), np.random.default_rng(0)
  shapes = (B, 11, D), (B, 11), (B, 11)
  hidden, a, b = (jnp.array(rng.normal(size=shape), jnp.float32) for shape in shapes)
  head, targets = arrays()[1], jnp.array(rng.integers(0, V, (B, 11)), jnp.int32)
  assert logprobs._block_positions(mask.size, V, chunk) == size
  order, count = logprobs._order(mask.reshape(-1), size)
  assert len(order) % size == 0 and int(count) == blocks
  temperature = temperatures((B, 11), chunk)
  ours = lambda h, w: trained_logps(h, w, targets, mask, temperature=temperature,
                                    vocab_chunk=chunk)
  reference = lambda h, w: [jnp.where(mask, x, 0) for x in plain(h, w, targets, temperature)]
  mixed = lambda f: lambda h, w: jnp.sum(a * f(h, w)[0] + b * f(h, w)[1])
  close = lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, list(ours(hidden, head)), reference(hidden, head))
  got, want = (jax.jit(jax.grad(mixed(f), (0, 1)))(hidden, head) for f in (ours, reference))
  jax.tree.map(close, got, want)


def test_gradient_agrees_with_finite_differences_in_float64():
  hidden, head, targets = (np.array(x) for x in arrays())
  def total(h):
    z = h @ head.astype(float)
    z = z - z.max(-1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
    entropy = -(np.exp(logp) * logp).sum(-1)
    return (np.take_along_axis(logp, targets[..., None], -1)[..., 0] + 0.5 * entropy).sum()
  def ours(h):
    logp, entropy = token_logps(h, head, targets, temperature=1.0, vocab_chunk=9)
    return jnp.sum(logp + 0.5 * entropy)
  gradient = jax.grad(ours)(jnp.array(hidden))
  h = hidden.astype(float)
  for index in [(0, 0, 0), (1, 4, 7), (0, 2, 3)]:
    step = np.zeros_like(h)
    step[index] = 1e-5
    numeric = (total(h + step) - total(h - step)) / 2e-5
    np.testing.assert_allclose(gradient[index], numeric, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('scale', [0.0, 1e3])
def test_extreme_logits_stay_finite(scale):
  hidden, head, targets = arrays(scale=scale)
  ours = lambda h: jnp.sum(sum(token_logps(h, head, targets, temperature=1.0, vocab_chunk=16)))
  value, gradient = jax.value_and_grad(ours)(hidden)
  assert np.isfinite(value) and np.isfinite(gradient).all()


def largest(jaxpr):
  """Size of the largest array that any equation of `jaxpr` makes, inner ones included."""
  sizes = [1]
  for equation in jaxpr.eqns:
    sizes += [out.aval.size for out in equation.outvars]
    inner = [getattr(p, 'jaxpr', p) for p in equation.params.values()]
    sizes += [largest(p) for p in inner if hasattr(p, 'eqns')]
  return max(sizes)


@pytest.mark.parametrize('shards', [1, 4])
def test_no_array_of_tokens_by_vocabulary(shards):
  tokens, width, vocab = 512, 4, 1024
  hidden, head = jnp.zeros((1, tokens, width)), jnp.zeros((width, vocab))
  targets = jnp.zeros((1, tokens), jnp.int32)
  def loss(chunk):
    f = lambda h, w: sum(map(jnp.sum, token_logps(
        h, w, targets, temperature=1.0, vocab_chunk=chunk, vocab_shards=shards)))
    return largest(jax.make_jaxpr(jax.value_and_grad(f, (0, 1)))(hidden, head).jaxpr)
  assert loss(64) <= tokens * 64
  # Without chunks the count does find such an array.
  assert loss(0) >= tokens * vocab


def test_a_cut_vocabulary_is_not_gathered():
  mesh = sharding.make_mesh(jax.devices(), fsdp=2, tensor=4)
  described = lambda shape, *axes: jax.ShapeDtypeStruct(
      shape, jnp.float32, sharding=sharding.named(mesh, sharding.TRAINER, axes))
  rows, length, width, vocab = 4, 16, 8, 1024
  hidden = described((rows, length, width), 'row', None, None)
  head = described((width, vocab), 'embed', 'vocab')
  f = lambda h, w: sum(map(jnp.sum, token_logps(
      h, w, jnp.zeros((rows, length), jnp.int32), temperature=1.0, vocab_chunk=128,
      vocab_shards=4)))
  hlo = jax.jit(jax.grad(f, (0, 1))).lower(hidden, head).compile().as_text()
  # The head is gathered over fsdp, as every weight is, and never over tensor.
  assert f'f32[{width},{vocab}]' not in hlo and f'f32[{width},4,{vocab // 4}]' not in hlo
