"""Reads checkpoints block by block, straight to where each array lies.

A block is some rows of one tensor, 8 MiB or less, so that what stands on the host beside the
parameters does not grow with the model.
"""

import functools
import itertools
import math
from collections.abc import Container, Iterator
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import layout

BLOCK_BYTES = 2**23
# Platforms whose arrays are memory of this host; they take over aligned memory without a copy.
HOST, ALIGNMENT = ('cpu',), 64


class Weights(Protocol):
  """A checkpoint opened for reading, in terms of the tree."""
  path: str

  def dtype(self, leaf: str) -> np.dtype: ...

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Part `index` of the tensor at `position` (layer, expert) of a leaf, axes as in the tree."""


class FileWeights:
  """Weights that stand in files.

  Raises:
    ValueError: a tensor is missing, left over or of another shape than the config says.
  """

  def __init__(self, source: layout.Source, form: layout.Layout, config: ModelConfig):
    self.path, self._source, self._form = source.path, source, form
    self._shapes = layout.leaf_shapes(config)
    layout.check(source, form, config)

  def dtype(self, leaf: str) -> np.dtype:
    """Of a leaf's tensors; float32 where they differ, which holds what narrower ones hold."""
    found = {self._source.dtype(name) for _, name in self._form.tensors(leaf, self._shapes[leaf])}
    return found.pop() if len(found) == 1 else np.dtype(np.float32)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """As Weights.read; reads no more rows of the file than it needs."""
    first = layout.axes(leaf)[0][0]
    shape = list(self._shapes[leaf][len(position):])
    start, stop, _ = index[first].indices(shape[first])
    inner = layout.file_shape(leaf, shape)[0] // shape[first]
    rows = self._source.rows(self._form.tensor(leaf, position), slice(start * inner, stop * inner))
    shape[first] = stop - start
    part = layout.from_file(leaf, rows, shape, pairs=leaf in self._form.pairs)
    return part[(*index[:first], slice(None), *index[first + 1:])]


class TreeWeights:
  """Weights that are a parameter tree whose arrays this process can read whole."""

  def __init__(self, params, path: str = 'the parameters'):
    self.path = path
    self._leaves = {layout.leaf_name(keys): leaf
                    for keys, leaf in jax.tree.leaves_with_path(params)}
    self._fetched = (None, None)     # The tensor read last, as it is read in blocks.

  def dtype(self, leaf: str) -> np.dtype:
    return np.dtype(self._leaves[leaf].dtype)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    if self._fetched[0] != (leaf, position):
      tensor = self._leaves[leaf]
      if position:
        # One program for all positions: an index of Python would be compiled in.
        tensor = _tensor(tensor, jax.device_put(np.array(position, np.int32)))
      self._fetched = (leaf, position), np.asarray(jax.device_get(tensor))
    return self._fetched[1][index]


class JoinedWeights:
  """Some leaves of one checkpoint, the others of another, whose dtypes all take."""

  def __init__(self, some: Weights, leaves: Container[str], others: Weights):
    self.path, self._some, self._leaves, self._others = others.path, some, leaves, others

  def dtype(self, leaf: str) -> np.dtype:
    return self._others.dtype(leaf)

  def read(self, leaf: str, position: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    return (self._some if leaf in self._leaves else self._others).read(leaf, position, index)


def blocks(leaf: str, shape: tuple[int, ...], index: tuple[slice, ...], itemsize: int,
           most: int = BLOCK_BYTES) -> Iterator[tuple[slice, ...]]:
  """Cuts part `index` of a tensor along the file's outermost axis into parts of `most` bytes.

  Args:
    shape: of the whole tensor, axes as in the tree, no stacked ones.
  """
  first = layout.axes(leaf)[0][0]
  begin, end, _ = index[first].indices(shape[first])
  # Rows are read whole, whatever part of them is wanted.
  step = max(1, most // (itemsize * math.prod(shape) // shape[first]))
  for start in range(begin, end, step):
    yield (*index[:first], slice(start, min(start + step, end)), *index[first + 1:])


def load(weights: Weights, config: ModelConfig, shardings, param_dtype, *,
         block_bytes: int = BLOCK_BYTES):
  """The parameter tree, each array filled where it lies, a block at a time.

  On this host stands little more than one block (of one tensor), whatever the size of the model.

  Args:
    shardings: tree like the parameters; None keeps everything on the default device.
    param_dtype: of the arrays that are returned, whatever the file holds; None: what it holds.
    block_bytes: what is read at once; an array no larger than this is put on its device whole.
  """
  abstract = decoder.abstract(config)
  if shardings is None:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: device, abstract)

  def leaf_array(path, leaf, sharding):
    name = layout.leaf_name(path)
    dtype = np.dtype(param_dtype or weights.dtype(name))
    shards = {}      # Devices by what they hold: a copy is read once.
    for device, index in sharding.addressable_devices_indices_map(leaf.shape).items():
      bounds = tuple(part.indices(size)[:2] for part, size in
                     zip(index, leaf.shape, strict=True))
      shards.setdefault(bounds, []).append(device)
    arrays = []
    for bounds, devices in shards.items():
      parts = _parts(weights, name, leaf.shape, bounds, dtype, block_bytes)
      arrays += _fill(parts, tuple(b - a for a, b in bounds), dtype, devices, block_bytes)
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, arrays)

  return jax.tree.map_with_path(leaf_array, abstract, shardings)


def _parts(weights, leaf, shape, bounds, dtype, block_bytes):
  """Yields (place in the shard, array) of every block of the shard that is `bounds` of a leaf."""
  count = layout.stacked(leaf, shape)
  index = tuple(slice(*bound) for bound in bounds[count:])
  for position in itertools.product(*(range(*bound) for bound in bounds[:count])):
    # The file may hold wider numbers.
    for block in blocks(leaf, shape[count:], index, max(4, dtype.itemsize), block_bytes):
      starts = (*position, *(s.start for s in block))
      start = tuple(at - a for at, (a, _) in zip(starts, bounds, strict=True))
      yield start, weights.read(leaf, position, block)


def _fill(parts, shape, dtype, devices, block_bytes):
  """One array of `shape` on each of the devices, all of the same parts."""
  size = math.prod(shape) * dtype.itemsize
  if devices[0].platform in HOST or size <= block_bytes:
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
    arrays = [_place(array, *jax.device_put((part, start), device))
              for array, device in zip(arrays, devices, strict=True)]
    # Else blocks would be read, and pile up here, faster than they are written.
    jax.block_until_ready(arrays)
  return arrays


def _zeros(shape, dtype, device):
  place = jax.sharding.SingleDeviceSharding(device)
  return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=place)()


@functools.partial(jax.jit, donate_argnums=0)
def _place(array, part, start):
  """`part` written into `array` at `start`, in place."""
  return jax.lax.dynamic_update_slice(array, part, tuple(start))


@jax.jit
def _tensor(array, position):
  """array[*position], on its device."""
  for i in range(position.shape[0]):
    array = jax.lax.dynamic_index_in_dim(array, position[i], 0, keepdims=False)
  return array
