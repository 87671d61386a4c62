"""Attention in the four forms that decoder and vision tower need.

Axes: B rows or slots, T tokens, N query heads, K kv heads, G query heads per kv head, H head size,
S tokens of a page.

A layer calls `attend(layer, q, k, v, cache) -> (output, cache)` and does not know which form it is:
  rows(segments, continues) training: packed rows, no cache
  images(segments)          the vision tower: patches of packed images, no cache
  prefill(page_ids)         a prompt: as rows, and its keys and values go to pages; where these
                            round them (cache.py), it reads the rounded ones
  decode(table, lengths)    the next token of a slot, or several: its keys go to a page, and it
                            reads all pages before it
All softmaxes run in float32.

The plain form written here is the reference. All but images also have a TPU kernel (kernels.py),
which runs where `takes_kernels` is true; nothing else in the program chooses between the two.
"""

import jax
import jax.numpy as jnp

from magistral_jax.models import cache as pages
from magistral_jax.models import kernels
from magistral_jax.sharding import Layout

# The smallest part of a row whose queries are taken at once, and the most parts of a row.
BLOCK_QUERIES, MOST_BLOCKS = 96, 8
# Patches whose scores are held at once: the scores of a whole large image would take a gigabyte.
BLOCK_PATCHES = 1024
# Tokens of pages that are read at once: products of a whole block take half as long as those of its
# pages of 16, and with more, what lies beyond the ends of sequences costs more than that saves.
BLOCK_TOKENS = 64


