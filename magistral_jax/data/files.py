"""Files of JSON lines: which ones a path names, and the lines in them.

A path is a file, a folder (its *.jsonl and *.jsonl.gz, also in folders below), a pattern with
`*`, or several of these with commas between them; `~` is the home folder. Files packed by gzip are
unpacked while they are read.
"""
from __future__ import annotations

import collections
import contextlib
import glob
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

ENDINGS = ('.jsonl', '.jsonl.gz', '.ndjson', '.ndjson.gz')
_GZIP, _PARQUET = b'\x1f\x8b', b'PAR1'
_OTHERWISE_PACKED = (b'PK\x03\x04', b'\x28\xb5\x2f\xfd', b'BZh', b'\xfd7zX')
_STREAMS = ((stat.S_ISFIFO, 'a pipe'), (stat.S_ISSOCK, 'a socket'))
# How data sets of hubs are named, and addresses.
_HUB, _ADDRESS = re.compile(r'[\w.-]+/[\w.-]+'), re.compile(r'[a-z0-9]+://')


def expand(paths: str | Sequence[str], key: str = '') -> list[str]:
  """Files that a path names, in order.

  Args:
    paths: a path as in the module's description, or several.
    key: key of the config or flag that names them, for messages.
  Raises:
    ValueError: it names no file, or one file twice; no line is read.
  """
  key = f'{key}: ' if key else ''
  parts = [paths] if isinstance(paths, str) else paths
  # A file may have a comma in its name.
  named = [name for part in parts for name in (
      [part] if os.path.exists(part) else part.split(',')) if name.strip()]
  if not named:
    raise ValueError(f'{key}no file is named.')
  found: list[str] = []
  for name in named:
    path = os.path.expanduser(name.strip())
    try:
      found += _files(path)
    except ValueError as error:
      raise ValueError(f'{key}{error}') from None
  for path, count in collections.Counter(map(os.path.realpath, found)).items():
    if count > 1:
      raise ValueError(f'{key}the file {path!r} is named {count} times: name it once.')
  return found


def labels(files: Iterable[str]) -> dict[str, str]:
  """{file: its name without ending}, with folders before it where two have the same name.

  labels(['a/train.jsonl', 'b/train.jsonl.gz']) == {..: 'a/train', ..: 'b/train'}
  """
  files = list(dict.fromkeys(files))
  found = {path: _stem(path) for path in files}
  depth = 1
  while len(set(found.values())) < len(files):
    counts = collections.Counter(found.values())
    depth += 1
    for path in files:
      if counts[found[path]] > 1:
        parts = os.path.abspath(path).split(os.sep)
        # Two files of one folder may differ in their endings alone.
        last = _stem(path) if depth < len(parts) else parts[-1]
        found[path] = '/'.join([*filter(None, parts[-depth:-1]), last])
    if depth > max(map(_depth, files)):
      break
  return found


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
  """A context with the file open for reading, unpacked if it is packed by gzip.

  Raises:
    ValueError: the file cannot be read, or is of another kind; also what a reader meets within.
  """
  _check_file(path)
  try:
    with open(path, 'rb') as file:
      start = file.read(4)
    if start == _PARQUET:
      raise ValueError(f'{path} is a Parquet file: write its rows as JSON lines, one object a line '
                       f'(pandas: read_parquet(...).to_json(..., orient="records", lines=True)).')
    if start.startswith(_OTHERWISE_PACKED):
      raise ValueError(f'{path} is packed, and only gzip is unpacked here: unpack it first.')
    with gzip.open(path) if start.startswith(_GZIP) else open(path, 'rb') as file:
      yield file
  except (OSError, EOFError, zlib.error) as error:
    why = getattr(error, 'strerror', None) or str(error)
    raise ValueError(f'{path} cannot be read ({why}).') from None


def is_packed(path: str) -> bool:
  """Whether a file is packed by gzip, whatever its name says."""
  with open(path, 'rb') as file:
    return file.read(2) == _GZIP


def lines(path: str) -> Iterator[tuple[int, bytes]]:
  """(number from 1, line) of every line that is not blank; ValueError as `opened`."""
  # Binary, so that only \n ends a line: text mode also stops at characters that JSON allows.
  with opened(path) as file:
    for number, line in enumerate(file, 1):
      if line.strip():
        yield number, line


def _files(path: str) -> list[str]:
  """Files that one path names; ValueError if there is none."""
  if os.path.isdir(path):
    found = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path)
                   for name in names if name.endswith(ENDINGS))
    if not found:
      held = sorted(name for name in os.listdir(path) if not name.startswith('.'))
      raise ValueError(f'the folder {path!r} has no {" or ".join(ENDINGS[:2])} file; it holds '
                       f'{", ".join(held[:5]) or "nothing"}. A data set prepared by TFDS is read '
                       f"with data.source='tfds'.")
    for name in found:
      _check_file(name)
    return found
  if os.path.exists(path):
    _check_file(path)
    return [path]
  found = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
  if not found:
    raise ValueError(_absent(path))
  return found


def _check_file(path: str) -> None:
  """Raises ValueError for what is there but no file: a pipe that nobody writes into never opens."""
  if not os.path.exists(path) or os.path.isfile(path):
    return
  mode = os.stat(path).st_mode
  kind = next((words for fits, words in _STREAMS if fits(mode)), 'no file')
  raise ValueError(f'{path!r} is {kind}, and what is read here is read more than once: write its '
                   f'lines into a file, and name that.')


def _absent(path: str) -> str:
  if glob.has_magic(path):
    return f'no file matches the pattern {path!r}: correct it.'
  if _ADDRESS.match(path):
    return (f'{path!r} is an address, and only files of this machine are read: download it, and '
            f'name the file.')
  hub = ''
  if _HUB.fullmatch(path) and not path.endswith(ENDINGS) and not os.path.isdir(
      os.path.dirname(path)):
    hub = (' Names of data sets on a hub are not read: download the data set, write its rows as '
           'JSON lines, and name that file.')
  return f'The problem file {path!r} does not exist: correct its path.{hub}'


def _stem(path: str) -> str:
  name = os.path.basename(path).removesuffix('.gz')
  return os.path.splitext(name)[0]


def _depth(path: str) -> int:
  return len(os.path.abspath(path).split(os.sep))
