"""Attention kernels for TPUs, laid over a mesh.

Axes: B rows or slots, T tokens, N query heads, K kv heads, H head size, L layers, P pages, S tokens
of a page.

    rows    packed.py: never holds [T, T], computes only tiles that some query of a segment sees
    paged   ragged paged attention, which JAX ships: reads only the pages that a slot has filled

Where the positions of a row are cut over devices, each device gathers the keys and values of the
whole row (the small part: K of N heads) and computes the outputs of some of its queries. How many
keys a query sees depends on its place in its sequence, so queries are dealt out tile by tile, which
gives every device nearly the same work whatever the sequences are, and outputs are sent back:

    rows lie as     0 1 2 3 | 4 5 6 7       2 devices, 8 tiles of a row
    computed as     0 2 4 6 | 1 3 5 7
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention

from magistral_jax.models import packed, tiles
from magistral_jax.models.tiles import LANES
from magistral_jax.sharding import Layout

# Cached tokens that one turn of the paged kernel fetches from HBM.
PAGED_BLOCK_TOKENS = 1024
# Slots that one program of the paged kernel serves.
PAGED_BLOCK_SLOTS = 8


def deal(x, axis: str, devices: int, tile: int, *, back: bool = False):
  """Queries of one device, sent from the device that holds them to the one that computes them.

  Args:
    x: [B, T of one device, ...], within a shard_map over mesh axis `axis` of `devices` devices.
    tile: tokens of a tile; every device holds as many tiles for each device.
    back: send outputs the other way.
  """
  if back:
    parts = x.reshape(len(x), devices, -1, 1, tile, *x.shape[2:])
    sent = jax.lax.all_to_all(parts, axis, split_axis=1, concat_axis=3, tiled=True)
  else:
    parts = x.reshape(len(x), 1, -1, devices, tile, *x.shape[2:])
    sent = jax.lax.all_to_all(parts, axis, split_axis=3, concat_axis=1, tiled=True)
  return sent.reshape(x.shape)


def dealt_positions(tokens: int, devices: int, tile: int) -> np.ndarray:
  """Positions [devices, T / devices] int32 of the queries that each device computes."""
  dealt = np.arange(tokens, dtype=np.int32).reshape(-1, devices, tile)
  return dealt.swapaxes(0, 1).reshape(devices, -1)


def row_multiple(cut: int) -> int:
  """Tokens that divide the length of every row that `rows` can compute: each device holds whole
  tiles for each.

  Args:
    cut: devices that the positions of a row are cut over.
  """
  return cut * cut * LANES


def rows_fit(layout: Layout, tokens: int, head_dim: int) -> bool:
  """Whether `rows` can compute rows of `tokens` tokens on this mesh."""
  return tokens % row_multiple(layout.pieces('position')) == 0 and heads_fit(head_dim)


def heads_fit(head_dim: int) -> bool:
  """Whether `rows` can compute heads of `head_dim`."""
  return head_dim % LANES == 0


def check_list(rows: int, tokens: int, cut: int) -> None:
  """Raises ValueError for `rows` rows on a device whose list of pairs no chip has room for.

  Args:
    tokens: of a row, a multiple of `row_multiple`.
    cut: devices that the positions of a row are cut over.
  """
  tile, most = _tiles(tokens, cut)
  packed.check_list(rows, tokens, most=most, tile=tile)


def rows(q, k, v, segments, layout: Layout, *, interpret: bool = False):
  """Causal attention within segments, as `attention.rows`.

  Args:
    q: [B, T, N, H]; k, v: [B, T, K, H].
    segments: [B, T], the tokens of a segment side by side.
    layout: mesh and table by which rows, positions and heads are cut.
    interpret: run the kernel on a CPU, slowly.
  Returns:
    [B, T, N, H].
  """
  tokens, cut = q.shape[1], layout.pieces('position')
  tile, most = _tiles(tokens, cut)
  axis = layout.spec('position')[0]

  def local(q, k, v, segments):
    positions = jnp.asarray(dealt_positions(tokens, cut, tile))
    if cut == 1:
      return packed.attend(q, k, v, tiles.starts_of(segments), positions[0], most=most, tile=tile,
                           interpret=interpret)
    k, v, segments = (jax.lax.all_gather(x, axis, axis=1, tiled=True) for x in (k, v, segments))
    positions = positions[jax.lax.axis_index(axis)]
    out = packed.attend(deal(q, axis, cut, tile), k, v, tiles.starts_of(segments)[:, positions],
                        positions, most=most, tile=tile, interpret=interpret)
    return deal(out, axis, cut, tile, back=True)

  queries = layout.spec('row', 'position', 'heads', None)
  keys = layout.spec('row', 'position', 'kv_heads', None)
  run = jax.shard_map(
      local, mesh=layout.mesh, out_specs=queries, check_vma=False,
      in_specs=(queries, keys, keys, layout.spec('row', 'position')))
  return run(q * q.shape[-1] ** -0.5, k, v, segments)


def computed_pairs(segments, cut: int) -> np.ndarray:
  """Pairs of a query and a key that `rows` computes, [cut] float64, on each device of a row.

  Tiles are computed whole, so these are more than what the segments need.

  Args:
    segments: [B, T] int32.
    cut: devices that the positions of a row are cut over.
  """
  tokens = segments.shape[1]
  tile, _ = _tiles(tokens, cut)
  starts = tiles.starts_of(jnp.asarray(segments))
  found = []
  for positions in dealt_positions(tokens, cut, tile):
    first, last = tiles.spans_of(starts[:, positions], jnp.asarray(positions), tokens, tile)
    found.append(np.sum(np.asarray(last - first) + 1, dtype=np.float64) * tile ** 2)
  return np.array(found)


def _tiles(tokens: int, cut: int) -> tuple[int, int]:
  """Tokens of a tile, and the most pairs of tiles that one device computes of a row."""
  tile = tiles.tile_of(tokens // cut ** 2)
  n = tokens // tile // cut
  return tile, cut * n * (n + 1) // 2


def paged_fits(page_tokens: int, head_dim: int) -> bool:
  """Whether `paged` can read pages of `page_tokens` tokens and heads of `head_dim`."""
  return head_dim % LANES == 0 and page_tokens % 8 == 0


def check_pages(kv_dtype: str, kv_heads: int) -> None:
  """Raises ValueError unless `paged` reads pages of `kv_dtype`, a word of config.KV_DTYPES.

  Args:
    kv_heads: of one device.
  """
  if kv_dtype == 'int8':
    raise ValueError("sampler.kv_dtype='int8' has a scale for every token, and the attention "
                     "kernel of TPUs takes one for all: set it to 'fp8' or 'model'.")
  if kv_dtype == 'fp8' and kv_heads % 2:
    raise ValueError(f"sampler.kv_dtype='fp8' needs an even number of kv heads on every TPU, whose "
                     f'attention kernel reads two of them together, and there are {kv_heads}: '
                     f"lower mesh.sampler.tensor, or set it to 'model'.")


def paged(q, pool, layer, page_table, seen, layout: Layout):
  """Attention of the last T of the first `seen` tokens of a slot over those before them, too.

  Args:
    q: [B, T, N, H].
    pool: [L, P, S, 2 K, H], heads as k0 v0 k1 v1 ..., in the dtype of q or in eight-bit floats.
    layer: [] index into L.
    page_table: [B, pages of a slot] int32.
    seen: [B] int32, 0 for a slot that has nothing to read. Beyond the pages of a slot, which only
      drafts can be, means nothing.
    layout: mesh and table by which heads are cut.
  Returns:
    [B, T, N, H]; the output of a slot that has nothing to read means nothing.
  """
  pages, size = pool.shape[1:3]
  slots, t = q.shape[:2]
  # The kernel fetches a block for every slot, so an idle slot reads as many tokens of page 0.
  table = jnp.where(seen[:, None] > 0, page_table, 0)
  # The last drafts of the longest sequence lie beyond its pages, and the kernel checks no bounds.
  table = jnp.pad(table, ((0, 0), (0, -(-(t - 1) // size))))
  block = max(1, min(table.shape[1], PAGED_BLOCK_TOKENS // size))
  kernel = functools.partial(
      ragged_paged_attention, sm_scale=1.0, num_kv_pages_per_block=block,
      num_queries_per_block=t * math.gcd(slots, PAGED_BLOCK_SLOTS),
      # With a scale the kernel converts what it reads; eight-bit floats stand for themselves.
      **({} if pool.dtype == q.dtype else dict(k_scale=1.0, v_scale=1.0)))

  def local(q, pool, layer, table, seen):
    starts = t * jnp.arange(slots + 1, dtype=jnp.int32)
    # Layers lie one after another in one long pool, so that no layer is cut out and copied.
    return kernel(q, pool.reshape(-1, *pool.shape[2:]), seen, table + layer * pages, starts,
                  jnp.array([slots], jnp.int32))

  heads = layout.spec(None, 'heads', None)
  whole = layout.spec()
  run = jax.shard_map(
      local, mesh=layout.mesh, check_vma=False, out_specs=heads,
      in_specs=(heads, layout.spec(None, None, None, 'kv_heads', None), whole, whole, whole))
  out = run((q * q.shape[-1] ** -0.5).reshape(-1, *q.shape[2:]), pool, layer, table,
            jnp.maximum(seen, t))
  return out.reshape(q.shape)
