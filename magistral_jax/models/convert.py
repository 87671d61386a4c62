"""Foreign checkpoint files to the parameter tree and back, whatever the file's format.

Axes: L layers, D width, N query heads, K kv heads, H head size, F ffn, V vocabulary.
Llama-family files hold one matrix per layer, written [outputs, inputs] and with heads flattened;
the tree holds all layers in one array, inputs first:

    leaf              in the file   in the tree
    embed             [V, D]        [V, D]
    layers.norms      [D]           [L, D]
    attention.q       [N H, D]      [L, D, N, H]    k and v with K for N
    attention.o       [D, N H]      [L, N, H, D]
    ffn.w1, ffn.w3    [F, D]        [L, D, F]
    ffn.w2            [D, F]        [L, F, D]
    output            [V, D]        [D, V]

So a leaf of a layer is the file's matrix transposed, then reshaped; only the embedding is not.
"""

import math
from collections.abc import Mapping
from typing import Protocol

import jax
import numpy as np

from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig

# How many leading axes of a layer's array are inputs; leaves not named here are not transposed.
INPUT_AXES = {
    'layers.attention.q': 1, 'layers.attention.k': 1, 'layers.attention.v': 1,
    'layers.attention.o': 2, 'layers.ffn.w1': 1, 'layers.ffn.w3': 1, 'layers.ffn.w2': 1,
    'output': 1,
}


class Source(Protocol):
  """A checkpoint opened for reading: what is in it, and some rows of one tensor at a time."""
  path: str
  shapes: Mapping[str, tuple[int, ...]]   # Of every tensor, outermost axis first.

  def rows(self, name: str, rows: slice) -> np.ndarray: ...


def leaf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
  """{'layers.attention.q': (L, D, N, H), ...}: the parameter tree, flattened, in its own order."""
  leaves = jax.tree.leaves_with_path(decoder.abstract(config))
  return {leaf_name(path): leaf.shape for path, leaf in leaves}


def leaf_name(path) -> str:
  """'layers.attention.q' for the path that jax.tree gives of that leaf."""
  return '.'.join(key.key for key in path)


def tensor_names(leaf: str, pattern: str, config: ModelConfig) -> list[str]:
  """The names in a file of one leaf's tensors, in layer order; '{}' is the layer's number."""
  if not leaf.startswith('layers.'):
    return [pattern]
  return [pattern.format(layer) for layer in range(config.layers)]


def file_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  """Shape in a file of a leaf's tensor; `shape` is the leaf's, without the axis of layers."""
  if leaf not in INPUT_AXES:
    return tuple(shape)
  inputs = INPUT_AXES[leaf]
  return math.prod(shape[inputs:]), math.prod(shape[:inputs])


def to_file(leaf: str, array: np.ndarray) -> np.ndarray:
  """One layer of a leaf as a file writes it."""
  if leaf not in INPUT_AXES:
    return np.ascontiguousarray(array)
  inputs = math.prod(array.shape[:INPUT_AXES[leaf]])
  return np.ascontiguousarray(array.reshape(inputs, -1).T)


def load(source: Source, names: Mapping[str, str], config: ModelConfig, shardings, param_dtype):
  """The parameter tree, each array read straight into its sharding.

  On this host stands one stacked array at a time, and of it only what its own devices hold.

  Args:
    source: the opened checkpoint.
    names: leaf -> name of its tensor in the file, with '{}' for the layer.
    shardings: tree like the parameters; None keeps everything on the default device.
    param_dtype: of the arrays that are returned, whatever the file holds.
  Raises:
    ValueError: a tensor is missing, left over or of another shape than the config says.
  """
  check(source, names, config)
  abstract = decoder.abstract(config)
  if shardings is None:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: device, abstract)

  def leaf_array(path, leaf, sharding):
    name = leaf_name(path)
    tensors = tensor_names(name, names[name], config)
    stacked = name.startswith('layers.')

    def shard(index):
      # Filled layer by layer: stacking at the end would hold everything twice.
      out = np.empty([len(range(*part.indices(size)))
                      for part, size in zip(index, leaf.shape, strict=True)], param_dtype)
      places = zip(out, tensors[index[0]], strict=True) if stacked else [(out, tensors[0])]
      for place, tensor in places:
        place[...] = read(source, name, tensor, leaf.shape[stacked:], index[stacked:])
      return out

    return jax.make_array_from_callback(leaf.shape, sharding, shard)

  return jax.tree.map_with_path(leaf_array, abstract, shardings)


def read(source: Source, leaf: str, tensor: str, shape, index) -> np.ndarray:
  """The part `index` of one layer's array; reads no more rows of the file than it needs."""
  if leaf not in INPUT_AXES:
    return source.rows(tensor, index[0])[(slice(None), *index[1:])]
  inputs = INPUT_AXES[leaf]
  start, stop, _ = index[inputs].indices(shape[inputs])
  inner = math.prod(shape[inputs + 1:])
  block = source.rows(tensor, slice(start * inner, stop * inner)).T
  block = block.reshape(*shape[:inputs], stop - start, *shape[inputs + 1:])
  return block[(*index[:inputs], slice(None), *index[inputs + 1:])]


def check(source: Source, names: Mapping[str, str], config: ModelConfig) -> None:
  """Raises ValueError naming the first tensor that does not agree with the config."""
  expected = {}
  for leaf, shape in leaf_shapes(config).items():
    layer_shape = shape[1:] if leaf.startswith('layers.') else shape
    for tensor in tensor_names(leaf, names[leaf], config):
      expected[tensor] = file_shape(leaf, layer_shape)
  for tensor, shape in expected.items():
    if tensor not in source.shapes:
      raise ValueError(f'{source.path}: tensor {tensor!r} is missing; a decoder of '
                       f'{config.layers} layers needs it with shape {shape}.')
    if source.shapes[tensor] != shape:
      raise ValueError(f'{source.path}: tensor {tensor!r} has shape {source.shapes[tensor]}, but '
                       f'the config of the checkpoint makes it {shape}.')
  for tensor, shape in source.shapes.items():
    if tensor not in expected:
      raise ValueError(f'{source.path}: tensor {tensor!r} of shape {shape} has no place in a '
                       f'decoder of this kind, which has no biases, adapters or scaled rotations.')
