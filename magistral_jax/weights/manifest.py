"""What a version of the weights consists of, said before it is sent and checked before it is used.

Weights travel as pieces: a leaf of the parameter tree, or some layers of a leaf that is stacked
over layers, so that nobody holds more than one piece twice.

    leaf 'layers.ffn.w1' of 40 layers, 335 MB each   ->   pieces [0, 1), [1, 2), ... [39, 40)

A transfer that checks nothing (jax.experimental.transfer gives wrong values for another sharding
or dtype of the same size) is made safe by this: shapes and dtypes are compared before anything is
fetched, checksums after. With H processes on the trainer's side piece i lies with number i % H, so
that all of them send.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

# Of one piece. Larger pieces travel no faster, and each stands on the trainer's host for a moment.
PIECE_BYTES = 256 << 20


class WeightError(RuntimeError):
  """Weights did not arrive as they were announced, or not at all; nothing of them may be used."""


class Gone(WeightError):
  """Nobody has these weights any more: newer ones have taken their place, or their holder died."""


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
  checksum: int             # checksum.py

  @property
  def bytes(self) -> int:
    return int(np.prod(self.shape)) * jax.numpy.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Manifest:
  """A version and its pieces, in the order of the parameter tree.

  Manifest(lineage=0, version=12, holders=2, pieces=(Piece('embed', ...), ...))
  """
  lineage: int              # How often the trainer was set back to a checkpoint.
  version: int
  holders: int              # Processes that hold pieces.
  pieces: tuple[Piece, ...]

  @property
  def bytes(self) -> int:
    return sum(piece.bytes for piece in self.pieces)

  def of(self, holder: int) -> tuple[Piece, ...]:
    """The pieces that lie with one of the holders."""
    return self.pieces[holder::self.holders]


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
