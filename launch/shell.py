"""Running commands with deadlines, or printing what would be run."""
from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence


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
    started = [self._start(argv) for argv in commands]
    outputs, errors = [], []
    for argv, process in zip(commands, started, strict=True):
      try:
        output, error = process.communicate(timeout=timeout_s)
      except subprocess.TimeoutExpired:
        process.kill()
        output, error = process.communicate()
        error = f'{error}\nnot done after {timeout_s:.0f} s'
        process.returncode = process.returncode or 1
      if process.returncode and not any(words in error.lower() for words in tolerate):
        errors.append(f'{shlex.join(argv)}\nfailed with status {process.returncode}:\n'
                      f'{(output + error)[-4000:].strip()}')
      outputs.append(output if not process.returncode else '')
    if errors:
      raise CommandError('\n'.join(errors))
    return outputs

  def follow(self, argv: Sequence[str]) -> subprocess.Popen:
    """Starts a command whose output goes straight to this program's."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)

  def say(self, text: str) -> None:
    print(text, flush=True)

  def _start(self, argv):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


class DryShell(Shell):
  """Prints commands as a shell would take them; every one of them succeeds."""
  dry = True

  def run_together(self, commands, *, timeout_s, tolerate=(), answer=''):
    for argv in commands:
      print(shlex.join(argv))
    return [answer for _ in commands]

  def follow(self, argv):
    print(shlex.join(argv))
    return subprocess.Popen(['true'])

  def say(self, text):
    print(f'# {text}')