def masked_attention(q, k, v, mask):
  """Softmax attention with grouped heads, the reference for every other form.

  Args:
    q: [B, T, N, H]; k, v: [B, S, K, H]; mask: [B, T, S] bool, True where t may look at s.
  Returns:
    [B, T, N, H]; zeros where a token may look at nothing.
  """
  b, t, n, h = q.shape
  kv_heads = k.shape[2]
  # Batch dimensions come first and a plain matrix product follows: on CPUs XLA is about twice as
  # fast at this as at the einsum 'btkgh,bskh->bkgts' and its gradients.
  q = (q * h ** -0.5).reshape(b, t, kv_heads, n // kv_heads, h)
  q = q.transpose(0, 2, 3, 1, 4).reshape(b, kv_heads, -1, h)
  k, v = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
  scores = jnp.matmul(q, k, preferred_element_type=jnp.float32)
  scores = scores.reshape(b, kv_heads, n // kv_heads, t, -1)
  scores = jnp.where(mask[:, None, None], scores, -jnp.inf)
  # A query without keys stays finite. The maximum only shifts, so no gradient flows through it.
  top = jax.lax.stop_gradient(jnp.maximum(scores.max(-1, keepdims=True), -1e30))
  weights = jnp.exp(scores - top)
  total = jnp.maximum(weights.sum(-1), 1e-30).reshape(b, kv_heads, -1, 1)
  weights = weights.reshape(b, kv_heads, -1, weights.shape[-1]).astype(v.dtype)
  out = jnp.matmul(weights, v, preferred_element_type=jnp.float32) / total
  out = out.astype(v.dtype).reshape(b, kv_heads, n // kv_heads, t, h)
  return out.transpose(0, 3, 1, 2, 4).reshape(b, t, n, h)


def causal_mask(segments, continues=None):
  """The mask [B, T, T] bool: true within a segment, not later, and not for padding (segment 0).

  A segment that continues another sees that one, too; continues: as `records.Rows` has it, or None.
  """
  same = segments[:, :, None] == segments[:, None, :]
  if continues is not None:
    same |= continues[:, :, None] == segments[:, None, :]
  real = (segments > 0)[:, :, None] & (segments > 0)[:, None, :]
  return same & real & jnp.tril(jnp.ones((segments.shape[1],) * 2, bool))


def takes_kernels(layout: Layout | None, head_dim: int, *, tokens: int | None = None,
                  page_tokens: int | None = None) -> bool:
  """Whether attention runs in TPU kernels: on TPUs, for heads and lengths of whole tiles.

  Args:
    layout: mesh that the program runs on; None, where the caller does not know it, means no kernel.
    tokens: length of the rows, for `rows` and `prefill`.
    page_tokens: tokens of a page, for `decode`.
  """
  if layout is None or layout.platform != 'tpu':
    return False
  if page_tokens is not None:
    return kernels.paged_fits(page_tokens, head_dim)
  return kernels.rows_fit(layout, tokens, head_dim)


def rows(segments, layout: Layout | None = None, continues=None):
  """Attention of packed rows; segments: [B, T], 0 is padding; continues: as for `causal_mask`.

  Without a kernel, queries are taken in parts, each over the keys up to its own end, so that keys
  later than a whole part are never computed only to be masked. A row whose positions are cut over
  devices is taken whole, because each device has a part of its own.

  Raises:
    ValueError: while it is traced, if a kernel would have to read shared prompts.
  """
  mask, t = causal_mask(segments, continues), segments.shape[1]
  size = t if layout and layout.cuts('position') else max(BLOCK_QUERIES, -(-t // MOST_BLOCKS))
  def attend(layer, q, k, v, cache):
    del layer
    if takes_kernels(layout, q.shape[-1], tokens=t):
      if continues is not None:
        raise ValueError('batching.share_prompts is true, and the attention kernel of TPUs reads '
                         'no prompts that completions share: set it to false.')
      return kernels.rows(q, k, v, segments, layout), cache
    ends = [(start, min(start + size, t)) for start in range(0, t, size)]
    parts = [masked_attention(q[:, start:end], k[:, :end], v[:, :end], mask[:, start:end, :end])
             for start, end in ends]
    return jnp.concatenate(parts, axis=1), cache
  return attend


def images(segments):
  """Attention among the patches of an image, in both directions; segments: [B, S], 0 is padding.

  Where BLOCK_PATCHES divides S, that many queries are taken at a time and their scores are computed
  again in the backward pass, so that memory grows with S and not with its square.
  """
  size, block = segments.shape[1], BLOCK_PATCHES
  def attend(layer, q, k, v, cache):
    del layer
    def some(queries):
      q, own = queries
      mask = (own[:, :, None] == segments[:, None, :]) & (own > 0)[:, :, None]
      return masked_attention(q, k, v, mask)
    if size <= block or size % block:
      return some((q, segments)), cache
    cut = lambda x: jnp.moveaxis(x.reshape(x.shape[0], -1, block, *x.shape[2:]), 1, 0)
    out = jax.lax.map(jax.checkpoint(some), (cut(q), cut(segments)))
    return jnp.moveaxis(out, 0, 1).reshape(q.shape), cache
  return attend


def prefill(segments, page_ids, layout: Layout | None = None):
  """Attention of one prompt that leaves its keys and values in pages.

  Args:
    segments: [1, T], 1 for the prompt and 0 for padding.
    page_ids: [T / page_tokens] pages to fill, in order; 0 beyond the prompt.
  """
  attend_rows = rows(segments, layout)
  def attend(layer, q, k, v, cache):
    token = jnp.arange(k.shape[1])
    page, offset = page_ids[token // cache.page_tokens], token % cache.page_tokens
    cache = cache.write(layer, page, offset, k[0], v[0])
    if cache.dtype != k.dtype:
      # Read from the pages: a compiler may leave out a conversion to eight bits and back.
      k, v = (x[None] for x in cache.read(layer, page_ids, k.dtype))
    out, _ = attend_rows(layer, q, k, v, None)
    return out, cache
  return attend


def decode(page_table, lengths, active, layout: Layout | None = None):
  """Attention of T new tokens per slot, of one when nothing is drafted, over the slot's pages.

  Pages are read block after block with a running softmax, as many as the longest slot needs, so
  that the cost follows the true lengths in one compiled shape. A page beyond a slot's length adds
  exact zeros, so a slot's result does not depend on the lengths of other slots.

  Args:
    page_table: [B, pages of a slot]; what is written beyond them goes to page 0.
    lengths: [B] tokens in the cache before these.
    active: [B] bool, False for idle slots, which write to page 0 and read nothing.
  """
  def attend(layer, q, k, v, cache):
    size, t = cache.page_tokens, q.shape[1]
    place = lengths[:, None] + jnp.arange(t)
    page = jnp.take_along_axis(page_table, place // size, axis=1, mode='fill', fill_value=0)
    page = jnp.where(active[:, None], page, 0)
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    cache = cache.write(layer, flat(page), flat(place % size), flat(k), flat(v))
    if isinstance(cache, pages.JoinedPages):
      seen = jnp.where(active, lengths + t, 0)
      return kernels.paged(q, cache.heads, layer, page_table, seen, layout), cache
    seen = jnp.where(active[:, None], place + 1, 0)
    return _paged_attention(q, layer, cache, page_table, seen), cache
  return attend


def _paged_attention(q, layer, cache, page_table, seen):
  """The output [B, T, N, H] of q [B, T, N, H], each over the first `seen` [B, T] tokens in pages.
  """
  b, t, n, h = q.shape
  size, kv_heads = cache.page_tokens, cache.keys.shape[2]
  # The queries of a kv head side by side, [B, K, T G, H]: one product with every page.
  q = (q * h ** -0.5).reshape(b, t, kv_heads, n // kv_heads, h).swapaxes(1, 2)
  q = q.reshape(b, kv_heads, -1, h)
  seen = jnp.repeat(seen, n // kv_heads, axis=1)[:, None, :, None]
  many = max(1, BLOCK_TOKENS // size)
  page_table = jnp.pad(page_table, ((0, 0), (0, -page_table.shape[1] % many)))

  def step(i, carry):
    top, total, out = carry
    table = jax.lax.dynamic_slice_in_dim(page_table, i * many, many, axis=1)
    def held(pool, to):
      """A block of a pool, its pages side by side; to: where the axis of pages stands then."""
      # One axis to gather from: over two, the copies of XLA for CPUs take half as long again.
      flat = pool.reshape(-1, *pool.shape[2:])[layer * pool.shape[1] + table]
      block = jnp.moveaxis(flat, 1, to)
      return block.reshape(*block.shape[:to], -1, *block.shape[to + 2:])
    # Keys as they lie: products that have to turn them first take twice as long.
    scores = jnp.einsum('bkgh,bkhs->bkgs', q, held(cache.keys, 3).astype(q.dtype),
                        preferred_element_type=jnp.float32)
    if cache.key_scales is not None:
      scores *= held(cache.key_scales, 2)[:, :, None]
    position = i * many * size + jnp.arange(many * size)
    scores = jnp.where(position < seen, scores, -jnp.inf)
    new_top = jnp.maximum(top, scores.max(-1))
    weights = jnp.exp(scores - new_top[..., None])
    fade = jnp.exp(top - new_top)
    total = total * fade + weights.sum(-1)
    if cache.value_scales is not None:
      weights *= held(cache.value_scales, 2)[:, :, None]
    new = jnp.einsum('bkgs,bksh->bkgh', weights.astype(q.dtype),
                     held(cache.values, 2).astype(q.dtype), preferred_element_type=jnp.float32)
    return new_top, total, out * fade[..., None] + new

  shape = q.shape[:3]
  # The running maximum starts finite, so that exp never sees inf - inf.
  start = (jnp.full(shape, -1e30), jnp.zeros(shape), jnp.zeros(q.shape, jnp.float32))
  _, total, out = jax.lax.fori_loop(0, -(-jnp.max(seen) // (many * size)), step, start)
  out = out / jnp.maximum(total, 1e-30)[..., None]
  out = out.astype(q.dtype).reshape(b, kv_heads, t, n // kv_heads, h)
  return out.swapaxes(1, 2).reshape(b, t, n, h)
