"""Does the reward grow with the logarithm of the length, and up to which length?

    python -m magistral_jax.analysis.length_reward --run=runs/quickstart --output=FOLDER

The raw reward of a run's updates, without the length penalty, against the mean length of their
completions: means of --block updates each, fitted by least squares with

    reward = a log(length) + b            length in tokens, log to the base e

between --shortest and --longest tokens. Intervals are Student's, of 95 %; since neighbours in time
resemble each other, they count only n (1 - r) / (1 + r) points, with r the correlation of residuals
of neighbours. The line is said to stop holding at the length from which on another slope fits
better, by an F test of as many points, for all lengths tried.
The paper: a line between 1500 and 8000 tokens, and a fall beyond about 9000 (arXiv:2506.10910,
section 7.1, figure 9). Writes length_reward.md, length_reward.png and length_reward.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import ScalarFormatter
from scipy import stats

from magistral_jax import command_line
from magistral_jax.analysis import written

FLAGS = written.RUNS | dict(
    block=(3, 'updates whose means are one point'),
    shortest=(0.0, 'tokens of the shortest point of the fit; 0 for all'),
    longest=(0.0, 'tokens of the longest; 0 for all'))
LEVEL = 0.95
_EDGE = 4                   # Points that must lie on either side of a length that is tried.


@dataclasses.dataclass(frozen=True)
class Line:
  """reward = slope log(length) + constant, with half of the width of their intervals."""
  slope: float
  slope_half: float
  constant: float
  constant_half: float
  points: int
  counted: float            # Points after what neighbours share.
  explained: float          # Share of the variance.
  holds_to: float           # Tokens; nan where no other slope fits better further on.
  slope_beyond: float
  p_beyond: float           # Of the F test, for all lengths that were tried; nan if none was.


def points(workdir: Path, block: int) -> tuple[np.ndarray, np.ndarray]:
  """(mean lengths in tokens, mean raw rewards) of blocks of updates, in the order of time."""
  lines = [line for line in written.updates(workdir)
           if None not in (line.get('reward'), line.get('completion_tokens_mean'))]
  # The penalty is a part of the reward that is 0 or less.
  raw = [line['reward'] - (line.get('part_length') or 0.0) for line in lines]
  length = [line['completion_tokens_mean'] for line in lines]
  cut = len(lines) // block * block
  return (np.reshape(np.array(length, float)[:cut], (-1, block)).mean(1),
          np.reshape(np.array(raw, float)[:cut], (-1, block)).mean(1))


def fit(length: np.ndarray, reward: np.ndarray) -> Line:
  """The least-squares line through points in the order of time.

  Raises:
    ValueError: there are fewer than three, or all have one length.
  """
  if len(length) < 3 or np.ptp(length) == 0:
    raise ValueError(f'{len(length)} points of {len(np.unique(length))} lengths are too few for a '
                     f'line: lower --block, or widen --shortest and --longest.')
  x = np.log(length)
  design = np.stack([x, np.ones_like(x)], 1)
  (slope, constant), residuals = _least_squares(design, reward)
  n = len(x)
  counted = max(3.0, written.counted(residuals))
  squares = float(residuals @ residuals)
  # Of n points; fewer count, so the variance of each estimate grows by n / counted.
  scale = squares / (n - 2) * n / counted
  half = stats.t.ppf((1 + LEVEL) / 2, max(1.0, counted - 2)) * np.sqrt(
      scale * np.diag(np.linalg.inv(design.T @ design)))
  total = float(np.sum((reward - reward.mean()) ** 2))
  return Line(float(slope), float(half[0]), float(constant), float(half[1]), n, counted,
              1 - squares / total if total else math.nan, *_bend(x, reward, squares))


def _bend(x: np.ndarray, y: np.ndarray, squares: float) -> tuple[float, float, float]:
  """(length up to which the line holds, the slope beyond it, p) of the best broken line."""
  order = np.sort(x)
  tried = np.unique(order[_EDGE - 1:-_EDGE]) if len(x) >= 2 * _EDGE else np.zeros(0)
  best, at, beyond, rest = squares, math.nan, math.nan, y
  for knot in tried:
    design = np.stack([x, np.ones_like(x), np.maximum(0.0, x - knot)], 1)
    weights, residuals = _least_squares(design, y)
    if residuals @ residuals < best:
      best, at, beyond = float(residuals @ residuals), math.exp(knot), weights[0] + weights[2]
      rest = residuals
  if not len(tried) or not math.isfinite(at):
    return math.nan, math.nan, math.nan
  # What neighbours share beyond a bend; the length is a parameter, too.
  freedom = max(1.0, written.counted(rest) - 4)
  f = (squares - best) / 2 / max(best / freedom, 1e-300)
  p = min(1.0, float(stats.f.sf(f, 2, freedom)) * len(tried))
  return (at, float(beyond), p) if p < 1 - LEVEL else (math.nan, math.nan, p)


def _least_squares(design: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(weights, residuals)."""
  weights = np.linalg.lstsq(design, y, rcond=None)[0]
  return weights, y - design @ weights


def analyse(run: str, block: int, shortest: float, longest: float) -> written.Found:
  """Table, figure and figures of all runs. Raises ValueError."""
  if block < 1:
    raise ValueError(f'--block={block} must be at least 1.')
  figure, (axes,) = written.panels(1, ['raw reward'])
  rows, found = [], {}
  for i, (name, path) in enumerate(written.folders(run).items()):
    length, reward = points(path, block)
    inside = (length >= shortest) & (length <= (longest or math.inf))
    line = fit(length[inside], reward[inside])
    rows.append((name, line.points, length[inside].min(), length[inside].max(),
                 f'{line.slope:.4g} ± {line.slope_half:.2g}',
                 f'{line.constant:.4g} ± {line.constant_half:.2g}', line.explained,
                 line.holds_to if math.isfinite(line.holds_to) else 'all of it',
                 line.slope_beyond, line.p_beyond))
    found[name] = dataclasses.asdict(line) | dict(length=length, reward=reward)
    axes.scatter(length, reward, s=9, color=f'C{i}', alpha=0.6, label=name)
    x = np.linspace(length[inside].min(), length[inside].max(), 50)
    axes.plot(x, line.slope * np.log(x) + line.constant, color=f'C{i}', linewidth=1.2)
    if math.isfinite(line.holds_to):
      axes.axvline(line.holds_to, color=f'C{i}', linestyle='--', linewidth=0.8)
  axes.set_xscale('log')
  for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
    which(ScalarFormatter())
  axes.set_xlabel('tokens of a completion', fontsize=8)
  axes.legend(frameon=False, fontsize=8)
  head: Sequence[str] = (
      'run', 'points', 'shortest', 'longest', 'a', 'b', 'variance explained', 'holds up to',
      'slope beyond', 'p')
  return written.markdown(head, rows), figure, found


def main(args) -> None:
  written.carry_out('length_reward', args.output, lambda: analyse(
      args.run, args.block, args.shortest, args.longest))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, FLAGS))
