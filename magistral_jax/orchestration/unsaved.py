"""A disk that fails a run, told in one sentence."""

from __future__ import annotations

import contextlib
import errno

from magistral_jax.durable import WriteError

# What the system says of a disk without room.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UnsavedError(RuntimeError):
  """A run has ended and its last weights are not on disk, or its files cannot be written."""


@contextlib.contextmanager
def one_sentence():
  """Turns an error that came of a file which cannot be written into UnsavedError."""
  try:
    yield
  except Exception as error:
    unwritten = _caused_by_write(error)
    if unwritten is None:
      raise
    remedy = 'make room there' if unwritten.errno in _FULL else 'repair that'
    raise UnsavedError(
        f'{unwritten.filename} cannot be written ({unwritten.strerror}): {remedy}, then the same '
        f'command goes on from the newest checkpoint.') from error


def _caused_by_write(error: BaseException | None) -> WriteError | None:
  while error is not None and not isinstance(error, WriteError):
    error = error.__cause__ or error.__context__
  return error
