"""The sampler's side: pieces into a parameter tree in the sampler's layout, all of them checked."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from magistral_jax.weights.checksum import checksum
from magistral_jax.weights.manifest import Manifest, WeightError, leaves


def assemble(manifest: Manifest, arrays: Iterable[jax.Array], abstract, shardings):
  """The parameter tree on the sampler's devices, every piece checked before any of it is used.

  Beside the tree the devices hold the pieces that the iterable has made and one more.

  Args:
    manifest: agrees with `abstract` (manifest.compare).
    arrays: the pieces in the manifest's order, each on one device; copied, none is kept.
    abstract: the tree's shapes; shardings: the same tree with the sampler's shardings.
  Raises:
    WeightError: a piece is not the one that was announced.
  """
  places, wanted = leaves(shardings), leaves(abstract)
  found, marks = {}, []
  for piece, array in zip(manifest.pieces, arrays, strict=True):
    place = places[piece.leaf]
    if piece.leaf not in found:
      found[piece.leaf] = _empty(place, wanted[piece.leaf].shape, piece.dtype)()
    # Where it arrived: once it is cut, its checksum would gather it again.
    marks.append(_mark(array))
    found[piece.leaf] = _put(place)(
        found[piece.leaf], jax.device_put(array, _uncut_in_front(place)), piece.start)
  for piece, mark in zip(manifest.pieces, jax.device_get(marks), strict=True):
    if int(mark) != piece.checksum:
      raise WeightError(f'{piece.leaf!r} from {piece.start} on arrived damaged: its checksum is '
                        f'not the one that was announced.')
  return jax.block_until_ready(
      jax.tree.unflatten(jax.tree.structure(abstract), [found[name] for name in wanted]))


def _uncut_in_front(place: NamedSharding) -> NamedSharding:
  """Where a piece of a leaf lies: cut as the leaf is, but for the axis that makes pieces."""
  return NamedSharding(place.mesh, PartitionSpec(None, *place.spec[1:]) if place.spec else
                       PartitionSpec())


@functools.cache
def _empty(place, shape, dtype):
  return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=place)


@functools.cache
def _put(place):
  """(leaf, piece, start) -> the leaf with the piece in it."""
  def put(leaf, part, start):
    if not leaf.ndim:
      return jnp.copy(part)
    return jax.lax.dynamic_update_slice_in_dim(leaf, part, start, 0)
  return jax.jit(put, donate_argnums=0, out_shardings=place)


_mark = jax.jit(checksum)
