"""Outputs that take long: JSON lines that grow under another name, and go on where they stopped.

    OUTPUT.partial     the lines so far, in the order in which they were finished
    OUTPUT.progress    what they belong to
    OUTPUT             all of them, once they are complete

After an interruption, also one in the middle of a line, the same command writes what is missing.
One process at a time has an output.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from magistral_jax import durable
from magistral_jax.data.jsonl import read_object
from magistral_jax.metrics import JsonlWriter


def begun(path: str) -> bool:
  """Whether an output of this name is unfinished."""
  return os.path.exists(f'{path}.progress')


class GrowingFile:
  """An output while it grows.

  Args:
    path: name of the finished file.
    settings: plain JSON, equal only for the same input and settings.
    note: called with every line that is there already.
    restart: whether lines of other settings are dropped; otherwise they are refused.
  Raises:
    ValueError: it was begun with other settings, is in use, damaged or cannot be written.
  """

  def __init__(self, path: str, settings: Mapping[str, Any],
               note: Callable[[Mapping[str, Any]], None], *, restart: bool = False):
    self._path, self._partial, self._progress = path, f'{path}.partial', f'{path}.progress'
    with contextlib.ExitStack() as opened:
      try:
        lock = opened.enter_context(open(self._partial, 'ab'))
        self._lock(lock)
        self._begin(json.loads(json.dumps(settings)), restart)
        end = self._read(note)
        self._lines = opened.enter_context(JsonlWriter(self._partial))
        self._lines.truncate(end)
      except BlockingIOError:
        raise ValueError(f'--output={path!r} is being written by another command: wait for its '
                         f'end, or name another file.') from None
      except OSError as error:
        raise ValueError(f'--output={path!r} cannot be written ({error.strerror}): name another '
                         f'file.') from None
      self._opened = opened.pop_all()

  def write(self, line: Mapping[str, Any]) -> None:
    """Writes one line, all of it or nothing. Raises WriteError."""
    self._lines.write(line)

  def finish(self) -> None:
    """Gives the complete file its name. Raises WriteError."""
    self._lines.sync()
    os.replace(self._partial, self._path)
    os.remove(self._progress)

  def close(self) -> None:
    """Closes the file; an incomplete one can be continued."""
    self._opened.close()

  def _lock(self, file) -> None:
    """Keeps other commands out. Raises BlockingIOError if one has the file."""
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise
    except OSError as error:     # Some network disks have no locks.
      logging.warning('%s cannot be kept from other commands (%s).', self._partial, error)

  def _begin(self, settings: Mapping[str, Any], restart: bool) -> None:
    """Compares what was begun with the settings, or begins anew."""
    before: Mapping[str, Any] | None = None
    if os.path.exists(self._progress):
      with open(self._progress, encoding='utf-8', errors='replace') as file:
        text = file.read()
      try:
        before = read_object(text.encode())
      except ValueError:         # Nobody's that we know.
        before = {}
    if before == settings:
      return
    if before is not None and not restart:
      others = sorted(key for key in settings.keys() | before.keys()
                      if settings.get(key) != before.get(key))
      shown = ', '.join(f'{key} was {before.get(key)!r}, is {settings.get(key)!r}'
                        for key in others)
      raise ValueError(f'{self._partial} was begun otherwise ({shown}): repeat that command, name '
                       f'another --output, or remove {self._partial} and {self._progress}.')
    # First: an old part must never pass for one of these settings.
    os.truncate(self._partial, 0)
    durable.write_json(self._progress, settings)

  def _read(self, note: Callable[[Mapping[str, Any]], None]) -> int:
    """Notes the whole lines, and returns where they end."""
    end = 0
    with open(self._partial, 'rb') as file:
      for number, line in enumerate(file, 1):
        if not line.endswith(b'\n'):
          break
        try:
          note(read_object(line))
        except ValueError as error:
          raise ValueError(f'{self._partial}, line {number}: {error} Remove that line, or the '
                           f'file and {self._progress} to begin anew.') from None
        end += len(line)
    return end
