"""Checkpoints: what a run needs to go on, written in the background and never half.

One folder per step holds the train state (sharded arrays) and a JSON record (ledger, seed,
counters), committed together. The last `keep` stay, and the best one. The only file that knows
Orbax's names.
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
  """The checkpoints of one run in one folder.

  A save that fails (disk full) is logged and counted in `failed_saves`; the run goes on, with the
  previous checkpoint to fall back on. A checkpoint that cannot be read is moved aside, not
  deleted, once an older one has been restored in its place.
  """

  def __init__(self, directory: str, *, keep: int):
    if keep < 1:
      raise ValueError(f'checkpoints.keep is {keep}: keep at least 1.')
    self._directory, self._keep = os.path.abspath(directory), keep
    self.failed_saves = 0
    # What a killed run left half written goes first; nobody writes it any more.
    self._manager = self._open(cleanup=True)

  def save(self, step: int, state: TrainState, record: dict, metric: float | None) -> bool:
    """Copies the state to the host, then writes it in the background.

    A step that is on disk already is left as it is: rewriting it would leave a moment without.

    Args:
      step: names the checkpoint; higher is newer.
      state: may be donated as soon as this returns.
      record: JSON-able; read back as it was, with tuples as lists.
      metric: higher is better, for keeping the best; None leaves the checkpoint out of that.
    Returns:
      Whether it is being written.
    """
    # A background failure of the save before this one surfaces here, and is not this save's.
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
      # The arrays' writer tells of a full disk by a ValueError that quotes the system's error.
      if isinstance(error, ValueError) and 'os_error_code' not in str(error):
        raise
      self._failed(error)
      return False

  def restore(self, abstract_state: TrainState) -> tuple[TrainState, dict] | None:
    """The newest checkpoint that can be read, laid out as `abstract_state`; None if there is none.

    Raises:
      ValueError: the newest holds another model or optimizer, or every checkpoint is damaged.
    """
    self.wait()
    steps, damaged, reason = sorted(self._manager.all_steps(), reverse=True), [], None
    for step in steps:
      try:
        self._compare(step, abstract_state)
        restored = self._manager.restore(step, args=ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract_state), record=ocp.args.JsonRestore()))
      # What is wrong with a damaged file decides which of these it is.
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
          f'--workdir to start afresh.') from reason
    return None

  def latest(self) -> int | None:
    """The newest step that is on disk, or None."""
    return self._manager.latest_step()

  def best(self) -> int | None:
    """The step with the highest metric among those on disk, or None."""
    scored = [(metrics[_METRIC], step) for step in self._manager.all_steps()
              if _METRIC in (metrics := self._manager.metrics(step) or {})]
    return max(scored)[1] if scored else None

  def wait(self) -> None:
    """Returns when nothing is being written."""
    try:
      self._manager.wait_until_finished()
    except (OSError, ValueError) as error:
      # Nothing but writing is done in the background.
      self._failed(error)

  def close(self) -> None:
    """Finishes what is being written and stops the threads."""
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
    # One that has failed keeps what it had begun, and saves nothing more. Should a thread of it
    # write on all the same, a cleanup by the new one would fail and cost the next save.
    self._manager = self._open(cleanup=False)
    self._sweep()
    logging.error('A checkpoint could not be written to %s (%s): the run goes on, and would resume '
                  'from step %s.', self._directory, str(error)[:500], self._manager.latest_step())

  def _sweep(self) -> None:
    """Frees the room that failed saves take, as far as their writers let go of it."""
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
    """Renames damaged checkpoints, so that their steps can be saved again."""
    if not steps:
      return
    if jax.process_index() == 0:
      for step in steps:
        os.makedirs(os.path.join(self._directory, 'damaged'), exist_ok=True)
        os.replace(os.path.join(self._directory, str(step)),
                   _free(os.path.join(self._directory, 'damaged', str(step))))
    self._manager.reload()


def _settle() -> None:
  """Lets Orbax's writers end, for at most `_SETTLE_S`: one of them failing ends the save, and the
  others would write on, into the next save of that step if there is one."""
  until = time.monotonic() + _SETTLE_S
  for thread in threading.enumerate():
    if type(thread).__name__ == '_SignalingThread':
      # Its own `join` raises what the thread failed of, which has been told.
      threading.Thread.join(thread, max(0.0, until - time.monotonic()))


def _pieces(state: TrainState) -> TrainState:
  """How every array is cut on disk: parameters so that they can be exported one by one."""
  whole = jax.tree.map(lambda _: ocp.SaveArgs(), state)
  return dataclasses.replace(whole, params=workdir.pieces(state.params))


class _DifferentError(ValueError):
  """A checkpoint that is whole, of something else: no older one would fit better."""


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  """Shape of every array by its path, written alike for lists, tuples, dicts and dataclasses."""
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
