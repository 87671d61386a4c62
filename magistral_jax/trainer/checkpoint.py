"""Checkpoints: all that a resumed run needs, written in the background and never by half.

One folder per step holds the train state (sharded arrays) and a JSON record (ledger, seed,
counters), committed together. The last `keep` stay, and the best one. No other file uses Orbax to
save or restore a run.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import shutil
import threading
import time

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
    # Half-written checkpoints of a killed run are removed first; nothing writes them any more.
    self._manager = self._open(cleanup=True)

  def save(self, step: int, state: TrainState, record: dict, metric: float | None) -> bool:
    """Copies the state to CPU memory, then writes it in the background.

    A step that is on disk already is left as it is: rewriting it would leave a moment without it.

    Args:
      step: names the checkpoint; higher is newer.
      state: may be donated as soon as this returns.
      record: JSON-able; read back as it was, with tuples as lists.
      metric: higher is better; None keeps the checkpoint from being the best.
    Returns:
      Whether the checkpoint is being written.
    """
    # A background failure of the previous save surfaces here and is not booked on this one.
    self.wait()
    if self.failed_saves:
      self._sweep()
    if step in self._manager.all_steps():
      return False
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
    """Step with the highest metric among those on disk, or None."""
    scored = [(metrics[_METRIC], step) for step in self._manager.all_steps()
              if _METRIC in (metrics := self._manager.metrics(step) or {})]
    return max(scored)[1] if scored else None

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
    policies = ocp.checkpoint_managers
    kept = policies.AnyPreservationPolicy([
        policies.LatestN(self._keep),
        policies.BestN(get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False)])
    # Named in advance, so that shapes can be read before anything has been saved or restored.
    handlers = dict(state=ocp.StandardCheckpointHandler(), record=ocp.JsonCheckpointHandler())
    return ocp.CheckpointManager(
        self._directory, item_handlers=handlers, options=ocp.CheckpointManagerOptions(
            best_fn=_metric, preservation_policy=kept, cleanup_tmp_directories=cleanup))

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
