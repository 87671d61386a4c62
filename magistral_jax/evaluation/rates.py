"""Rates files: how often a model solves each problem of a file, one line a problem, resumable.

    {"id": "train-7", "samples": 16, "correct": 3, "answers": ["12", "12", null, "7", ...]}

`samples` are those that were judged: a verifier's own failure is no sample. `answers` has the
extracted answer of each, null where there is none, and of programs, which nobody compares. Lines
stand in the order in which problems were finished.

While it grows the file is OUTPUT.partial, and OUTPUT.progress says what it belongs to: what was
begun goes on after any line, and never with another model or other settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from magistral_jax import durable
from magistral_jax.data.jsonl import read_object
from magistral_jax.records import Problem, Verdict

# Solve rates above one bound and up to the next are shown together, between none and all.
BOUNDS = (0.25, 0.5, 0.75)
BAR = 40                    # Characters of the longest bar of the histogram.


def rates_line(problem: Problem, verdicts: Sequence[Verdict]) -> dict[str, Any]:
  """The line of a problem whose completions have these verdicts."""
  judged = [verdict for verdict in verdicts if verdict.status != 'error']
  compared = problem.domain == 'math'
  return dict(id=problem.id, samples=len(judged),
              correct=sum(verdict.status == 'correct' for verdict in judged),
              answers=[compared and verdict.answer or None for verdict in judged])


class RatesFile:
  """A rates file while it grows; one process at a time has it.

  Args:
    path: name of the finished file.
    settings: plain JSON, equal only for the same problems, model and settings.
  Raises:
    ValueError: it is finished, was begun with other settings, is in use or cannot be written.
  """

  def __init__(self, path: str, settings: Mapping[str, Any]):
    self._path, self._partial, self._progress = path, f'{path}.partial', f'{path}.progress'
    if os.path.exists(path):
      raise ValueError(f'--output={path!r} is there already: take it away, or name another file.')
    with contextlib.ExitStack() as failing:
      try:
        self._file = failing.enter_context(open(self._partial, 'a+b'))
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._check_settings(settings)
        self.done = self._read_done()      # Ids.
      except BlockingIOError:
        raise ValueError(f'--output={path!r} is being written by another command: wait for its '
                         f'end, or name another file.') from None
      except OSError as error:
        raise ValueError(f'--output={path!r} cannot be written ({error.strerror}): name another '
                         f'file.') from None
      failing.pop_all()

  def write(self, line: Mapping[str, Any]) -> None:
    """Writes one line. Raises OSError, with the file's name."""
    try:
      self._file.write(json.dumps(line, ensure_ascii=False).encode('utf-8', 'replace') + b'\n')
      self._file.flush()
    except OSError as error:
      raise OSError(error.errno, error.strerror, self._partial) from error

  def finish(self) -> None:
    """Gives the complete file its name."""
    os.fsync(self._file.fileno())
    os.replace(self._partial, self._path)
    os.remove(self._progress)

  def close(self) -> None:
    """Closes the file; an incomplete one can be continued."""
    self._file.close()

  def _check_settings(self, settings: Mapping[str, Any]) -> None:
    settings = json.loads(json.dumps(settings))
    if not os.path.exists(self._progress):
      # An old part must never pass for one of these settings.
      self._file.truncate(0)
      durable.write_json(self._progress, settings)
      return
    with open(self._progress, encoding='utf-8') as file:
      before = json.load(file)
    others = sorted(key for key in settings.keys() | before.keys()
                    if settings.get(key) != before.get(key))
    if others:
      shown = ', '.join(f'{key} was {before.get(key)!r}, is {settings.get(key)!r}'
                        for key in others)
      raise ValueError(f'{self._partial} was begun otherwise ({shown}): repeat that command, name '
                       f'another --output, or remove {self._partial} and {self._progress}.')

  def _read_done(self) -> set[str]:
    """The ids of the whole lines; a line that was cut off is removed."""
    done, end = set(), 0
    self._file.seek(0)
    for line in self._file:
      if not line.endswith(b'\n'):
        break
      done.add(str(read_object(line)['id']))
      end += len(line)
    self._file.truncate(end)
    self._file.seek(end)
    return done


def histogram(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
  """Numbers of problems by their solve rates, in words that a table can show."""
  edges = (0.0, *BOUNDS, 1.0)
  names = [f'above {low:g} up to {high:g}' for low, high in zip(edges, edges[1:], strict=False)]
  names[-1] = f'above {edges[-2]:g} and below 1'
  found = dict.fromkeys(['0: never solved', *names, '1: always solved', 'not judged'], 0)
  for line in lines:
    samples, correct = line['samples'], line['correct']
    if not samples:
      name = 'not judged'
    elif correct in (0, samples):
      name = '1: always solved' if correct else '0: never solved'
    else:
      name = names[sum(correct > bound * samples for bound in BOUNDS)]
    found[name] += 1
  return found


def table(counts: Mapping[str, int]) -> Table:
  """Table of a histogram."""
  total, longest = sum(counts.values()), max(counts.values())
  found = Table(title=f'Solve rates of {total} problems')
  for name, justify in (('solve rate', 'left'), ('problems', 'right'), ('share', 'right'),
                        ('', 'left')):
    found.add_column(name, justify=justify)
  for name, count in counts.items():
    if count or name != 'not judged':
      found.add_row(name, str(count), f'{count / max(1, total):.1%}',
                    '█' * round(BAR * count / max(1, longest)))
  return found
