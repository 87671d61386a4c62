"""Progress in the terminal: what the run has reached and what every role does or waits for.

On a terminal one panel (panel.py) is redrawn in place, and what is to stay is printed above it.
Elsewhere, in a log file, progress is plain lines. Nothing of it is kept: the numbers that last are
in metrics.jsonl. So a terminal that is closed, or a log file without room, costs no run.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

from rich.console import Console, RenderableType

from magistral_jax.orchestration import panel, role_table
from magistral_jax.orchestration.redraw import Output, Redraw
from magistral_jax.orchestration.roles import RoleStatus

REFRESH_PER_S = 4
# A phase of short steps writes a line of a log no more often than this.
LOG_EVERY_S = 15.0
# Figures that outlast a phase.
_OF_THE_RUN = ('eval/accuracy', 'eval/version', 'stage')


class Display:
  """Shows the newest numbers of a run while it is open; several threads may update it.

  with Display(120, True) as display:
    display.watch(lambda: {'trainer': RoleStatus('waiting for a batch', waiting=True)})
    display.update(dict(step=1, reward=.3))

  Args:
    total_steps: steps of the first phase.
    enabled: False shows nothing at all.
    console: where it is shown; standard output by default.
    clock: seconds, for the time elapsed and left.
  """

  def __init__(self, total_steps: int, enabled: bool, *, console: Console | None = None,
               clock: Callable[[], float] = time.monotonic):
    self._enabled, self._clock = enabled, clock
    self._console = console or Console()
    self._console.file = cast(IO[str], Output(self._console.file))
    self._shown: dict[str, Any] = {}
    self._roles: Callable[[], Mapping[str, RoleStatus]] = dict
    self._rewards: list[float] = []
    self._redraw: Redraw | None = None
    self._ending = ''
    self._lock = threading.Lock()
    self.phase('starting', total_steps)

  def __enter__(self) -> Display:
    if self._enabled and self._console.is_terminal and not self._console.is_dumb_terminal:
      self._redraw = Redraw(self._console, self._render, REFRESH_PER_S)
      self._redraw.__enter__()
    return self

  def __exit__(self, *unused) -> None:
    redraw, self._redraw = self._redraw, None
    if redraw is not None:
      redraw.__exit__()

  def phase(self, name: str, total_steps: int, *, done: int = 0,
            log_every_s: float = 0.0) -> None:
    """Starts counting anew; the numbers of the phase before leave the panel.

    Args:
      done: steps that an earlier run of it has made.
      log_every_s: seconds between two lines of a log; 0: a line for every step.
    """
    with self._lock:
      self._phase, self._total_steps, self._log_every_s = name, total_steps, log_every_s
      self._started = self._logged = self._clock()
      self._done = done
      # Of the first and the newest step of this process: (step, when it ended).
      self._first: tuple[int, float] | None = None
      self._newest: tuple[int, float] | None = None
      self._shown = {key: self._shown[key] for key in _OF_THE_RUN if key in self._shown}

  def watch(self, roles: Callable[[], Mapping[str, RoleStatus]]) -> None:
    """Shows the status of every role, asked for whenever the display is drawn.

    It asks no more often than that: with hundreds of roles each time costs.
    """
    with self._lock:
      self._roles = roles

  def update(self, figures: Mapping[str, Any]) -> None:
    """Takes in `step` and any of the figures of a line of metrics.jsonl.

    A figure that is not given keeps its last value.
    """
    with self._lock:
      before, self._shown = self._shown.get('step'), {**self._shown, **figures}
      step = self._shown.get('step')
      if step is None or step == before:
        return
      if figures.get('reward') is not None:
        self._rewards.append(float(figures['reward']))
      now = self._clock()
      self._newest = (step, now)
      self._first = self._first or self._newest
      if self._enabled and self._redraw is None and now - self._logged >= self._log_every_s:
        self._logged = now
        self.note(plain_line(self._phase, self._total_steps, figures, self._roles()))

  def note(self, sentence: str) -> None:
    """Prints a sentence that stays: above the panel, or as a line of a log."""
    # A line of a log is one sentence; a terminal breaks it between words.
    self._print(sentence.replace('\n', ' '), markup=False, highlight=False,
                soft_wrap=not self._console.is_terminal)

  def show(self, *parts: RenderableType) -> None:
    """Prints tables, panels and sentences that stay, one below the other."""
    for part in parts:
      if isinstance(part, str):
        self.note(part)
      else:
        self._print(part)

  def _print(self, *parts: RenderableType, **how) -> None:
    if self._enabled:
      (self._redraw or self._console).print(*parts, **how)

  def ending(self, sentence: str) -> None:
    """Says at once that the run was asked to stop; a signal handler or a thread may call it.

    It takes no lock and does not use the console, which the interrupted thread may hold.
    """
    self._ending = sentence
    if self._enabled and self._redraw is None:
      with contextlib.suppress(OSError):     # The terminal may be what is gone.
        os.write(2, f'{sentence}\n'.encode())

  def _render(self) -> RenderableType:
    shown, elapsed = self._shown, self._clock() - self._started
    contents = panel.Contents(
        phase=self._phase, step=shown.get('step', self._done), total_steps=self._total_steps,
        elapsed_s=elapsed, left_s=self._left_s(), figures=shown, rewards=self._rewards,
        roles=self._roles(), ending=self._ending)
    return panel.render(contents, width=self._console.width, height=self._console.height,
                        ascii_only=self._console.options.ascii_only)

  def _left_s(self) -> float | None:
    """Seconds that the phase will still take by the pace since its first step, which compiles."""
    first, newest = self._first, self._newest      # Read once: another thread may begin a phase.
    if first is None or newest is None or newest[0] <= first[0]:
      return None
    (step, ended), to_do = newest, self._total_steps - newest[0]
    pace = (ended - first[1]) / (step - first[0])
    # Less what has passed of the next step.
    return pace * to_do - min(self._clock() - ended, pace) if to_do > 0 else None


def plain_line(phase: str, total_steps: int, shown: Mapping[str, Any],
               roles: Mapping[str, RoleStatus]) -> str:
  """One step as one line of text, for where no panel can be redrawn."""
  formats = (
      ('loss', 'loss {:.4f}'), ('reward', 'reward {:.3f}'), ('accuracy', 'accuracy {:.3f}'),
      ('eval/accuracy', 'held out {:.3f}'), ('completion_tokens_mean', 'length {:.0f}'),
      ('staleness_mean', 'staleness {:.1f}'), ('sampled_tokens_per_s', '{:,.0f} tokens/s'))
  width = len(str(total_steps))
  parts = [f'{phase}  step {shown["step"]:>{width}}/{total_steps}']
  parts += [form.format(shown[key]) for key, form in formats if shown.get(key) is not None]
  doing = role_table.sentence(roles)
  return '  '.join(parts) + (f'  | {doing}' if doing else '')
