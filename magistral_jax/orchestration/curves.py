"""reward.png: how a run went, one panel for each quantity that was written."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magistral_jax import durable

if TYPE_CHECKING:
  from matplotlib.axes import Axes

INK, FAINT, BLUE, ORANGE, GREEN = '#22272e', '#8b949e', '#0969da', '#d1570d', '#1a7f37'


def draw(path: Path, lines: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
  """reward.png: how the run went, one panel for each quantity that was written.

  Args:
    path: the image.
    lines: the lines of metrics.jsonl, one per update.
    summary: gives the held-out accuracies before the first and after the last update.
  """
  from matplotlib.figure import Figure  # Half a second, which a run pays at its end.

  panels = [panel for panel in (
      _reward, _accuracy, _length, _staleness, _waste, _entropy, _speed)
            if panel(None, lines, summary)]
  columns = min(3, max(1, len(panels)))
  rows = max(1, -(-len(panels) // columns))
  figure = Figure(figsize=(4.2 * columns, 2.9 * rows), dpi=120, layout='constrained')
  for index, panel in enumerate(panels):
    axes = figure.add_subplot(rows, columns, index + 1)
    panel(axes, lines, summary)
    _dress(axes, last_row=index + columns >= len(panels))
  if not panels:
    figure.text(0.5, 0.5, 'no update was written', ha='center', va='center', color=FAINT)
  image = io.BytesIO()
  figure.savefig(image, format=path.suffix[1:])
  durable.write_bytes(path, image.getvalue())


# A panel returns whether there is anything to draw, and draws it if it is given axes.

def _reward(axes: Axes | None, lines, summary) -> bool:
  return _curve(axes, lines, 'reward', 'mean reward of a batch', BLUE)


def _accuracy(axes: Axes | None, lines, summary) -> bool:
  drawn = _curve(axes, lines, 'accuracy', 'accuracy', BLUE, label='sampled')
  step, accuracy, error = _evaluations(lines, summary)
  if axes is not None:
    if len(step):
      axes.errorbar(
          step, accuracy, yerr=np.nan_to_num(error), color=ORANGE, marker='o', markersize=4,
          linewidth=1.2, capsize=2, label='held out')
    axes.set_title('accuracy', fontsize=10, color=INK, loc='left')
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, fontsize=8, loc='lower right')
  return drawn or len(step) > 0


def _length(axes: Axes | None, lines, summary) -> bool:
  name = 'completion_tokens'
  drawn = _curve(axes, lines, f'{name}_mean', 'completion length (tokens)', BLUE, label='mean')
  if axes is not None:
    step = series(lines, 'step')
    low, high = series(lines, f'{name}_p10'), series(lines, f'{name}_p90')
    if np.isfinite(low).any():
      axes.fill_between(
          step, low, high, color=BLUE, alpha=0.12, linewidth=0, label='10th to 90th percentile')
      axes.legend(frameon=False, fontsize=8)
    axes.set_ylim(bottom=0)
  return drawn


def _staleness(axes: Axes | None, lines, summary) -> bool:
  drawn = _curve(axes, lines, 'staleness_mean', 'staleness (updates)', BLUE, label='mean')
  if axes is not None:
    axes.step(
        series(lines, 'step'), series(lines, 'staleness_max'), color=FAINT, linewidth=0.9,
        where='mid', label='most')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
  return drawn


def _waste(axes: Axes | None, lines, summary) -> bool:
  title = 'idle slots, discarded tokens (shares)'
  drawn = _curve(axes, lines, 'slots_idle', title, BLUE, label='slots idle')
  discarded = _curve(axes, lines, 'tokens_discarded', title, ORANGE, label='tokens discarded')
  if axes is not None:
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, fontsize=8)
  return drawn or discarded


def _entropy(axes: Axes | None, lines, summary) -> bool:
  return _curve(axes, lines, 'entropy', 'entropy (nats per token)', GREEN)


def _speed(axes: Axes | None, lines, summary) -> bool:
  drawn = _curve(axes, lines, 'sampled_tokens_per_s', 'tokens per second', BLUE, label='sampled')
  trained = _curve(
      axes, lines, 'trained_tokens_per_s', 'tokens per second', ORANGE, label='trained')
  if axes is not None:
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
  return drawn or trained


def _curve(axes: Axes | None, lines, name: str, title: str, color: str, label: str = '') -> bool:
  """Each update faintly, their running mean on top; False when no line holds a number."""
  values = series(lines, name)
  if not np.isfinite(values).any():
    return False
  if axes is not None:
    step = series(lines, 'step')
    axes.plot(step, values, color=color, alpha=0.3, linewidth=0.9)
    axes.plot(step, running_mean(values), color=color, linewidth=1.8, label=label)
    axes.set_title(title, fontsize=10, color=INK, loc='left')
  return True


def _evaluations(lines, summary) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Steps, accuracies and standard errors (nan if unknown) of all evaluations."""
  first = 'cold_start' if summary.get('accuracy_cold_start') is not None else 'start'
  points = {0: (summary.get(f'accuracy_{first}'), summary.get(f'accuracy_{first}_se'))}
  for line in lines:
    points[line['step']] = (line.get('eval/accuracy'), line.get('eval/accuracy_se'))
  if summary.get('accuracy_final') is not None:
    last = max(points) if summary.get('steps') is None else summary['steps']
    points[last] = (summary['accuracy_final'], summary.get('accuracy_final_se'))
  found = [(step, *point) for step, point in sorted(points.items()) if point[0] is not None]
  steps, accuracies, errors = np.array(found, np.float64).reshape(-1, 3).T
  return steps, accuracies, errors


def _dress(axes: Axes, last_row: bool) -> None:
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color(FAINT)
  axes.tick_params(colors=INK, labelsize=8)
  axes.grid(alpha=0.25, linewidth=0.6)
  if last_row:
    axes.set_xlabel('update', fontsize=9, color=INK)


def series(lines: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
  """[n] float64, the number of that name in each line; nan where there is none."""
  return np.array([line.get(name) for line in lines], np.float64)


def running_mean(values: np.ndarray) -> np.ndarray:
  """[n] mean of each value and its neighbours, a twentieth of the run to each side; skips nan."""
  reach = len(values) // 20
  found = np.full(len(values), np.nan)
  for i in range(len(values)):
    near = values[max(0, i - reach):i + reach + 1]
    near = near[np.isfinite(near)]
    if len(near):
      found[i] = near.mean()
  return found
