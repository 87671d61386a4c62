"""curves.png of a sweep: a panel for each figure of the updates, a line for each variant."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from magistral_jax import durable
from magistral_jax.ablations.measures import SweepRun
from magistral_jax.ablations.results import Findings

SMOOTH = 5                  # Updates of a moving mean.
COLUMNS = 2


def draw(found: Findings, path: Path) -> None:
  """Writes the image; without anything to draw it is empty."""
  curves = found.sweep.curves
  rows = max(1, -(-len(curves) // COLUMNS))
  figure = Figure(figsize=(9, 2.9 * rows), dpi=120, layout='constrained')
  for index, key in enumerate(curves):
    axes = figure.add_subplot(rows, COLUMNS, index + 1)
    for color, (name, outcomes) in enumerate(found.outcomes.items()):
      _line(axes, outcomes, key, found.sweep.axis, name, f'C{color}')
    axes.set_title(key, fontsize=9, loc='left')
    axes.set_xlabel(found.sweep.axis, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[['top', 'right']].set_visible(False)
    if axes.lines:
      axes.legend(frameon=False, fontsize=8)
  image = io.BytesIO()
  figure.savefig(image, format='png')
  durable.write_bytes(path, image.getvalue())


def _line(axes: Axes, outcomes: Mapping[int, SweepRun], key: str, axis: str, name: str,
          color: str) -> None:
  """The mean over seeds, smoothed, and the band of all seeds where there are several."""
  series = [smoothed(outcome.series(key)) for outcome in outcomes.values()]
  # A run may end early, when all is learnt: the band goes on with those that are left.
  longest = max((len(one) for one in series), default=0)
  if not longest:
    return
  values = np.full((len(series), longest), np.nan)
  for row, one in zip(values, series, strict=True):
    row[:len(one)] = one
  known = np.isfinite(values).any(axis=0)
  values, steps = values[:, known], np.arange(1, longest + 1)[known]
  if axis == 'prompts':
    steps = steps * next(iter(outcomes.values())).prompts_per_update
  axes.plot(steps, np.nanmean(values, axis=0), color=color, linewidth=1.4, label=name)
  axes.fill_between(steps, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=color,
                    alpha=0.15, linewidth=0)


def smoothed(values: np.ndarray) -> np.ndarray:
  """[n] mean of each value and of up to SMOOTH - 1 before it."""
  if not len(values):
    return values
  sums = np.cumsum(np.concatenate([[0.0], values]))
  ends = np.arange(1, len(values) + 1)
  begins = np.maximum(0, ends - SMOOTH)
  return (sums[ends] - sums[begins]) / (ends - begins)
