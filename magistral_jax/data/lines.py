"""Lines of files by their index, read when they are asked for: memory holds where they are."""
from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from typing import IO

import numpy as np

from magistral_jax.data import files

Offered = Callable[[str, int, bytes], list[int]]


class Lines(Sequence):
  """What the lines of files offer: (file, line number from 1, line, index within the line).

  A packed file is unpacked once, into a temporary file.

  Args:
    paths: the files.
    offered: (file, number, line) -> indices that this line offers; none passes it over.
  Raises:
    ValueError: what `offered` raises, with file and number; a file that cannot be read.
  """

  def __init__(self, paths: Sequence[str], offered: Offered):
    self._paths, self._unpacked = list(paths), {}
    found: list[tuple[int, int, int, int]] = []
    for file, path in enumerate(self._paths):
      start = 0
      with files.opened(path) as source:
        lines = self._unpack(path, source) if files.is_packed(path) else source
        for number, line in enumerate(lines, 1):
          try:
            indices = offered(path, number, line) if line.strip() else []
          except ValueError as error:
            raise ValueError(f'{path}, line {number}: {error}') from None
          found += [(file, number, start, index) for index in indices]
          start += len(line)
    self._found = np.array(found, np.int64).reshape(-1, 4)

  def __len__(self) -> int:
    return len(self._found)

  def __getitem__(self, index) -> tuple[str, int, bytes, int]:
    file, number, start, which = map(int, self._found[index])
    path = self._paths[file]
    if path in self._unpacked:
      return path, number, _line(self._unpacked[path], start), which
    with files.opened(path) as source:
      return path, number, _line(source, start), which

  def _unpack(self, path: str, source: IO[bytes]) -> IO[bytes]:
    """A temporary file with the content of a packed one; it goes when these lines go."""
    unpacked = tempfile.TemporaryFile()
    weakref.finalize(self, unpacked.close)
    shutil.copyfileobj(source, unpacked)
    unpacked.seek(0)
    self._unpacked[path] = unpacked
    return unpacked


def _line(file: IO[bytes], start: int) -> bytes:
  file.seek(start)
  return file.readline()
