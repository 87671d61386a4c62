"""Two results of the same benchmarks: how sure is it that one model is better?

The questions are drawn anew, each with its samples of both models: what one question has in common
for both does not count as chance (paired bootstrap). Where there is one sample of each, McNemar's
exact test asks whether as many questions were won as lost.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from magistral_jax.data import files
from magistral_jax.data.jsonl import read_object
from magistral_jax.evaluation.card import FAILED
from magistral_jax.evaluation.response_files import RESPONSES
from magistral_jax.evaluation.summary import value

DRAWS = 10_000
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Figures of the second result minus those of the first, on the items that both have.

  Comparison(items=30, first=.60, second=.70, difference=.10, interval=(.01, .19), better=(..),
             worse=(..), only=2, mcnemar=None)
  """
  items: int
  first: float
  second: float
  difference: float
  interval: tuple[float, float]     # 95 %, of the difference.
  better: tuple[str, ...]           # Items that the second solves more often.
  worse: tuple[str, ...]
  only: int                         # Items that only one result has judged responses to.
  mcnemar: float | None             # p of the exact test; None where items have several samples.


def compare(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], *,
            draws: int = DRAWS, seed: int = 0) -> Comparison:
  """Compares two results.

  Args:
    first, second: id of an item -> values of its judged samples, from 0 to 1.
    draws: of the bootstrap.
  Raises:
    ValueError: they have no item in common.
  """
  shared = [id_ for id_ in first if id_ in second]
  if not shared:
    raise ValueError('the two results have no item in common.')
  mean = lambda values: math.fsum(values) / len(values)
  ours = np.array([mean(first[id_]) for id_ in shared])
  theirs = np.array([mean(second[id_]) for id_ in shared])
  change = theirs - ours
  random = np.random.default_rng(seed)
  means = np.array([change[random.integers(0, len(shared), len(shared))].mean()
                    for _ in range(draws)])
  single = all(len(side[id_]) == 1 for side in (first, second) for id_ in shared)
  low, high = np.percentile(means, [2.5, 97.5])
  return Comparison(
      items=len(shared), first=float(ours.mean()), second=float(theirs.mean()),
      difference=float(change.mean()), interval=(float(low), float(high)),
      better=tuple(id_ for id_, by in zip(shared, change, strict=True) if by > 0),
      worse=tuple(id_ for id_, by in zip(shared, change, strict=True) if by < 0),
      only=len(set(first) ^ set(second)),
      mcnemar=mcnemar(int((change > 0).sum()), int((change < 0).sum())) if single else None)


def mcnemar(won: int, lost: int) -> float:
  """Two-sided p of McNemar's exact test: of won + lost changes each is either with 1/2.

  Reference: Q. McNemar, 1947, doi:10.1007/BF02295996.
  """
  changed, least = won + lost, min(won, lost)
  tail = sum(math.comb(changed, k) for k in range(least + 1)) / 2 ** changed
  return min(1.0, 2 * tail)


def read_values(folder: str) -> dict[str, dict[str, list[float]]]:
  """Benchmark -> id -> values of its judged samples, of the folder of a result.

  Raises:
    ValueError: there is no result, or a line of it that is none.
  """
  path = os.path.join(folder, RESPONSES)
  if not os.path.isfile(path):
    raise ValueError(f'--compare: {folder!r} has no {RESPONSES}: name the --output of an '
                     f'evaluation of benchmarks.')
  found: dict[str, dict[str, list[float]]] = {}
  for number, text in files.lines(path):
    try:
      line = read_object(text)
      if not all(isinstance(line[key], str) for key in ('benchmark', 'id', 'status')):
        raise ValueError('"benchmark", "id" and "status" must be text.')
      if line['status'] not in FAILED:
        found.setdefault(line['benchmark'], {}).setdefault(line['id'], []).append(value(line))
    except KeyError as error:
      raise ValueError(f'{path}, line {number}: {error} is missing.') from None
    except (ValueError, TypeError) as error:
      raise ValueError(f'{path}, line {number}: {error}') from None
  return found


def show(first: str, second: str, *, console: Console) -> None:
  """Prints how two results differ, with one line of JSON at the end; ValueError as above."""
  ours, theirs = read_values(first), read_values(second)
  shared = [name for name in ours if name in theirs]
  if not shared:
    raise ValueError(f'--compare: {first!r} has {", ".join(ours)}, and {second!r} has '
                     f'{", ".join(theirs)}: no benchmark is in both.')
  found = {}
  for name in shared:
    try:
      found[name] = compare(ours[name], theirs[name])
    except ValueError as error:
      raise ValueError(f'--compare {first!r} {second!r}: {name}: {error}') from None
  console.print(_table(found))
  for name, one in found.items():
    if one.only:
      console.print(f'{name}: {one.only} items are in one result alone')
    for words, ids in (('better', one.better), ('worse', one.worse)):
      more = f' and {len(ids) - _SHOWN} more' if len(ids) > _SHOWN else ''
      console.print(f'{name}, {words}: {", ".join(ids[:_SHOWN]) or "none"}{more}')
  print(json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}))


def _table(found: Mapping[str, Comparison]) -> Table:
  # Narrow enough for the longest name in a terminal of 80 columns.
  table = Table(title="The second result against the first, percent; p is McNemar's",
                padding=(0, 0, 0, 1), pad_edge=False, box=box.SIMPLE_HEAD)
  table.add_column('benchmark', no_wrap=True)
  for name in ('items', 'first', 'second', 'change', 'better', 'worse', 'p'):
    table.add_column(name, justify='right')
  shown: Any = lambda number: f'{100 * number:.1f}'
  for name, one in found.items():
    low, high = one.interval
    table.add_row(
        name, str(one.items), shown(one.first), shown(one.second),
        f'{100 * one.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]', str(len(one.better)),
        str(len(one.worse)), '' if one.mcnemar is None else f'{one.mcnemar:.3g}')
  return table
