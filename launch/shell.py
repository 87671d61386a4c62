"""Commands that are run with deadlines, or only printed.

A command ends with all processes that it has started: otherwise gcloud leaves an ssh behind that
holds the pipes.
"""
from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence

END_S = 10                # Seconds that a command may take to end after a signal.


class CommandError(RuntimeError):
  """A command failed or did not end in time; the message ends with its output."""


class Shell:
  """A shell that runs commands."""
  dry = False

  def run(self, argv: Sequence[str], *, timeout_s: float, tolerate: Sequence[str] = (),
          otherwise: str = '', answer: str = '') -> str:
    """Runs a command; its standard output.

    Args:
      tolerate: words, in small letters; a command that fails with one of them in its errors counts
        as having printed `otherwise`.
      answer: the output that a dry run assumes.
    Raises:
      CommandError: the command failed in another way, or took longer than `timeout_s`.
    """
    return self.run_together([argv], timeout_s=timeout_s, tolerate=tolerate, otherwise=otherwise,
                             answer=answer)[0]

  def run_together(self, commands: Sequence[Sequence[str]], *, timeout_s: float,
                   tolerate: Sequence[str] = (), otherwise: str = '',
                   answer: str = '') -> list[str]:
    """Runs several commands at the same time, as `run`, and waits for all before it raises."""
    deadline = time.monotonic() + timeout_s
    started: list[subprocess.Popen] = []
    outputs, errors = [], []
    try:
      for argv in commands:
        started.append(self._start(argv))
      for argv, process in zip(commands, started, strict=True):
        status, output, error = self._finish(process, deadline)
        if status and not any(words in error.lower() for words in tolerate):
          errors.append(f'{shlex.join(argv)}\nfailed with status {status}:\n'
                        f'{(output + error)[-4000:].strip()}')
        outputs.append(output if not status else otherwise)
    except BaseException:   # Control-C does not reach commands, which have their own sessions.
      for process in started:
        self.end(process)
      raise
    if errors:
      raise CommandError('\n'.join(errors))
    return outputs

  def follow(self, argv: Sequence[str]) -> subprocess.Popen:
    """Starts a command that shares this program's output; the caller has to `end` it."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)

  def follow_to_end(self, argv: Sequence[str]) -> int:
    """Runs a command that shares this program's output; its exit status."""
    process = self.follow(argv)
    try:
      return process.wait()
    finally:
      self.end(process)

  def end(self, process: subprocess.Popen) -> None:
    """Ends a command and all processes that it has started, if they still run."""
    for number in (signal.SIGTERM, signal.SIGKILL):
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)

  def say(self, text: str) -> None:
    """Tells the user."""
    print(text, flush=True)

  def _start(self, argv):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)

  def _finish(self, process, deadline: float) -> tuple[int, str, str]:
    """(status, output, errors) of a command; at the deadline it is ended."""
    started = time.monotonic()
    try:
      output, error = process.communicate(timeout=max(1.0, deadline - started))
      return process.returncode, output, error
    except subprocess.TimeoutExpired:
      self.end(process)
    try:
      output, error = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:   # A process of another session holds the pipes.
      process.stdout.close()
      process.stderr.close()
      output, error = '', ''
    return process.returncode or 1, output, f'{error}\nended: it took too long'


class DryShell(Shell):
  """A shell that prints commands as bash takes them, and assumes that each succeeds."""
  dry = True

  def run_together(self, commands, *, timeout_s, tolerate=(), otherwise='', answer=''):
    for argv in commands:
      print(shlex.join(argv))
    return [answer for _ in commands]

  def follow(self, argv):
    print(shlex.join(argv))
    return super().follow(['true'])

  def say(self, text):
    print(f'# {text}')
