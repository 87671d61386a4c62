"""The figures of one run of a sweep, from the files that it left.

    reward, entropy, tokens, clipped   means over the last fifth of the updates
    reward_all                         mean over all updates: how soon the reward rises
    tokens_change, entropy_change      the last fifth minus the first
    accuracy, math, code               pass@1 of the evaluation after the run
    staleness, versions                mean over the updates
    unlearnable                        share of the groups whose rewards were all equal
    language                           share of the last fifth of the completions whose thoughts and
                                       answer are in the language of the problem
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import metrics
from magistral_jax.analysis import languages

FIFTH = 5
Solved = Mapping[str, Mapping[str, Sequence[float]]]      # Domain -> problem -> its samples.


@dataclasses.dataclass(frozen=True)
class SweepRun:
  """What one run left.

  SweepRun(Path('sweeps/kl/fixed-0'), lines=[{'step': 1, ...}], summary={'steps': 60, ...},
          solved={'math': {'sum-17': [1.0]}})
  """
  workdir: Path
  lines: Sequence[Mapping[str, Any]]        # Of metrics.jsonl.
  summary: Mapping[str, Any]
  solved: Solved

  @functools.cached_property
  def config(self) -> Mapping[str, Any]:
    """The config of the run, as nested dictionaries."""
    return json.loads((self.workdir / 'experiment.json').read_text('utf-8'))['config']

  @property
  def prompts_per_update(self) -> int:
    """Groups that an update trains on."""
    return self.config['batching']['prompts_per_batch']

  @property
  def shortfall(self) -> str:
    """'12 of 60 updates' of a run that ended before its last update; '' of others."""
    steps, asked = self.summary.get('steps') or 0, self.config['total_steps']
    return f'{steps} of {asked} updates' if steps < asked else ''

  def series(self, key: str) -> np.ndarray:
    """[updates] float64 of a key of metrics.jsonl; nan where an update has none."""
    return np.array([line.get(key) for line in self.lines], np.float64)


def read(workdir: Path, evaluation: Path) -> SweepRun:
  """What a run and the evaluation after it have left."""
  lines = workdir / 'metrics.jsonl'
  solved: dict[str, dict[str, list[float]]] = collections.defaultdict(
      lambda: collections.defaultdict(list))
  for line in metrics.read_lines(evaluation):
    solved[line['domain']][line['id']].append(float(line['status'] == 'correct'))
  return SweepRun(workdir, metrics.read_lines(lines) if lines.exists() else [],
                 json.loads((workdir / 'summary.json').read_text('utf-8')),
                 {domain: dict(of) for domain, of in solved.items()})


def of_problems(run: SweepRun, measure: str) -> dict[str, float] | None:
  """{problem: share of its samples that are right} behind an accuracy; None of other measures."""
  if measure not in ('accuracy', 'math', 'code'):
    return None
  return {f'{domain}/{name}': sum(samples) / len(samples)
          for domain, problems in run.solved.items() if measure in ('accuracy', domain)
          for name, samples in problems.items()}


def _accuracy(run: SweepRun, measure: str) -> float:
  return _mean(list((of_problems(run, measure) or {}).values()))


def _last(run: SweepRun, key: str) -> float:
  return _mean(run.series(key)[-_fifth(run):])


def _change(run: SweepRun, key: str) -> float:
  return _last(run, key) - _mean(run.series(key)[:_fifth(run)])


def _all(run: SweepRun, key: str) -> float:
  return _mean(run.series(key))


def _unlearnable(run: SweepRun) -> float:
  """Filtered groups of all that were trained or filtered."""
  filtered, trained = (run.summary.get(key) or 0 for key in ('groups_filtered', 'prompts_trained'))
  return filtered / (filtered + trained) if filtered + trained else math.nan


def _language(run: SweepRun) -> float:
  blocks = languages.blocks(run.workdir, parts=FIFTH)
  return blocks[-1].agreeing if blocks else math.nan


def _fifth(run: SweepRun) -> int:
  return max(1, len(run.lines) // FIFTH)


def _mean(values: Sequence[float] | np.ndarray) -> float:
  """Mean of the finite values; nan without any."""
  found = [value for value in values if math.isfinite(value)]
  return math.fsum(found) / len(found) if found else math.nan


# Measure: (what it is, the figure of a run).
MEASURES: dict[str, tuple[str, Callable[[SweepRun], float]]] = {
    'accuracy': ('held-out pass@1', functools.partial(_accuracy, measure='accuracy')),
    'math': ('held-out pass@1, mathematics', functools.partial(_accuracy, measure='math')),
    'code': ('held-out pass@1, programs', functools.partial(_accuracy, measure='code')),
    'reward': ('reward at the end', functools.partial(_last, key='reward')),
    'reward_all': ('reward over all updates', functools.partial(_all, key='reward')),
    'tokens': ('tokens of a completion at the end',
               functools.partial(_last, key='completion_tokens_mean')),
    'tokens_change': ('tokens, end minus beginning',
                      functools.partial(_change, key='completion_tokens_mean')),
    'entropy': ('entropy at the end, nats', functools.partial(_last, key='entropy')),
    'entropy_change': ('entropy, end minus beginning', functools.partial(_change, key='entropy')),
    'clipped': ('share of clipped tokens at the end',
                lambda run: _last(run, 'clip_fraction_low') + _last(run, 'clip_fraction_high')),
    'staleness': ('mean staleness, versions', functools.partial(_all, key='staleness_mean')),
    'versions': ('versions of a completion', functools.partial(_all, key='versions_mean')),
    'unlearnable': ('share of groups with equal rewards', _unlearnable),
    'language': ('share in the language of the problem', _language),
    'updates': ('updates', lambda run: float(run.summary.get('steps') or 0)),
    'wall_s': ('seconds', lambda run: float(run.summary.get('wall_s') or math.nan)),
}
