"""The safetensors file format: a JSON header, then the tensors, one after another.

    8 bytes      length of the header, little endian
    header       {"name": {"dtype": "BF16", "shape": [4, 2], "data_offsets": [0, 16]}, ...}
    data         row-major; offsets count from the header's end

Rows are read with plain reads and written block by block, so that memory holds only the block at
hand. (A memory map would keep all pages that were touched.)
"""

import json
import math
import operator
import os
import pathlib
from collections.abc import Iterable, Mapping

import ml_dtypes
import numpy as np

from magistral_jax.models.formats.fields import read_json

DTYPES = {'F32': np.dtype(np.float32), 'F16': np.dtype(np.float16),
          'BF16': np.dtype(ml_dtypes.bfloat16)}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# The limit of the format's reference implementation.
MOST_HEADER_BYTES = 100_000_000


class Files:
  """The tensors of several files, as a layout.TensorSource; data are read on request.

  Raises:
    ValueError: a file is damaged, or two files hold the same tensor.
  """

  def __init__(self, path: str, files: Iterable[pathlib.Path]):
    self.path, self.shapes, self._entries = path, {}, {}
    for file in files:
      for name, (dtype, shape, start) in read_header(file).items():
        if name in self.shapes:
          raise ValueError(f'{file}: tensor {name!r} is also in another file of the folder.')
        self.shapes[name], self._entries[name] = shape, (file, dtype, start)

  def cut(self, name: str, parts: Mapping[str, tuple[int, ...]]) -> None:
    """Replaces a tensor by others, whose names and shapes `parts` gives in the order of the data.

    Raises:
      ValueError: the parts together are not as large as the tensor.
    """
    file, dtype, start = self._entries.pop(name)
    shape, itemsize = self.shapes.pop(name), DTYPES[dtype].itemsize if dtype in DTYPES else 0
    if sum(map(math.prod, parts.values())) != math.prod(shape):
      raise ValueError(f'{file}: tensor {name!r} has shape {shape}, which is not that of its parts '
                       f'{dict(parts)}.')
    for part, size in parts.items():
      self.shapes[part], self._entries[part] = size, (file, dtype, start)
      start += math.prod(size) * itemsize

  def dtype(self, name: str) -> np.dtype:
    """Type of one tensor; ValueError if it is none of DTYPES."""
    file, dtype, _ = self._entries[name]
    if dtype not in DTYPES:
      raise ValueError(f'{file}: tensor {name!r} is of type {dtype}, which cannot be read: take an '
                       f'unquantized checkpoint, whose tensors are {", ".join(DTYPES)}.')
    return DTYPES[dtype]

  def rows(self, name: str, rows: slice) -> np.ndarray:
    """Some rows of a tensor (indices of its outermost axis), in the file's type."""
    (file, _, offset), dtype = self._entries[name], self.dtype(name)
    first, *inner = self.shapes[name]
    start, stop, _ = rows.indices(first)
    width = math.prod(inner) * dtype.itemsize
    out = np.empty((stop - start, *inner), dtype)
    # Without a buffer, the data go straight into the array.
    with open(file, 'rb', buffering=0) as data:
      data.seek(offset + start * width)
      view, done = out.reshape(-1).view(np.uint8), 0
      while done < len(view):
        # One read returns at most 2 GiB.
        count = data.readinto(view[done:])
        if not count:
          raise ValueError(f'{file}: the file ends in the middle of tensor {name!r}.')
        done += count
    return out


def indexed(index: pathlib.Path) -> list[pathlib.Path]:
  """The files that an index (*.safetensors.index.json) names, in order.

  Raises:
    ValueError: the index is damaged, or a file is missing.
  """
  names = read_json(index).get('weight_map')
  if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
    raise ValueError(f'{index}: no index of tensors: "weight_map" must be an object of file names.')
  files = sorted({index.parent / name for name in names.values()})
  for file in files:
    if not file.exists():
      raise ValueError(f'{file}: missing, although {index.name} names it.')
  return files


def read_header(file: pathlib.Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
  """Type as written, shape and offset (bytes) of every tensor.

  Raises:
    ValueError: the file is damaged.
  """
  size = file.stat().st_size
  with open(file, 'rb') as data:
    length = int.from_bytes(data.read(8), 'little')
    if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
      raise ValueError(f'{file}: no readable safetensors file ({size} bytes, of which the header '
                       f'would take {length}): fetch it again.')
    try:
      header = json.loads(data.read(length))
      header.pop('__metadata__', None)
      found = {name: _entry(entry['dtype'], entry['shape'], entry['data_offsets'])
               for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(f'{file}: no readable safetensors file (its header is damaged: {error!r}): '
                       f'fetch it again.') from error
  for name, (dtype, shape, start, stop) in found.items():
    if not 0 <= start <= stop <= size - 8 - length:
      raise ValueError(f'{file}: the file of {size} bytes ends before tensor {name!r} does: fetch '
                       f'it again.')
    if dtype in DTYPES and stop - start != math.prod(shape) * DTYPES[dtype].itemsize:
      raise ValueError(f'{file}: tensor {name!r} of {dtype} {shape} cannot take {stop - start} '
                       f'bytes: fetch it again.')
  return {name: (dtype, shape, 8 + length + start)
          for name, (dtype, shape, start, _) in found.items()}


def _entry(dtype: str, shape: Iterable[int], offsets: Iterable[int]
           ) -> tuple[str, tuple[int, ...], int, int]:
  start, stop = map(operator.index, offsets)
  return str(dtype), tuple(map(operator.index, shape)), start, stop


def write(file: pathlib.Path, tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
          blocks: Iterable[np.ndarray]) -> None:
  """Writes one file.

  Args:
    tensors: name -> type and shape, in the order of the data.
    blocks: arrays that laid end to end are the data of all tensors; only one is held at a time.
  Raises:
    ValueError: the blocks together are not as long as the tensors.
  """
  header, end = {'__metadata__': {'format': 'pt'}}, 0
  for name, (dtype, shape) in tensors.items():
    start, end = end, end + math.prod(shape) * dtype.itemsize
    header[name] = dict(dtype=NAMES[dtype], shape=list(shape), data_offsets=[start, end])
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)       # The data begin at a multiple of 8 bytes.
  written = 0
  with open(file, 'wb') as out:
    out.write(len(text).to_bytes(8, 'little') + text)
    for block in blocks:
      written += out.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
    out.flush()
    os.fsync(out.fileno())
  if written != end:
    raise ValueError(f'{file}: {written} bytes were written and {end} announced.')
