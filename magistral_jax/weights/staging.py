"""Trainer side of a transfer: parameters gathered piece by piece from a mesh of processes.

All processes gather a piece together; one of them keeps it, on one of its devices:

    piece       0     1     2     3     4     5  ...      2 processes of 2 devices each
    process     0     1     0     1     0     1
    its device  0     0     1     1     0     0
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from magistral_jax.weights.checksum import checksum
from magistral_jax.weights.manifest import PIECE_BYTES, Piece, cuts, leaves


def pieces(params, dtype: str, piece_bytes: int = PIECE_BYTES) -> Iterator[tuple[Piece, jax.Array]]:
  """Yields every piece of the parameters in `dtype`, whole on every device, one after another.

  No process may skip one: gathering is collective. Besides the parameters and what the caller
  keeps, a device holds one piece; no piece shares a buffer with the parameters, which the next
  step donates.
  """
  itemsize = jnp.dtype(dtype).itemsize
  for name, leaf in leaves(params).items():
    whole = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    for start, stop in cuts(leaf.shape, itemsize, piece_bytes):
      array, mark = _gather(whole, dtype, stop - start if leaf.shape else None)(leaf, start)
      # Waits for the piece: all that is dispatched ahead would lie on the device at once.
      mark = int(jax.device_get(mark.addressable_data(0)))
      yield Piece(name, start, stop, tuple(array.shape), dtype, mark), array


def share(array: jax.Array, number: int, process: int, processes: int) -> jax.Array | None:
  """Copy of piece `number` that a process keeps on one of its devices; None if another does."""
  if number % processes != process:
    return None
  copies = array.addressable_shards
  return copies[number // processes % len(copies)].data


def programs(params, dtype: str, piece_bytes: int = PIECE_BYTES
             ) -> Iterator[tuple[str, float, Callable]]:
  """Yields (leaf, its number of pieces, () -> the lowered program of its largest), for planning.

  Args:
    params: tree of shapes with shardings.
  """
  for name, leaf in leaves(params).items():
    whole = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    start, stop = cuts(leaf.shape, jnp.dtype(dtype).itemsize, piece_bytes)[0]
    run = _gather(whole, dtype, stop - start if leaf.shape else None)
    rows = leaf.shape[0] if leaf.shape else 1
    yield name, rows / (stop - start), functools.partial(run.lower, leaf, start)


@functools.cache
def _gather(whole, dtype: str, rows: int | None):
  """Compiled gather of `rows` rows of a leaf; where they start is an argument."""
  def cut(leaf, start):
    # A copy even where the piece is the whole leaf in its own dtype.
    part = jnp.copy(leaf if rows is None else jax.lax.dynamic_slice_in_dim(leaf, start, rows))
    part = jax.lax.with_sharding_constraint(part.astype(dtype), whole)
    return part, checksum(part)
  return jax.jit(cut, out_shardings=whole)
