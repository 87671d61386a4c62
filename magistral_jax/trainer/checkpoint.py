"""Checkpoints: all that a resumed run needs, written in the background and never by half.

One folder per step holds the train state (sharded arrays) and a JSON record (ledger, seed,
counters); models/formats/committed.py says when it counts. The last `keep` stay, the one of the
best score, the one whose score is being measured, and for good those whose step `keep_every`
divides. checkpoint_writer.py writes them; no other file uses Orbax to save or restore a run.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from magistral_jax.models.formats import committed, workdir
from magistral_jax.trainer.checkpoint_writer import STATE, CheckpointWriter
from magistral_jax.trainer.state import TrainState

_T = TypeVar('_T')
_OF_THE_DISK = re.compile(r'\[OS error (\d+): ([^\]]*)\]')


class DamagedError(ValueError):
  """A checkpoint cannot be read; an older one may be whole."""


class DifferentError(ValueError):
  """A checkpoint is intact and of another model or optimizer; no older one would fit better."""


class UnreadableError(ValueError):
  """The disk fails where a checkpoint is, so that nobody knows whether it is damaged."""


class CheckpointFolder:
  """Checkpoints of one run in one folder, as one trainer process sees them.

  A save that fails (disk full) is logged and counted in `failed_saves`; the run goes on with the
  previous checkpoint to fall back on.

  Args:
    keep: how many of the newest stay, at least 1.
    keep_every: steps that it divides stay for good; 0 for none.
    patience_s: how long a save may take after the run begins to wait for it.
  """

  def __init__(self, directory: str | os.PathLike, *, keep: int, patience_s: float,
               keep_every: int = 0):
    if keep < 1:
      raise ValueError(f'checkpoints.keep is {keep}: keep at least 1.')
    self._directory, self._keep = os.path.abspath(directory), keep
    self._keep_every = keep_every
    self._process = jax.process_index()
    self._writer = CheckpointWriter(self._process, jax.process_count(), patience_s=patience_s,
                                    after_commit=self._prune)
    self._handler = ocp.StandardCheckpointHandler()
    self._awaiting: int | None = None         # The step whose score is being measured.
    self._unwritten: dict[int, float] = {}    # Scores that the disk has refused so far.
    self.failed_saves = 0

  def save(self, step: int, state: TrainState, record: dict, metric: float | None) -> bool:
    """Copies the state to CPU memory, then writes it in the background; for a process alone.

    A step that is on disk already is left as it is: rewriting it would leave a moment without it.

    Args:
      step: names the checkpoint; higher is newer.
      state: may be donated as soon as this returns.
      record: JSON-able; read back as it was, with tuples as lists.
      metric: its score, higher is better; None if it is not measured, or not yet (`score`).
    Returns:
      Whether the checkpoint is being written.
    Raises:
      TimeoutError: as `wait`.
    """
    # A background failure of the previous save surfaces here and is not booked on this one.
    self.wait()
    name = self.begin(step)
    return name is not None and self.write(name, state, record, metric)

  def begin(self, step: int) -> str | None:
    """The name of the folder into which all processes are to `write` a step, made by the first.

    Returns:
      None in the other processes, if the step is on disk, or if the folder could not be made.
    """
    self._write_scores()
    if self._process or step in self.steps():
      return None
    try:
      return os.path.basename(self._writer.make_folder(self._directory, step))
    except OSError as error:
      self._failed(error)
      return None

  def write(self, name: str, state: TrainState, record: dict, metric: float | None) -> bool:
    """Begins to write this process's part into the folder that `begin` has made; as `save`."""
    try:
      self._writer.start(os.path.join(self._directory, name), state, record, metric)
      return True
    except OSError as error:
      self._failed(error)
      return False

  def give_up(self) -> None:
    """Ends the wait for processes that could not begin to write."""
    self._writer.give_up()

  def restore(self, step: int, abstract_state: TrainState) -> tuple[TrainState, dict]:
    """The state and the record of a checkpoint, the state laid out as `abstract_state`.

    Whatever fails is tried once more: a disk may fail for a moment, and what is found damaged is
    set aside for good.

    Raises:
      DamagedError: its files are not what was written.
      DifferentError: it holds another model or optimizer.
      UnreadableError: the disk fails twice. An older checkpoint would be no safer.
    """
    try:
      return self._restore(step, abstract_state)
    except (DamagedError, OSError) as error:
      logging.warning('Checkpoint %d in %s cannot be read (%s): trying once more.', step,
                      self._directory, error)
    try:
      return self._restore(step, abstract_state)
    except OSError as error:
      raise UnreadableError(
          f'Checkpoint {step} in {self._directory} cannot be read ({error}): repair the disk, then '
          f'the same command goes on from there; or delete its folder to go on from the one '
          f'before.') from error

  def _restore(self, step: int, abstract_state: TrainState) -> tuple[TrainState, dict]:
    """As `restore`, tried once; raises OSError where the disk fails."""
    folder = committed.found(self._directory).get(step)
    fault = 'it is not there' if folder is None else committed.fault(folder)
    if folder is None or fault:
      raise DamagedError(fault)
    path = epath.Path(folder) / STATE
    try:
      self._compare(step, path, abstract_state)
      state = self._handler.restore(path, args=ocp.args.StandardRestore(abstract_state))
      with open(os.path.join(folder, committed.RECORD), encoding='utf-8') as file:
        return state, json.load(file)
    except (DifferentError, MemoryError):
      raise                        # An older checkpoint would do no better.
    except Exception as error:     # The kind of damage decides which of many is raised.
      if 'RESOURCE_EXHAUSTED' in str(error) and isinstance(error, jax.errors.JaxRuntimeError):
        raise
      if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        raise
      # Of arrays, TensorStore tells it in words.
      if (said := _OF_THE_DISK.search(str(error))) and int(said[1]) != errno.ENOENT:
        raise OSError(int(said[1]), said[2]) from error
      raise DamagedError(str(error).strip().split('\n')[0] or repr(error)) from error

  def set_aside(self, steps: Collection[int]) -> None:
    """Makes damaged checkpoints count no longer, so that their steps can be saved again."""
    if self._process == 0:
      for step in steps:
        # A save that failed takes its files away, perhaps since this one was found damaged.
        if folder := committed.found(self._directory).get(step):
          committed.set_aside(folder)

  def steps(self) -> list[int]:
    """The steps on disk, oldest first."""
    return list(committed.found(self._directory))

  def latest(self) -> int | None:
    """Newest step on disk, or None."""
    return max(self.steps(), default=None)

  def best(self) -> int | None:
    """Step with the highest score among those on disk, of equal ones the earliest; or None."""
    return workdir.best_step(self._directory, self.steps())

  def await_score(self, step: int | None) -> None:
    """Keeps the checkpoint of one step on disk until its score is there; None: of no step."""
    self._awaiting = step

  def score(self, step: int, metric: float) -> bool:
    """Attaches the score of exactly these weights to their checkpoint.

    Where the disk refuses it, it is tried again with every save, and the checkpoint stays.

    Returns:
      Whether the checkpoint is on disk. One that could not be saved has no score.
    """
    if step not in self.steps():
      self.wait()                  # It may not be written yet.
    if self._awaiting == step:
      self._awaiting = None
    if step not in self.steps():
      return False
    if self._process == 0:
      self._unwritten[step] = metric
      self._write_scores()
    return True

  def _write_scores(self) -> None:
    for step, metric in list(self._unwritten.items()):
      try:
        if step in self.steps():
          workdir.write_score(self._directory, step, metric)
        del self._unwritten[step]
      except OSError as error:
        logging.error('The score %.4f of checkpoint %d could not be written to %s (%s): the next '
                      'save tries again.', metric, step, self._directory, error)

  def wait(self) -> None:
    """Waits until nothing is being written.

    Raises:
      TimeoutError: the disk does not answer; this save is not waited for again.
    """
    try:
      self._writer.wait()
    except TimeoutError:
      self.failed_saves += 1
      raise
    except OSError as error:
      self._failed(error)

  def close(self) -> None:
    """Finishes the pending save."""
    self.wait()
    self._write_scores()

  def _prune(self) -> None:
    """Removes all checkpoints but those that stay, which the step alone says of some."""
    found = committed.found(self._directory)
    kept = {*list(found)[-self._keep:], self.best(), self._awaiting, *list(self._unwritten)}
    if self._keep_every:
      kept |= {step for step in found if step % self._keep_every == 0}
    for step in found.keys() - kept:
      try:
        committed.remove(found[step])
      except OSError as error:
        logging.warning('Checkpoint %d in %s cannot be removed: %s.', step, self._directory, error)

  def _failed(self, error: OSError) -> None:
    self.failed_saves += 1
    logging.error('A checkpoint could not be written to %s (%s): the run goes on, and would resume '
                  'from step %s.', self._directory, str(error)[:500], self.latest())

  def _compare(self, step: int, path: epath.Path, abstract_state: TrainState) -> None:
    """Raises DifferentError naming the first array that checkpoint and config do not share."""
    saved = _shapes(self._handler.metadata(path).tree)
    wanted = _shapes(abstract_state)
    for name in sorted(saved.keys() | wanted.keys()):
      if saved.get(name) != wanted.get(name):
        raise DifferentError(
            f'Checkpoint {step} in {self._directory} has {name} of shape {saved.get(name)} and the '
            f'config asks for {wanted.get(name)}: restore the sections model, loss and optimizer, '
            f'or take another --workdir.')


def newest_readable(folder: str, steps: Sequence[int],
                    read: Callable[[int], _T]) -> tuple[_T, list[int]]:
  """The newest checkpoint that can be read, and the steps of those that were tried before it.

  Args:
    folder: for messages.
    steps: of the checkpoints, not empty.
    read: takes a step; raises DamagedError.
  Raises:
    ValueError: none can be read.
  """
  damaged: list[int] = []
  for step in sorted(steps, reverse=True):
    try:
      return read(step), damaged
    except DamagedError as error:
      logging.error('Checkpoint %d in %s cannot be read (%s): trying the one before.', step, folder,
                    error)
      damaged.append(step)
  raise ValueError(f'None of the {len(steps)} checkpoints in {folder} can be read: take another '
                   f'--workdir to start a new run.')


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  """Shape of every array by its path, the same for lists, tuples, dicts and dataclasses."""
  return {jax.tree_util.keystr(path, simple=True, separator='.'): tuple(leaf.shape)
          for path, leaf in jax.tree.leaves_with_path(tree)}
