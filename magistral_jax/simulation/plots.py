"""Figures of simulations as charts."""

from __future__ import annotations

from matplotlib.figure import Figure


def draw(found: dict, path) -> None:
  """Draws throughput and staleness of both modes, and of a sweep if there is one, as a PNG.

  Args:
    found: what `simulate` writes into table.json.
    path: of the PNG.
  """
  figure = Figure(figsize=(10, 4), layout='constrained')
  left, right = figure.subplots(1, 2)
  modes = ('asynchronous', 'synchronous')
  left.bar(modes, [found[mode]['completions_per_s'] for mode in modes], color=['C0', 'C1'])
  left.set(ylabel='completions per second', title='The same chips')
  points = found.get('sweep') or [found['asynchronous']]
  right.scatter([p['staleness_mean'] for p in points], [p['completions_per_s'] for p in points],
                c=[p.get('sampler_share', 0.5) for p in points], cmap='viridis')
  if 'recommended' in found:
    best = found['recommended']
    right.scatter(best['staleness_mean'], best['completions_per_s'], s=160, facecolors='none',
                  edgecolors='C3', label='recommended')
    right.legend()
  right.set(xlabel='staleness (versions)', ylabel='completions per second',
            title='Speed and staleness')
  figure.savefig(path, dpi=120)


def draw_versions(rows: list[dict], path) -> None:
  """Draws versions per completion against n_async / n_batch, beside 1 + n_async / n_batch.

  Args:
    rows: figures of simulations that differ in n_batch.
    path: of the PNG.
  """
  figure = Figure(figsize=(5, 4), layout='constrained')
  axes = figure.subplots()
  ratios = [row['n_async'] / row['n_batch'] for row in rows]
  axes.plot(ratios, [1 + ratio for ratio in ratios], 'k--', label='1 + n_async / n_batch')
  axes.plot(ratios, [row['versions_per_completion'] for row in rows], 'o', label='simulated')
  axes.set(xlabel='n_async / n_batch', ylabel='versions per completion',
           title='Lengths spread fivefold, n_async = 4096')
  axes.legend()
  figure.savefig(path, dpi=120)
