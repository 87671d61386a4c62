"""Manifest of a version of the weights: announced before it is sent, checked before it is used.

Weights travel as pieces: a leaf of the parameter tree, or some layers of a leaf that is stacked
over layers, so that no process holds more than one piece twice.

    leaf 'layers.ffn.w1' of 40 layers, 335 MB each   ->   pieces [0, 1), [1, 2), ... [39, 40)

The manifest makes a transfer safe that checks nothing itself (jax.experimental.transfer gives wrong
values for another sharding or dtype of the same size): shapes and dtypes are compared before
anything is fetched, checksums afterwards. With H trainer processes piece i lies in process i % H,
so that all of them send.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

# Largest size of a piece. Larger ones travel no faster, and each takes that much of the trainer's
# CPU memory for a moment.
PIECE_BYTES = 256 << 20


class WeightError(RuntimeError):
  """Weights that did not arrive, or not as announced; no part of them may be used."""


class WeightsGone(WeightError):
  """Weights that no process holds any more: newer ones replaced them, or their holder died."""


@dataclasses.dataclass(frozen=True)
class Piece:
  """Rows [start, stop) of the first axis of one leaf.

  Piece(leaf='layers.ffn.w1', start=3, stop=4, shape=(1, 5120, 32768), dtype='bfloat16',
        checksum=2868430194)
  """
  leaf: str
  start: int
  stop: int
  shape: tuple[int, ...]
  dtype: str
  checksum: int             # See checksum.py.

  @property
  def bytes(self) -> int:
    """Size of the piece."""
    return int(np.prod(self.shape)) * jax.numpy.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Manifest:
  """Version of the weights and its pieces, in the order of the parameter tree.

  Manifest(lineage=0, version=12, holders=2, pieces=(Piece('embed', ...), ...))
  """
  lineage: int              # How often the trainer was restored from a checkpoint.
  version: int
  holders: int              # Processes that hold pieces.
  pieces: tuple[Piece, ...]

  @property
  def bytes(self) -> int:
    """Size of all pieces."""
    return sum(piece.bytes for piece in self.pieces)

  def of(self, holder: int) -> tuple[Piece, ...]:
    """Pieces that one of the holders has."""
    return self.pieces[holder::self.holders]


def leaves(tree) -> dict[str, object]:
  """Leaves by name, {'layers.ffn.w1': leaf, ...}, in the order of the tree."""
  return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf
          for path, leaf in jax.tree.leaves_with_path(tree)}


def cuts(shape: Sequence[int], itemsize: int, piece_bytes: int = PIECE_BYTES):
  """Cuts of the first axis, [(start, stop), ...]; a piece has at most `piece_bytes`, or one row."""
  if not shape:
    return [(0, 1)]
  row = int(np.prod(shape[1:])) * itemsize
  step = max(1, piece_bytes // max(row, 1))
  return [(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


def compare(manifest: Manifest, abstract, dtype: str) -> None:
  """Raises WeightError unless the manifest announces exactly the tree `abstract` in `dtype`."""
  wanted = {name: tuple(leaf.shape) for name, leaf in leaves(abstract).items()}
  ends: dict[str, int] = {}
  for piece in manifest.pieces:
    if piece.leaf not in wanted:
      raise WeightError(f'Version {manifest.version} brings {piece.leaf!r}, which this model does '
                        f'not have.')
    shape = wanted[piece.leaf]
    expected = (piece.stop - piece.start, *shape[1:]) if shape else ()
    if piece.start != ends.get(piece.leaf, 0) or piece.shape != expected:
      raise WeightError(f'Version {manifest.version} brings {piece.leaf!r} as {piece.shape} from '
                        f'{piece.start} on; {expected} from {ends.get(piece.leaf, 0)} on was '
                        f'expected.')
    if piece.dtype != dtype:
      raise WeightError(f'Version {manifest.version} brings {piece.leaf!r} in {piece.dtype} and '
                        f'the sampler computes in {dtype}.')
    ends[piece.leaf] = piece.stop
  for name, shape in wanted.items():
    if ends.get(name, 0) != (shape[0] if shape else 1):
      raise WeightError(f'Version {manifest.version} lacks {name!r} from {ends.get(name, 0)} on.')
