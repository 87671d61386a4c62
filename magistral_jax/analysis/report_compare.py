"""Runs beside each other: their configs, their figures, their held-out accuracies in pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.analysis.report_header import FIGURES, config_difference, figures
from magistral_jax.analysis.report_run import RecordedRun
from magistral_jax.evaluation.comparison import compare

Z = 1.96                    # Of an interval of 95 %.


def comparison(runs: Sequence[RecordedRun]) -> dict[str, Any]:
  """Config difference, figures side by side, and every other run against the first; {} of one."""
  if len(runs) < 2:
    return {}
  sides = [{row['key']: row for row in figures(run.measured)} for run in runs]
  rows = [(words, unit, [side.get(key) for side in sides]) for key, words, unit, _ in FIGURES
          if any(key in side for side in sides)]
  return dict(names=[run.name for run in runs], config=config_difference(runs), figures=rows,
              held_out=[held_out_difference(runs[0], other) for other in runs[1:]])


def held_out_difference(first: RecordedRun, second: RecordedRun) -> dict[str, Any]:
  """The second run's last held-out accuracy less the first's, with an interval of 95 %.

  In pairs over the problems that both were asked (evaluation/comparison.py); from the standard
  errors where a run does not say how often it solved each problem.
  """
  names = dict(first=first.name, second=second.name)
  ours, theirs = _per_problem(first), _per_problem(second)
  if ours.keys() & theirs.keys():
    found = compare(ours, theirs)
    single = all(value in (0, 1) for side in (ours, theirs) for (value,) in side.values())
    return names | dict(
        paired=True, problems=found.items, only=found.only, before=found.first, after=found.second,
        difference=found.difference, interval=list(found.interval), better=len(found.better),
        worse=len(found.worse), p=found.mcnemar if single else None)
  sides = [(run.measured.get('accuracy_final'), run.measured.get('accuracy_final_se'))
           for run in (first, second)]
  (before, error), (after, another) = sides
  if before is None or after is None or error is None or another is None:
    return names | dict(paired=False, difference=None)
  half = Z * math.hypot(error, another)
  return names | dict(paired=False, before=before, after=after, difference=after - before,
                      interval=[after - before - half, after - before + half])


def _per_problem(run: RecordedRun) -> Mapping[str, Sequence[float]]:
  """The shares of the newest evaluation, as `compare` takes them; {} without.

  The final one, else the newest beside training, else that after the cold start.
  """
  of = lambda stage: [line for line in reversed(run.stages) if line['stage'] == stage]
  for line in [*of('final'), *reversed(run.lines), *of('cold_start')]:
    if line.get('eval/per_problem'):
      return {problem: [share] for problem, share in line['eval/per_problem']}
  return {}
