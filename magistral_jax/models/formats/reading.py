"""Reading of checkpoints block by block, straight into the sharding of each array.

A block is some rows of one tensor, at most 8 MiB, so that the CPU memory needed beside the
parameters does not grow with the model.
"""

import functools
import itertools
import math
from collections.abc import Callable, Container, Iterator
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import layout

BLOCK_BYTES = 2**23
# Platforms whose arrays live in CPU memory; they take over memory of this alignment (bytes)
# without a copy.
CPU_PLATFORMS, ALIGNMENT = ('cpu',), 64


class Weights(Protocol):
  """A checkpoint opened for reading, addressed by the leaves of the parameter tree."""
  path: str

  def dtype(self, leaf: str) -> np.dtype:
    """Type of a leaf's numbers as `read` returns them."""

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Part `index` of the tensor at `position` (layer, expert) of a leaf, with the tree's axes."""


class FileWeights:
  """Weights in files of a published layout.

  Raises:
    ValueError: a tensor is missing, left over, or of another shape than the config says.
  """

  def __init__(self, source: layout.TensorSource, form: layout.FileLayout, config: ModelConfig):
    self.path, self._source, self._form = source.path, source, form
    self._shapes = layout.leaf_shapes(config)
    layout.check(source, form, config)

  def dtype(self, leaf: str) -> np.dtype:
    """Type of a leaf's tensors; float32 where they differ, which holds all narrower types."""
    found = {self._source.dtype(name) for _, name in self._form.tensors(leaf, self._shapes[leaf])}
    return found.pop() if len(found) == 1 else np.dtype(np.float32)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Part of a tensor as Weights.read; only the rows that hold it are read from the file."""
    first = layout.axes(leaf)[0][0]
    shape = list(self._shapes[leaf][len(position):])
    start, stop, _ = index[first].indices(shape[first])
    inner = layout.file_shape(leaf, shape)[0] // shape[first]
    rows = self._source.rows(self._form.tensor(leaf, position), slice(start * inner, stop * inner))
    shape[first] = stop - start
    part = layout.from_file(leaf, rows, shape, pairs=leaf in self._form.pairs)
    return part[(*index[:first], slice(None), *index[first + 1:])]


class TreeWeights:
  """Weights of a parameter tree whose arrays this process can read whole."""

  def __init__(self, params, path: str = 'the parameters'):
    self.path = path
    self._leaves = {layout.leaf_name(keys): leaf
                    for keys, leaf in jax.tree.leaves_with_path(params)}
    self._fetched = (None, None)     # The tensor read last, since a tensor is read in blocks.

  def dtype(self, leaf: str) -> np.dtype:
    """Type of a leaf's array."""
    return np.dtype(self._leaves[leaf].dtype)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Part of a tensor as Weights.read; the tensor is fetched whole from its device."""
    if self._fetched[0] != (leaf, position):
      tensor = self._leaves[leaf]
      if position:
        # One program for all positions: a Python index would be compiled in.
        tensor = _tensor(tensor, jax.device_put(np.array(position, np.int32)))
      self._fetched = (leaf, position), np.asarray(jax.device_get(tensor))
    return self._fetched[1][index]


class JoinedWeights:
  """Weights of two checkpoints: some leaves of one, the others and all types of the other."""

  def __init__(self, some: Weights, leaves: Container[str], others: Weights):
    self.path, self._some, self._leaves, self._others = others.path, some, leaves, others

  def dtype(self, leaf: str) -> np.dtype:
    """Type of the leaf in the other checkpoint."""
    return self._others.dtype(leaf)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Part of a tensor as Weights.read, from the checkpoint that the leaf is taken from."""
    return (self._some if leaf in self._leaves else self._others).read(leaf, position, index)


