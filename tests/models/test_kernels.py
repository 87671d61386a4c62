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
from magistral_jax.models import tiles as pairs_of
from magistral_jax.models.config import ModelConfig

HEADS, KV_HEADS, HEAD = 4, 2, 128


def layout(rules=sharding.TRAINER, **sizes):
  count = int(np.prod(list(sizes.values())))
  return sharding.Layout(sharding.make_mesh(jax.devices()[:count], **sizes), rules)


def draw(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def segments_of(rows, tokens):
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
  segments = segments_of(2, tokens)
  arrays = (draw(0, 2, tokens, HEADS, HEAD), draw(1, 2, tokens, KV_HEADS, HEAD),
            draw(2, 2, tokens, KV_HEADS, HEAD))
  weight = draw(3, 2, tokens, HEADS, HEAD)

  def run(attend):
    def loss(q, k, v):
      out = attend(q, k, v)
      return jnp.sum(out * weight), out
    grads, out = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*arrays)
    return out, grads

  expected = run(lambda q, k, v: attention.rows(segments)(0, q, k, v, None)[0])
  got = run(lambda q, k, v: kernels.rows(q, k, v, segments, where, interpret=True))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize('devices', [2, 3, 4])
def test_queries_are_dealt_out_tile_by_tile_and_come_back(devices):
  where, tile = layout(fsdp=1, sequence=devices), 2
  tokens = 2 * tile * devices ** 2
  positions = jnp.arange(tokens)[None]
  cut = where.spec(None, 'position')
  move = lambda back: jax.shard_map(
      lambda x: kernels.deal(x, 'sequence', devices, tile, back=back), mesh=where.mesh,
      in_specs=cut, out_specs=cut, check_vma=False)
  dealt = jax.jit(move(False))(positions)
  expected = kernels.dealt_positions(tokens, devices, tile)
  np.testing.assert_array_equal(dealt[0], expected.reshape(-1))
  np.testing.assert_array_equal(jax.jit(move(True))(dealt), positions)
  assert (np.diff(expected) > 0).all()      # The order that pairs_of.spans_of needs.


def lengths(seed):
  """Lengths of sequences that fill a row of 45,056 tokens, about 6,500 each."""
  drawn = np.exp(np.random.default_rng(seed).normal(np.log(6000), 0.6, 40)).astype(int)
  ends = np.minimum(np.cumsum(drawn), 45056)
  return np.diff(np.unique(np.concatenate([[0], ends, [45056]])))


@pytest.mark.parametrize('cut', [1, 4])
@pytest.mark.parametrize('sequences', [[6500] * 6 + [6056], lengths(0), lengths(1), lengths(2)])
def test_little_more_is_computed_than_sequences_need(sequences, cut):
  segments = np.repeat(np.arange(1, len(sequences) + 1), sequences)[None]
  needed = sum(n * (n + 1) / 2 for n in sequences)
  busiest = cut * kernels.computed_pairs(segments, cut).max()
  assert needed < busiest <= 1.15 * needed


def test_a_row_of_one_sequence_is_half_of_the_square():
  pairs = kernels.computed_pairs(np.ones((1, 45056), np.int32), 4)
  assert pairs.sum() == 176 * 177 / 2 * 256 ** 2
  # No list of pairs is longer than the room for it, and the busiest device fills that.
  assert pairs.max() == kernels._tiles(45056, 4)[1] * 256 ** 2


