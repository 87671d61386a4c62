"""Running commands with deadlines, or printing what would be run.

A command is ended with all that it has started: gcloud leaves its ssh behind otherwise, which holds
the pipes.
"""
from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence

END_S = 10                # So long a command may take to end once it is told to.


class CommandError(RuntimeError):
  """A command failed or did not end in time. Its output is the message's end."""


class Shell:
  """Runs commands."""
  dry = False

  def run(self, argv: Sequence[str], *, timeout_s: float, tolerate: Sequence[str] = (),
          answer: str = '') -> str:
    """The command's standard output.

    Args:
      tolerate: what its errors may say (in any case of letters) to be taken for ''.
      answer: what a dry run makes of it.
    Raises:
      CommandError: it failed in another way, or took longer.
    """
    return self.run_together([argv], timeout_s=timeout_s, tolerate=tolerate, answer=answer)[0]

  def run_together(self, commands: Sequence[Sequence[str]], *, timeout_s: float,
                   tolerate: Sequence[str] = (), answer: str = '') -> list[str]:
    """As `run`, several at the same time; all of them are waited for before an error is raised."""
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
        outputs.append(output if not status else '')
    except BaseException:   # Control-C does not reach commands in sessions of their own.
      for process in started:
        self.end(process)
      raise
    if errors:
      raise CommandError('\n'.join(errors))
    return outputs

  def follow(self, argv: Sequence[str]) -> subprocess.Popen:
    """Starts a command whose output goes straight to this program's; `end` it in the end."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)

  def follow_to_end(self, argv: Sequence[str]) -> int:
    """As `follow`, until the command ends; its status."""
    process = self.follow(argv)
    try:
      return process.wait()
    finally:
      self.end(process)

  def end(self, process: subprocess.Popen) -> None:
    """Ends a command, with all it has started, if it still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)

  def say(self, text: str) -> None:
    print(text, flush=True)

  def _start(self, argv):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)

  def _finish(self, process, deadline: float) -> tuple[int, str, str]:
    """(status, output, errors) of a command, which is ended if it takes too long."""
    started = time.monotonic()
    try:
      output, error = process.communicate(timeout=max(1.0, deadline - started))
      return process.returncode, output, error
    except subprocess.TimeoutExpired:
      self.end(process)
    try:
      output, error = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:   # Something of another session holds the pipes.
      process.stdout.close()
      process.stderr.close()
      output, error = '', ''
    return process.returncode or 1, output, f'{error}\nended: it took too long'


class DryShell(Shell):
  """Prints commands as a shell would take them; every one of them succeeds."""
  dry = True

  def run_together(self, commands, *, timeout_s, tolerate=(), answer=''):
    for argv in commands:
      print(shlex.join(argv))
    return [answer for _ in commands]

  def follow(self, argv):
    print(shlex.join(argv))
    return super().follow(['true'])

  def say(self, text):
    print(f'# {text}')
