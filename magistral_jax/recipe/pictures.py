"""The images of a walk: models.png and curves.png."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from magistral_jax import durable
from magistral_jax.recipe.legs import DOMAINS, MODELS
from magistral_jax.recipe.results import Found

COLORS = dict(math='#0969da', code='#d1570d')
FAINT = '#8b949e'
SMOOTH = 5                  # Updates of a moving mean.


def draw(found: Found, output: Path) -> None:
  """Writes both images; without anything to draw they are empty."""
  _save(_models(found), output / 'models.png')
  _save(_curves(found), output / 'curves.png')


def _models(found: Found) -> Figure:
  """Accuracy of every model in each domain, with standard errors."""
  figure = Figure(figsize=(9, 3.2), dpi=120, layout='constrained')
  axes = figure.subplots()
  names = [name for name in MODELS if name in found.scores]
  for i, domain in enumerate(DOMAINS):
    of = [found.scores[name].accuracy(domain) for name in names]
    axes.bar(np.arange(len(names)) + 0.38 * i, [one.mean for one in of], 0.36, label=domain,
             yerr=np.nan_to_num([one.standard_error for one in of]), capsize=2,
             color=COLORS[domain])
  axes.set_xticks(np.arange(len(names)) + 0.19, names, fontsize=8)
  axes.set_ylim(0, 1)
  axes.set_ylabel('held-out pass@1')
  axes.spines[['top', 'right']].set_visible(False)
  if names:
    axes.legend(frameon=False, fontsize=8)
  return figure


def _curves(found: Found) -> Figure:
  """Reward and length of mini-Medium with its stages, and the same of mini-Small's loops."""
  figure = Figure(figsize=(9, 5.6), dpi=120, layout='constrained')
  for row, names in enumerate((['medium_rl'], [n for n in found.curves if n != 'medium_rl'])):
    for column, (key, title) in enumerate((
        ('reward', 'mean reward'), ('completion_tokens_mean', 'tokens of a completion'))):
      axes = figure.add_subplot(2, 2, 2 * row + column + 1)
      for name in names:
        if name in found.curves:
          axes.plot(*_series(found.curves[name], key), linewidth=1.2, label=name)
          axes.legend(frameon=False, fontsize=8)
      if row == 0:
        for line in found.stages:
          axes.axvline(line['step'], color=FAINT, linewidth=0.8, linestyle='--')
          axes.annotate(line['stage'], (line['step'], 0.02), xycoords=('data', 'axes fraction'),
                        fontsize=7, color=FAINT, rotation=90)
      axes.set_title(title, fontsize=9, loc='left')
      axes.set_xlabel('update', fontsize=8)
      axes.spines[['top', 'right']].set_visible(False)
  return figure


def _series(lines: Sequence[Mapping], key: str) -> tuple[list[int], np.ndarray]:
  """(updates, moving mean of a figure)."""
  values = np.asarray([line[key] for line in lines], float)
  width = min(SMOOTH, len(values))
  return [line['step'] for line in lines][width - 1:], np.convolve(
      values, np.ones(width) / width, 'valid')


def _save(figure: Figure, path: Path) -> None:
  image = io.BytesIO()
  figure.savefig(image, format='png')
  durable.write_bytes(path, image.getvalue())
