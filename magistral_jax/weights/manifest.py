"""What a version of the weights consists of, said before it is sent and checked before it is used.

Weights travel as pieces: a leaf of the parameter tree, or some layers of a leaf that is stacked
over layers, so that nobody holds more than one piece twice.

    leaf 'layers.ffn.w1' of 40 layers, 335 MB each   ->   pieces [0, 1), [1, 2), ... [39, 40)

A transfer that checks nothing (jax.experimental.transfer gives wrong values for another sharding
or dtype of the same size) is made safe by it: shapes and dtypes are compared before anything is
fetched, checksums after.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import jax
import numpy as np

# Of one piece. Larger pieces travel no faster, and each stands on the trainer's host for a moment.
PIECE_BYTES = 256 << 20


class WeightError(RuntimeError):
  """Weights that arrived are not those that were announced; nothing of them may be used."""


@dataclasses.dataclass(frozen=True)
class Piece:
  """Rows start .. stop of the first axis of one leaf.

  Piece(leaf='layers.ffn.w1', start=3, stop=4, shape=(1, 5120, 32768), dtype='bfloat16',
        checksum=2868430194)
  """
  leaf: str
  start: int
  stop: int
  shape: tuple[int, ...]
  dtype: str
  checksum: int             # crc32 of its bytes in C order.

  @property
  def bytes(self) -> int:
    return int(np.prod(self.shape)) * jax.numpy.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Manifest:
  """A version and its pieces, in the order of the parameter tree.

  Manifest(lineage=0, version=12, pieces=(Piece('embed', ...), ...))
  """
  lineage: int              # How often the trainer was set back to a checkpoint.
  version: int
  pieces: tuple[Piece, ...]

  @property
  def bytes(self) -> int:
    return sum(piece.bytes for piece in self.pieces)


def leaves(tree) -> dict[str, object]:
  """{'layers.ffn.w1': leaf, ...} in the tree's own order."""
  return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf
          for path, leaf in jax.tree.leaves_with_path(tree)}


def cuts(shape: Sequence[int], itemsize: int, piece_bytes: int = PIECE_BYTES):
  """[(start, stop), ...] of the first axis, each piece of at most `piece_bytes` if one row fits."""
  if not shape:
    return [(0, 1)]
  row = int(np.prod(shape[1:])) * itemsize
  step = max(1, piece_bytes // max(row, 1))
  return [(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


def to_bytes(array: np.ndarray) -> np.ndarray:
  """The array's bytes, [n] uint8: what travels, since not every channel knows bfloat16."""
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def piece(leaf: str, start: int, stop: int, array: np.ndarray) -> Piece:
  """What is said of a piece before it is sent."""
  return Piece(leaf, start, stop, tuple(array.shape), str(array.dtype), zlib.crc32(to_bytes(array)))


def compare(manifest: Manifest, abstract, dtype: str) -> None:
  """Raises WeightError unless the manifest announces exactly the tree `abstract` in `dtype`."""
  wanted = {name: tuple(leaf.shape) for name, leaf in leaves(abstract).items()}
  ends: dict[str, int] = {}
  for piece in manifest.pieces:
    if piece.leaf not in wanted:
      raise WeightError(f'Version {manifest.version} brings {piece.leaf!r}, which this model has '
                        f'not.')
    shape = wanted[piece.leaf]
    expected = (piece.stop - piece.start, *shape[1:]) if shape else ()
    if piece.start != ends.get(piece.leaf, 0) or piece.shape != expected:
      raise WeightError(f'Version {manifest.version} brings {piece.leaf!r} as {piece.shape} from '
                        f'{piece.start} on, and {expected} from {ends.get(piece.leaf, 0)} on was '
                        f'due.')
    if piece.dtype != dtype:
      raise WeightError(f'Version {manifest.version} brings {piece.leaf!r} in {piece.dtype} and '
                        f'the sampler computes in {dtype}.')
    ends[piece.leaf] = piece.stop
  for name, shape in wanted.items():
    if ends.get(name, 0) != (shape[0] if shape else 1):
      raise WeightError(f'Version {manifest.version} lacks {name!r} from {ends.get(name, 0)} on.')


def check(piece: Piece, received: np.ndarray) -> np.ndarray:
  """The array that was announced, out of the bytes [n] uint8 that came.

  Raises:
    WeightError: there are more or fewer, or one of them is another.
  """
  if received.nbytes != piece.bytes:
    raise WeightError(f'{piece.leaf!r} from {piece.start} on arrived with {received.nbytes} bytes '
                      f'instead of {piece.bytes}.')
  if zlib.crc32(received) != piece.checksum:
    raise WeightError(f'{piece.leaf!r} from {piece.start} on arrived damaged: its checksum is not '
                      f'the one that was announced.')
  return received.view(jax.numpy.dtype(piece.dtype)).reshape(piece.shape)


def assemble(manifest: Manifest, arrays: Sequence[np.ndarray], abstract, shardings, dtype: str):
  """The parameter tree on the sampler's devices, every piece checked before any of it is used.

  Args:
    arrays: the bytes of the pieces, in the manifest's order; only read.
    abstract: the tree's shapes; shardings: the same tree with the sampler's shardings.
  Raises:
    WeightError: something is missing, left over, misshapen or damaged.
  """
  compare(manifest, abstract, dtype)
  arrays = list(arrays)
  if len(arrays) != len(manifest.pieces):
    raise WeightError(f'{len(arrays)} of {len(manifest.pieces)} pieces of version '
                      f'{manifest.version} arrived.')
  parts: dict[str, list[tuple[Piece, np.ndarray]]] = {}
  for piece, array in zip(manifest.pieces, arrays, strict=True):
    parts.setdefault(piece.leaf, []).append((piece, check(piece, array)))
  places = leaves(shardings)
  found = {name: jax.make_array_from_callback(
      leaf.shape, places[name], lambda index, n=name, s=leaf.shape: _cut_out(parts[n], index, s))
      for name, leaf in leaves(abstract).items()}
  return jax.block_until_ready(jax.tree.unflatten(jax.tree.structure(abstract), found.values()))


def _cut_out(parts, index, shape) -> np.ndarray:
  """The part `index` of a leaf, a copy: the pieces may lie in memory that is not ours to keep."""
  if not shape:
    return np.array(parts[0][1])
  start, stop, _ = index[0].indices(shape[0])
  rows = [array[max(start - p.start, 0):stop - p.start][(slice(None), *index[1:])]
          for p, array in parts if p.start < stop and p.stop > start]
  return np.concatenate(rows) if len(rows) > 1 else np.array(rows[0])
