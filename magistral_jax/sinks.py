"""Trackers that get the figures of a run besides TensorBoard, where they are installed.

    train --sinks=wandb,trackio

Each is one class with `write` and `close`, and one entry of SINKS. What they get stands in
metrics.jsonl and stages.jsonl, too, under the names of tensorboard.py: one that fails, or does not
keep up, is logged and gets nothing more, and the run goes on, waiting for none of them. W&B's own
variables say where it sends them (WANDB_MODE=offline keeps them in the workdir).
"""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from absl import logging

PROJECT = 'magistral_jax'
LOOP, COLD_START = 'update', 'cold_start/step'      # What points are drawn over.
MOST = 1000                 # Steps that may wait for a tracker.
DEADLINE_S = 60.0           # In which it must have sent what is left when a run ends.


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
  """A sink on a thread of its own, whose failure or silence costs points, not a run.

  Args:
    name: for messages.
    deadline_s: how long `close` waits, at most.
  """

  def __init__(self, name: str, sink: Sink, *, deadline_s: float = DEADLINE_S):
    self._name, self._sink, self._deadline_s = name, sink, deadline_s
    self._points: queue.SimpleQueue[Mapping[str, float] | None] = queue.SimpleQueue()
    self._given_up = threading.Event()
    # A daemon: a network that does not answer must not keep a run from ending.
    self._thread = threading.Thread(target=self._send, name=name, daemon=True)
    self._thread.start()

  def write(self, points: Mapping[str, float]) -> None:
    """Leaves points to the sink. Never waits."""
    if self._points.qsize() >= MOST:
      self._give_up(f'it has not taken the last {MOST} steps')
    if not self._given_up.is_set():
      self._points.put(points)

  def close(self) -> None:
    """Lets the sink send what is left, within the deadline."""
    self._points.put(None)
    if not self._given_up.is_set():
      self._thread.join(self._deadline_s)
      if self._thread.is_alive():
        self._give_up(f'it has not sent everything within {self._deadline_s:.0f} s')

  def _send(self) -> None:
    try:
      while (points := self._points.get()) is not None:
        self._sink.write(points)
      self._sink.close()
    except Exception as error:       # The program of others, and a network: anything can come.
      self._give_up(f'{type(error).__name__}: {error}')

  def _give_up(self, why: str) -> None:
    if not self._given_up.is_set():
      self._given_up.set()
      logging.error('%s failed (%s) and gets no more figures of this run.', self._name, why)


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
