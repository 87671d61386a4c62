"""Which folders of checkpoints are whole.

    checkpoints/120/state/        arrays
    checkpoints/120/record.json   ledger, seed, counters; a workdir without a run has none
    checkpoints/120/score.json    {"value": 0.91}, once the weights have been measured
    checkpoints/120/whole.json    {"files": {"state/_METADATA": 4711, ...},      names and bytes
                                   "sha256": {"record.json": "9f86d0...", ...}}
    checkpoints/130.1/            step 130 at the second attempt, after one that failed

A checkpoint counts from the moment that whole.json is there, which is written last and names all
other files. No folder is ever renamed: on the mount of a bucket that is neither quick nor one step.
A damaged checkpoint has damaged.json in its place and stays for people to look at; a folder with
neither of them was never finished: a save that fails empties it, and the next one removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil

from absl import logging

from magistral_jax import durable

RECORD, SCORE = 'record.json', 'score.json'
_WHOLE, _DAMAGED = 'whole.json', 'damaged.json'
# In a folder that another program has let Orbax manage.
_FOREIGN = '_CHECKPOINT_METADATA'
# Orbax has checksums of the files in folders of this name, which hold the arrays.
_ARRAYS = 'd'
_NAME = re.compile(r'(\d+)(?:\.(\d+))?')
# Errors of a disk that works, where files are missing.
_GONE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def found(directory: str) -> dict[int, str]:
  """{step: folder} of the checkpoints that were finished, oldest first; damaged or not."""
  newest: dict[int, tuple[int, str]] = {}
  for step, attempt, folder in _folders(directory):
    if os.path.exists(os.path.join(folder, _WHOLE)):
      newest[step] = max(newest.get(step, (-1, '')), (attempt, folder))
  return {step: newest[step][1] for step in sorted(newest)}


def check_layout(directory: str) -> None:
  """Raises ValueError if another program has saved in a directory, whose folders are not ours."""
  for _, _, folder in _folders(directory):
    if os.path.exists(os.path.join(folder, _FOREIGN)):
      raise ValueError(f'{folder} was not saved by this version, which cannot read it: take '
                       f'another --workdir.')


def new_folder(directory: str, step: int) -> str:
  """Makes the folder of another attempt to save a step; returns its path. Raises OSError.

  Writers of a failed attempt may still be at work in theirs.
  """
  attempts = [attempt for other, attempt, _ in _folders(directory) if other == step]
  name = f'{step}.{max(attempts) + 1}' if attempts else str(step)
  folder = os.path.join(os.path.abspath(directory), name)
  os.makedirs(folder)
  return folder


def commit(folder: str) -> None:
  """Declares the checkpoint in a folder whole, as it is now. Raises OSError, and then it is not."""
  files, hashes = {}, {}
  for at, _, names in os.walk(folder):
    for name in names:
      path = os.path.join(at, name)
      short = os.path.relpath(path, folder)
      files[short] = os.path.getsize(path)
      if os.path.basename(at) != _ARRAYS and short != SCORE:
        hashes[short] = _hash(path)
    # The files themselves were flushed by those who wrote them.
    durable.sync_folder(at)
  files.pop(SCORE, None)      # It may be replaced later.
  marker = os.path.join(folder, _WHOLE)
  try:
    durable.write_json(marker, dict(files=files, sha256=hashes))
    durable.sync_folder(os.path.dirname(folder))
  except OSError:
    with contextlib.suppress(OSError):     # It was written and may not be on disk.
      os.remove(marker)
    raise


def fault(folder: str) -> str | None:
  """What is wrong with the files of a checkpoint that was finished; None if all are there.

  Raises:
    OSError: the disk fails, which says nothing about the files.
  """
  try:
    with open(os.path.join(folder, _WHOLE), encoding='utf-8') as file:
      content = json.load(file)
      files, hashes = content['files'].items(), content['sha256']
  except (*_GONE, ValueError, KeyError, TypeError, AttributeError) as error:
    return f'{_WHOLE} cannot be read: {error!r}'
  for name, size in files:
    try:
      there = os.path.getsize(os.path.join(folder, name))
    except _GONE as error:
      return f'{name} cannot be found: {error.strerror}'
    if there != size:
      return f'{name} has {there} bytes and had {size}'
  for name, before in hashes.items():
    try:
      same = _hash(os.path.join(folder, name)) == before
    except _GONE as error:
      return f'{name} cannot be read: {error.strerror}'
    if not same:
      return f'{name} has other content than it had'
  return None


def set_aside(folder: str) -> None:
  """Makes a damaged checkpoint one that no longer counts, and keeps its files. Raises OSError."""
  os.replace(os.path.join(folder, _WHOLE), os.path.join(folder, _DAMAGED))


def remove(folder: str) -> None:
  """Deletes a checkpoint, which never counts while only a part of it is there. Raises OSError."""
  os.remove(os.path.join(folder, _WHOLE))
  shutil.rmtree(folder)


def clear(folder: str) -> None:
  """Frees the room of an attempt that has failed, unless its checkpoint counts after all.

  The folder stays, since writers may still be at work in it: its name is not given again.
  """
  if _is_kept(folder):
    return
  for name in os.listdir(folder):
    path = os.path.join(folder, name)
    try:
      shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    except OSError as error:
      logging.warning('%s cannot be removed yet (%s); the next save tries again.', path, error)


def sweep(directory: str, *, besides: str) -> None:
  """Deletes what was never finished, as far as its writers have closed it.

  Args:
    besides: the folder of the attempt that begins now.
  """
  for _, _, folder in _folders(directory):
    if _is_kept(folder) or os.path.basename(folder) == os.path.basename(besides):
      continue
    try:
      shutil.rmtree(folder)
    except OSError as error:
      logging.warning('%s cannot be removed yet (%s); the next save tries again.', folder, error)


def _hash(path: str) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _is_kept(folder: str) -> bool:
  """Whether a folder has a checkpoint that was finished, damaged or not."""
  return any(os.path.exists(os.path.join(folder, name)) for name in (_WHOLE, _DAMAGED))


def _folders(directory: str) -> list[tuple[int, int, str]]:
  """(step, attempt, path) of all folders that have the name of a checkpoint."""
  names = os.listdir(directory) if os.path.isdir(directory) else []
  return [(int(match[1]), int(match[2] or 0), os.path.join(directory, match[0]))
          for match in map(_NAME.fullmatch, names) if match]
