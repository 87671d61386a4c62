"""Metrics on disk: JSON lines that a resumed run can cut back, TensorBoard events.

A run directory holds

    metrics.jsonl    one line per update: step, version, wall_s and all other measured numbers
    stages.jsonl     one line per step of the cold start, and per evaluation before and after the
                     loop: stage, step, loss or eval/accuracy, ...; and one per decision about a
                     stage of the loop: stage, step, opens, reason, ...
    tensorboard/     the numbers of both as TensorBoard scalars; cold_start/ has its own

A checkpoint records the `end` of both JSONL files; rollouts.py has the completions. After a crash
the lines past it belong to updates that were rolled back and are written again, so `truncate` cuts
them off.

Names that the display and the report look for in a line of metrics.jsonl (all optional):
reward, accuracy, loss, entropy, completion_tokens_{mean,p10,p90}, staleness_{mean,max},
staleness_expected, slots_idle, tokens_discarded, sampled_tokens_per_s, trained_tokens_per_s,
eval/accuracy, eval/accuracy_se.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import sinks, tensorboard
from magistral_jax.durable import WriteError

_BLOCK = 1 << 16            # Bytes in which the end of a line is looked for.


class JsonlWriter:
  """Appends JSON lines to one file that nobody else writes to.

  Several threads may write. Numbers that JSON lacks (nan, inf) become null. A last line that a
  crash has torn is cut off before the next one is written.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = Path(path)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._lock = threading.Lock()
    try:
      self._file = open(self.path, 'ab', buffering=0)
    except OSError as error:
      raise WriteError(error.errno, error.strerror, str(self.path)) from error
    status = os.fstat(self._file.fileno())
    self._regular = stat.S_ISREG(status.st_mode)        # Or a pipe, a device.
    self._end = _whole_lines(self.path, status.st_size) if self._regular else 0
    self._torn = self._regular and self._end < status.st_size   # A part of a line stands behind it.

  @property
  def end(self) -> int:
    """Number of bytes that count: those of whole calls of `write` and `write_all`."""
    return self._end

  def write(self, line: Mapping[str, Any]) -> None:
    """Appends one line; raises as `write_all`."""
    self.write_all([line])

  def write_all(self, lines: Iterable[Mapping[str, Any]]) -> None:
    """Appends lines, all of them or none.

    Raises:
      WriteError: they could not be written (a full disk), or another process writes to the file.
    """
    data = b''.join(map(_encoded, lines))
    with self._lock:
      self._check_alone()
      try:
        left = memoryview(data)
        while left:
          left = left[self._file.write(left):]
      except OSError as error:
        self._cut(self._end)
        raise WriteError(error.errno, error.strerror or str(error), str(self.path)) from error
      self._end += len(data)

  def sync(self) -> None:
    """Flushes what was written to disk, so that a checkpoint can rely on it.

    Raises:
      WriteError: that failed, or another process writes to the file.
    """
    with self._lock:
      self._check_alone()
    try:
      os.fsync(self._file.fileno())
    except OSError as error:
      raise WriteError(error.errno, error.strerror, str(self.path)) from error

  def position(self) -> int:
    """The `end`, after a `sync`. Raises WriteError."""
    self.sync()
    return self._end

  def truncate(self, offset: int) -> None:
    """Cuts the file back to its first `offset` bytes.

    Raises:
      ValueError: the file is shorter than that, or `offset` is not the end of a line.
    """
    size = self.path.stat().st_size
    if offset > size:
      raise ValueError(
          f'{self.path} holds {size} bytes but the checkpoint was saved when it held {offset}: '
          f'put the longer file back or start in another --workdir.')
    if offset and not _ends_line(self.path, offset):
      raise ValueError(
          f'{self.path} has no end of line at byte {offset}, where the checkpoint was saved: it is '
          f'not the file of this run, so put that one back or start in another --workdir.')
    with self._lock:
      self._cut(offset)

  def cut(self, offset: int) -> None:
    """Takes back what was written after `end` was `offset`; on a disk that fails, later."""
    with self._lock:
      self._cut(offset)

  def close(self) -> None:
    """Closes the file."""
    self._file.close()

  def __enter__(self) -> JsonlWriter:
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _check_alone(self) -> None:
    """Raises WriteError if another process has written; what a failed write has left is cut off.

    Locks of other runs hold on one machine only, where the disk is the mount of a bucket.
    """
    if self._torn:
      self._cut(self._end)
    if self._regular and os.fstat(self._file.fileno()).st_size != self._end:
      raise WriteError(errno.EBUSY, 'a failed write could not be taken back' if self._torn else
                       'another process has changed it: only one run may use a workdir',
                       str(self.path))

  def _cut(self, offset: int) -> None:
    self._end, self._torn = offset, True
    with contextlib.suppress(OSError):     # The next write tries again, or says why it cannot.
      self._file.truncate(offset)
      self._torn = False


