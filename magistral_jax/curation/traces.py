"""Traces to imitate, chosen from the completions of a run, or of problems that were evaluated.

    completions -> correct and complete -> not of the early updates
                -> distinct, so many a problem -> copies of the traces of hard problems

The files are read twice, and in between 48 bytes of every completion are in memory.

Reference: arXiv:2506.10910 section 5.3, which prints none of the numbers.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from magistral_jax.curation.dedup import shingles, similarity
from magistral_jax.curation.text import hashed
from magistral_jax.data import jsonl, sources
from magistral_jax.data.images import IMAGE
from magistral_jax.data.jsonl import read_object
from magistral_jax.experiment import build
from magistral_jax.metrics import JsonlWriter
from magistral_jax.models.formats.workdir import EXPERIMENT, read_experiment
from magistral_jax.records import Problem
from magistral_jax.rollouts import RolloutsReader

# Versions whose lengths are averaged: this share of all there are.
WINDOW = 0.1


@dataclasses.dataclass(frozen=True)
class TraceRules:
  """What is taken. Each default is a choice of ours; the command gives the reasons."""
  per_problem: int = 4
  hard_rate: float = 0.25
  hard_copies: int = 2
  length_share: float = 0.5
  from_version: int = -1      # -1: found by `length_share`.
  near: float = 0.7
  seed: int = 0

  def check(self) -> None:
    """Raises ValueError for a number that cannot work, by its flag."""
    for name in ('per_problem', 'hard_copies'):
      if getattr(self, name) < 1:
        raise ValueError(f'--{name}={getattr(self, name)} must be at least 1.')
    for name in ('hard_rate', 'length_share'):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f'--{name}={getattr(self, name)} must be a share from 0 to 1.')
    if not 0 < self.near <= 1:
      raise ValueError(f'--near={self.near} must be above 0 and at most 1.')


def problems_of(run: Path | None, files: str) -> Callable[[str], Problem | None]:
  """A function that finds the problems of completions by id, reading them when first asked.

  Args:
    run: the workdir of the run that they are of; None for no run.
    files: problem files to take instead of those that the run's config names; '' for those.
  """
  @functools.cache
  def problems() -> dict[str, Problem]:
    if files:
      found = jsonl.read_files(files)
    elif run is None:
      raise ValueError('programs or images are asked for: name the files of the problems by '
                       '--problems.')
    elif not (run / EXPERIMENT).exists():
      raise ValueError(f'{run} has no {EXPERIMENT}, which names the problem files of the run: name '
                       f'them by --problems.')
    else:
      found = sources.samples(build.source(ConfigDict(read_experiment(str(run))['config'])))
    return {problem.id: problem for problem in found}
  return lambda name: problems().get(name)


class Completions:
  """What must be known of every completion of a run to choose among them.

  Args:
    progress: called with (bytes read, bytes in all).
  Raises:
    ValueError: a line cannot be read; names its file and number.
  """

  def __init__(self, lines: RolloutsReader,
               progress: Callable[[int, int], None] = lambda done, total: None):
    self._problems: dict[str, int] = {}
    self._rows = array.array('q')
    for start, where, line in lines:
      try:
        self._add(start, read_object(line))
      except ValueError as error:
        raise ValueError(f'{where}: {error}') from None
      except KeyError as error:
        raise ValueError(f'{where}: it has no {error}; the run was made by a version that did not '
                         f'write it.') from None
      progress(start + len(line), lines.size)
    # [n, 6]: problem, start, version of the oldest token, tokens, judged, usable.
    self._found = np.array(self._rows, np.int64).reshape(-1, 6)
    self._rows = array.array('q')

  def _add(self, start: int, line: dict[str, Any]) -> None:
    problem = self._problems.setdefault(line['id'], len(self._problems))
    usable = line['status'] == 'correct' and line['finish'] == 'stop'
    version = min((version for _, version in line['versions']), default=0)
    self._rows.extend((problem, start, version, line['n_tokens'], line['status'] != 'error',
                       usable))

  def __len__(self) -> int:
    return len(self._found)

  @property
  def usable(self) -> np.ndarray:
    """[n] bool, correct and ended by themselves."""
    return self._found[:, 5] > 0

  @property
  def versions(self) -> np.ndarray:
    """[n] versions of the oldest tokens."""
    return self._found[:, 2]

  def first_version(self, share: float) -> int:
    """The first version whose correct completions are as long as `share` of the last ones.

    Lengths are means over a tenth of the versions, since those of one are noise.
    """
    versions, tokens = self.versions[self.usable], self._found[self.usable, 3]
    if not len(versions):
      return 0
    first, last = int(versions.min()), int(versions.max())
    sums = np.bincount(versions - first, tokens, last - first + 1)
    counts = np.bincount(versions - first, minlength=last - first + 1)
    window = max(1, round(WINDOW * len(counts)))
    over = lambda values: np.convolve(values, np.ones(window), 'valid')
    # A window in which nothing was correct is of no length.
    means = over(sums) / np.maximum(1, over(counts))
    return first + int(np.argmax(means >= share * means[-1]))

  def problems(self, first_version: int) -> Iterator[tuple[float, np.ndarray]]:
    """(solve rate, starts of the usable lines from a version on) of every problem."""
    order = np.argsort(self._found[:, 0], kind='stable')
    ends = np.flatnonzero(np.diff(self._found[order, 0])) + 1
    for members in np.split(order, ends) if len(order) else ():
      rows = self._found[members]
      correct, judged = (rows[:, 5] > 0).sum(), max(1, rows[:, 4].sum())
      yield correct / judged, rows[(rows[:, 5] > 0) & (rows[:, 2] >= first_version), 1]


def choose(lines: RolloutsReader, completions: Completions, rules: TraceRules, out: JsonlWriter,
           find: Callable[[str], Problem | None]) -> dict[str, int]:
  """Writes the traces of a run, and returns what became of its completions.

  Args:
    lines: those that `completions` has read.
    out: gets the lines.
    find: a problem by its id: for programs, whose tests are not in the file, and for images.
  Raises:
    ValueError: a problem whose tests or images are needed is not found.
    WriteError: `out` cannot be written.
  """
  first = rules.from_version
  if first < 0:
    first = completions.first_version(rules.length_share)
  usable = completions.usable
  counts = dict(completions=len(completions), wrong_or_cut=int((~usable).sum()),
                early=int((usable & (completions.versions < first)).sum()),
                near_duplicates=0, beyond_the_limit=0, traces=0, problems=0, hard_problems=0,
                lines=0, first_version=first)
  for rate, starts in completions.problems(first):
    taken = _distinct(lines, starts, rules, counts)
    hard = bool(rate <= rules.hard_rate)
    counts['traces'] += len(taken)
    counts['problems'] += bool(taken)
    counts['hard_problems'] += bool(taken) and hard
    for line in taken:
      for copy in range(rules.hard_copies if hard else 1):
        out.write(trace_line(line, copy, find))
        counts['lines'] += 1
  return counts


def _distinct(lines: RolloutsReader, starts, rules: TraceRules,
              counts: dict[str, int]) -> list[dict[str, Any]]:
  """Lines of one problem, drawn by the seed, none nearly another one, as many as are allowed."""
  taken, texts, near = [], [], 0
  for start in sorted(map(int, starts), key=lambda start: hashed(f'{rules.seed} {start}')):
    if len(taken) == rules.per_problem:
      break
    line = read_object(lines.line(start))
    text = shingles(line['completion'])
    if any(similarity(text, other) >= rules.near for other in texts):
      near += 1
    else:
      taken.append(line)
      texts.append(text)
  counts['near_duplicates'] += near
  counts['beyond_the_limit'] += len(starts) - len(taken) - near
  return taken


def table(counts: dict[str, int]) -> Table:
  """Table of what `choose` has counted."""
  found = Table(title=f'Traces of versions {counts["first_version"]} and later')
  found.add_column('completions')
  found.add_column('number', justify='right')
  for name, words in (('completions', 'all'), ('wrong_or_cut', 'wrong, or not ended'),
                      ('early', 'of earlier versions'),
                      ('near_duplicates', 'nearly another of their problem'),
                      ('beyond_the_limit', 'more than the limit of a problem'),
                      ('traces', 'taken'), ('problems', '... problems'),
                      ('hard_problems', '... hard ones'), ('lines', 'lines, copies included')):
    found.add_row(words, str(counts[name]))
  return found


def trace_line(line: dict[str, Any], copy: int, find: Callable[[str], Problem | None],
               ) -> dict[str, Any]:
  """The line of a traces file for a line of the rollouts; raises as `choose`."""
  # Evaluations ask every problem once and count no ordinals.
  at = '' if line['ordinal'] < 0 else f'-{line["ordinal"]}'
  name = f'{line["id"]}{at}-{line["sample"]}'
  row = dict(id=f'{name}-{copy + 1}' if copy else name, problem=line['prompt'],
             response=line['completion'], domain=line['domain'], language=line['language'],
             source=line['source'])
  if line['language'] != 'en':
    row['meta'] = dict(language=line['language'])      # Where problem files have it.
  if line['domain'] != 'code':
    row['answer'] = line['gold']
  if line['domain'] == 'code' or IMAGE in line['prompt']:
    problem = find(line['id'])
    if problem is None:
      raise ValueError(f'the problem {line["id"]!r} is not among those at hand, and its tests '
                       f'or images are needed: name its file by --problems.')
    if problem.tests:
      row['tests'] = problem.tests
    if problem.images:
      row['images'] = [os.path.abspath(path) for path in problem.images]
  return row
