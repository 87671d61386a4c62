"""Attention of packed rows as a TPU kernel that computes only what the segments need.

Axes: B rows, T tokens of a row, Q queries of a row on this device, N query heads, K kv heads, G
query heads per kv head, H head size.

The pairs of tiles that hold anything are listed on the device (tiles.py), the list tells the kernel
which tiles to fetch, and the grid is as long as the list: a pair that is not on it costs nothing,
not even a turn of the grid. The splash attention that JAX ships has a grid of all pairs: at 45,056
tokens its skipped turns would take longer than the sequences, which are shorter.

The G heads that share keys are one tile of G x tile queries, so that tiles can be narrow, which
wastes little at the edges of segments, and still be large products.

Reference: the running softmax and its gradients are those of FlashAttention-2, arXiv:2307.08691.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from magistral_jax.models import tiles
from magistral_jax.models.tiles import LANES

# The score of a pair that is not seen, and the least that a maximum can be: exp(HIDDEN - LEAST) is
# 0, so that nothing hidden counts even where a query sees nothing at all.
HIDDEN, LEAST = -2e38, -1e30
# Bytes of the list of pairs that the scalar memory of a chip, 1 MiB, has room for.
LIST_BYTES = 1_000_000
# Query heads per kv head for whose tiles the compiler's usual share of VMEM, 16 MiB, is enough, and
# the bytes for each where there are more. Seen by compiling: 16 heads need more than that on v5e;
# v4, which has 16 MiB in all, cannot have them.
USUAL_GROUPS, GROUP_BYTES = 8, 2 << 20


def attend(q, k, v, starts, positions, *, most: int, tile: int, interpret: bool = False):
  """Causal attention within segments of some queries of each row to the keys of the whole row.

  Args:
    q: [B, Q, N, H], already divided by the root of H; k, v: [B, T, K, H].
    starts: [B, Q] int32, of `tiles.starts_of`.
    positions: [Q] int32, as `tiles.spans_of` has them.
    most: the most pairs of tiles that a row can need, whatever its segments.
    tile: tokens of a tile; divides Q and T.
    interpret: run the kernels on a CPU, slowly.
  Returns:
    [B, Q, N, H]; zeros for padding.
  Raises:
    ValueError: the list of pairs can be longer than a chip has room for.
  """
  rows, queries, heads, size = q.shape
  tokens, kv_heads = k.shape[1:3]
  listed = check_list(rows, tokens, most=most, tile=tile)
  first, last = tiles.spans_of(starts, positions, tokens, tile)
  by_queries = tiles.steps_of(first, last, rows * most)
  by_keys = tiles.steps_of(*tiles.turned(first, last, rows * tokens // tile), listed)
  # Rows one after another, heads first: [K, G, B Q, H] and [K, B T, H].
  q = jnp.moveaxis(q.reshape(rows * queries, kv_heads, -1, size), 0, 2)
  k, v = (jnp.moveaxis(x.reshape(rows * tokens, kv_heads, size), 0, 1) for x in (k, v))
  flat = starts + jnp.arange(rows, dtype=jnp.int32)[:, None] * tokens
  out = _attention(q, k, v, flat.reshape(1, -1), last, by_queries, by_keys, tile, interpret)
  return jnp.moveaxis(out, 2, 0).reshape(rows, queries, heads, size)


def check_list(rows: int, tokens: int, *, most: int, tile: int) -> int:
  """The most pairs that the longer one of the lists of `rows` rows can hold; arguments as `attend`.

  Raises:
    ValueError: a chip has no room for so many.
  """
  listed = rows * (most + tokens // tile)
  if 8 * listed > LIST_BYTES:
    raise ValueError(
        f'Attention of {rows} row{"s" * (rows > 1)} of {tokens} tokens on one device may meet '
        f'{listed} pairs of tiles, and its scalar memory has room for {LIST_BYTES // 8}: raise '
        f'mesh.trainer.sequence, or lower trainer.microbatch_rows or the lengths of sequences.')
  return listed


@functools.partial(jax.custom_vjp, nondiff_argnums=(7, 8))
def _attention(q, k, v, starts, last, by_queries, by_keys, tile, interpret):
  del by_keys
  return _forward(q, k, v, starts, last, by_queries, tile, interpret)[0]


def _attention_forward(q, k, v, starts, last, by_queries, by_keys, tile, interpret):
  out, lse = _forward(q, k, v, starts, last, by_queries, tile, interpret)
  # Named, so that rematerialisation can keep them (models/decoder.py).
  out, lse = checkpoint_name(out, 'attention'), checkpoint_name(lse, 'attention')
  return out, (q, k, v, starts, last, by_queries, by_keys, out, lse)


def _attention_backward(tile, interpret, kept, grad):
  q, k, v, starts, last, by_queries, by_keys, out, lse = kept
  delta = jnp.sum(grad.astype(jnp.float32) * out.astype(jnp.float32), -1)
  own = (q, k, v, grad, lse, delta)
  sizes = (*q.shape[:2], tile, q.shape[3])
  dq, = _call(_query_gradient, by_queries, last, starts, own, tile, ('query',),
              [q], [_columns(sizes), _columns(sizes), _rows_of(sizes), (tile, LANES)], interpret)
  dk, dv = _call(_key_gradients, by_keys, last, starts, own, tile, ('key', 'key'),
                 [k, v], [(tile, q.shape[3])] * 2, interpret)
  return dq, dk, dv, None, None, None, None


_attention.defvjp(_attention_forward, _attention_backward)


def _columns(sizes):
  return sizes[1] * sizes[2], LANES


def _rows_of(sizes):
  return sizes[1] * sizes[2], sizes[3]


def _forward(q, k, v, starts, last, steps, tile, interpret):
  sizes = (*q.shape[:2], tile, q.shape[3])
  logs = jax.ShapeDtypeStruct(q.shape[:3], jnp.float32)
  return _call(_softmax, steps, last, starts, (q, k, v), tile, ('query', 'scalar'), [q, logs],
               [_columns(sizes), _columns(sizes), _rows_of(sizes), (tile, LANES)], interpret)


def _call(kernel, steps, last, starts, arrays, tile, kinds, outputs, scratch, interpret):
  """Runs a kernel over the pairs of `steps`, whose outer tile is the one that it writes.

  Args:
    kernel: one of the three below.
    arrays: q, k, v and, for the gradients, those of the output, log-sums and deltas.
    kinds: of each output, a key of `specs`.
    outputs: arrays with the shapes and dtypes of the outputs.
    scratch: shapes of float32 arrays that last while an outer tile does; the last one of a kernel
      over queries is int32.
  """
  outer, inner, number = steps
  groups, size = arrays[0].shape[1], arrays[0].shape[3]
  keys_write = kinds[0] == 'key'
  query = lambda s, outer, inner: jnp.maximum(inner[s], 0) if keys_write else outer[s]
  key = lambda s, outer, inner: outer[s] if keys_write else jnp.maximum(inner[s], 0)
  specs = dict(
      query=pl.BlockSpec((None, groups, tile, size),
                         lambda h, s, o, i, _: (h, 0, query(s, o, i), 0)),
      scalar=pl.BlockSpec((None, groups, tile), lambda h, s, o, i, _: (h, 0, query(s, o, i))),
      key=pl.BlockSpec((None, tile, size), lambda h, s, o, i, _: (h, key(s, o, i), 0)))
  inputs = ('query', 'key', 'key', 'query', 'scalar', 'scalar')[:len(arrays)]
  memories = [pltpu.VMEM(shape, jnp.float32) for shape in scratch]
  if not keys_write:
    memories[-1] = pltpu.VMEM(scratch[-1], jnp.int32)
  end = 1 + len(arrays)

  def body(outer, inner, last, *refs):
    kernel(_Work(outer, inner, last), refs[:end], refs[end:end + len(kinds)],
           refs[end + len(kinds):])

  return pl.pallas_call(
      body, out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
      grid_spec=pltpu.PrefetchScalarGridSpec(
          num_scalar_prefetch=3, grid=(arrays[1].shape[0], number),
          in_specs=[pl.BlockSpec((1, tile), lambda h, s, o, i, _: (0, query(s, o, i))),
                    *(specs[name] for name in inputs)],
          out_specs=[specs[name] for name in kinds], scratch_shapes=memories),
      compiler_params=pltpu.CompilerParams(
          dimension_semantics=('parallel', 'arbitrary'),
          vmem_limit_bytes=groups * GROUP_BYTES if groups > USUAL_GROUPS else None),
      name=f'packed{kernel.__name__}', interpret=interpret)(outer, inner, last, starts, *arrays)


@dataclasses.dataclass(frozen=True)
class _Work:
  """What a kernel does in this turn of its grid, read from the list of pairs."""
  outer: Any
  inner: Any
  last: Any                 # Of every tile of queries, its own tile of the keys.

  @property
  def opens(self):
    """Whether this is the first pair of its outer tile."""
    step = pl.program_id(1)
    return (step == 0) | (self.outer[step] != self.outer[jnp.maximum(step - 1, 0)])

  @property
  def closes(self):
    """Whether it is the last one."""
    step = pl.program_id(1)
    return self.outer[step] != self.outer[step + 1]

  @property
  def pair(self):
    """(outer tile, inner tile), the inner one -1 where nothing is to be computed."""
    step = pl.program_id(1)
    return self.outer[step], self.inner[step]


def _dot(a, b, contract):
  return jax.lax.dot_general(a, b, ((contract[:1], contract[1:]), ((), ())),
                             preferred_element_type=jnp.float32)


def _column(row, dtype=jnp.float32):
  """A row [1, n] as a column, in all lanes: [n, LANES]."""
  return jnp.broadcast_to(row, (LANES, row.shape[1])).T.astype(dtype)


def _seen(query_tile, key_tile, start, tile, *, keys_first):
  """[tile, tile] bool, true where a query sees a key.

  Args:
    start: start of every query's segment, a column, or a row if keys_first.
  """
  iota = lambda axis: jax.lax.broadcasted_iota(jnp.int32, (tile, tile), axis)
  queries = query_tile * tile + iota(1 if keys_first else 0)
  keys = key_tile * tile + iota(0 if keys_first else 1)
  return (keys >= start) & (keys <= queries)


def _hide(scores, seen):
  """Scores [G tile, tile] with those of unseen pairs [tile, tile] at HIDDEN."""
  tile = len(seen)
  each = scores.reshape(-1, tile, tile)
  return jnp.where(seen[None], each, HIDDEN).reshape(scores.shape)


def _softmax(work, arrays, results, memories):
  """The output of a tile of queries, and the logarithm of its sums of exponentials."""
  (starts, q, k, v), (out, lse), (top, total, acc, begin) = arrays, results, memories
  (own, other), (groups, tile, size) = work.pair, q.shape

  @pl.when(work.opens)
  def _():
    top[...] = jnp.full_like(top, LEAST)
    total[...] = jnp.zeros_like(total)
    acc[...] = jnp.zeros_like(acc)
    begin[...] = _column(starts[...], jnp.int32)

  @pl.when(other >= 0)
  def _():
    seen = _seen(work.last[own], other, begin[:, :1], tile, keys_first=False)
    scores = _hide(_dot(q[...].reshape(-1, size), k[...], (1, 1)), seen)
    new_top = jnp.maximum(top[...], scores.max(1, keepdims=True))
    weights = jnp.exp(scores - new_top[:, :1])
    fade = jnp.exp(top[...] - new_top)
    total[...] = total[...] * fade + weights.sum(1, keepdims=True)
    acc[...] = acc[...] * fade[:, :1] + _dot(weights.astype(v.dtype), v[...], (1, 0))
    top[...] = new_top

  @pl.when(work.closes)
  def _():
    sums = jnp.maximum(total[...], 1e-30)
    out[...] = (acc[...] / sums[:, :1]).reshape(q.shape).astype(out.dtype)
    logs = top[...] + jnp.log(sums)
    for g in range(groups):
      lse[g:g + 1] = logs[g * tile:(g + 1) * tile].T[:1]


def _query_gradient(work, arrays, results, memories):
  """The gradient of a tile of queries."""
  (starts, q, k, v, grad, lse, delta), (dq,) = arrays, results
  logs, deltas, acc, begin = memories
  (own, other), (groups, tile, size) = work.pair, q.shape

  @pl.when(work.opens)
  def _():
    acc[...] = jnp.zeros_like(acc)
    begin[...] = _column(starts[...], jnp.int32)
    for g in range(groups):
      here = slice(g * tile, (g + 1) * tile)
      logs[here], deltas[here] = _column(lse[g:g + 1]), _column(delta[g:g + 1])

  @pl.when(other >= 0)
  def _():
    seen = _seen(work.last[own], other, begin[:, :1], tile, keys_first=False)
    scores = _hide(_dot(q[...].reshape(-1, size), k[...], (1, 1)), seen)
    weights = jnp.exp(scores - logs[:, :1])
    change = weights * (_dot(grad[...].reshape(-1, size), v[...], (1, 1)) - deltas[:, :1])
    acc[...] += _dot(change.astype(k.dtype), k[...], (1, 0))

  @pl.when(work.closes)
  def _():
    dq[...] = acc[...].reshape(dq.shape).astype(dq.dtype)


def _key_gradients(work, arrays, results, memories):
  """The gradients of a tile of keys and of its values, summed over the heads that share them."""
  (starts, q, k, v, grad, lse, delta), (dk, dv), (keys, values) = arrays, results, memories
  (own, other), (groups, tile, _) = work.pair, q.shape

  @pl.when(work.opens)
  def _():
    keys[...] = jnp.zeros_like(keys)
    values[...] = jnp.zeros_like(values)

  @pl.when(other >= 0)
  def _():
    seen = _seen(work.last[other], own, starts[...], tile, keys_first=True)
    for g in range(groups):
      scores = jnp.where(seen, _dot(k[...], q[g], (1, 1)), HIDDEN)
      weights = jnp.exp(scores - lse[g:g + 1])
      values[...] += _dot(weights.astype(grad.dtype), grad[g], (1, 0))
      change = weights * (_dot(v[...], grad[g], (1, 1)) - delta[g:g + 1])
      keys[...] += _dot(change.astype(q.dtype), q[g], (1, 0))

  @pl.when(work.closes)
  def _():
    dk[...] = keys[...].astype(dk.dtype)
    dv[...] = values[...].astype(dv.dtype)
