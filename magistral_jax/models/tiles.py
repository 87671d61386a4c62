"""Which tiles of a packed row's attention hold anything: the work of the TPU kernel, as a list.

Axes: B rows, T tokens of a row; tiles of queries and tiles of keys are those of all rows one after
another.

A tile of queries meets the tiles of keys from the one where its earliest segment starts to its own:

    segments          1 1 1 1 | 1 1 2 2 | 2 2 2 2 | 2 3 3 3      4 tiles of 4 tokens
    tiles of keys     0       | 0 1     | 1 2     | 1 2 3        not 0 | 0 1 | 0 1 2 | 0 1 2 3

Segments are known only when a row is there, so all this is computed on the device.
"""

import functools

import jax
import jax.numpy as jnp

# Width of a vector register: sizes of tiles and heads are multiples of it.
LANES = 128
# Tokens of the largest tile, of queries and of keys.
LARGEST_TILE = 256


def tile_of(tokens: int) -> int:
  """Tokens of a tile where `tokens` of a row, a multiple of 128, lie on one device."""
  return LARGEST_TILE if tokens % LARGEST_TILE == 0 else LANES


def starts_of(segments):
  """Position [B, T] int32 of the first token of every token's segment.

  A padding token gets the position after its own, so that it sees nothing.

  Args:
    segments: [B, T] int32, the tokens of a segment side by side; 0 is padding.
  """
  position = jnp.broadcast_to(jnp.arange(segments.shape[1], dtype=jnp.int32), segments.shape)
  first = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)), constant_values=True)
  start = jax.lax.cummax(jnp.where(first, position, 0), axis=1)
  return jnp.where(segments > 0, start, position + 1)


def spans_of(starts, positions, tokens: int, tile: int):
  """The first and the last tile of keys, both [I] int32, that each tile of queries needs.

  Both never decrease. A tile of padding alone needs none: its first is one beyond its last.

  Args:
    starts: [B, queries of a row] int32, of `starts_of`.
    positions: [queries of a row] int32, increasing, whole tiles of consecutive ones.
    tokens: keys of a row.
  """
  rows = len(starts)
  row = jnp.arange(rows, dtype=jnp.int32)[:, None] * (tokens // tile)
  tiles = lambda x: x.reshape(rows, -1, tile)
  last = jnp.broadcast_to(positions[::tile] // tile, (rows, len(positions) // tile))
  seen = jnp.where(starts <= positions, starts, tokens)
  first = jnp.minimum(tiles(seen).min(-1) // tile, last + 1)
  return (first + row).reshape(-1), (last + row).reshape(-1)


def steps_of(first, last, most: int):
  """Spans written out as a list of pairs, (outer [most + 1], inner [most + 1], [] their number).

  An outer tile whose span is empty is in it once, with inner -1, so that its output is written.
  What follows the list has outer -1.

  Args:
    first, last: [n] int32, of each outer tile.
    most: pairs that there can be.
  """
  count = jnp.maximum(last - first + 1, 1)
  end = jnp.cumsum(count)
  step = jnp.arange(most + 1, dtype=jnp.int32)
  outer = jnp.searchsorted(end, step, side='right', method='compare_all').astype(jnp.int32)
  here = jnp.minimum(outer, len(end) - 1)
  inner = jnp.where(first <= last, first, -1)[here] + step - (end - count)[here]
  over = step >= end[-1]
  return jnp.where(over, -1, outer), jnp.where(over, -1, inner).astype(jnp.int32), end[-1]


def turned(first, last, keys: int):
  """The same spans seen from the keys: first and last tile of queries of each of `keys` tiles."""
  tile = jnp.arange(keys, dtype=jnp.int32)
  search = functools.partial(jnp.searchsorted, method='compare_all')
  return (search(last, tile, side='left').astype(jnp.int32),
          search(first, tile, side='right').astype(jnp.int32) - 1)