def blocks(leaf: str, shape: tuple[int, ...], index: tuple[slice, ...], itemsize: int,
           most: int = BLOCK_BYTES) -> Iterator[tuple[slice, ...]]:
  """Cuts part `index` of a tensor along the file's outermost axis into parts of `most` bytes.

  Args:
    shape: shape of the whole tensor, with the tree's axes and without stacked ones.
  """
  first = layout.axes(leaf)[0][0]
  begin, end, _ = index[first].indices(shape[first])
  # Rows are read whole, whichever part of them is needed.
  step = max(1, most // (itemsize * math.prod(shape) // shape[first]))
  for start in range(begin, end, step):
    yield (*index[:first], slice(start, min(start + step, end)), *index[first + 1:])


def load(weights: Weights, config: ModelConfig, shardings, param_dtype, *,
         block_bytes: int = BLOCK_BYTES, taken: Callable = lambda name, array: array):
  """The parameter tree, each array filled on its devices, one block at a time.

  CPU memory holds little more than one block of one tensor, whatever the size of the model.

  Args:
    shardings: tree like the parameters; None puts everything on the default device.
    param_dtype: type of the arrays returned, whatever the file holds; None: the type in the file.
    block_bytes: bytes read at once; an array no larger than this is transferred whole.
    taken: (name of a leaf, its array) -> what stands in the tree instead, before the next is read.
  """
  abstract = decoder.abstract(config)
  if shardings is None:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: device, abstract)

  def leaf_array(path, leaf, sharding):
    name = layout.leaf_name(path)
    dtype = np.dtype(param_dtype or weights.dtype(name))
    shards = {}      # Devices by the part that they hold, so that replicas are read once.
    for device, index in sharding.addressable_devices_indices_map(leaf.shape).items():
      bounds = tuple(part.indices(size)[:2] for part, size in
                     zip(index, leaf.shape, strict=True))
      shards.setdefault(bounds, []).append(device)
    arrays = []
    for bounds, devices in shards.items():
      parts = _parts(weights, name, leaf.shape, bounds, dtype, block_bytes)
      arrays += _fill(parts, tuple(b - a for a, b in bounds), dtype, devices, block_bytes)
    return taken(name, jax.make_array_from_single_device_arrays(leaf.shape, sharding, arrays))

  return jax.tree.map_with_path(leaf_array, abstract, shardings)


def _parts(weights, leaf, shape, bounds, dtype, block_bytes):
  """Yields (start in the shard, array) of every block of the shard that is `bounds` of a leaf."""
  count = layout.stacked(leaf, shape)
  index = tuple(slice(*bound) for bound in bounds[count:])
  for position in itertools.product(*(range(*bound) for bound in bounds[:count])):
    # The file may hold wider numbers than the array.
    for block in blocks(leaf, shape[count:], index, max(4, dtype.itemsize), block_bytes):
      starts = (*position, *(s.start for s in block))
      start = tuple(at - a for at, (a, _) in zip(starts, bounds, strict=True))
      yield start, weights.read(leaf, position, block)


def _fill(parts, shape, dtype, devices, block_bytes):
  """Arrays of `shape`, one on each of the devices, all filled with the same parts."""
  size = math.prod(shape) * dtype.itemsize
  if devices[0].platform in CPU_PLATFORMS or size <= block_bytes:
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    whole = raw[start:start + size].view(dtype).reshape(shape)
    for start, part in parts:
      lead = len(shape) - part.ndim
      whole[(*start[:lead], *(slice(s, s + n) for s, n in
                              zip(start[lead:], part.shape, strict=True)))] = part
    return [jax.device_put(whole, device) for device in devices]
  arrays = [_zeros(shape, dtype, device) for device in devices]
  for start, part in parts:
    part = part.astype(dtype, order='C').reshape((1,) * (len(shape) - part.ndim) + part.shape)
    start = np.array(start, np.int32)
    arrays = [_insert(array, *jax.device_put((part, start), device))
              for array, device in zip(arrays, devices, strict=True)]
    # Without waiting, blocks would be read faster than devices take them, and fill CPU memory.
    jax.block_until_ready(arrays)
  return arrays


def _zeros(shape, dtype, device):
  sharding = jax.sharding.SingleDeviceSharding(device)
  return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)()


@functools.partial(jax.jit, donate_argnums=0)
def _insert(array, part, start):
  """The array with `part` written at `start`; the memory of `array` is reused."""
  return jax.lax.dynamic_update_slice(array, part, tuple(start))


@jax.jit
def _tensor(array, position):
  """The tensor array[*position], on its device."""
  for i in range(position.shape[0]):
    array = jax.lax.dynamic_index_in_dim(array, position[i], 0, keepdims=False)
  return array
