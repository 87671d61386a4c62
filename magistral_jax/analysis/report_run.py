"""A run read from its files: figures as they stand there, completions as columns.

    metrics.jsonl  stages.jsonl  starts.jsonl  experiment.json  summary.json    as they are
    rollouts.jsonl, rollouts-000002.jsonl ...    a number or two of every completion; no text

A file that is missing leaves its part empty: a run may have been killed at any moment, may go on
while it is read, or may have failed before its first update. Lines that cannot be read are left
out, and the audit names them. Of every completion about 150 bytes
are held in memory; texts are read later, those that are shown.
"""

from __future__ import annotations

import array
import dataclasses
import fcntl
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import rollouts
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
  unreadable: tuple[str, ...] = ()   # Where lines stand that are none.

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
  unreadable: tuple[str, ...] = ()   # Where lines stand that are none, those of rollouts left out.

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
  """Reads the files of a run; raises ValueError for a folder that holds none."""
  path = Path(path)
  if not any((path / file).is_file() for file in (EXPERIMENT, 'metrics.jsonl', 'stages.jsonl')):
    raise ValueError(f'{str(path)!r} is no run: name the --workdir of one, with its metrics.jsonl.')
  lines, broken = _lines(path / 'metrics.jsonl')
  stages, more = _lines(path / 'stages.jsonl', 'stage')
  return RecordedRun(
      name=name or path.resolve().name, path=path, experiment=_object(path / EXPERIMENT),
      summary=_object(path / 'summary.json'), lines=lines, stages=stages, starts=starts.read(path),
      running=_running(path), completions=read_completions(path), unreadable=(*broken, *more))


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
    try:
      found = _json(line)
      versions = [version for _, version in found['versions']]
      found['parts'] = {name: float(value) for name, value in found['parts'].items()}
      row = dict(start=start, bytes=len(line), oldest=min(versions, default=-1),
                 versions=len(set(versions)), **_row(found))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
      unreadable.append(where)
      continue
    for name, value in row.items():
      columns[name].append(value)
    for name in WORDS:
      words[name].append(names[name].setdefault(str(found.get(name, '')), len(names[name])))
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
  for name, (key, code, none) in _NUMBERS.items():
    value = found.get(key)
    row[name] = none if value is None else float(value) if code == 'd' else int(value)
  return row


def _lines(path: Path, *keys: str) -> tuple[list[dict[str, Any]], list[str]]:
  """Lines of a file that have a step and these keys, and where others stand; a last one that is cut
  off is left out. Nothing of a file that is missing."""
  found, unreadable = [], []
  for number, text in enumerate(path.read_bytes().split(b'\n')[:-1] if path.is_file() else (), 1):
    try:
      line = _json(text)
    except ValueError:
      line = None
    if isinstance(line, dict) and isinstance(line.get('step'), int) and line.keys() >= set(keys):
      found.append(line)
    else:
      unreadable.append(f'{path}, line {number}')
  return found, unreadable


def _json(text: bytes) -> Any:
  """What JSON says; raises ValueError for other text, NaN and Infinity among it."""
  return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str):
  raise ValueError(f'{name} is not of JSON.')


def _object(path: Path) -> dict[str, Any]:
  """A JSON object of a file; {} where there is none."""
  try:
    found = json.loads(path.read_text('utf-8'))
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise ValueError(f'{path} is no JSON ({error}): repair it, or take it away.') from None
  return found if isinstance(found, dict) else {}


def _running(path: Path) -> bool:
  """Whether a process of this machine has the workdir."""
  try:
    with open(path / '.lock') as lock:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
      return False
  except BlockingIOError:
    return True
  except OSError:                # No lock: a copy of a run, or a disk without locks.
    return False
