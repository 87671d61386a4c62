"""Layout of the parameter tree in files: shapes, names, order of the numbers.

Axes: d width, n query or kv heads, h head size, f feed-forward, v vocabulary, e experts; of an
image tower c colours, y x pixels of a patch, w width, m patches that are merged; o outputs.
Files hold one matrix per layer (and expert), written [outputs, inputs] with heads flattened. The
tree holds all layers in one array, inputs first. AXES has the two orders of every leaf:

    'attention.q': 'd n h -> (n h) d'     [L, d, n, h] in the tree, L times [n h, d] in the file

A format adds a FileLayout: the names of its tensors, and the leaves whose heads it keeps in rotary
pairs. Two orders of the numbers in a head are in use; for a head of 6:

    halves   a0 a1 a2 b0 b1 b2     Hugging Face and this project rotate (i, i + 3) together
    pairs    a0 b0 a1 b1 a2 b2     Mistral's own files and GGUF rotate neighbours
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Protocol

import jax
import numpy as np

from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig

# Axes of the tensor of one layer (and expert) in the tree and in a file. The key is the end of the
# leaf's name, so that layers of the decoder and of an image tower share their entries.
AXES = {
    'embed': 'v d -> v d', 'norm': 'd -> d', 'output': 'd v -> v d',
    'attention_norm': 'd -> d', 'ffn_norm': 'd -> d',
    'attention.q': 'd n h -> (n h) d', 'attention.k': 'd n h -> (n h) d',
    'attention.v': 'd n h -> (n h) d', 'attention.o': 'n h d -> d (n h)',
    'ffn.w1': 'd f -> f d', 'ffn.w3': 'd f -> f d', 'ffn.w2': 'f d -> d f',
    'moe.gate': 'd e -> e d',
    'moe.w1': 'd f -> f d', 'moe.w3': 'd f -> f d', 'moe.w2': 'f d -> d f',
    'vision.patch': 'c y x w -> w c y x', 'vision.norm_pre': 'w -> w',
    'adapter.norm': 'w -> w', 'adapter.merger': 'w m o -> o (w m)',
    'adapter.w1': 'w d -> d w', 'adapter.b1': 'd -> d',
    'adapter.w2': 'd o -> o d', 'adapter.b2': 'd -> d',
}


class TensorSource(Protocol):
  """A file or several files opened for reading, some rows of one tensor at a time."""
  path: str
  shapes: Mapping[str, tuple[int, ...]]   # Shape of every tensor, outermost axis first.

  def dtype(self, name: str) -> np.dtype:
    """Type of a tensor's numbers as `rows` returns them; ValueError if it cannot be read."""

  def rows(self, name: str, rows: slice) -> np.ndarray:
    """Some rows of a tensor (indices of its outermost axis)."""


@dataclasses.dataclass(frozen=True)
class FileLayout:
  """Layout of the tree in the files of one format.

  FileLayout(names={'embed': 'tok_embeddings.weight',
                    'layers.attention.q': 'layers.{layer}.attention.wq.weight', ...},
             pairs=frozenset({'layers.attention.q', 'layers.attention.k'}),
             unread=r'.*\\.inv_freq')
  """
  names: Mapping[str, str]     # Leaf -> name of its tensors; {layer}, {expert} are stacked axes.
  pairs: frozenset = frozenset()   # Leaves whose heads the file keeps in pairs.
  unread: str = r'(?!)'        # Pattern of whole names of tensors that the model does not need.

  def tensor(self, leaf: str, position: tuple[int, ...]) -> str:
    """The file's name of the tensor at `position` of a leaf."""
    return self.names[leaf].format(**dict(zip(('layer', 'expert'), position, strict=False)))

  def tensors(self, leaf: str, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Position and name of every tensor of a leaf, in order."""
    for position in itertools.product(*map(range, shape[:stacked(leaf, shape)])):
      yield position, self.tensor(leaf, position)


@functools.cache
def axes(leaf: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """The tree's axes in the file's order, and the number of them that each file axis joins."""
  tree, file = AXES[leaf.rpartition('layers.')[2]].split(' -> ')
  letters = tree.split()
  groups = [(joined or single).split() for joined, single in re.findall(r'\((.*?)\)|(\w)', file)]
  return tuple(letters.index(x) for group in groups for x in group), tuple(map(len, groups))


def stacked(leaf: str, shape: tuple[int, ...]) -> int:
  """Number of leading axes of a leaf that count its tensors: layers, experts."""
  return len(shape) - len(axes(leaf)[0])


def file_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  """Shape in a file of a leaf's tensor; `shape` is the shape in the tree without stacked axes."""
  order, groups = axes(leaf)
  sizes = iter([shape[axis] for axis in order])
  return tuple(math.prod(itertools.islice(sizes, count)) for count in groups)


def to_file(leaf: str, array: np.ndarray, *, pairs: bool = False) -> np.ndarray:
  """A leaf's tensor as a file holds it, or some of its rows where `array` is a part of it."""
  if pairs:
    half = array.reshape(*array.shape[:-1], 2, -1)
    array = half.swapaxes(-1, -2).reshape(array.shape)
  return np.ascontiguousarray(array.transpose(axes(leaf)[0])).reshape(
      file_shape(leaf, array.shape))


def from_file(leaf: str, rows: np.ndarray, shape: tuple[int, ...], *, pairs: bool = False):
  """Part of `shape` of a leaf's tensor, from the rows of a file that hold it: undoes `to_file`."""
  order, _ = axes(leaf)
  array = rows.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
  if pairs:
    neighbours = array.reshape(*array.shape[:-1], -1, 2)
    array = neighbours.swapaxes(-1, -2).reshape(array.shape)
  return array


def leaf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
  """Shapes of the flattened parameter tree, in its order: {'layers.attention.q': (L, D, N, H)}."""
  leaves = jax.tree.leaves_with_path(decoder.abstract(config))
  return {leaf_name(path): leaf.shape for path, leaf in leaves}


def leaf_name(path) -> str:
  """Name of a leaf, such as 'layers.attention.q', from its path in jax.tree."""
  return '.'.join(key.key for key in path)


def check(source: TensorSource, layout: FileLayout, config: ModelConfig) -> None:
  """Raises ValueError naming the first tensor that does not agree with the config."""
  expected = {}
  for leaf, shape in leaf_shapes(config).items():
    if leaf not in layout.names:
      raise ValueError(f'{source.path}: this format cannot hold the parameters {leaf!r}: take '
                       f'another format.')
    for _, tensor in layout.tensors(leaf, shape):
      expected[tensor] = file_shape(leaf, shape[stacked(leaf, shape):])
  for tensor, shape in expected.items():
    if tensor not in source.shapes:
      raise ValueError(f'{source.path}: tensor {tensor!r} is missing; a decoder of '
                       f'{config.layers} layers needs it with shape {shape}.')
    if tuple(source.shapes[tensor]) != shape:
      raise ValueError(f'{source.path}: tensor {tensor!r} has shape {source.shapes[tensor]}, but '
                       f'the config of the checkpoint makes it {shape}.')
    source.dtype(tensor)       # Raises for a type that cannot be read.
  for tensor, shape in source.shapes.items():
    if tensor not in expected and not re.fullmatch(layout.unread, tensor):
      raise ValueError(f'{source.path}: tensor {tensor!r} of shape {shape} does not belong to a '
                       f'decoder of this kind, which has no biases, adapters or scaled rotations.')
