"""How the trainer's processes write one checkpoint into one folder, in the background.

They do it without a word between them, so that none hangs when another fails:

    first process   makes the folder
    every other N   makes processes/N.writing and writes its shards; its file is then renamed, which
                    needs no room, to N.written or N.failed
    first process   writes its shards and waits until no other is at work; joins the shards if all
                    are written, and commits; otherwise it empties the folder, since a disk without
                    room needs that room

Nobody takes files from under a process that still writes them, which would look like a broken disk
to it. Whoever drives them calls `CheckpointFolder.wait` on all, then `begin` on the first, then
`write` on all, and `give_up` where one of them could not begin.

A save takes as long as it takes while nobody waits for it. From then on the first process waits for
the others for half of `patience_s`, and every process is waited for no longer than `patience_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator

import jax
import orbax.checkpoint as ocp
from etils import epath

from magistral_jax import durable
from magistral_jax.models.formats import committed, workdir
from magistral_jax.trainer.state import TrainState

# The train state in the folder of a checkpoint.
STATE = 'state'
# The folder in it of the files that say how far every process is.
_MARKS = 'processes'
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
    self._awaited: float | None = None        # When somebody began to wait for the thread.

  def make_folder(self, directory: str, step: int) -> str:
    """A new folder for a step, into which all processes may write; OSError if that fails."""
    os.makedirs(directory, exist_ok=True)
    # Before the sweep: an attempt never gets the name of the one before.
    folder = committed.new_folder(directory, step)
    committed.sweep(directory, besides=folder)
    os.mkdir(os.path.join(folder, STATE))
    os.mkdir(os.path.join(folder, _MARKS))
    return folder

  def start(self, folder: str, state: TrainState, record: dict, metric: float | None) -> None:
    """Copies this process's shards to CPU memory, then goes on in the background.

    Raises:
      OSError: the disk cannot be written.
    """
    self._given_up.clear()
    try:
      self._mark_begun(folder)
      futures = asyncio.run(self._handler.async_save(
          epath.Path(folder) / STATE,
          args=ocp.args.StandardSave(state, save_args=_pieces(state))))
    except (OSError, ValueError) as error:
      self._in_background(self._drop, folder)
      raise _of_disk(error) from error
    self._in_background(self._finish, folder, futures, record, metric)

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
    self._awaited = time.monotonic()
    thread.join(self._patience_s)
    if thread.is_alive():
      raise TimeoutError(f'A checkpoint was not written within {self._patience_s:.0f} s, which '
                         f'runtime.deadline_s allows: the disk does not answer.')
    error, self._error = self._error, None
    if error is not None:
      raise _of_disk(error) from error

  def _in_background(self, target: Callable[..., None], *args) -> None:
    self._awaited = None
    # A daemon: a disk that does not answer must not keep a failed run from ending.
    self._thread = threading.Thread(target=target, args=args, name='checkpoint', daemon=True)
    self._thread.start()

  def _mark_begun(self, folder: str) -> None:
    """Says that a process beside the first writes into a folder. Raises OSError."""
    if not self._process:
      return
    if not os.path.isdir(os.path.join(folder, _MARKS)):
      raise OSError(f'{folder}, which the first trainer process has made, is not on this '
                    f'machine: mount one and the same disk on all')
    open(_mark(folder, self._process, 'writing'), 'x').close()

  def _finish(self, folder: str, futures, record: dict, metric: float | None) -> None:
    """Writes this process's part; the first process then waits for the others, and commits."""
    try:
      with _failures_of_the_disk():
        for future in futures:
          future.result()
      if self._process:
        os.replace(_mark(folder, self._process, 'writing'),
                   _mark(folder, self._process, 'written'))
        return
      if missing := self._await_others(folder):
        raise OSError(f'trainer processes {missing} have not written their part of {folder}')
      with _failures_of_the_disk():
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

  def _await_others(self, folder: str) -> list[int]:
    """Waits until no other process is at work on a save; returns those that have not written."""
    others = range(1, self._processes)
    while True:
      # One listing: looked at one after the other, a file that is renamed could be seen nowhere.
      there = set(os.listdir(os.path.join(folder, _MARKS)))
      missing = [process for process in others if f'{process}.written' not in there]
      at_work = [process for process in missing if f'{process}.failed' not in there
                 and (f'{process}.writing' in there or not self._given_up.is_set())]
      if not at_work or self._is_late():
        return missing
      time.sleep(_POLL_S)

  def _is_late(self) -> bool:
    return self._awaited is not None and time.monotonic() - self._awaited > self._patience_s / 2

  def _drop(self, folder: str) -> None:
    """Frees the room of a failed attempt once no process is at work on it."""
    with contextlib.suppress(OSError):     # The first process waits a while, then gives up.
      if self._process:
        os.replace(_mark(folder, self._process, 'writing'),
                   _mark(folder, self._process, 'failed'))
      else:
        self._await_others(folder)
        committed.clear(folder)


def _mark(folder: str, process: int, state: str) -> str:
  """The file that says how far a process is: state 'writing', 'written' or 'failed'."""
  return os.path.join(folder, _MARKS, f'{process}.{state}')


@contextlib.contextmanager
def _failures_of_the_disk() -> Iterator[None]:
  """Raises OSError for whatever the writer of arrays raises once it has taken them.

  It has no type of its own for a disk that fails: a ValueError mostly, whose words differ.
  """
  try:
    yield
  except Exception as error:
    raise OSError(_first_line(error)) from error


def _of_disk(error: BaseException) -> BaseException:
  """A plain OSError for a failure of the disk outside the writing of arrays.

  The writer of arrays has a ValueError for it; a TimeoutError, which the system raises too, means
  here that nothing came.
  """
  disk = isinstance(error, TimeoutError) or 'os_error_code' in str(error)
  return OSError(_first_line(error)) if disk else error


def _first_line(error: BaseException) -> str:
  return (str(error).strip() or repr(error)).split('\n')[0][:500]


def _pieces(state: TrainState) -> TrainState:
  """Save options of every array; parameters are cut so that they can be exported one by one."""
  whole = jax.tree.map(lambda _: ocp.SaveArgs(), state)
  return dataclasses.replace(whole, params=workdir.pieces(state.params))
