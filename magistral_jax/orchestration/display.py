"""Progress in the terminal: what the run has reached and what every role does or waits for.

On a terminal one panel is redrawn in place; elsewhere (a log file, CI) each step is one line.
Nothing of it is kept: the numbers that last are in metrics.jsonl.

    +- reinforcement learning -----------------------------------+
    | =======>--------------------   37/120    1:12 gone, 2:41 left |
    | reward       0.742  ..::--==++**##                          |
    | staleness    1.3 updates, at most 3                         |
    | trainer    waiting for a batch (3 of 16 groups)   3  37  0s |
    +------------------------------------------------------------+
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from magistral_jax.orchestration import role_table
from magistral_jax.orchestration.roles import RoleStatus

BLOCKS = '▁▂▃▄▅▆▇█'
ASCII_BLOCKS = '_.-=+*%#'
PANEL_WIDTH = 100
SPARKLINE_WIDTH = 40


class Display:
  """Shows the newest numbers of a run while it is open; several threads may update it.

  with Display(120, True) as display:
    display.watch(lambda: {'trainer': RoleStatus('waiting for a batch', waiting=True)})
    display.update(dict(step=1, reward=.3))

  Args:
    total_steps: steps of the first phase.
    enabled: False shows nothing at all.
    console: where it is shown; standard output by default.
    clock: seconds, for the time gone and left.
  """

  def __init__(self, total_steps: int, enabled: bool, *, console: Console | None = None,
               clock: Callable[[], float] = time.monotonic):
    self._enabled, self._clock = enabled, clock
    self._console = console or Console()
    self._shown: dict[str, Any] = {}
    self._roles: Callable[[], Mapping[str, RoleStatus]] = dict
    self._rewards: list[float] = []
    self._live: Live | None = None
    self._lock = threading.Lock()
    self.phase('training', total_steps)

  def __enter__(self) -> Display:
    if self._enabled and self._console.is_terminal:
      self._live = Live(
          get_renderable=self._render, console=self._console, refresh_per_second=4)
      self._live.start()
    return self

  def __exit__(self, *unused) -> None:
    if self._live is not None:
      self._live.stop()
      self._live = None

  def phase(self, name: str, total_steps: int) -> None:
    """Starts counting anew; the numbers of the phase before leave the panel."""
    with self._lock:
      self._phase, self._total_steps = name, total_steps
      self._started, self._first_step = self._clock(), None
      self._shown = {key: self._shown[key] for key in ('evaluated',) if key in self._shown}

  def watch(self, roles: Callable[[], Mapping[str, RoleStatus]]) -> None:
    """Shows the status of every role, asked for whenever the display is drawn.

    It asks no more often than that: with hundreds of roles each time costs.
    """
    with self._lock:
      self._roles = roles

  def update(self, metrics: Mapping[str, Any]) -> None:
    """Takes in any of the numbers named in metrics.py, `step`, and `progress` ({of what: words}).

    A number, or a progress, that is not given keeps its last value.
    """
    with self._lock:
      before, self._shown = self._shown, merge(self._shown, metrics)
      step = self._shown.get('step')
      if step is None or step == before.get('step'):
        return
      if self._first_step is None:
        # A resumed run starts late: its speed is counted from here, not from step 0.
        self._first_step = max(step - 1, 0)
      if metrics.get('reward') is not None:
        self._rewards.append(float(metrics['reward']))
      if self._enabled and self._live is None:
        tail = [f'{what} {words}' for what, words in self._shown['progress'].items()]
        tail += filter(None, [role_table.sentence(self._roles())])
        self._print(plain_line(self._phase, self._total_steps, metrics, tail))

  def note(self, sentence: str) -> None:
    """Prints a sentence that stays: above the panel, or between the lines of a log."""
    if self._enabled:
      self._print(sentence)

  def _print(self, sentence: str) -> None:
    self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

  def _render(self) -> Panel:
    shown, ascii_only = self._shown, self._console.options.ascii_only
    table = Table.grid(padding=(0, 2))
    table.add_column(style='dim', no_wrap=True, min_width=11)
    table.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
    for name, text in metric_rows(shown, self._rewards, ASCII_BLOCKS if ascii_only else BLOCKS):
      table.add_row(name, text)
    progress = shown.get('progress') or {}
    if progress:
      table.add_row('', '')
    for what, words in progress.items():
      table.add_row(what, Text(words, 'green'))
    roles = self._roles()
    parts = [self._progress(), Text(), table] + ([Text(), role_table.table(roles)] if roles else [])
    return Panel(
        Group(*parts), title=f'[bold]{self._phase}[/]',
        title_align='left', border_style='cyan', padding=(1, 2),
        width=min(PANEL_WIDTH, self._console.width))

  def _progress(self) -> Table:
    step, total = self._shown.get('step', 0), self._total_steps
    gone = self._clock() - self._started
    done = step - (self._first_step or 0)
    left = f', {minutes(gone / done * (total - step))} left' if done > 0 and step < total else ''
    line = Table.grid(expand=True, padding=(0, 2))
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_column(no_wrap=True, style='dim', justify='right')
    line.add_row(
        ProgressBar(
            total=max(total, 1), completed=step, complete_style='cyan', finished_style='green'),
        f'{step}/{total}',
        f'{minutes(gone)} gone{left}')
    return line


def merge(shown: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
  """What to show after `metrics` came in; an evaluation is remembered with its step."""
  merged = {**shown, **metrics,
            'progress': {**shown.get('progress', {}), **metrics.get('progress', {})}}
  if metrics.get('eval/accuracy') is not None:
    merged['evaluated'] = (metrics['eval/accuracy'], merged.get('step', 0))
  return merged


def metric_rows(
    shown: Mapping[str, Any], rewards: Sequence[float], blocks: str) -> list[tuple[str, Text]]:
  """(name, value) of each row of the panel for which there is something to show."""
  rows = []
  row = lambda name, *parts: rows.append((name, Text.assemble(*parts)))
  get = shown.get
  if get('reward') is not None:
    row('reward', (f'{get("reward"):.3f}  ', 'bold'),
        (sparkline(rewards, SPARKLINE_WIDTH, blocks), 'cyan'))
  evaluated = ''
  if (last := get('evaluated')) is not None:
    value, step = last
    evaluated = f'held out {value:.3f} at step {step}'
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


def plain_line(phase: str, total_steps: int, shown: Mapping[str, Any],
               tail: Sequence[str] = ()) -> str:
  """One step as one line of text, for where no panel can be redrawn."""
  formats = (
      ('loss', 'loss {:.4f}'), ('reward', 'reward {:.3f}'), ('accuracy', 'accuracy {:.3f}'),
      ('eval/accuracy', 'held out {:.3f}'), ('completion_tokens_mean', 'length {:.0f}'),
      ('staleness_mean', 'staleness {:.1f}'), ('sampled_tokens_per_s', '{:,.0f} tokens/s'))
  width = len(str(total_steps))
  parts = [f'{phase}  step {shown["step"]:>{width}}/{total_steps}']
  parts += [form.format(shown[key]) for key, form in formats if shown.get(key) is not None]
  return '  '.join(parts) + (f'  | {"; ".join(tail)}' if tail else '')


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
