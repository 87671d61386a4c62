"""The principal directions of a run's checkpoints, read from disk tensor by tensor.

Axes: T checkpoints, W weights of a model, w weights of one tensor.

With X [T, W] the checkpoints and Xc those less their mean, the leading eigenvectors u of Xc Xc^T
are found by its products alone:

    Xc Xc^T v  =  sum over tensors of  B (B^T v)        B [T, w]: one tensor of all checkpoints

and c = Xc^T u / |Xc^T u| are those of Xc^T Xc, as the paper takes them. Never more than one tensor
of every checkpoint is in memory; a direction is written to disk tensor by tensor, too. Each product
reads all checkpoints once, however many devices they were saved from.

Reference: arXiv:2506.10910 section 7.1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from magistral_jax.analysis import lanczos
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import layout, workdir


class DiskMatrix:
  """The checkpoints of a run as the rows of a matrix.

  Args:
    path: workdir of the run; steps: of its checkpoints, in order.
  """

  def __init__(self, path: str, config: ModelConfig, steps: Sequence[int]):
    self._shapes = layout.leaf_shapes(config)
    self._rows = [workdir.open_weights(path, config, step) for step in steps]
    self.steps, self.reads = list(steps), 0
    self.starts, end = {}, 0
    for leaf, position in self.tensors():
      self.starts[leaf, position] = end
      end += int(np.prod(self.shape(leaf)))
    self.weights = end      # W.

  def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(leaf, position on its stacked axes) of all tensors, in the order of a direction."""
    for leaf, shape in self._shapes.items():
      for position in itertools.product(*map(range, shape[:self._stacked(leaf)])):
        yield leaf, position

  def shape(self, leaf: str) -> tuple[int, ...]:
    """Shape of one tensor of a leaf."""
    return self._shapes[leaf][self._stacked(leaf):]

  def block(self, leaf: str, position: tuple[int, ...]) -> np.ndarray:
    """[T, w] float64, one tensor of all checkpoints, less the mean of each weight."""
    whole = tuple(slice(None) for _ in self.shape(leaf))
    rows = np.stack([np.asarray(row.read(leaf, position, whole), np.float64).ravel()
                     for row in self._rows])
    return rows - rows.mean(0)

  def product(self, v: np.ndarray) -> np.ndarray:
    """[T], Xc Xc^T v."""
    self.reads += 1
    found = np.zeros(len(self._rows))
    for leaf, position in self.tensors():
      b = self.block(leaf, position)
      found += b @ (b.T @ v)
    return found

  def write_direction(self, u: np.ndarray, length: float, path: Path) -> None:
    """Writes c = Xc^T u / length as [W] float32 into an .npy file."""
    out = np.lib.format.open_memmap(path, 'w+', np.float32, (self.weights,))
    for leaf, position in self.tensors():
      c = self.block(leaf, position).T @ u / length
      start = self.starts[leaf, position]
      out[start:start + c.size] = c
    out.flush()

  def _stacked(self, leaf: str) -> int:
    return layout.stacked(leaf, self._shapes[leaf]) if 'layers.' in leaf else 0


def principal(matrix: DiskMatrix, folder: Path, number: int = 2) -> dict[str, list]:
  """Writes direction-1.npy, ... and returns where each checkpoint lies along them.

  A direction points the way the run went, from its first checkpoint to its last.

  Returns:
    `steps`; `trajectory` [T, number], coordinates from the last checkpoint; `explained` [number],
    share of the variance; `reads`, how often all checkpoints were read.
  Raises:
    ValueError: there are too few checkpoints, or they do not differ.
  """
  t = len(matrix.steps)
  if t <= number:
    raise ValueError(f'{t} checkpoints have no {number} directions: keep more of them, '
                     f'checkpoints.keep_every.')
  total = sum(float(np.sum(matrix.block(*tensor) ** 2)) for tensor in matrix.tensors())
  if total == 0:
    raise ValueError('The checkpoints of this run do not differ.')
  values, vectors = lanczos.leading(matrix.product, t, number)
  vectors = vectors * np.where(vectors[-1] < vectors[0], -1.0, 1.0)
  lengths = np.sqrt(np.maximum(values, 0.0))
  for i in range(number):
    path = folder / f'direction-{i + 1}.npy'
    matrix.write_direction(vectors[:, i], max(lengths[i], 1e-300), path)
  trajectory = (vectors - vectors[-1]) * lengths
  return dict(steps=matrix.steps, trajectory=trajectory.tolist(),
              explained=(values / total).tolist(), reads=matrix.reads + number + 1)


def perturbed(final: workdir.WorkdirWeights, leaf: str, position: tuple[int, ...],
              matrix: DiskMatrix, directions: Sequence[np.ndarray],
              amounts: Sequence[float]) -> np.ndarray:
  """One tensor float32 of the last checkpoint, moved along the directions by these amounts."""
  shape, start = matrix.shape(leaf), matrix.starts[leaf, position]
  found = np.asarray(final.read(leaf, position, tuple(slice(None) for _ in shape)), np.float32)
  for direction, amount in zip(directions, amounts, strict=True):
    part = direction[start:start + found.size].reshape(shape)
    found = found + np.float32(amount) * part
  return found


def opened(folder: Path, number: int = 2) -> list[np.ndarray]:
  """The directions that `principal` wrote, left on disk until they are read."""
  return [np.load(folder / f'direction-{i + 1}.npy', mmap_mode='r') for i in range(number)]


def move(params: Mapping, final: workdir.WorkdirWeights, matrix: DiskMatrix,
         directions: Sequence[np.ndarray], amounts: Sequence[float], put) -> None:
  """Puts the last checkpoint, moved along the directions, in place of the arrays of a tree.

  Leaf by leaf, so that there is one copy of the weights and of one leaf besides.

  Args:
    params: nested dicts, which are changed.
    put: (array, the old leaf) -> the new leaf.
  """
  tensors: dict[str, list[tuple[int, ...]]] = {}
  for leaf, position in matrix.tensors():
    tensors.setdefault(leaf, []).append(position)
  for leaf, positions in tensors.items():
    *above, last = leaf.split('.')
    tree = params
    for key in above:
      tree = tree[key]
    arrays = [perturbed(final, leaf, position, matrix, directions, amounts)
              for position in positions]
    tree[last] = put(np.stack(arrays).reshape(tree[last].shape), tree[last])
