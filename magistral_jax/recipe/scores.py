"""What evaluated models scored, by domain, and by how much two of them differ.

The lines of an evaluation are completions; problems are the random unit. All models of a walk
answered the same problems, so a difference is taken problem by problem, which is more certain than
two means with their errors.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from magistral_jax import metrics
from magistral_jax.evaluation.estimators import Estimate, clustered_mean
from magistral_jax.recipe.legs import DOMAINS


@dataclasses.dataclass(frozen=True)
class Score:
  """What one model scored.

  Score({'math': {'held-out-chain-0': [1.0, 0.0], ...}, 'code': {...}}, mean_tokens=54.2)
  """
  solved: Mapping[str, Mapping[str, Sequence[float]]]   # Domain -> problem -> its samples.
  mean_tokens: float

  def accuracy(self, domain: str) -> Estimate:
    """pass@1 over the problems of a domain."""
    return clustered_mean(list(self.solved[domain].values()))

  def figures(self) -> dict[str, float]:
    """Its entry of results.json."""
    found: dict[str, float] = {}
    for domain in DOMAINS:
      of = self.accuracy(domain)
      found |= {domain: of.mean, f'{domain}_se': of.standard_error}
    return found | dict(mean_tokens=self.mean_tokens)

  def above(self, other: Score, domain: str) -> Estimate:
    """By how much its accuracy is above another's, on the problems that both answered."""
    mine, theirs = self.solved[domain], other.solved[domain]
    mean = lambda samples: sum(samples) / len(samples)
    return clustered_mean([[mean(mine[name]) - mean(theirs[name])]
                           for name in mine if name in theirs])


def read(path: Path) -> Score:
  """The score in a file that `evaluate` wrote.

  Raises:
    ValueError: a domain has no problem in it.
  """
  solved: dict[str, dict[str, list[float]]] = {
      domain: collections.defaultdict(list) for domain in DOMAINS}
  tokens = []
  for line in metrics.read_lines(path):
    solved[line['domain']][line['id']].append(float(line['status'] == 'correct'))
    tokens.append(line['n_tokens'])
  missing = [domain for domain in DOMAINS if not solved[domain]]
  if missing:
    raise ValueError(f'{path} has no problem of {missing[0]}: it is no evaluation of this walk.')
  return Score({domain: dict(of) for domain, of in solved.items()}, sum(tokens) / len(tokens))


def over_seeds(values: Sequence[float]) -> Estimate:
  """Mean over walks of different seeds, and its standard error; nan for one walk alone."""
  mean = math.fsum(values) / len(values)
  if len(values) == 1:
    return Estimate(mean, math.nan)
  variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
  return Estimate(mean, math.sqrt(variance / len(values)))
