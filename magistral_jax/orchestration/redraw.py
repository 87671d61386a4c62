"""A panel at the bottom of a terminal, drawn again and again over itself.

Nothing is erased before it is overwritten, so that nothing flickers. What others print, on standard
output or error, comes to stand above the panel. At the end the panel vanishes.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import termios
import threading
from collections.abc import Callable

from absl import logging
from rich.console import Console, RenderableType
from rich.text import Text

HIDE_CURSOR, SHOW_CURSOR = '\x1b[?25l', '\x1b[?25h'
ERASE_LINE, UP = '\x1b[2K', '\x1b[A'
_END_S = 10.0               # A panel that is being drawn is waited for no longer.


class Output:
  """A file that is written as long as it can be: the first failure is logged, and is its end."""

  def __init__(self, file):
    self._file, self._failed = file, False

  def write(self, text: str) -> int:
    self._attempt(lambda: self._file.write(text))
    return len(text)

  def flush(self) -> None:
    self._attempt(self._file.flush)

  def __getattr__(self, name: str):
    return getattr(self._file, name)

  def _attempt(self, act: Callable[[], object]) -> None:
    if self._failed:
      return
    try:
      act()
    except OSError as error:
      self._failed = True
      logging.error('The display cannot be written (%s) and ends; the run goes on.',
                    error.strerror or error)


class Redraw:
  """Draws what `render` returns, `per_s` times a second, while it is open.

  Args:
    console: of the terminal.
    render: makes the panel, which is at least a line lower than the terminal.
  """

  def __init__(self, console: Console, render: Callable[[], RenderableType], per_s: float):
    self._console, self._render, self._period_s = console, render, 1 / per_s
    self._file = console.file          # Kept: standard output will be another one.
    self._lock = threading.RLock()
    self._lines: list[int] = []        # Columns of each line that stands there.
    self._width = console.width
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._draw_on, name='display', daemon=True)
    self._open = contextlib.ExitStack()

  def __enter__(self) -> Redraw:
    self._open.enter_context(without_echo())
    self._open.enter_context(contextlib.redirect_stdout(_Above(self)))
    above = self._open.enter_context(contextlib.redirect_stderr(_Above(self)))
    # absl keeps the stream that it was made with.
    handler = logging.get_absl_handler().python_handler
    self._open.callback(handler.setStream, handler.stream)
    handler.setStream(above)
    self._write(HIDE_CURSOR)
    self._draw()
    self._thread.start()
    return self

  def __exit__(self, *unused) -> None:
    self._closed.set()
    self._thread.join(_END_S)
    with self._lock:
      self._draw()                     # What has happened since the last time was worth a look.
      self._write(f'{self._erased()}{SHOW_CURSOR}')
      self._lines = []
    self._open.close()

  def print(self, *parts: RenderableType, **how) -> None:
    """Prints above the panel; `how` as in `Console.print`."""
    text = self._captured(*parts, **how)
    with self._lock:
      erased, self._lines = self._erased(), []
      self._write(f'{erased}{text}')
      self._draw()

  def _draw_on(self) -> None:
    while not self._closed.wait(self._period_s):
      self._draw()

  def _draw(self) -> None:
    panel = self._captured(self._render()).rstrip('\n')
    with self._lock:
      resized = self._console.width != self._width
      start, before = self._erased() if resized else self._to_top(), len(self._lines)
      self._lines = [len(line) for line in Text.from_ansi(panel).plain.split('\n')]
      self._width = self._console.width
      fewer = 0 if resized else max(0, before - len(self._lines))
      self._write(start + panel + f'\n{ERASE_LINE}' * fewer + UP * fewer)

  def _to_top(self) -> str:
    """Moves the cursor to the beginning of the panel."""
    return '\r' + UP * (self._rows() - 1)

  def _erased(self) -> str:
    """The same, and erases it, line by line: terminals keep a screen that is erased at once."""
    return '\r' + f'{ERASE_LINE}{UP}' * (self._rows() - 1) + ERASE_LINE

  def _rows(self) -> int:
    """Lines of the terminal that the panel takes; a narrower one has broken those it had."""
    return max(1, sum(-(-columns // self._console.width) for columns in self._lines))

  def _captured(self, *parts: RenderableType, **how) -> str:
    with self._console.capture() as capture:
      self._console.print(*parts, **how)
    return capture.get()

  def _write(self, text: str) -> None:
    self._file.write(text)
    self._file.flush()


class _Above(io.TextIOBase):
  """A stream whose lines are printed above the panel."""

  def __init__(self, redraw: Redraw):
    self._redraw, self._rest = redraw, ''

  def isatty(self) -> bool:
    return True

  def write(self, text: str) -> int:
    *lines, self._rest = (self._rest + text).split('\n')
    for line in lines:
      self._redraw.print(line, markup=False, highlight=False)
    return len(text)


@contextlib.contextmanager
def without_echo():
  """A context in which keys, such as Ctrl-C, leave no letters in the panel."""
  try:
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
  except (OSError, ValueError, AttributeError, termios.error):    # There is no keyboard.
    yield
    return
  # A program in the background that changes a terminal is stopped by it.
  in_front = lambda: os.tcgetpgrp(keyboard) == os.getpgrp()
  if in_front():
    changed = termios.tcgetattr(keyboard)
    changed[3] &= ~termios.ECHO          # The fourth entry holds the local modes.
    termios.tcsetattr(keyboard, termios.TCSANOW, changed)
  try:
    yield
  finally:
    with contextlib.suppress(OSError, termios.error):    # A terminal that was closed meanwhile.
      if in_front():
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