@pytest.mark.parametrize('seed', range(6))
def test_every_pair_that_is_seen_is_on_the_list_and_every_tile_is_written(seed):
  """Against the mask itself, at tiles of 4 tokens, from the queries and from the keys."""
  rng, tile, rows, tokens = np.random.default_rng(seed), 4, 2, 32
  segments = np.stack([np.sum(np.arange(tokens)[:, None] >= np.sort(
      rng.integers(0, tokens, 4)), 1) for _ in range(rows)])
  segments[rng.random(segments.shape) < 0.1 * (seed % 3)] = 0
  segments = np.where(segments == rng.integers(5), 0, segments)
  # Padding may stand anywhere, but the tokens of a segment are side by side.
  segments = np.cumsum(np.diff(segments, prepend=-1) != 0, axis=1) * (segments > 0)
  positions = kernels.dealt_positions(tokens, 2, tile)[seed % 2]
  starts = pairs_of.starts_of(jnp.asarray(segments))[:, positions]
  first, last = pairs_of.spans_of(starts, jnp.asarray(positions), tokens, tile)
  mask = np.asarray(attention.causal_mask(jnp.asarray(segments)))[:, positions]
  tiles = mask.reshape(rows, -1, tile, tokens // tile, tile).any((2, 4))   # Of each row.
  spans = np.zeros((rows * tiles.shape[1], rows * tiles.shape[2]), bool)
  for i, (a, b) in enumerate(zip(first, last, strict=True)):
    spans[i, a:b + 1] = True
  for row in range(rows):
    here = np.s_[row * tiles.shape[1]:, row * tiles.shape[2]:]
    assert not (tiles[row] & ~spans[here][:tiles.shape[1], :tiles.shape[2]]).any()
  for pairs, wide in ((pairs_of.steps_of(first, last, spans.size), spans),
                      (pairs_of.steps_of(*pairs_of.turned(first, last, spans.shape[1]),
                                       spans.size + spans.shape[1]), spans.T)):
    outer, inner, number = (np.asarray(x) for x in pairs)
    assert (outer[number:] == -1).all()
    outer, inner = outer[:number], inner[:number]
    assert sorted(set(outer)) == list(range(len(wide))) and (np.diff(outer) >= 0).all()
    listed = [(o, i) for o, i in zip(outer, inner, strict=True) if i >= 0]
    assert sorted(listed) == [tuple(pair) for pair in np.argwhere(wide)]


@pytest.mark.parametrize('rows, tokens, fits', [
    (1, 65536, True), (1, 131072, False), (2, 65536, True), (4, 65536, False)])
def test_rows_whose_list_no_chip_holds_are_refused_in_words(rows, tokens, fits):
  of = lambda heads: jax.ShapeDtypeStruct((rows, tokens, heads, HEAD), jnp.bfloat16)
  run = lambda q, k, segments: kernels.rows(q, k, k, segments, layout(fsdp=1))
  arguments = of(HEADS), of(KV_HEADS), jax.ShapeDtypeStruct((rows, tokens), jnp.int32)
  if fits:
    assert jax.eval_shape(run, *arguments).shape == (rows, tokens, HEADS, HEAD)
  else:
    words = f'{rows} rows? of {tokens} tokens .* raise mesh.trainer.sequence'
    with pytest.raises(ValueError, match=words):
      jax.eval_shape(run, *arguments)


@pytest.mark.parametrize('sizes, first, new_tokens, within, kv_dtype', [
    (dict(expert=1, tensor=1), 37, 1, 1, 'model'), (dict(expert=1, tensor=2), 37, 1, 1, 'model'),
    # Drafts, across pages and the last of them beyond all pages of a slot.
    (dict(expert=1, tensor=1), 46, 3, 2, 'model'), (dict(expert=1, tensor=1), 37, 1, 1, 'fp8')])
def test_pages_read_by_the_kernel_are_pages_read_by_the_reference(
    sizes, first, new_tokens, within, kv_dtype, monkeypatch):
  where = layout(sharding.SAMPLER, **sizes)
  config = ModelConfig(
      family='mistral', layers=2, dim=8, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD, ffn_dim=8,
      vocab=8, rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32')
  slots, page, layer = 3, 16, 1
  table = jnp.array([[3, 7, 2], [1, 5, 4], [6, 0, 0]])
  # Into the third page, to the end of the first, an idle slot's.
  lengths = jnp.array([first, 15, 9])
  active = jnp.array([True, True, False])
  history = draw(4, 2, 8, page, KV_HEADS, HEAD)
  new = draw(5, 3, slots, new_tokens, HEADS, HEAD)
  q, k, v = new[0], new[1, :, :, :KV_HEADS], new[2, :, :, :KV_HEADS]
  ids, offsets = jnp.repeat(jnp.arange(8), page), jnp.tile(jnp.arange(page), 8)

  def run(joined):
    pool = cache.empty_pages(config, 8, page, joined=joined, kv_dtype=kv_dtype)
    pool = pool.write(layer, ids, offsets, *history.reshape(2, -1, KV_HEADS, HEAD))
    decode = lambda pool: attention.decode(table, lengths, active, where)(layer, q, k, v, pool)
    return jax.jit(decode)(pool)

  expected, _ = run(joined=False)
  # The kernel has no switch for the interpreter, which in jax 0.10.2 stumbles over a plain number.
  monkeypatch.setattr(literals.TypedInt, 'shape', (), raising=False)
  monkeypatch.setattr(pl, 'pallas_call', functools.partial(pl.pallas_call, interpret=True))
  got, after = run(joined=True)
  assert isinstance(after, cache.JoinedPages)
  np.testing.assert_allclose(got[0, :within], expected[0, :within], atol=2e-6)
  np.testing.assert_allclose(got[1], expected[1], atol=2e-6)
  held = cache.held_dtype(config, kv_dtype)
  for start, new in ((0, k), (1, v)):
    np.testing.assert_array_equal(after.heads[layer, 2, first % page, start::2],
                                  new[0, 0].astype(held))
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
  # Half the heads' tile; parts of 192 tokens.
  assert not takes(tpu, 64, tokens=512) and not takes(tpu, 128, tokens=768)
  assert dataclasses.is_dataclass(tpu)
