"""The trainer's side of the host copy: parameters out of a mesh of processes, piece by piece.

Every process of the trainer takes part in bringing a piece together; the first one keeps it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from magistral_jax.weights.manifest import PIECE_BYTES, cuts, leaves


def pieces(params, dtype: str, piece_bytes: int = PIECE_BYTES
           ) -> Iterator[tuple[str, int, int, np.ndarray]]:
  """(leaf, start, stop, array in `dtype`) of all parameters, one at a time on every process.

  No process may skip one: they are gathered together. The device holds one piece beside the
  parameters, and the host what the caller keeps.
  """
  itemsize = jnp.dtype(dtype).itemsize
  for name, leaf in leaves(params).items():
    whole = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    for start, stop in cuts(leaf.shape, itemsize, piece_bytes):
      piece = _gather(whole, dtype, stop - start if leaf.shape else None)(leaf, start)
      yield name, start, stop, np.asarray(piece.addressable_data(0))


def programs(params, dtype: str, piece_bytes: int = PIECE_BYTES
             ) -> Iterator[tuple[str, float, Callable]]:
  """(leaf, how many such pieces it is, () -> the program of its largest, traced); for planning.

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
  """Compiled once for a number of rows, wherever they start."""
  def cut(leaf, start):
    part = leaf if rows is None else jax.lax.dynamic_slice_in_dim(leaf, start, rows)
    return part.astype(dtype)
  return jax.jit(cut, out_shardings=whole)
