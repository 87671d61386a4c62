"""The TPU kernels, interpreted on a CPU, against the reference; test_plan.py compiles them."""
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import literals
from jax.experimental import pallas as pl

from magistral_jax import sharding
from magistral_jax.models import attention, cache, kernels
from magistral_jax.models.config import ModelConfig

HEADS, KV_HEADS, HEAD = 4, 2, 128


def layout(rules=sharding.TRAINER, **sizes):
  count = int(np.prod(list(sizes.values())))
  return sharding.Layout(sharding.make_mesh(jax.devices()[:count], **sizes), rules)


def draw(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def packed(rows, tokens):
  """Segments [B, T]: three sequences and some padding in a row, cut at odd positions."""
  ends = np.array([[tokens // 3 - 5, tokens // 2 + 7, tokens - 30]])
  return jnp.array(np.repeat(
      (np.sum(np.arange(tokens)[:, None] >= ends, -1) + 1) % 4, rows).reshape(tokens, rows).T,
      jnp.int32)


@pytest.mark.parametrize('sizes', [
    dict(fsdp=1, tensor=1), dict(fsdp=2, tensor=2), dict(fsdp=1, sequence=2, tensor=2)])
def test_rows_and_their_gradients_are_those_of_the_reference(sizes):
  tokens = 512
  where = layout(**sizes)
  assert kernels.rows_fit(where, tokens, HEAD)
  segments = packed(2, tokens)
  real = (segments > 0)[..., None, None]
  arrays = (draw(0, 2, tokens, HEADS, HEAD), draw(1, 2, tokens, KV_HEADS, HEAD),
            draw(2, 2, tokens, KV_HEADS, HEAD))
  weight = jnp.where(real, draw(3, 2, tokens, HEADS, HEAD), 0)

  def run(attend):
    def loss(q, k, v):
      out = attend(q, k, v)
      return jnp.sum(jnp.where(real, out, 0) * weight), out
    grads, out = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*arrays)
    return jnp.where(real, out, 0), grads

  expected = run(lambda q, k, v: attention.rows(segments)(0, q, k, v, None)[0])
  got = run(lambda q, k, v: kernels.rows(q, k, v, segments, where, interpret=True))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize('devices', [2, 3, 4])
def test_every_device_computes_an_early_and_a_late_chunk(devices):
  where = layout(fsdp=1, sequence=devices)
  positions = jnp.arange(4 * devices)[None]
  cut = where.spec(None, 'position')
  move = lambda back: jax.shard_map(
      lambda x: kernels.deal(x, 'sequence', devices, back=back), mesh=where.mesh, in_specs=cut,
      out_specs=cut, check_vma=False)
  dealt = jax.jit(move(False))(positions)
  np.testing.assert_array_equal(dealt[0], kernels.dealt_positions(4 * devices, devices))
  np.testing.assert_array_equal(jax.jit(move(True))(dealt), positions)
  # Every device sees the same number of keys under the causal mask.
  seen = np.asarray(dealt[0]).reshape(devices, -1).sum(1)
  assert (seen == seen[0]).all()


@pytest.mark.parametrize('sizes', [dict(expert=1, tensor=1), dict(expert=1, tensor=2)])
def test_pages_read_by_the_kernel_are_pages_read_by_the_reference(sizes, monkeypatch):
  where = layout(sharding.SAMPLER, **sizes)
  config = ModelConfig(
      family='mistral', layers=2, dim=8, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD, ffn_dim=8,
      vocab=8, rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32')
  slots, page, layer = 3, 16, 1
  table = jnp.array([[3, 7, 2], [1, 5, 4], [6, 0, 0]])
  lengths = jnp.array([37, 15, 9])   # Into the third page, to the end of the first, an idle slot's.
  active = jnp.array([True, True, False])
  history = draw(4, 2, 8, page, KV_HEADS, HEAD)
  new = draw(5, 3, slots, 1, HEADS, HEAD)
  q, k, v = new[0], new[1, :, :, :KV_HEADS], new[2, :, :, :KV_HEADS]
  ids, offsets = jnp.repeat(jnp.arange(8), page), jnp.tile(jnp.arange(page), 8)

  def run(joined):
    pool = cache.empty_pages(config, 8, page, joined=joined)
    pool = pool.write(layer, ids, offsets, *history.reshape(2, -1, KV_HEADS, HEAD))
    decode = lambda pool: attention.decode(table, lengths, active, where)(layer, q, k, v, pool)
    return jax.jit(decode)(pool)

  expected, _ = run(joined=False)
  # The kernel has no switch for the interpreter, which in jax 0.10.2 stumbles over a plain number.
  monkeypatch.setattr(literals.TypedInt, 'shape', (), raising=False)
  monkeypatch.setattr(pl, 'pallas_call', functools.partial(pl.pallas_call, interpret=True))
  got, after = run(joined=True)
  assert isinstance(after, cache.JoinedPages)
  np.testing.assert_allclose(got[:2], expected[:2], atol=2e-6)
  np.testing.assert_array_equal(after.heads[layer, 2, 5, ::2], k[0, 0])
  np.testing.assert_array_equal(after.heads[layer, 2, 5, 1::2], v[0, 0])
  moved = after.copy_page(jnp.array([2]), jnp.array([6]))
  np.testing.assert_array_equal(moved.heads[:, 6], after.heads[:, 2])


def test_kernels_are_taken_on_tpus_only_and_only_for_whole_tiles():
  class Described(sharding.Layout):
    platform = 'tpu'
  here = layout(fsdp=1, sequence=2)
  tpu = Described(here.mesh, here.rules)
  takes = attention.takes_kernels
  assert not takes(None, 128, tokens=512) and not takes(here, 128, tokens=512)
  assert takes(tpu, 128, tokens=512) and takes(tpu, 128, page_tokens=16)
  # Half the heads' tile; chunks of 192 tokens.
  assert not takes(tpu, 64, tokens=512) and not takes(tpu, 128, tokens=768)
  assert dataclasses.is_dataclass(tpu)
