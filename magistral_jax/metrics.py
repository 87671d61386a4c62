"""Metrics and rollouts on disk: JSON lines that a resumed run can cut back, TensorBoard events.

A run directory holds

    metrics.jsonl    one line per update: step, version, wall_s and all other measured numbers
    rollouts.jsonl   one line per completion, see `rollout_line`
    tensorboard/     the numbers of metrics.jsonl as TensorBoard scalars

A checkpoint records `position()` of both JSONL files. After a crash the lines past it belong to
updates that were rolled back and are written again, so `truncate(position)` cuts them off.

Names that the display and the report look for in a line of metrics.jsonl (all optional):
reward, accuracy, loss, entropy, completion_tokens_{mean,p10,p90}, staleness_{mean,max},
staleness_expected, slots_idle, tokens_discarded, sampled_tokens_per_s, trained_tokens_per_s,
eval/accuracy, eval/accuracy_se.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from magistral_jax import records


class JsonlWriter:
  """Appends JSON lines to one file, each in one write.

  Several threads may write. Numbers that JSON lacks (nan, inf) become null.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = Path(path)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._file = open(self.path, 'ab')

  def write(self, line: Mapping[str, Any]) -> None:
    """Appends one line; OSError names the file."""
    try:
      text = _json(line)
    except (TypeError, ValueError):      # Arrays, nan: most lines have none and need no copy.
      text = _json(plain(line))
    # A lone surrogate has no UTF-8 form, but its backslash escape is valid JSON.
    try:
      self._file.write((text + '\n').encode('utf-8', 'backslashreplace'))
      self._file.flush()
    except OSError as error:     # For example a full disk; the system does not name the file.
      raise OSError(error.errno, error.strerror, str(self.path)) from error

  def position(self) -> int:
    """Number of bytes written so far, all flushed to disk, so that a checkpoint can rely on it."""
    self._file.flush()
    os.fsync(self._file.fileno())
    return self._file.tell()

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
    self._file.truncate(offset)
    self._file.seek(0, os.SEEK_END)

  def close(self) -> None:
    """Closes the file."""
    self._file.close()

  def __enter__(self) -> JsonlWriter:
    return self

  def __exit__(self, *unused) -> None:
    self.close()


class MetricsWriter:
  """Writes one line of metrics.jsonl per step and one TensorBoard point per number.

  Args:
    workdir: directory of the run; created if missing.
  """

  def __init__(self, workdir: str | os.PathLike):
    self._lines = JsonlWriter(Path(workdir) / 'metrics.jsonl')
    self._events_dir = Path(workdir) / 'tensorboard'
    self._events: SummaryWriter | None = None

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Writes the metrics of one step."""
    self._lines.write({'step': int(step), **metrics})
    if self._events is None:
      self._events = self._open_events(purge_step=step)
    for name, value in scalars(metrics).items():
      self._events.add_scalar(name, value, step)
    self._events.flush()

  def position(self) -> int:
    """Position of metrics.jsonl, see `JsonlWriter.position`."""
    return self._lines.position()

  def truncate(self, offset: int) -> None:
    """Cuts metrics.jsonl; TensorBoard drops later points when the next step is written."""
    self._lines.truncate(offset)
    self._close_events()

  def close(self) -> None:
    """Closes metrics.jsonl and the event file."""
    self._lines.close()
    self._close_events()

  def __enter__(self) -> MetricsWriter:
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _open_events(self, purge_step: int) -> SummaryWriter:
    # The library names a file by the second it was opened and overwrites one of the same name.
    number = len(list(self._events_dir.glob('events.*')))
    return SummaryWriter(
        str(self._events_dir), purge_step=purge_step, filename_suffix=f'.{number}')

  def _close_events(self) -> None:
    if self._events is not None:
      self._events.close()
      self._events = None


def read_lines(path: str | os.PathLike) -> list[dict]:
  """Reads the lines of a JSONL file as dicts, without a last line that is cut off."""
  with open(path, 'rb') as file:
    return [json.loads(line) for line in file if line.endswith(b'\n')]


def rollout_line(
    prompt: records.Prompt, completion: records.Completion, verdict: records.Verdict,
    advantage: float | None, fate: str, step: int | None) -> dict[str, Any]:
  """Line of a completion in rollouts.jsonl: prompt, completion, verdict, reward and fate.

  Args:
    prompt, completion, verdict: records that belong together.
    advantage: the one trained on; None if the completion has none.
    fate: one of records.FATES.
    step: the update that trained it; null unless the fate is 'trained'.
  Raises:
    ValueError: an unknown fate.
  """
  if fate not in records.FATES:
    raise ValueError(f'The fate of a completion is {fate!r}: it must be one of {records.FATES}.')
  return dict(
      ordinal=completion.ordinal, sample=completion.sample, fate=fate,
      step=step if fate == 'trained' else None,
      versions=[list(run) for run in completion.versions],
      status=verdict.status, reward=verdict.reward, parts=dict(verdict.parts),
      advantage=advantage, n_prompt_tokens=len(prompt.tokens), n_tokens=len(completion.tokens),
      finish=completion.finish, prompt=prompt.problem.text, completion=completion.text,
      answer=verdict.answer, seconds=completion.seconds)


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


def _json(line: Mapping[str, Any]) -> str:
  return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _ends_line(path: Path, offset: int) -> bool:
  with open(path, 'rb') as file:
    file.seek(offset - 1)
    return file.read(1) == b'\n'
