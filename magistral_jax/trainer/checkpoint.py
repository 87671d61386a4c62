"""Checkpoints: all that a resumed run needs, written in the background and never by half.

One folder per step holds the train state (sharded arrays) and a JSON record (ledger, seed,
counters), committed together. The last `keep` stay, the one of the best score, and the one whose
score is being measured. No other file uses Orbax to save or restore a run.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import jax
import orbax.checkpoint as ocp
from absl import logging

from magistral_jax.models.formats import workdir
from magistral_jax.trainer.state import TrainState

_METRIC = 'value'
_SETTLE_S = 60.0


class CheckpointFolder:
  """Checkpoints of one run in one folder.

  A save that fails (disk full) is logged and counted in `failed_saves`; the run goes on with the
  previous checkpoint to fall back on. A checkpoint that cannot be read is moved aside, not
  deleted, once an older one has been restored instead.

  Args:
    keep: how many of the newest stay, at least 1.
  """

  def __init__(self, directory: str, *, keep: int):
    if keep < 1:
      raise ValueError(f'checkpoints.keep is {keep}: keep at least 1.')
    self._directory, self._keep = os.path.abspath(directory), keep
    self.failed_saves = 0
    self._scores: dict[int, float] = {}       # Of the checkpoints on disk.
    self._awaiting: int | None = None         # The step whose score is being measured.
    # Half-written checkpoints of a killed run are removed first; nothing writes them any more.
    self._manager = self._open(cleanup=True)

  def save(self, step: int, state: TrainState, record: dict, metric: float | None) -> bool:
    """Copies the state to CPU memory, then writes it in the background.

    A step that is on disk already is left as it is: rewriting it would leave a moment without it.

    Args:
      step: names the checkpoint; higher is newer.
      state: may be donated as soon as this returns.
      record: JSON-able; read back as it was, with tuples as lists.
      metric: its score, higher is better; None if it is not measured, or not yet (`score`).
    Returns:
      Whether the checkpoint is being written.
    """
    # A background failure of the previous save surfaces here and is not booked on this one.
    self.wait()
    if self.failed_saves:
      self._sweep()
    if step in self._manager.all_steps():
      return False
    self._scores.pop(step, None)
    if metric is not None:
      self._scores[step] = float(metric)
    try:
      return self._manager.save(
          step, force=True, metrics={} if metric is None else {_METRIC: float(metric)},
          args=ocp.args.Composite(
              state=ocp.args.StandardSave(state, save_args=_pieces(state)),
              record=ocp.args.JsonSave(record)))
    except (OSError, ValueError) as error:
      # The writer of arrays reports a full disk as a ValueError that quotes the system's error.
      if isinstance(error, ValueError) and 'os_error_code' not in str(error):
        raise
      self._failed(error)
      return False

  def restore(self, abstract_state: TrainState) -> tuple[TrainState, dict] | None:
    """Restores the newest readable checkpoint, laid out as `abstract_state`; None if none exists.

    Raises:
      ValueError: the newest holds another model or optimizer, or all checkpoints are damaged.
    """
    self.wait()
    steps, damaged, reason = sorted(self._manager.all_steps(), reverse=True), [], None
    for step in steps:
      try:
        self._compare(step, abstract_state)
        restored = self._manager.restore(step, args=ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract_state), record=ocp.args.JsonRestore()))
      # The kind of damage decides which of these is raised.
      except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, _DifferentError):
          raise
        logging.error('Checkpoint %d in %s cannot be read (%s): trying the one before.', step,
                      self._directory, str(error).strip().split('\n')[0])
        damaged.append(step)
        reason = error
        continue
      self._set_aside(damaged)
      return restored['state'], restored['record']
    if reason is not None:
      raise ValueError(
          f'None of the {len(steps)} checkpoints in {self._directory} can be read: take another '
          f'--workdir to start a new run.') from reason
    return None

  def latest(self) -> int | None:
    """Newest step on disk, or None."""
    return self._manager.latest_step()

  def best(self) -> int | None:
    """Step with the highest score among those on disk, of equal ones the earliest; or None."""
    return self._best(self._manager.all_steps())

  def await_score(self, step: int | None) -> None:
    """Keeps the checkpoint of one step on disk until its score is there; None: of no step."""
    self._awaiting = step

  def score(self, step: int, metric: float) -> bool:
    """Attaches the score of exactly these weights to their checkpoint.

    Returns:
      Whether the checkpoint is on disk. One that could not be saved has no score.
    """
    if step == self._manager.latest_step():
      self.wait()                  # It may not be written yet; all before it are.
    if self._awaiting == step:
      self._awaiting = None
    if step not in self._manager.all_steps():
      return False
    self._scores[step] = float(metric)
    if jax.process_index() == 0:
      try:
        workdir.write_score(self._directory, step, float(metric))
      except OSError as error:
        logging.error('The score %.4f of checkpoint %d could not be written to %s (%s): a run that '
                      'resumes will not know it.', metric, step, self._directory, error)
    return True

  def wait(self) -> None:
    """Waits until nothing is being written."""
    try:
      self._manager.wait_until_finished()
    except (OSError, ValueError) as error:
      # The background does nothing but write.
      self._failed(error)

  def close(self) -> None:
    """Finishes the pending save and stops the threads."""
    self.wait()
    self._manager.close()

  def _open(self, *, cleanup: bool) -> ocp.CheckpointManager:
    # Named in advance, so that shapes can be read before anything has been saved or restored.
    handlers = dict(state=ocp.StandardCheckpointHandler(), record=ocp.JsonCheckpointHandler())
    manager = ocp.CheckpointManager(
        self._directory, item_handlers=handlers, options=ocp.CheckpointManagerOptions(
            best_fn=_metric, preservation_policy=_Preserved(self._kept),
            cleanup_tmp_directories=cleanup))
    found = {step: workdir.read_score(self._directory, step) for step in manager.all_steps()}
    self._scores = {step: score for step, score in found.items() if score is not None}
    return manager

  def _kept(self, steps: Sequence[int]) -> set[int]:
    """Those of the steps that stay on disk: the newest, the best, the one that is measured."""
    return {*sorted(steps)[-self._keep:], self._best(steps), self._awaiting}

  def _best(self, steps: Iterable[int]) -> int | None:
    scored = {step: self._scores[step] for step in steps if step in self._scores}
    return workdir.best_step(scored) if scored else None

  def _failed(self, error: OSError | ValueError) -> None:
    self.failed_saves += 1
    _settle()
    # A manager that has failed keeps what it had begun and saves nothing more. If one of its
    # threads still writes, a cleanup by the new manager would fail and cost the next save.
    self._manager = self._open(cleanup=False)
    self._sweep()
    logging.error('A checkpoint could not be written to %s (%s): the run goes on, and would resume '
                  'from step %s.', self._directory, str(error)[:500], self._manager.latest_step())

  def _sweep(self) -> None:
    """Removes the files of failed saves, as far as their writers have closed them."""
    if jax.process_index() == 0:
      for half in pathlib.Path(self._directory).glob('*.orbax-checkpoint-tmp*'):
        try:
          shutil.rmtree(half)
        except OSError as error:
          logging.warning('%s cannot be removed yet (%s); the next save tries again.', half, error)

  def _compare(self, step: int, abstract_state: TrainState) -> None:
    """Raises _DifferentError naming the first array that checkpoint and config do not share."""
    saved = _shapes(self._manager.item_metadata(step)['state'].tree)
    wanted = _shapes(abstract_state)
    for name in sorted(saved.keys() | wanted.keys()):
      if saved.get(name) != wanted.get(name):
        raise _DifferentError(
            f'Checkpoint {step} in {self._directory} has {name} of shape {saved.get(name)} and the '
            f'config asks for {wanted.get(name)}: restore the sections model, loss and optimizer, '
            f'or take another --workdir.')

  def _set_aside(self, steps: list[int]) -> None:
    """Moves damaged checkpoints aside, so that their steps can be saved again."""
    if not steps:
      return
    if jax.process_index() == 0:
      for step in steps:
        os.makedirs(os.path.join(self._directory, 'damaged'), exist_ok=True)
        os.replace(os.path.join(self._directory, str(step)),
                   _free(os.path.join(self._directory, 'damaged', str(step))))
    for step in steps:
      self._scores.pop(step, None)
    self._manager.reload()


def _settle() -> None:
  """Waits for Orbax's writers, at most `_SETTLE_S` seconds.

  The failure of one ends the save; the others would go on and write into the next save of that
  step.
  """
  until = time.monotonic() + _SETTLE_S
  for thread in threading.enumerate():
    if type(thread).__name__ == '_SignalingThread':
      # Its own `join` raises the failure of the thread, which has been reported.
      threading.Thread.join(thread, max(0.0, until - time.monotonic()))


def _pieces(state: TrainState) -> TrainState:
  """Save options of every array; parameters are cut so that they can be exported one by one."""
  whole = jax.tree.map(lambda _: ocp.SaveArgs(), state)
  return dataclasses.replace(whole, params=workdir.pieces(state.params))


class _Preserved(ocp.checkpoint_managers.PreservationPolicy):
  """Policy for Orbax: keeps the steps that a function of all steps names."""

  def __init__(self, kept: Callable[[Sequence[int]], set[int]]):
    self._kept = kept

  def should_preserve(self, checkpoints, *, context):
    del context
    steps = [checkpoint.step for checkpoint in checkpoints]
    kept = self._kept(steps)
    return [step in kept for step in steps]


class _DifferentError(ValueError):
  """Intact checkpoint of another model or optimizer; no older one would fit better."""


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  """Shape of every array by its path, the same for lists, tuples, dicts and dataclasses."""
  return {jax.tree_util.keystr(path, simple=True, separator='.'): tuple(leaf.shape)
          for path, leaf in jax.tree.leaves_with_path(tree)}


def _metric(metrics: dict[str, float]) -> float:
  return metrics.get(_METRIC, -math.inf)


def _free(path: str) -> str:
  """`path`, or the first of path.1, path.2, ... that does not exist."""
  number, free = 0, path
  while os.path.exists(free):
    number += 1
    free = f'{path}.{number}'
  return free
