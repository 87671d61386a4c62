"""How the trainer's processes write one checkpoint into one folder, in the background.

They do it without a word between them, so that none hangs when another fails:

    first process   makes the folder, with processes/N.writing for every other process N
    every process   writes its shards, then renames its file to N.written, or removes it on failure
    first process   waits until none is writing, joins the shards if all are written, and commits;
                    otherwise it empties the folder, since a disk without room needs that room

Whoever drives them calls `CheckpointFolder.wait` on all, then `begin` on the first, then `write` on
all, and `give_up` where one of them could not begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp
from etils import epath

from magistral_jax import durable
from magistral_jax.models.formats import committed, workdir
from magistral_jax.trainer.state import TrainState

# The train state in the folder of a checkpoint.
STATE = 'state'
# The first process looks this often whether the others have written their part.
_POLL_S = 0.05


class CheckpointWriter:
  """Writes the part of one process, one checkpoint after the other.

  Args:
    process, processes: the number of this one, and how many there are.
    patience_s: how long a save may take after somebody begins to wait for it.
    after_commit: called in the background when a checkpoint is on disk.
  """

  def __init__(self, process: int, processes: int, *, patience_s: float,
               after_commit: Callable[[], None]):
    self._process, self._processes = process, processes
    self._patience_s, self._after_commit = patience_s, after_commit
    self._handler = ocp.StandardCheckpointHandler()
    self._thread: threading.Thread | None = None
    self._error: BaseException | None = None  # Of the thread.
    self._given_up = threading.Event()

  def make_folder(self, directory: str, step: int) -> str:
    """A new folder for a step, into which all processes may write; OSError if that fails."""
    os.makedirs(directory, exist_ok=True)
    # Before the sweep: an attempt never gets the name of the one before.
    folder = committed.new_folder(directory, step)
    committed.sweep(directory, besides=folder)
    os.mkdir(os.path.join(folder, STATE))
    os.mkdir(os.path.join(folder, 'processes'))
    for process in range(1, self._processes):
      open(_mark(folder, process, 'writing'), 'x').close()
    return folder

  def start(self, folder: str, state: TrainState, record: dict, metric: float | None) -> None:
    """Copies this process's shards to CPU memory, then goes on in the background.

    Raises:
      OSError: the disk cannot be written.
    """
    self._given_up.clear()
    try:
      if self._process and not os.path.exists(_mark(folder, self._process, 'writing')):
        raise OSError(f'{folder}, which the first trainer process has made, is not on this '
                      f'machine: mount one and the same disk on all')
      futures = asyncio.run(self._handler.async_save(
          epath.Path(folder) / STATE,
          args=ocp.args.StandardSave(state, save_args=_pieces(state))))
    except (OSError, ValueError) as error:
      self._drop(folder)
      raise _of_disk(error) from error
    # A daemon: a disk that does not answer must not keep a failed run from ending.
    self._thread = threading.Thread(target=self._finish, args=(folder, futures, record, metric),
                                    name='checkpoint', daemon=True)
    self._thread.start()

  def give_up(self) -> None:
    """Ends the wait for processes that could not begin to write."""
    self._given_up.set()

  def wait(self) -> None:
    """Waits until nothing is being written.

    Raises:
      OSError: the disk could not be written.
      TimeoutError: the disk does not answer; this save is not waited for again.
    """
    thread, self._thread = self._thread, None
    if thread is None:
      return
    thread.join(self._patience_s)
    if thread.is_alive():
      raise TimeoutError(f'A checkpoint was not written within {self._patience_s:.0f} s '
                         f'(runtime.deadline_s): the disk does not answer.')
    error, self._error = self._error, None
    if error is not None:
      raise _of_disk(error) from error

  def _finish(self, folder: str, futures, record: dict, metric: float | None) -> None:
    """Writes this process's part; the first process then waits for the others, and commits."""
    try:
      for future in futures:
        future.result()
      if self._process:
        os.replace(_mark(folder, self._process, 'writing'),
                   _mark(folder, self._process, 'written'))
        return
      self._await_others(folder)
      self._handler.finalize(epath.Path(folder) / STATE)
      durable.write_json(os.path.join(folder, committed.RECORD), record)
      if metric is not None:
        workdir.write_score_in(folder, metric)
      committed.commit(folder)
      self._after_commit()
    except BaseException as error:   # The border of a thread: `wait` raises it.
      self._error = error
      if isinstance(error, Exception):
        self._drop(folder)

  def _await_others(self, folder: str) -> None:
    """Returns when the other processes have written their parts; OSError if one has not."""
    until = time.monotonic() + self._patience_s / 2    # `wait` is to hear of it.
    marked = lambda state: {process for process in range(1, self._processes)
                            if os.path.exists(_mark(folder, process, state))}
    while marked('writing') and time.monotonic() < until and not self._given_up.is_set():
      time.sleep(_POLL_S)
    missing = {*range(1, self._processes)} - marked('written')
    if missing:
      raise OSError(f'trainer processes {sorted(missing)} have not written their part of {folder}')

  def _drop(self, folder: str) -> None:
    """Frees a failed attempt; a process beside the first tells it of that, which needs no room."""
    with contextlib.suppress(OSError):     # The first process waits a while, then gives up.
      if self._process:
        os.remove(_mark(folder, self._process, 'writing'))
      else:
        committed.clear(folder)


def _mark(folder: str, process: int, state: str) -> str:
  """The file that says how far a process is: state 'writing' or 'written'."""
  return os.path.join(folder, 'processes', f'{process}.{state}')


def _of_disk(error: BaseException) -> BaseException:
  """An OSError for a failure of the disk, whatever its writers make of it.

  The writer of arrays reports it as a ValueError; a TimeoutError means here that nothing came.
  """
  if isinstance(error, TimeoutError) or 'os_error_code' in str(error):
    return OSError(str(error).strip().split('\n')[0][:500])
  return error


def _pieces(state: TrainState) -> TrainState:
  """Save options of every array; parameters are cut so that they can be exported one by one."""
  whole = jax.tree.map(lambda _: ocp.SaveArgs(), state)
  return dataclasses.replace(whole, params=workdir.pieces(state.params))
