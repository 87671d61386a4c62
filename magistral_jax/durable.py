"""Files that are there whole or not at all, whenever the process or the machine stops."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from typing import Any

# What file systems say that cannot flush a folder.
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)


class WriteError(OSError):
  """A file of a run cannot be written; names the file."""


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
  """Replaces a file in one go: a reader, or a run after a crash, sees the old or the new one.

  Raises:
    WriteError: it could not be written.
  """
  write_lines(path, [content])


def write_lines(path: str | os.PathLike, lines: Iterable[bytes]) -> None:
  """Replaces a file by lines, which end as they are to; raises as `write_bytes`."""
  path = os.fspath(path)
  unfinished = f'{path}.unfinished'
  try:
    with open(unfinished, 'wb') as file:
      file.writelines(lines)
      file.flush()
      os.fsync(file.fileno())
    # After the content: a crash must not leave the name of a file that is empty.
    os.replace(unfinished, path)
    sync_folder(os.path.dirname(path) or '.')
  except OSError as error:
    raise WriteError(error.errno, error.strerror or str(error), path) from error


def write_json(path: str | os.PathLike, content: Any, *, indent: int | None = None) -> None:
  """Replaces a file by `content` as JSON; raises as `write_bytes`."""
  write_bytes(path, (json.dumps(content, indent=indent) + '\n').encode())


def sync_folder(path: str | os.PathLike) -> None:
  """Flushes the names in a folder to disk, on file systems that can. Raises OSError."""
  number = os.open(path, os.O_RDONLY)
  try:
    os.fsync(number)
  except OSError as error:
    if error.errno not in _NOT_FOR_FOLDERS:
      raise
  finally:
    os.close(number)
