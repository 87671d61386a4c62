"""results.md of a sweep: means over seeds, differences, and a sentence for every finding."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence

from magistral_jax.ablations import comparison, runs
from magistral_jax.ablations.comparison import Difference, Spread
from magistral_jax.ablations.measures import MEASURES
from magistral_jax.ablations.results import Findings
from magistral_jax.ablations.sweep_file import Expectation

# What the verdict of a finding means, in the sentence that ends its paragraph.
VERDICTS = dict(
    yes='That is as the paper found, and holds over seeds.',
    likely='That is as the paper found on these runs; other seeds may differ.',
    no='That is not as the paper found, and holds over seeds.',
    unlikely='That is not as the paper found on these runs; other seeds may differ.',
    open='No difference is shown either way.')
_EXPECTED = dict(above='above', below='below', alike='no different from')


def page(found: Findings) -> str:
  """The results as Markdown."""
  sweep = found.sweep
  done = sum(map(len, found.outcomes.values()))
  parts = [
      f'# Sweep {sweep.name}',
      f'{done} of {len(sweep.variants) * len(sweep.seeds)} runs of `{sweep.base}`, seeds '
      f'{", ".join(map(str, sweep.seeds))}; {found.wall_s:.0f} s and {found.cpu_s:.0f} s of CPU in '
      f'all, {os.cpu_count()} CPU cores, {time.strftime("%Y-%m-%d", time.gmtime())}.',
      _short(found), _changes(found), _table(found), _differences(found), '![curves](curves.png)',
      '## What was found', *(_sentence(found, *held) for held in found.claims)]
  return '\n\n'.join(filter(None, parts)) + '\n'


def _short(found: Findings) -> str:
  said = shortfalls(found)
  return f'**Ended early: {", ".join(said)}.** Figures are of what there was.' if said else ''


def shortfalls(found: Findings) -> list[str]:
  """'name-seed after 12 of 60 updates' of every run that ended before its last one."""
  groups = {runs.START: found.starts} | dict(found.outcomes)
  return [f'{runs.name(variant, seed)} after {run.shortfall}'
          for variant, outcomes in groups.items()
          for seed, run in outcomes.items() if run.shortfall]


def _changes(found: Findings) -> str:
  lines = [['all', _keys(found.sweep.shared)]] if found.sweep.shared else []
  lines += [[name, _keys(changes) or 'as the base'] for name, changes in
            found.sweep.variants.items()]
  return '## Variants\n\n' + _markdown(['variant', 'changes'], lines)


def _table(found: Findings) -> str:
  """Mean and deviation over seeds, and what each seed gave."""
  sweep, lines = found.sweep, []
  groups = ({runs.START: found.starts} if found.starts else {}) | dict(found.outcomes)
  for name, outcomes in groups.items():
    cells = [_spread(comparison.spread(outcomes, measure)) for measure in sweep.measures]
    lines.append([name, str(len(outcomes)), *cells])
  return '\n\n'.join([
      '## Figures', 'Means over seeds ± their standard deviation; in brackets every seed.',
      _markdown(['variant', 'runs', *(MEASURES[m][0] for m in sweep.measures)], lines)])


def _differences(found: Findings) -> str:
  if not found.differences:
    return ''
  lines = [[one.first, MEASURES[one.measure][0], _signed(one.mean), _interval(one),
            f'{one.of_problems:.3g}' if math.isfinite(one.of_problems) else '', one.direction]
           for one in found.differences]
  return '\n\n'.join([
      f'## Differences from {next(iter(found.sweep.variants))}',
      'Taken seed by seed. The interval is over seeds; the error is over problems, on these runs.',
      _markdown(['variant', 'measure', 'difference', '95 % over seeds', 'error over problems', ''],
                lines)])


def _sentence(found: Findings, claim: Expectation, of: Difference | None, verdict: str) -> str:
  """What the paper found, what was found here, and whether they agree."""
  what = MEASURES[claim.measure][0]
  said = (f'**{verdict}**: The paper ({found.sweep.paper}) found: {claim.says}. So {claim.first} '
          f'should be {_EXPECTED[claim.expected]} {claim.second} in {what}.')
  if of is None:
    return f'{said} Not measured yet.'
  number = len(of.values)
  over = f'95 % over {number} seeds: {_interval(of)}' if number > 1 else 'one seed'
  error = f'; error over problems {of.of_problems:.3g}' if math.isfinite(of.of_problems) else ''
  return f'{said} Here it differs by {_signed(of.mean)} ({over}{error}). {VERDICTS[verdict]}'


def _spread(of: Spread) -> str:
  if not math.isfinite(of.mean):
    return ''
  known = [f'{value:.3g}' for value in of.values.values() if math.isfinite(value)]
  if len(known) == 1:
    return known[0]
  return f'{of.mean:.3g} ± {of.deviation:.2g} ({", ".join(known)})'


def _interval(of: Difference) -> str:
  return f'{_signed(of.low)} to {_signed(of.high)}' if math.isfinite(of.low) else 'one seed'


def _signed(value: float) -> str:
  return f'{value:+.3g}'


def _keys(changes) -> str:
  return ', '.join(f'`{key}={value}`' for key, value in changes.items())


def _markdown(head: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [list(head), *rows]
  return '\n'.join([f'| {" | ".join(lines[0])} |', '|' + '---|' * len(lines[0]),
                    *(f'| {" | ".join(row)} |' for row in lines[1:])])


def summary(found: Findings) -> list[str]:
  """A line for every variant and finding, for the terminal."""
  first = found.sweep.measures[0]
  lines = [f'{name}: {MEASURES[first][0]} {_spread(comparison.spread(outcomes, first))}'
           for name, outcomes in found.outcomes.items()]
  return [*lines, *(f'ended early: {one}' for one in shortfalls(found)),
          *(f'{verdict}: {claim.says}' for claim, _, verdict in found.claims)]