class MetricsWriter:
  """Writes the lines of metrics.jsonl and stages.jsonl, and their numbers for TensorBoard.

  Args:
    workdir: directory of the run; created if missing.
  """

  def __init__(self, workdir: str | os.PathLike):
    self._lines = JsonlWriter(Path(workdir) / 'metrics.jsonl')
    self._stages = JsonlWriter(Path(workdir) / 'stages.jsonl')
    folder = Path(workdir) / 'tensorboard'
    self.sinks: list[sinks.Sink] = []        # Trackers that get the same numbers.
    self._points = dict(loop=tensorboard.PointWriter(folder),
                        cold_start=tensorboard.PointWriter(folder / 'cold_start'))

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Writes the metrics of one update. Raises WriteError."""
    self._lines.write({'step': int(step), **metrics})
    self._points['loop'].write(step, scalars(metrics))
    self._send({sinks.LOOP: int(step)}, metrics)

  def write_stage(self, stage: str, step: int, metrics: Mapping[str, Any],
                  update: int | None = None) -> None:
    """Writes what was measured outside the loop. Raises WriteError.

    Args:
      stage: 'start', 'cold_start' or 'final'.
      step: of the stage.
      update: that of the loop which had these weights; None if there was none.
    """
    self._stages.write({'stage': stage, 'step': int(step), **metrics})
    if update is None or stage == 'cold_start':
      self._points['cold_start'].write(step, scalars(metrics), adds='loss' not in metrics)
    if update is not None:
      self._points['loop'].write(update, scalars(metrics), adds=True)
      self._send({sinks.LOOP: update}, metrics)
    elif stage == 'cold_start':
      self._send({sinks.COLD_START: int(step)}, metrics, 'cold_start/')

  def _send(self, at: dict[str, int], metrics: Mapping[str, Any], under: str = '') -> None:
    for sink in self.sinks:
      sink.write({under + (name if under else tensorboard.tag(name)): value
                  for name, value in scalars(metrics).items()} | at)

  def write_decision(self, line: Mapping[str, Any]) -> None:
    """Writes whether a stage of the loop opens, and why. Raises WriteError."""
    self._stages.write(line)

  def ends(self) -> dict[str, int]:
    """What `truncate` takes, for a checkpoint."""
    return dict(metrics_bytes=self._lines.end, stages_bytes=self._stages.end)

  def sync(self) -> None:
    """Flushes the lines to disk. Raises WriteError."""
    self._lines.sync()
    self._stages.sync()

  def truncate(self, *, metrics_bytes: int, stages_bytes: int) -> None:
    """Cuts both files; TensorBoard drops later points when the next step is written."""
    self._lines.truncate(metrics_bytes)
    self._stages.truncate(stages_bytes)
    for points in self._points.values():
      points.close()

  def close(self) -> None:
    """Closes the files."""
    self._lines.close()
    self._stages.close()
    for points in self._points.values():
      points.close()
    for sink in self.sinks:
      sink.close()

  def __enter__(self) -> MetricsWriter:
    return self

  def __exit__(self, *unused) -> None:
    self.close()


def read_lines(path: str | os.PathLike) -> list[dict]:
  """Reads the lines of a JSONL file as dicts; all else as `iterate_lines`."""
  return list(iterate_lines(path))


def iterate_lines(path: str | os.PathLike) -> Iterator[dict]:
  """Lines of a JSONL file as dicts, without a last line that is cut off.

  Raises:
    ValueError: another line is no JSON.
  """
  with open(path, 'rb') as file:
    for number, line in enumerate(file, 1):
      if line.endswith(b'\n'):
        try:
          found = json.loads(line)
        except ValueError as error:
          raise ValueError(f'{path}, line {number} is no JSON ({error}): take it away.') from None
        yield found


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
  """Mean, 10th, 50th and 90th percentile and maximum as name_mean, name_p10 ...; {} of nothing."""
  if len(values) == 0:
    return {}
  values = np.asarray(values, np.float64)
  p10, p50, p90 = np.percentile(values, (10, 50, 90))
  found = dict(mean=values.mean(), p10=p10, p50=p50, p90=p90, max=values.max())
  return {f'{name}_{key}': float(value) for key, value in found.items()}


def scalars(metrics: Mapping[str, Any], prefix: str = '') -> dict[str, float]:
  """Finite numbers of a nested mapping under names joined by '/'; all else is left out."""
  found = {}
  for name, value in metrics.items():
    value = plain(value)
    if isinstance(value, dict):
      found |= scalars(value, f'{prefix}{name}/')
    elif isinstance(value, int | float):
      found[prefix + name] = float(value)
  return found


def plain(value: Any) -> Any:
  """Converts `value` to JSON types: arrays and tuples become lists, nan and inf None."""
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item) for item in value]
  if hasattr(value, 'tolist'):  # Arrays and array scalars of NumPy, and of JAX without its import.
    return plain(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _encoded(line: Mapping[str, Any]) -> bytes:
  try:
    text = _json(line)
  except (TypeError, ValueError):      # Arrays, nan: most lines have none and need no copy.
    text = _json(plain(line))
  # A lone surrogate has no UTF-8 form, but its backslash escape is valid JSON.
  return (text + '\n').encode('utf-8', 'backslashreplace')


def _json(line: Mapping[str, Any]) -> str:
  return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _whole_lines(path: Path, size: int) -> int:
  """Bytes up to the end of the last whole line of a file of this size."""
  with open(path, 'rb') as file:
    while size:
      start = max(0, size - _BLOCK)
      file.seek(start)
      found = file.read(size - start).rfind(b'\n')
      if found >= 0:
        return start + found + 1
      size = start
  return 0


def _ends_line(path: Path, offset: int) -> bool:
  with open(path, 'rb') as file:
    file.seek(offset - 1)
    return file.read(1) == b'\n'
