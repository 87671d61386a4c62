"""Sampler side of a transfer: checked pieces become a parameter tree in the sampler's layout."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from magistral_jax.weights.checksum import checksum
from magistral_jax.weights.manifest import Manifest, WeightError, leaves


def assemble(manifest: Manifest, arrays: Iterable[jax.Array], abstract, shardings):
  """Builds the parameter tree on the sampler's devices; returns it once every piece is checked.

  Besides the tree, the devices hold the pieces that the iterable has produced and one more.

  Args:
    manifest: agrees with `abstract` (manifest.compare).
    arrays: the pieces in the manifest's order, each on one device; they are copied, not kept.
    abstract: the tree's shapes.
    shardings: the same tree with the sampler's shardings.
  Raises:
    WeightError: a piece differs from the one that was announced.
  """
  targets, wanted = leaves(shardings), leaves(abstract)
  found, marks = {}, []
  for piece, array in zip(manifest.pieces, arrays, strict=True):
    target = targets[piece.leaf]
    if piece.leaf not in found:
      found[piece.leaf] = _empty(target, wanted[piece.leaf].shape, piece.dtype)()
    # Computed where the piece arrived: after the reshard the checksum would gather it again.
    marks.append(_mark(array))
    found[piece.leaf] = _put(target)(
        found[piece.leaf], jax.device_put(array, _uncut_in_front(target)), piece.start)
  for piece, mark in zip(manifest.pieces, jax.device_get(marks), strict=True):
    if int(mark) != piece.checksum:
      raise WeightError(f'{piece.leaf!r} from {piece.start} on arrived damaged: its checksum '
                        f'is not the one that was announced.')
  return jax.block_until_ready(
      jax.tree.unflatten(jax.tree.structure(abstract), [found[name] for name in wanted]))


def _uncut_in_front(target: NamedSharding) -> NamedSharding:
  """Sharding of a piece: that of its leaf, with the first axis, which makes pieces, whole."""
  spec = PartitionSpec(None, *target.spec[1:]) if target.spec else PartitionSpec()
  return NamedSharding(target.mesh, spec)


@functools.cache
def _empty(target, shape, dtype):
  return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=target)


@functools.cache
def _put(target):
  """Compiled (leaf, piece, start) -> the leaf with the piece written into it."""
  def put(leaf, part, start):
    if not leaf.ndim:
      return jnp.copy(part)
    return jax.lax.dynamic_update_slice_in_dim(leaf, part, start, 0)
  return jax.jit(put, donate_argnums=0, out_shardings=target)


_mark = jax.jit(checksum)
