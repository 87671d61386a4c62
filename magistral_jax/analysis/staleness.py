"""How stale are the completions that were trained, and are stale ones different?

    python -m magistral_jax.analysis.staleness --run=runs/quickstart --output=FOLDER

For every trained completion: how many versions the weights that drew its first token were behind
those that were trained (its staleness), and how many versions wrote it. By staleness: how many
there are, how long, how often right, with errors that take completions for independent. The paper:
a completion is written by about n_async / n_batch versions (arXiv:2506.10910, section 6.3); beside
that stands what the run's config makes of 1 + n_async / n_batch. Writes staleness.md, staleness.png
and staleness.json.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import command_line
from magistral_jax.analysis import written
from magistral_jax.experiment.values import flat
from magistral_jax.models.formats.workdir import EXPERIMENT, read_experiment

READ = ('fate', 'step', 'versions', 'status', 'reward', 'n_tokens')     # Of a line.


@dataclasses.dataclass(frozen=True)
class Stale:
  """The trained completions of one staleness."""
  staleness: int            # Versions.
  completions: int
  share: float
  tokens: float             # Mean.
  versions: float           # Mean number that wrote one.
  correct: float
  correct_se: float
  reward: float


def by_staleness(lines: Iterable[Mapping[str, Any]]) -> list[Stale]:
  """Trained completions by their staleness; others have none."""
  groups: dict[int, list[tuple[int, int, bool, float]]] = collections.defaultdict(list)
  for line in lines:
    if line['fate'] == 'trained':
      versions = [version for _, version in line['versions']]
      if not versions or line['step'] is None:
        raise ValueError('A completion was trained, and its line names no version, or no update: '
                         'the report names such lines.')
      # Update `step` began with version step - 1.
      groups[line['step'] - 1 - min(versions)].append(
          (line['n_tokens'], len(versions), line['status'] == 'correct', line['reward']))
  total = sum(map(len, groups.values()))
  mean = lambda values: float(np.mean(list(values)))
  return [Stale(stale, len(of), len(of) / total, mean(n for n, _, _, _ in of),
                mean(v for _, v, _, _ in of), *written.share([c for _, _, c, _ in of]),
                mean(r for _, _, _, r in of)) for stale, of in sorted(groups.items())]


def expected_versions(workdir: Path) -> float:
  """1 + n_async / n_batch of a run's config. Raises ValueError if it has none."""
  path = workdir / EXPERIMENT
  if not path.is_file():
    raise ValueError(f'{path} does not exist: it says how many sequences were in flight.')
  try:
    c = dict(flat(read_experiment(str(workdir))['config']))
    in_flight = c['sampler.in_flight'] or c['sampler.slots'] * c['runtime.samplers']
    return 1 + in_flight / (c['batching.prompts_per_batch'] * c['sampler.group_size'])
  except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
    raise ValueError(f'The config of {path} does not say how many sequences were in flight '
                     f'({error}).') from None


def analyse(run: str) -> written.Found:
  """Table, figure and figures of all runs. Raises ValueError."""
  figure, panels = written.panels(2, ['share of the trained completions', 'tokens of a completion'])
  rows, totals, found = [], [], {}
  for name, path in written.folders(run).items():
    of = by_staleness(written.completions(path, *READ))
    if not of:
      raise ValueError(f'{path} has trained no completion.')
    mean = lambda key, of=of: sum(getattr(one, key) * one.share for one in of)
    totals.append((name, mean('staleness'), of[-1].staleness, mean('versions'),
                   expected_versions(path)))
    rows += [(name, *dataclasses.astuple(one)) for one in of]
    found[name] = dict(staleness_mean=totals[-1][1], versions_mean=totals[-1][3],
                       versions_expected=totals[-1][4], groups=[dataclasses.asdict(o) for o in of])
    for axes, key in zip(panels, ('share', 'tokens'), strict=True):
      axes.plot([one.staleness for one in of], [getattr(one, key) for one in of], marker='o',
                markersize=3, label=name)
      axes.set_xlabel('staleness (versions)', fontsize=8)
  panels[0].legend(frameon=False, fontsize=8)
  text = '\n\n'.join([
      written.markdown(['run', 'mean staleness', 'most', 'versions of a completion',
                        '1 + n_async / n_batch'], totals),
      written.markdown(['run', *(field.name.replace('_', ' ')
                                 for field in dataclasses.fields(Stale))], rows)])
  return text, figure, found


def main(args) -> None:
  written.carry_out('staleness', args.output, lambda: analyse(args.run))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, written.RUNS))
