"""Attention kernels for TPUs: the Pallas kernels that JAX ships, laid over a mesh.

Axes: B rows or slots, T tokens, N query heads, K kv heads, H head size, L layers, P pages, S tokens
of a page.

    rows    splash attention: never holds [T, T], skips everything after the diagonal
    paged   ragged paged attention: reads from the pool only the pages that a slot has filled

Where the positions of a row are cut over devices, each device gathers the keys and values of the
whole row (the small part: K of N heads) and computes the outputs of its own queries. Under a causal
mask late queries see more keys than early ones, so queries are dealt out in pairs of an early and a
late chunk, and their outputs are sent back:

    rows lie as     0 1 | 2 3 | 4 5 | 6 7       4 devices, 8 chunks of a row
    computed as     0 7 | 1 6 | 2 5 | 3 4
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from magistral_jax.sharding import Layout

# Width of a vector register: sizes of blocks and heads are multiples of it.
LANES = 128
# Queries and keys of one tile of splash attention; in the backward pass larger tiles do not fit
# VMEM beside their gradients.
LARGEST_BLOCK = 512
# Cached tokens that one turn of the paged kernel fetches from HBM.
PAGED_BLOCK_TOKENS = 1024
# Slots that one program of the paged kernel serves.
PAGED_BLOCK_SLOTS = 8


def block_of(tokens: int) -> int:
  """The largest tile that divides `tokens`, a multiple of 128."""
  return max(b for b in range(LANES, LARGEST_BLOCK + 1, LANES) if tokens % b == 0)


def deal(x, axis: str, devices: int, *, back: bool = False):
  """Queries of one device, sent from the device that holds them to the one that computes them.

  A device holds one even and one odd chunk. Sending the even chunks is a permutation of the
  devices, and so is sending the odd ones, so that two transfers suffice.

  Args:
    x: [B, T of one device, ...], within a shard_map over mesh axis `axis` of `devices` devices.
    back: send outputs the other way.
  """
  home = lambda chunk: min(chunk, 2 * devices - 1 - chunk)
  even = [(i, home(2 * i)) for i in range(devices)]
  odd = [(i, home(2 * i + 1)) for i in range(devices)]
  # Device d computes chunk d and its late partner; of the two, one is even and one is odd.
  first_is_even = jax.lax.axis_index(axis) % 2 == 0
  swap = lambda a, b: (jnp.where(first_is_even, a, b), jnp.where(first_is_even, b, a))
  one, two = jnp.split(x, 2, axis=1)
  if back:
    one, two = swap(one, two)
    even, odd = ([(d, i) for i, d in pairs] for pairs in (even, odd))
  one, two = jax.lax.ppermute(one, axis, even), jax.lax.ppermute(two, axis, odd)
  return jnp.concatenate((one, two) if back else swap(one, two), axis=1)


def dealt_positions(tokens: int, devices: int) -> np.ndarray:
  """Positions [T] int32 of the row's queries, in the order in which they are dealt out."""
  halves = np.arange(tokens, dtype=np.int32).reshape(2 * devices, -1)
  return np.stack([halves[:devices], halves[::-1][:devices]], axis=1).reshape(-1)


def rows_fit(layout: Layout, tokens: int, head_dim: int) -> bool:
  """Whether `rows` can compute rows of `tokens` tokens on this mesh."""
  cut = layout.pieces('position')
  return tokens % (2 * cut * LANES if cut > 1 else LANES) == 0 and head_dim % LANES == 0


