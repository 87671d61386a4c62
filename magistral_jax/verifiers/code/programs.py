"""Programs that read stdin and write stdout: prepared once, run in jails on any number of inputs.

How a program ended is told from its exit code and from what its language's runtime writes last.
Both are the program's to choose, so it can pass one failure off as another. None of them is paid,
and only what it cannot choose counts: it is right, it does not compile (then the harness ends, and
no program can end it), it reached a limit (the supervisor measured it).
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import socket
from collections.abc import Mapping

from magistral_jax.verifiers.code import cpp
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome, Running

PYTHON_FLAGS = ('-I', '-S', '-B', '-X', 'utf8', '-X', 'int_max_str_digits=0')
_HARNESS = pathlib.Path(__file__).parent / 'harness'
_SYNTAX_ERROR = 97           # harness/script.py
_SAID = re.compile(rb'(-?\d+) (\d+)\n')
_KILLED, _CPU_LIMIT = 128 + 9, 128 + 24
_ABORTED = 128 + 6


class Runnable:
  """A program that can be run on inputs; or the reason why not. A context manager.

  fault: (status, detail) of a program that cannot be run; None of one that can.

  Args:
    sandbox: runs it, every time in a fresh jail.
    files: of the program; its binary is called `program`.
  """

  def __init__(self, sandbox: Sandbox, *, fault: tuple[str, str] | None = None,
               files: Mapping[str, bytes] | None = None):
    self.sandbox, self.fault, self._files = sandbox, fault, files or {}

  def __enter__(self) -> Runnable:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def run(self, stdin: bytes) -> Outcome:
    """Runs the program on an input; 'compile_error' too is a status here."""
    return self.sandbox.run(cpp.start_argv, cpp.VIEW, files=self._files, stdin=stdin)

  def fault_of(self, outcome: Outcome) -> tuple[str, str]:
    """(status, detail) of a run that did not end well; ('', '') of one that did."""
    return fault_of(outcome, self.sandbox.limits)

  def close(self) -> None:
    """Ends what runs of it. Safe to call twice; the next run begins anew."""


class PythonProgram(Runnable):
  """A program in Python, in one jail with harness/script.py as long as it leaves that jail empty.

  Every input has a fresh process. Its jail has nothing in it but the harness: no other process and
  no file, as the supervisor sees it from outside; otherwise it gets a fresh jail.
  """

  def __init__(self, sandbox: Sandbox, source: str):
    super().__init__(sandbox, files=harness('script.py') | {'solution.py': encoded(source)})
    self._running: Running | None = None
    self._control: socket.socket | None = None

  def run(self, stdin: bytes) -> Outcome:
    if not self._begin_turn(stdin):
      self.close()
      self._start(stdin)
    outcome = self._running.watch(until=self._control.fileno())
    if outcome.status != 'stopped':
      return outcome
    if said := _SAID.fullmatch(self._control.recv(64)):
      code, kilobytes = map(int, said.groups())
      return self._running.end_turn(code if code >= 0 else 128 - code, kilobytes << 10)
    outcome = self._running.watch()                  # The harness is about to end.
    if outcome.status == 'exited' and outcome.exit_code == _SYNTAX_ERROR:
      words = outcome.stderr.decode(errors='replace').strip()[-500:]
      return dataclasses.replace(outcome, status='compile_error', detail=words)
    return outcome

  def _begin_turn(self, stdin: bytes) -> bool:
    """Has the harness begin with another input; False if there is none in a jail that is empty."""
    if self._running is None or not self._running.begin_turn(stdin):
      return False
    try:
      self._control.sendall(b'.')
    except OSError:                # It was killed, as when the machine runs out of memory.
      return False
    return True

  def _start(self, stdin: bytes) -> None:
    """Starts the harness in a fresh jail, with its first input."""
    self._control, theirs = socket.socketpair()
    with theirs:
      self._running = self.sandbox.start(
          lambda folder: [self.sandbox.python, *PYTHON_FLAGS, f'{folder}/script.py',
                          f'{folder}/solution.py', str(theirs.fileno())],
          self.sandbox.python_view, files=self._files, stdin=stdin, keep=(theirs.fileno(),),
          first=True)

  def close(self) -> None:
    if self._control:
      self._control.close()
    if self._running:
      self._running.kill()
    self._control = self._running = None


def prepare(source: str, language: str, sandbox: Sandbox) -> Runnable:
  """Makes a Runnable of a source in 'python' or 'cpp'; C++ is compiled here."""
  if language == 'python':
    return PythonProgram(sandbox, source)
  compiled = cpp.compile_source(source, sandbox)
  if not compiled.program:
    return Runnable(
        sandbox, fault=('error' if compiled.failed else 'compile_error', compiled.detail))
  return Runnable(sandbox, files={'program': compiled.program})


def fault_of(outcome: Outcome, limits: Limits) -> tuple[str, str]:
  """(status, detail) of a program that did not exit with code 0; ('', '') of one that did."""
  code = outcome.exit_code
  if outcome.status != 'exited':
    return outcome.status, outcome.detail
  if code == 0:
    return '', ''
  said = outcome.stderr.decode(errors='replace').strip()
  last = said.splitlines()[-1][:300] if said else ''
  if last.startswith('ModuleNotFoundError'):
    last += ' (programs have the standard library alone)'
  # As the runtimes of Python and of C++ report an allocation that the kernel refused.
  if (code == 1 and said.startswith('Traceback (') and last.startswith('MemoryError')
      or code == _ABORTED and "'std::bad_alloc'" in said):
    return 'memory', last
  # The kernel's limit of CPU time lies above ours; a program can send itself its signals.
  if code in (_CPU_LIMIT, _KILLED) and outcome.cpu_s > limits.time_s / 2:
    return 'timeout', 'killed for the CPU time it used'
  return 'runtime_error', f'exit code {code}: {last}'


def encoded(source: str) -> bytes:
  """A source as its file's bytes; a lone surrogate, which no file has, makes it no UTF-8."""
  return source.encode('utf-8', 'surrogatepass')


@functools.lru_cache
def harness(*names: str) -> dict[str, bytes]:
  """{name: content} of files of the harness."""
  return {name: (_HARNESS / name).read_bytes() for name in names}
