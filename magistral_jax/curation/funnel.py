"""The funnel of a curation: how many rows each step leaves, as a table and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table


def table(counts: Sequence[Mapping]) -> Table:
  """The funnel for a terminal: a line for each step, with its reasons."""
  found = Table(title='Rows through the steps')
  for name, justify in (('step', 'left'), ('in', 'right'), ('out', 'right'), ('kept', 'right'),
                        ('dropped because', 'left'), ('changed', 'left')):
    found.add_column(name, justify=justify, overflow='fold')
  for entry in counts:
    kept = entry['rows_out'] / entry['rows_in'] if entry['rows_in'] else 0.0
    found.add_row(entry['step'], f'{entry["rows_in"]:,}', f'{entry["rows_out"]:,}', f'{kept:.1%}',
                  _listed(entry['reasons']), _listed(entry['changed']))
  return found


def markdown(counts: Sequence[Mapping]) -> str:
  """The funnel as a Markdown table."""
  lines = ['| step | in | out | dropped because | changed |', '|---|---|---|---|---|']
  for entry in counts:
    lines.append(f'| {entry["step"]} | {entry["rows_in"]:,} | {entry["rows_out"]:,} | '
                 f'{_listed(entry["reasons"])} | {_listed(entry["changed"])} |')
  return '\n'.join(lines)


def _listed(reasons: Mapping[str, int]) -> str:
  ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
  return ', '.join(f'{name} {n:,}' for name, n in ordered)


def draw(counts: Sequence[Mapping], path: Path) -> None:
  """Draws the funnel: a bar for the input and for each step, in the order of the steps."""
  names = ['input', *(entry['step'] for entry in counts)]
  rows = [counts[0]['rows_in'], *(entry['rows_out'] for entry in counts)]
  figure = Figure(figsize=(8, 1 + 0.5 * len(names)), layout='constrained')
  axes = figure.subplots()
  bars = axes.barh(names, rows, color='#4c78a8')
  axes.bar_label(bars, labels=[f'{n:,}' for n in rows], padding=4)
  axes.invert_yaxis()
  axes.set_xlim(0, 1.15 * max(max(rows), 1))
  axes.set_xlabel('problems')
  axes.spines[['top', 'right']].set_visible(False)
  figure.savefig(path, dpi=120)
