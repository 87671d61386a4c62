"""Sampler side of a transfer: checked pieces become a parameter tree in the sampler's layout.

A sampler with rounded weights rounds every piece where it arrived, and so never holds a matrix of
all layers in another form. A piece has whole layers, of whose inputs none is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from magistral_jax.models import rounded
from magistral_jax.models.projection import Rounded
from magistral_jax.weights.checksum import checksum
from magistral_jax.weights.manifest import Manifest, WeightError, leaves


def assemble(manifest: Manifest, arrays: Iterable[jax.Array], abstract, shardings):
  """Builds the parameter tree on the sampler's devices; returns it once every piece is checked.

  Besides the tree, the devices hold the pieces that the iterable has produced and one more.

  Args:
    manifest: agrees with `abstract` (manifest.compare).
    arrays: the pieces in the manifest's order, each on one device; they are copied, not kept.
    abstract: the tree's shapes.
    shardings: the same tree with the sampler's shardings, Rounded where it rounds a leaf.
  Raises:
    WeightError: a piece differs from the one that was announced.
  """
  wanted, structure = leaves(abstract), jax.tree.structure(abstract)
  targets = dict(zip(wanted, structure.flatten_up_to(shardings), strict=True))
  found, marks = {}, []
  for piece, array in zip(manifest.pieces, arrays, strict=True):
    target = targets[piece.leaf]
    # Computed where the piece arrived: after the reshard the checksum would gather it again.
    marks.append(_mark(array))
    part = _round(piece.leaf)(array) if isinstance(target, Rounded) else array
    if piece.leaf not in found:
      room = functools.partial(_room, wanted[piece.leaf].shape[:1])
      found[piece.leaf] = jax.tree.map(room, target, part)
    write = functools.partial(_written, piece.start)
    found[piece.leaf] = jax.tree.map(write, target, found[piece.leaf], part)
  for piece, mark in zip(manifest.pieces, jax.device_get(marks), strict=True):
    if int(mark) != piece.checksum:
      raise WeightError(f'{piece.leaf!r} from {piece.start} on arrived damaged: its checksum '
                        f'is not the one that was announced.')
  return jax.block_until_ready(
      jax.tree.unflatten(structure, [found[name] for name in wanted]))


def _uncut_in_front(target: NamedSharding) -> NamedSharding:
  """Sharding of a piece: that of its leaf, with the first axis, which makes pieces, whole."""
  spec = PartitionSpec(None, *target.spec[1:]) if target.spec else PartitionSpec()
  return NamedSharding(target.mesh, spec)


def _room(rows, target, part):
  return _empty(target, (*rows, *part.shape[1:]), part.dtype)()


def _written(start, target, leaf, part):
  return _put(target)(leaf, jax.device_put(part, _uncut_in_front(target)), start)


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


@functools.cache
def _round(name: str):
  return jax.jit(functools.partial(rounded.matrix, inputs=rounded.INPUTS[name]))


_mark = jax.jit(checksum)
