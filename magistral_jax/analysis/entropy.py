"""Does the entropy of the policy fall or rise in a run?

    python -m magistral_jax.analysis.entropy --run=runs/a,runs/b --output=FOLDER

The entropy of a token (nats) in the first and in the last fifth of the updates, with its change and
Student's interval of 95 % of it; beside it how far tokens were clipped, and the reward. Updates
resemble their neighbours: of n the interval counts only n (1 - r) / (1 + r), with r the correlation
of neighbours. An entropy falls or rises where the interval leaves 0 out. The paper keeps it up by
the upper clip bound and warns of a bonus (arXiv:2506.10910, section 7.4, figure 12). Writes
entropy.md, entropy.png and entropy.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from magistral_jax import command_line
from magistral_jax.analysis import written

FIFTH = 5
CLIPPED = ('clip_fraction_low', 'clip_fraction_high')


@dataclasses.dataclass(frozen=True)
class Course:
  """How the entropy of a run went."""
  first: float              # Nats, mean of the first fifth.
  last: float
  change: float
  low: float                # Interval of the change.
  high: float
  clipped: float            # Share of clipped tokens, mean of the last fifth.
  reward: float             # Mean of the last fifth.

  @property
  def words(self) -> str:
    """'falls' or 'rises' where the interval of the change says so, else 'open'."""
    return 'falls' if self.high < 0 else 'rises' if self.low > 0 else 'open'


def course(lines: Sequence[Mapping[str, Any]]) -> Course:
  """The course of the updates of one run. Raises ValueError if they have no entropy."""
  values = [line['entropy'] for line in lines if line.get('entropy') is not None]
  if not values:
    raise ValueError('No update of this run has an entropy.')
  n = max(1, len(values) // FIFTH)
  first, last = np.array(values[:n], float), np.array(values[-n:], float)
  change, half = float(last.mean() - first.mean()), math.nan
  if n > 1:
    # Welch's: the fifths need not vary alike.
    counted = written.counted(first - first.mean(), last - last.mean())
    a, b = first.var(ddof=1) / counted, last.var(ddof=1) / counted
    freedom = (a + b) ** 2 / ((a * a + b * b) / (counted - 1)) if a + b else 1.0
    half = float(stats.t.ppf(0.975, freedom) * math.sqrt(a + b))
  mean = lambda key: float(np.nanmean(np.array(
      [line.get(key, math.nan) for line in lines[-n:]], float)))
  return Course(float(first.mean()), float(last.mean()), change, change - half, change + half,
                sum(mean(key) for key in CLIPPED) if CLIPPED[0] in lines[-1] else math.nan,
                mean('reward') if 'reward' in lines[-1] else math.nan)


def analyse(run: str) -> written.Found:
  """Table, figure and figures of all runs. Raises ValueError."""
  figure, panels = written.panels(2, ['entropy (nats per token)',
                                        'share of tokens clipped above'])
  rows, found = [], {}
  for name, path in written.folders(run).items():
    lines = written.updates(path)
    of = course(lines)
    rows.append((name, of.first, of.last, of.change, f'{of.low:+.3g} to {of.high:+.3g}', of.words,
                 of.clipped, of.reward))
    found[name] = dataclasses.asdict(of) | dict(words=of.words)
    for axes, key in zip(panels, ('entropy', CLIPPED[1]), strict=True):
      axes.plot([line['step'] for line in lines],
                np.array([line.get(key) for line in lines], float), linewidth=1.1, label=name)
      axes.set_xlabel('update', fontsize=8)
  panels[0].legend(frameon=False, fontsize=8)
  head = ['run', 'first fifth', 'last fifth', 'change', '95 %', 'so it', 'clipped at the end',
          'reward at the end']
  return written.markdown(head, rows), figure, found


def main(args) -> None:
  written.carry_out('entropy', args.output, lambda: analyse(args.run))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, written.RUNS))
