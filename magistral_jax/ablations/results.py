"""results.json of a sweep: every figure of every run, the differences, the findings."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax import durable, metrics
from magistral_jax.ablations import comparison, measures, runs
from magistral_jax.ablations.comparison import Difference, SweepRuns
from magistral_jax.ablations.sweep_file import Expectation, Sweep
from magistral_jax.recipe import walk


@dataclasses.dataclass(frozen=True)
class Findings:
  """What a sweep found so far; runs that are not done are left out."""
  sweep: Sweep
  outcomes: SweepRuns
  starts: Mapping[int, measures.SweepRun]
  differences: Sequence[Difference]
  claims: Sequence[tuple[Expectation, Difference | None, str]]   # With the verdict.
  wall_s: float
  cpu_s: float


def collect(sweep: Sweep, output: Path) -> Findings:
  """Reads what the runs of a sweep have left so far."""
  marks = walk.read_marks(output)

  def read(variant: str) -> dict[int, measures.SweepRun]:
    done = [seed for seed in sweep.seeds if f'evaluate_{runs.name(variant, seed)}' in marks]
    return {seed: measures.read(output / runs.name(variant, seed),
                                runs.evaluation(output, variant, seed)) for seed in done}

  outcomes = {variant: found for variant in sweep.variants if (found := read(variant))}
  held = [(claim, comparison.difference(outcomes, claim.first, claim.second, claim.measure))
          for claim in sweep.claims]
  own = [mark for name, mark in marks.items()
         if any(name.endswith(f'-{seed}') for seed in sweep.seeds)]
  return Findings(
      sweep, outcomes, read(runs.START), comparison.differences(sweep, outcomes),
      [(claim, found, comparison.verdict(claim, found)) for claim, found in held],
      sum(mark.wall_s for mark in own), sum(mark.cpu_s for mark in own))


def write(found: Findings, path: Path) -> dict[str, Any]:
  """Writes results.json and returns what it holds; what is not known is null."""
  sweep = found.sweep
  spreads = lambda outcomes: {
      measure: dataclasses.asdict(comparison.spread(outcomes, measure))
      for measure in sweep.measures}
  shown = dict(
      sweep=sweep.name, base=sweep.base, seeds=list(sweep.seeds), shared=sweep.shared,
      date=time.strftime('%Y-%m-%d', time.gmtime()), cores=os.cpu_count(),
      wall_s=found.wall_s, cpu_s=found.cpu_s, start=spreads(found.starts),
      variants={name: dict(changes=sweep.variants[name], **spreads(outcomes))
                for name, outcomes in found.outcomes.items()},
      differences=[dataclasses.asdict(one) | dict(direction=one.direction)
                   for one in found.differences],
      findings=[dict(paper=sweep.paper, **dataclasses.asdict(claim), verdict=verdict,
                     difference=of and dataclasses.asdict(of))
                for claim, of, verdict in found.claims])
  made = metrics.plain(shown)
  durable.write_json(path, made, indent=2)
  return made
