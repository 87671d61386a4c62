"""A run read from its files: figures as they stand there, completions as columns.

    metrics.jsonl  stages.jsonl  starts.jsonl  experiment.json  summary.json    as they are
    rollouts.jsonl, rollouts-000002.jsonl ...    a number or two of every completion; no text

A file that is missing leaves its part empty: a run may have been killed at any moment, may go on
while it is read, or may have failed before its first update. Lines that cannot be read, and values
that are of another kind than their key says (fields.py), are left out, and the audit names them. Of
every completion about 150 bytes are held in memory; texts are read later, those that are shown.
"""

from __future__ import annotations

import array
import dataclasses
import fcntl
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import rollouts
from magistral_jax.analysis import fields
from magistral_jax.models.formats.workdir import EXPERIMENT
from magistral_jax.orchestration import starts

# Columns of numbers: name -> (key of a line, type code of array.array, what stands for none).
_NUMBERS = dict(
    ordinal=('ordinal', 'q', -1), sample=('sample', 'i', -1), step=('step', 'q', -1),
    reward=('reward', 'd', math.nan), advantage=('advantage', 'd', math.nan),
    prompt_tokens=('n_prompt_tokens', 'q', 0), tokens=('n_tokens', 'q', 0),
    seconds=('seconds', 'd', math.nan))
# Columns of words, each kept as the index of the word.
WORDS = ('fate', 'status', 'domain', 'language', 'finish')


@dataclasses.dataclass(frozen=True)
class CompletionTable:
  """All completions of a run, in the order of their lines.

  CompletionTable(numbers={'ordinal': [0, 0], 'reward': [1., .1], ...},
                  words={'fate': [0, 0], ...}, names={'fate': ('trained',), ...},
                  parts={'format': [.1, .1], ...}, unreadable=())
  """
  numbers: Mapping[str, np.ndarray]  # [n] of each of: start, bytes, oldest, versions, _NUMBERS.
  words: Mapping[str, np.ndarray]    # [n] indices into names.
  names: Mapping[str, tuple[str, ...]]
  parts: Mapping[str, np.ndarray]    # [n] of each part of the reward; nan where it is not paid.
  unreadable: tuple[str, ...] = ()   # Lines that were left out, each in words.

  def __len__(self) -> int:
    return len(self.numbers['start'])

  def __getitem__(self, name: str) -> np.ndarray:
    """[n] column of numbers."""
    return self.numbers[name]

  def having(self, column: str, *names: str) -> np.ndarray:
    """[n] bool, where a column of words has one of these."""
    wanted = [i for i, name in enumerate(self.names[column]) if name in names]
    return np.isin(self.words[column], wanted)

  @functools.cached_property
  def groups(self) -> tuple[np.ndarray, np.ndarray]:
    """(ordinals [g] that there are, in rising order; [n] the index of every completion's)."""
    ordinals, index = np.unique(self['ordinal'], return_inverse=True)
    return ordinals, index.reshape(-1)


@dataclasses.dataclass(frozen=True)
class RecordedRun:
  """What the files of a run say.

  RecordedRun(name='rl', path=..., experiment={'config': ...}, summary={'steps': 30, ...},
              lines=[{'step': 1, ...}], stages=[...], starts=[...], running=False, completions=...)
  """
  name: str                          # Unlike that of other runs in a report.
  path: Path
  experiment: Mapping[str, Any]      # {} where there is none.
  summary: Mapping[str, Any]         # {} of a run that has not come to its end.
  lines: Sequence[Mapping[str, Any]]
  stages: Sequence[Mapping[str, Any]]
  starts: Sequence[Mapping[str, Any]]
  running: bool                      # A process has the workdir.
  completions: CompletionTable
  unreadable: tuple[str, ...] = ()   # What was left out, but for completions, each in words.

  @property
  def config(self) -> Mapping[str, Any]:
    return self.experiment.get('config') or {}

  @functools.cached_property
  def measured(self) -> Mapping[str, Any]:
    """The summary; of a run without one what its lines say under the same names."""
    last = self.lines[-1] if self.lines else {}
    accuracies = {f'accuracy_{line["stage"]}{end}': line[f'eval/accuracy{end}']
                  for line in self.stages for end in ('', '_se') if f'eval/accuracy{end}' in line}
    own = dict(steps=len(self.lines), wall_s=last.get('wall_s'), time_s=last.get('time_s'),
               completions=len(self.completions))
    return accuracies | own | dict(self.summary)


def read(path: str | Path, name: str = '') -> RecordedRun:
  """Reads the files of a run.

  Raises:
    ValueError: the folder holds none, one cannot be read, or is no JSON.
  """
  path, left_out = Path(path), []
  if not any((path / file).exists() for file in (EXPERIMENT, 'metrics.jsonl', 'stages.jsonl')):
    raise ValueError(f'{str(path)!r} is no run: name the --workdir of one, with its metrics.jsonl.')
  try:
    lines = _lines(path / 'metrics.jsonl', fields.UPDATE, left_out)
    stages = _lines(path / 'stages.jsonl', fields.STAGE, left_out)
    summary = _object(path / 'summary.json', fields.MAY_BE, fields.MEASURED, left_out)
    if (steps := summary.get('steps')) is not None and len(lines) > steps:
      # The run was told to make more updates since.
      left_out.append(f'{path / "summary.json"} is of an earlier end, after {steps} of '
                      f'{len(lines)} updates')
      summary, stages = {}, [line for line in stages if line['stage'] != 'final']
    return RecordedRun(
        name=name or path.resolve().name, path=path, running=running(path), lines=lines,
        stages=stages, summary=summary, starts=_starts(path, left_out),
        experiment=_object(path / EXPERIMENT, dict(config=fields.OBJECT), None, left_out),
        completions=read_completions(path), unreadable=tuple(left_out))
  except OSError as error:
    raise ValueError(f'{error.filename} cannot be read ({error.strerror}): repair that, or take it '
                     f'away.') from None


