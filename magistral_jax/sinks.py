"""Trackers that get the figures of a run besides TensorBoard, where they are installed.

    train --sinks=wandb,trackio

Each is one class with `write` and `close`, and one entry of SINKS. What they get stands in
metrics.jsonl and stages.jsonl, too, under the names of tensorboard.py: one that fails is logged and
gets nothing more, and the run goes on. W&B's own variables say where it sends them
(WANDB_MODE=offline keeps them in the workdir).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from absl import logging

PROJECT = 'magistral_jax'
LOOP, COLD_START = 'update', 'cold_start/step'      # What points are drawn over.


class Sink(Protocol):
  """A tracker of one run."""

  def write(self, points: Mapping[str, float]) -> None:
    """Takes the numbers of a step by name, LOOP or COLD_START among them."""

  def close(self) -> None:
    """Sends what is left."""


class WandbSink:
  """Weights & Biases; arguments as `open_sinks`."""

  def __init__(self, module: Any, workdir: Path, identity: str, config: Mapping[str, Any]):
    self._run = module.init(project=PROJECT, name=workdir.resolve().name, id=identity,
                            resume='allow', dir=str(workdir), config=dict(config))
    # Steps of its own may not go back, as those of a run that resumes from a checkpoint do.
    self._run.define_metric('*', step_metric=LOOP)
    self._run.define_metric('cold_start/*', step_metric=COLD_START)

  def write(self, points: Mapping[str, float]) -> None:
    self._run.log(dict(points))

  def close(self) -> None:
    self._run.finish()


class TrackioSink:
  """trackio, which keeps runs in a file of its own; arguments as `open_sinks`."""

  def __init__(self, module: Any, workdir: Path, identity: str, config: Mapping[str, Any]):
    self._run = module.init(project=PROJECT, name=f'{workdir.resolve().name}-{identity}',
                            resume='allow', config=dict(config))

  def write(self, points: Mapping[str, float]) -> None:
    self._run.log(dict(points))

  def close(self) -> None:
    self._run.finish()


SINKS: dict[str, Callable[[Any, Path, str, Mapping[str, Any]], Sink]] = dict(
    wandb=WandbSink, trackio=TrackioSink)


class LoggedSink:
  """A sink whose first failure is logged and is its end: it costs points, not a run."""

  def __init__(self, name: str, sink: Sink):
    self._name, self._sink = name, sink

  def write(self, points: Mapping[str, float]) -> None:
    self._attempt(lambda sink: sink.write(points))

  def close(self) -> None:
    self._attempt(lambda sink: sink.close())

  def _attempt(self, act: Callable[[Sink], None]) -> None:
    if self._sink is None:
      return
    try:
      act(self._sink)
    except Exception as error:       # The program of others, and a network: anything can come.
      logging.error('%s failed (%s: %s) and gets no more figures of this run.', self._name,
                    type(error).__name__, error)
      self._sink = None


def check(names: str) -> list[str]:
  """The names of a list with commas; raises ValueError for one that is unknown or not installed."""
  found = [name.strip() for name in names.split(',') if name.strip()]
  for name in found:
    if name not in SINKS:
      raise ValueError(f'--sinks={names!r} names {name!r}: there are {", ".join(SINKS)}; '
                       f'TensorBoard always gets the figures.')
    try:
      importlib.import_module(name)
    except ModuleNotFoundError as error:
      raise ValueError(f'--sinks={names!r} needs {error.name}, which is not installed: pip install '
                       f'{name}.') from None
  return found


def open_sinks(names: Sequence[str], workdir: Path, identity: str,
               config: Mapping[str, Any]) -> list[Sink]:
  """The trackers of a run.

  Args:
    names: as `check` gives them.
    identity: of the run, the same whenever it is resumed.
    config: its config, as JSON has it.
  """
  return [LoggedSink(name, SINKS[name](importlib.import_module(name), workdir, identity, config))
          for name in names]