def rows(q, k, v, segments, layout: Layout, *, interpret: bool = False):
  """Causal attention within segments, as `attention.rows`.

  A padding token attends to the padding before it, where the reference gives zeros; its output is
  never read.

  Args:
    q: [B, T, N, H]; k, v: [B, T, K, H]; segments: [B, T].
    layout: mesh and table by which rows, positions and heads are cut.
    interpret: run the kernel on a CPU, slowly.
  Returns:
    [B, T, N, H].
  """
  tokens, cut = q.shape[1], layout.pieces('position')
  block = block_of(tokens // (2 * cut if cut > 1 else 1))
  mask = masks.CausalMask((tokens, tokens))
  if cut > 1:
    mask.q_sequence = dealt_positions(tokens, cut)
  heads = q.shape[2] // layout.pieces('heads')
  sizes = splash.BlockSizes(
      block_q=block, block_kv=block, block_kv_compute=block, block_q_dkv=block,
      block_kv_dkv=block, block_kv_dkv_compute=block, block_q_dq=block, block_kv_dq=block)
  kernel = splash.make_splash_mha(
      mask=masks.MultiHeadMask([mask] * heads), block_sizes=sizes, head_shards=1,
      q_seq_shards=cut, residual_checkpoint_name='attention', interpret=interpret)
  axis = layout.spec('position')[0]

  def local(kernel, q, k, v, segments):
    everywhere = segments
    if cut > 1:
      k, v, everywhere = (jax.lax.all_gather(x, axis, axis=1, tiled=True)
                          for x in (k, v, segments))
      q, segments = deal(q, axis, cut), deal(segments, axis, cut)
    heads_first = lambda x: x.swapaxes(1, 2)
    out = jax.vmap(kernel)(heads_first(q), heads_first(k), heads_first(v),
                           splash.SegmentIds(segments, everywhere))
    out = heads_first(out)
    return deal(out, axis, cut, back=True) if cut > 1 else out

  whole_heads = jax.sharding.NamedSharding(layout.mesh, jax.sharding.PartitionSpec(None, axis))
  queries = layout.spec('row', 'position', 'heads', None)
  keys = layout.spec('row', 'position', 'kv_heads', None)
  run = jax.shard_map(
      local, mesh=layout.mesh, out_specs=queries, check_vma=False,
      in_specs=(kernel.manual_sharding_spec(whole_heads), queries, keys, keys,
                layout.spec('row', 'position')))
  return run(kernel, q * q.shape[-1] ** -0.5, k, v, segments)


def paged_fits(page_tokens: int, head_dim: int) -> bool:
  """Whether `paged` can read pages of `page_tokens` tokens and heads of `head_dim`."""
  return head_dim % LANES == 0 and page_tokens % 8 == 0


def paged(q, pool, layer, page_table, seen, layout: Layout):
  """Attention of one query a slot over the first `seen` tokens of its pages.

  Args:
    q: [B, N, H].
    pool: [L, P, S, 2 K, H], heads as k0 v0 k1 v1 ...
    layer: [] index into L.
    page_table: [B, pages of a slot] int32.
    seen: [B] int32, 0 for a slot that has nothing to read.
    layout: mesh and table by which heads are cut.
  Returns:
    [B, N, H]; the output of a slot that has nothing to read means nothing.
  """
  pages, size = pool.shape[1:3]
  # The kernel fetches a block for every slot, so an idle slot reads one token of page 0.
  table = jnp.where(seen[:, None] > 0, page_table, 0)
  block = max(1, min(table.shape[1], PAGED_BLOCK_TOKENS // size))
  kernel = functools.partial(
      ragged_paged_attention, sm_scale=1.0, num_kv_pages_per_block=block,
      num_queries_per_block=math.gcd(q.shape[0], PAGED_BLOCK_SLOTS))

  def local(q, pool, layer, table, seen):
    slots = jnp.arange(q.shape[0] + 1, dtype=jnp.int32)
    # Layers lie one after another in one long pool, so that no layer is cut out and copied.
    return kernel(q, pool.reshape(-1, *pool.shape[2:]), seen, table + layer * pages, slots,
                  slots[-1:])

  heads = layout.spec(None, 'heads', None)
  whole = layout.spec()
  run = jax.shard_map(
      local, mesh=layout.mesh, check_vma=False, out_specs=heads,
      in_specs=(heads, layout.spec(None, None, None, 'kv_heads', None), whole, whole, whole))
  return run(q * q.shape[-1] ** -0.5, pool, layer, table, jnp.maximum(seen, 1))
