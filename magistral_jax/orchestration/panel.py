"""The panel that the display redraws: it fits the terminal, and nothing in it moves sideways.

    +- reinforcement learning ------------------------------------------------+
    | =====>------------------   37/120          1:12 elapsed, 2:41 left      |
    |                                                                         |
    | reward       0.742  ..::--==++**##                                      |
    | staleness    1.3 updates, at most 3                                     |
    |                                                                         |
    |              doing                                     queue  version   |
    | trainer      waiting for a batch (3 of 16 groups)          3       37   |
    +-------------------------------------------------------------------------+

Where lines are missing, first the empty ones go, then roles that do the same share a line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from magistral_jax.orchestration import role_table
from magistral_jax.orchestration.roles import RoleStatus

BLOCKS = '▁▂▃▄▅▆▇█'
ASCII_BLOCKS = '_.-=+*%#'
# Lines longer than this are hard to follow; a wider terminal leaves the rest empty.
MOST_COLUMNS = 120
# Columns of the border and of the space beside it.
BORDER = 4
SPARKLINE_WIDTH = 40
LEAST_BAR = 4
# Columns between two cells.
GAP = 2
NAME_WIDTH = 11


@dataclasses.dataclass(frozen=True)
class Contents:
  """What the panel shows at one moment.

  Contents('reinforcement learning', 37, 120, 72.0, 161.0, {'reward': .742}, (.1, .7), {})
  """
  phase: str
  step: int
  total_steps: int
  elapsed_s: float
  left_s: float | None               # None: not known yet.
  figures: Mapping[str, Any]         # By their names in metrics.jsonl.
  rewards: Sequence[float]           # Of all updates so far.
  roles: Mapping[str, RoleStatus]
  ending: str = ''                   # A sentence, once the run was asked to stop.


def render(contents: Contents, *, width: int, height: int, ascii_only: bool = False) -> Panel:
  """The panel for a terminal of `width` columns and `height` lines."""
  width = min(width, MOST_COLUMNS)
  blocks = ASCII_BLOCKS if ascii_only else BLOCKS
  # Of the lines the border takes two, and the cursor stands in one.
  left = height - 4 - bool(contents.ending)
  rows = metric_rows(contents.figures, contents.rewards, blocks)[:max(0, left)]
  left -= len(rows)
  lines = min(role_table.MOST, left - 1)         # The heads take one.
  parts: list[RenderableType] = [_progress(contents, width - BORDER)]
  if rows:
    parts.append(_figures(rows))
  if contents.roles and lines > 0:
    roles = role_table.table(contents.roles, width=width - BORDER, lines=lines)
    parts.append(roles)
    left -= roles.row_count
  if contents.ending:
    parts.append(Text(contents.ending, 'bold yellow', no_wrap=True, overflow='ellipsis'))
  if left >= len(parts) - 1:
    parts = [part for one in parts for part in (Text(), one)][1:]
  return Panel(Group(*parts), title=f'[bold]{contents.phase}[/]', title_align='left',
               border_style='cyan', padding=(0, 1), width=width)


def _progress(contents: Contents, width: int) -> Table:
  """Bar, steps and times; where there is no room, first the time left goes, then the bar."""
  step, total = contents.step, contents.total_steps
  elapsed = f'{minutes(contents.elapsed_s)} elapsed'
  left = '' if contents.left_s is None else f', {minutes(contents.left_s)} left'
  steps = f'{step:>{len(str(total))}}/{total}'
  # As wide as it may become, so that the bar does not change its length.
  longest = len('0:00:00 elapsed, 0:00:00 left')
  room = width - len(steps) - GAP
  if room < longest:
    left, longest = '', len('0:00:00 elapsed')
  bar = ProgressBar(
      total=max(total, 1), completed=step, complete_style='cyan', finished_style='green')
  cells: list[tuple[RenderableType, dict]] = [
      (steps, dict(no_wrap=True)),
      (elapsed + left, dict(no_wrap=True, style='dim', justify='right', min_width=longest))]
  if room - longest - GAP >= LEAST_BAR:
    cells.insert(0, (bar, dict(ratio=1)))
  line = Table.grid(expand=True, padding=(0, GAP))
  for _, how in cells:
    line.add_column(**how)
  line.add_row(*(cell for cell, _ in cells))
  return line


def _figures(rows: Sequence[tuple[str, Text]]) -> Table:
  # Expanded: otherwise what is too long is cut at the border, without an ellipsis.
  table = Table.grid(expand=True, padding=(0, GAP))
  table.add_column(style='dim', no_wrap=True, min_width=NAME_WIDTH)
  table.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
  for name, text in rows:
    table.add_row(name, text)
  return table


def metric_rows(
    shown: Mapping[str, Any], rewards: Sequence[float], blocks: str) -> list[tuple[str, Text]]:
  """(name, value) of each row of the panel for which there is something to show."""
  rows = []
  row = lambda name, *parts: rows.append((name, Text.assemble(*parts)))
  get = shown.get
  if get('stage') is not None:
    row('stage', get('stage'))
  if get('reward') is not None:
    row('reward', (f'{get("reward"):.3f}  ', 'bold'),
        (sparkline(rewards, SPARKLINE_WIDTH, blocks), 'cyan'))
  evaluated = ''
  if get('eval/accuracy') is not None:
    evaluated = f'held out {get("eval/accuracy"):.3f} at version {get("eval/version")}'
  if get('accuracy') is not None:
    row('accuracy', (f'{get("accuracy"):.3f}  ', 'bold'), evaluated)
  elif evaluated:
    row('accuracy', evaluated)
  if get('loss') is not None:
    row('loss', f'{get("loss"):.4f}')
  if get('completion_tokens_mean') is not None:
    spread = ''
    if get('completion_tokens_p10') is not None:
      spread = (f' (10th percentile {get("completion_tokens_p10"):.0f}, '
                f'90th {get("completion_tokens_p90"):.0f})')
    row('length', f'{get("completion_tokens_mean"):.0f} tokens{spread}')
  speeds = [
      f'{get(f"{what}_tokens_per_s"):,.0f} tokens/s {what}' for what in ('sampled', 'trained')
      if get(f'{what}_tokens_per_s') is not None]
  if speeds:
    row('speed', ', '.join(speeds))
  if get('staleness_mean') is not None:
    worst = '' if get('staleness_max') is None else f', at most {get("staleness_max"):.0f}'
    expected = get('staleness_expected')
    expected = '' if expected is None else f', {expected:.1f} by what is in flight'
    row('staleness', f'{get("staleness_mean"):.1f} updates{worst}{expected}')
  if get('slots_idle') is not None:
    discarded = get('tokens_discarded') or 0.0
    row('waste', f'{get("slots_idle"):.0%} of slots idle, {discarded:.0%} of tokens discarded')
  return rows


def sparkline(values: Sequence[float], width: int, blocks: str) -> str:
  """The course of `values` in at most `width` characters, lowest to highest block.

  More values than characters are averaged in equal stretches, so the whole run stays in view.
  """
  if not values:
    return ''
  count = min(width, len(values))
  edges = [i * len(values) // count for i in range(count + 1)]
  means = [
      sum(values[a:b]) / (b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]
  low, span = min(means), max(means) - min(means)
  if span == 0.0:
    return blocks[0] * count
  return ''.join(blocks[round((mean - low) / span * (len(blocks) - 1))] for mean in means)


def minutes(seconds: float) -> str:
  """Seconds as 1:05, or 2:01:05 beyond an hour."""
  whole = int(seconds)
  hours, rest = divmod(whole, 3600)
  start = f'{hours}:{rest // 60:02d}' if hours else f'{rest // 60}'
  return f'{start}:{rest % 60:02d}'
