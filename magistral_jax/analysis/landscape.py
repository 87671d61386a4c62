"""Reward and length around the last weights of a run, on a triangular grid; resumable.

    w(a1, a2) = w + a1 c1 + a2 c2         w: the last checkpoint, c: directions of length 1

    .   .   .   .         Rows are sqrt(3)/2 of a side apart and every other one is shifted by half
      .   .   .           of it, so that all triangles are equilateral.
    .   .   .   .
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from magistral_jax import durable, metrics
from magistral_jax.analysis import written
from magistral_jax.metrics import JsonlWriter

MARGIN = 0.5                # Of the trajectory's extent, on either side of it.
POINTS, SETTINGS = 'points.jsonl', 'settings.json'


@dataclasses.dataclass(frozen=True)
class Plane:
  """A figure around the last weights as constant + slope . (a1, a2)."""
  constant: float
  slope: tuple[float, float]
  explained: float          # Share of the variance.

  @property
  def along_first(self) -> float:
    """Cosine of the angle between the steepest way up and the first direction."""
    length = math.hypot(*self.slope)
    return self.slope[0] / length if length else math.nan


def grid(trajectory: np.ndarray, points: int) -> list[tuple[float, float]]:
  """At least so many points of a triangular grid over a trajectory [T, 2] and MARGIN around it."""
  low, high = trajectory.min(0), trajectory.max(0)
  reach = np.maximum(high - low, 0.25 * float(np.max(high - low)))
  low, high = low - MARGIN * reach, high + MARGIN * reach
  width, height = high - low
  side, rows, columns = float(max(width, height)), 0, 0
  while rows * columns < points:
    rows = max(2, round(height / (side * math.sqrt(3) / 2)) + 1)
    columns = max(2, round(width / side) + 1)
    side *= 0.98
  return [(float(low[0] + (column + row % 2 / 2) * width / (columns - 0.5)),
           float(low[1] + row * height / (rows - 1)))
          for row in range(rows) for column in range(columns)]


def walk(points: Sequence[tuple[float, float]], measure: Callable[[float, float], Mapping],
         folder: Path, settings: Mapping[str, Any], show: Callable[[str], None]) -> list[dict]:
  """Measures every point that is not in the folder yet; returns the lines of all.

  Args:
    measure: (a1, a2) -> figures with `reward` and `tokens`.
    settings: what the figures depend on.
  Raises:
    ValueError: the folder has points that were measured with other settings.
  """
  kept = metrics.plain(settings)
  if (folder / SETTINGS).exists():
    before = json.loads((folder / SETTINGS).read_text('utf-8'))
    for key in kept:
      if before.get(key) != kept[key]:
        raise ValueError(f'{folder} has points that were measured with {key}={before.get(key)!r}, '
                         f'and now it is {kept[key]!r}: name another --output.')
  durable.write_json(folder / SETTINGS, kept, indent=2)
  path = folder / POINTS
  lines = metrics.read_lines(path) if path.exists() else []
  # Written again, so that a line that was cut off is gone.
  durable.write_bytes(path, ''.join(json.dumps(line) + '\n' for line in lines).encode())
  done = {(line['a1'], line['a2']) for line in lines}
  with JsonlWriter(path) as out:
    for number, (a1, a2) in enumerate(points, 1):
      if (a1, a2) in done:
        continue
      line = metrics.plain(dict(a1=a1, a2=a2) | dict(measure(a1, a2)))
      out.write(line)
      lines.append(line)
      show(f'{number}/{len(points)}: {a1:+.3g}, {a2:+.3g}: reward {line["reward"]:.3f}, '
           f'{line["tokens"]:.1f} tokens')
  return lines


def plane(lines: Sequence[Mapping[str, Any]], key: str) -> Plane:
  """The least-squares plane through a figure of the points."""
  a = np.array([[line['a1'], line['a2'], 1.0] for line in lines])
  y = np.array([line[key] for line in lines], float)
  weights = np.linalg.lstsq(a, y, rcond=None)[0]
  total = float(np.sum((y - y.mean()) ** 2))
  left = float(np.sum((y - a @ weights) ** 2))
  return Plane(float(weights[2]), (float(weights[0]), float(weights[1])),
               1 - left / total if total else math.nan)


def draw(lines: Sequence[Mapping[str, Any]], trajectory: np.ndarray,
         steps: Sequence[int]) -> Figure:
  """Contours of reward and length, linear between the points, with the trajectory over them."""
  keys = [('reward', 'mean reward'), ('tokens', 'tokens of a completion')] if lines else []
  figure, panels = written.panels(max(1, len(keys)), [title for _, title in keys] or ['trajectory'])
  for axes, (key, _) in zip(panels, keys, strict=False):
    filled = axes.tricontourf([line['a1'] for line in lines], [line['a2'] for line in lines],
                              [line[key] for line in lines], levels=14, cmap='viridis')
    figure.colorbar(filled, ax=axes)
  for axes in panels:
    axes.plot(*trajectory.T, color='white' if lines else 'C0', marker='o', markersize=3,
              linewidth=1)
    for index in (0, len(steps) - 1):
      axes.annotate(str(steps[index]), trajectory[index], color='C1', fontsize=8)
    axes.set_xlabel('first direction', fontsize=8)
    axes.set_ylabel('second direction', fontsize=8)
  return figure
