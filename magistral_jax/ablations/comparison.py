"""What the runs of a sweep say: means over seeds, differences, and findings held against them.

Two variants of one seed begin with the same weights and see the same problems, so a difference is
taken seed by seed. Its interval is Student's over seeds. What scatters is taken to scatter alike in
all variants, as in a randomised block design: the deviation is that of the residuals of
value = variant + seed, which has (variants - 1) (seeds - 1) degrees of freedom where two variants
alone have seeds - 1. Accuracies also have an error over problems: it says how sure the difference
of these runs is, whatever other seeds would do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from magistral_jax.ablations import measures
from magistral_jax.ablations.measures import MEASURES, SweepRun
from magistral_jax.ablations.sweep_file import Expectation, Sweep
from magistral_jax.evaluation.estimators import clustered_mean

SweepRuns = Mapping[str, Mapping[int, SweepRun]]     # Variant -> seed -> what its run left.
SURE = 2.0                  # Standard errors over problems from which a difference is one.
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
  """A measure of one variant over seeds; the deviation is nan for one seed."""
  mean: float
  deviation: float
  values: Mapping[int, float]       # By seed.


@dataclasses.dataclass(frozen=True)
class Difference:
  """By how much a measure of one variant is above another's, over the seeds that both have.

  Difference('group', 'minibatch', 'accuracy', mean=.012, low=-.05, high=.07, of_problems=.011,
             values={0: .02, 1: .004})
  """
  first: str
  second: str
  measure: str
  mean: float
  low: float                # Student's interval over seeds; nan for one seed.
  high: float
  of_problems: float        # Standard error over problems; nan where the measure has none.
  values: Mapping[int, float]

  @property
  def direction(self) -> str:
    """'above' or 'below' where seeds or problems make that sure, else 'open'."""
    sure = self.low > 0 or self.high < 0
    return ('above' if self.mean > 0 else 'below') if sure or self.on_these_runs else 'open'

  @property
  def over_seeds(self) -> bool:
    """Whether the interval over seeds leaves 0 out."""
    return self.low > 0 or self.high < 0

  @property
  def on_these_runs(self) -> bool:
    """Whether all seeds agree, and the problems make their mean sure."""
    signs = {value > 0 for value in self.values.values() if value}
    return len(signs) == 1 and abs(self.mean) > SURE * self.of_problems


def spread(runs: Mapping[int, SweepRun], measure: str) -> Spread:
  """A measure of the runs of one variant."""
  values = {seed: MEASURES[measure][1](run) for seed, run in runs.items()}
  mean, deviation = _moments([value for value in values.values() if math.isfinite(value)])
  return Spread(mean, deviation, values)


def difference(outcomes: SweepRuns, first: str, second: str, measure: str) -> Difference | None:
  """The paired difference of two variants; None if no seed has both."""
  table = _table(outcomes, measure)
  one, other = table.get(first, {}), table.get(second, {})
  values = {seed: value - other[seed] for seed, value in one.items() if seed in other}
  if not values:
    return None
  mean, _ = _moments(list(values.values()))
  deviation, freedom = _residual(table, values)
  half = math.nan
  if freedom:
    half = deviation * math.sqrt(2 / len(values)) * stats.t.ppf((1 + LEVEL) / 2, freedom)
  errors = [_over_problems(outcomes[first][seed], outcomes[second][seed], measure)
            for seed in values]
  return Difference(first, second, measure, mean, float(mean - half), float(mean + half),
                    math.sqrt(math.fsum(e * e for e in errors)) / len(errors), values)


def _table(outcomes: SweepRuns, measure: str) -> dict[str, dict[int, float]]:
  """{variant: {seed: value}} of what is known."""
  of = MEASURES[measure][1]
  found = {variant: {seed: of(run) for seed, run in runs.items()}
           for variant, runs in outcomes.items()}
  return {variant: {seed: value for seed, value in values.items() if math.isfinite(value)}
          for variant, values in found.items()}


def _residual(table: Mapping[str, Mapping[int, float]], seeds: Iterable[int]) -> tuple[float, int]:
  """Deviation of a run around variant + seed, and its degrees of freedom, which may be 0.

  Args:
    seeds: of which variants are taken that have them all.
  """
  rows = np.array([[values[seed] for seed in seeds] for values in table.values()
                   if all(seed in values for seed in seeds)])
  freedom = (rows.shape[0] - 1) * (rows.shape[1] - 1)
  if not freedom:
    return math.nan, 0
  rest = rows - rows.mean(0) - rows.mean(1, keepdims=True) + rows.mean()
  return math.sqrt(np.sum(rest ** 2) / freedom), freedom


def differences(sweep: Sweep, outcomes: SweepRuns) -> list[Difference]:
  """Those of every variant from the first one."""
  reference, *others = sweep.variants
  found = (difference(outcomes, other, reference, measure)
           for measure in sweep.measures for other in others)
  return [one for one in found if one is not None]


def verdict(claim: Expectation, found: Difference | None) -> str:
  """What the runs say of a finding: 'yes', 'no', 'likely', 'unlikely' or 'open'.

  Without 'likely' and 'unlikely', which hold for these runs, it holds over seeds. That two are
  alike is never shown: it is open, or refuted.
  """
  if found is None or found.direction == 'open':
    return 'open'
  agrees = found.direction == claim.expected
  if found.over_seeds:
    return 'yes' if agrees else 'no'
  return 'likely' if agrees else 'unlikely'


def _over_problems(one: SweepRun, other: SweepRun, measure: str) -> float:
  """Standard error of the difference of two runs over the problems that both answered."""
  mine, theirs = (measures.of_problems(run, measure) for run in (one, other))
  if not mine or not theirs:
    return math.nan
  pairs = [[mine[name] - theirs[name]] for name in mine if name in theirs]
  return clustered_mean(pairs).standard_error if pairs else math.nan


def _moments(values: Sequence[float]) -> tuple[float, float]:
  """Mean and standard deviation (n - 1); nan where there are too few values."""
  if not values:
    return math.nan, math.nan
  mean = math.fsum(values) / len(values)
  if len(values) == 1:
    return mean, math.nan
  return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