def read_all(paths: Sequence[str | Path]) -> list[RecordedRun]:
  """Several runs, each with a name that no other has."""
  return [read(path, name) for path, name in zip(paths, names_of(paths), strict=True)]


def names_of(paths: Sequence[str | Path]) -> list[str]:
  """A name for each run: its folder's, with those above it where that alone is not unlike."""
  parts = [Path(path).resolve().parts for path in paths]
  for length in range(1, max(map(len, parts), default=0) + 1):
    names = ['/'.join(part[-length:]) for part in parts]
    if len(set(names)) == len(names):
      return names
  return [f'{"/".join(part[-1:])} ({i + 1})' for i, part in enumerate(parts)]


def read_completions(path: Path) -> CompletionTable:
  """The columns of all parts of a run's rollouts."""
  columns = {name: array.array(code) for name, (_, code, _) in _NUMBERS.items()}
  columns |= {name: array.array('q') for name in ('start', 'bytes', 'oldest', 'versions')}
  words = {name: array.array('i') for name in WORDS}
  names: dict[str, dict[str, int]] = {name: {} for name in WORDS}
  parts: dict[str, array.array] = {}
  unreadable, count = [], 0
  for start, where, line in rollouts.RolloutsReader(path) if rollouts.parts(path) else ():
    found, faults = _checked(line, fields.COMPLETION, fields.COMPLETION_MAY_BE)
    if faults:
      unreadable.append(f'{where}: {faults[0]}')
      continue
    versions = [version for _, version in found['versions']]
    row = dict(start=start, bytes=len(line), oldest=min(versions, default=-1),
               versions=len(set(versions)), **_row(found))
    for name, value in row.items():
      columns[name].append(value)
    for name in WORDS:
      words[name].append(names[name].setdefault(found[name], len(names[name])))
    for name in found['parts'].keys() - parts.keys():
      parts[name] = array.array('d', [math.nan] * count)
    for name, column in parts.items():
      column.append(found['parts'].get(name, math.nan))
    count += 1
  return CompletionTable(
      numbers={name: np.array(column) for name, column in columns.items()},
      words={name: np.array(column, np.int32) for name, column in words.items()},
      names={name: tuple(known) for name, known in names.items()},
      parts={name: np.array(parts[name]) for name in sorted(parts)}, unreadable=tuple(unreadable))


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
  """The numbers of a line."""
  row = {}
  for name, (key, _, none) in _NUMBERS.items():
    row[name] = none if found[key] is None else found[key]
  return row


def _lines(path: Path, must: Mapping[str, fields.Kind], left_out: list[str]
           ) -> list[dict[str, Any]]:
  """Lines of a file that have what they must have, without values of another kind than their keys
  say; a last line that is cut off is left out. Nothing of a file that is missing.

  Args:
    left_out: gets what was left out.
  """
  found = []
  for number, text in enumerate(path.read_bytes().split(b'\n')[:-1] if path.exists() else (), 1):
    line, faults = _checked(text, must, {})
    if not faults:
      wrong = fields.wrong(line, must, fields.MAY_BE, fields.MEASURED)
      found.append({key: value for key, value in line.items() if key not in wrong})
      faults = [*wrong.values()]
    left_out += [f'{path}, line {number}: {fault}' for fault in faults]
  return found


def _checked(text: bytes, must: Mapping[str, fields.Kind], may: Mapping[str, fields.Kind]
             ) -> tuple[dict[str, Any], list[str]]:
  """The object of a line, and what is wrong with it."""
  try:
    found = fields.read_json(text)
  except ValueError as error:
    return {}, [f'no JSON ({error})']
  if not isinstance(found, dict):
    return {}, ['no object']
  return found, [*fields.wrong(found, must, may).values()]


def _object(path: Path, may: Mapping[str, fields.Kind], other: fields.Kind | None,
            left_out: list[str]) -> dict[str, Any]:
  """A JSON object of a file, without values of another kind; {} where there is none."""
  try:
    found = fields.read_json(path.read_text('utf-8'))
    if not isinstance(found, dict):
      raise ValueError('no object')
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise ValueError(f'{path} is no JSON that can be read ({error}): repair it, or take it away.'
                     ) from None
  wrong = fields.wrong(found, {}, may, other)
  left_out += [f'{path}: {fault}' for fault in wrong.values()]
  return {key: value for key, value in found.items() if key not in wrong}


def _starts(path: Path, left_out: list[str]) -> list[dict[str, Any]]:
  """The starts of a run, but for those that do not say all of what a start says."""
  found = []
  for number, start in enumerate(starts.read(path, left_out), 1):
    faults = fields.wrong(start, fields.START, {}).values()
    left_out += [f'{path / starts.FILE}, start {number}: {fault}' for fault in faults]
    found += [] if faults else [start]
  return found


def running(path: Path) -> bool:
  """Whether a process of this machine has the workdir."""
  try:
    with open(path / '.lock') as lock:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
      return False
  except BlockingIOError:
    return True
  except OSError:                # No lock: a copy of a run, or a disk without locks.
    return False
