"""Programs that read stdin and write stdout: prepared once, run in jails on any number of inputs.

How a program ended is told from its exit code and from what its language's runtime writes last.
Both are the program's to choose, so it can pass one failure off as another. None of them is paid,
and only what it cannot choose counts: it is right, it does not compile (the harness says so before
the program runs), it reached a limit (the supervisor measured it).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from magistral_jax.verifiers.code import cpp
from magistral_jax.verifiers.sandbox import jail
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome

PYTHON_FLAGS = ('-I', '-S', '-B', '-X', 'utf8', '-X', 'int_max_str_digits=0')
_HARNESS = pathlib.Path(__file__).parent / 'harness'
_SYNTAX_ERROR = 97           # harness/script.py
_KILLED, _CPU_LIMIT = 128 + 9, 128 + 24
_ABORTED = 128 + 6


@dataclasses.dataclass(frozen=True)
class Runnable:
  """A program that can be run; or the reason why not.

  Runnable(sandbox, files={'program': b'\\x7fELF...'}) or Runnable(sandbox, ('error', 'no g++'))
  """
  sandbox: Sandbox
  fault: tuple[str, str] | None = None               # (status, detail)
  files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
  view: jail.View = cpp.VIEW
  argv: Callable[[str], Sequence[str]] = cpp.start_argv      # Folder of the files -> arguments.
  tells: bool = False       # Whether a byte on a descriptor, its last argument, says: compiled.

  def run(self, stdin: bytes) -> Outcome:
    """Runs the program on an input in a fresh jail; 'compile_error' too is a status here."""
    given = dict(files=self.files, stdin=stdin)
    if not self.tells:
      return self.sandbox.run(self.argv, self.view, **given)
    compiled, into = os.pipe()
    with open(compiled, 'rb') as told:
      try:
        running = self.sandbox.start(
            lambda folder: [*self.argv(folder), str(into)], self.view, keep=(into,), **given)
      finally:
        os.close(into)
      with running:
        outcome = running.watch()
      # With the program dead, there is a byte in the pipe or nothing more to come.
      if outcome.status == 'exited' and outcome.exit_code == _SYNTAX_ERROR and not told.read(1):
        words = outcome.stderr.decode(errors='replace').strip()[-500:]
        return dataclasses.replace(outcome, status='compile_error', detail=words)
      return outcome

  def fault_of(self, outcome: Outcome) -> tuple[str, str]:
    """(status, detail) of a run that did not end well; ('', '') of one that did."""
    return fault_of(outcome, self.sandbox.limits)


def prepare(source: str, language: str, sandbox: Sandbox) -> Runnable:
  """Makes a Runnable of a source in 'python' or 'cpp'; C++ is compiled here."""
  if language == 'cpp':
    compiled = cpp.compile_source(source, sandbox)
    if not compiled.program:
      return Runnable(sandbox, ('error' if compiled.failed else 'compile_error', compiled.detail))
    return Runnable(sandbox, files={'program': compiled.program})
  return Runnable(
      sandbox, files=harness('script.py') | {'solution.py': encoded(source)},
      view=sandbox.python_view, tells=True,
      argv=lambda folder: [sandbox.python, *PYTHON_FLAGS, f'{folder}/script.py',
                           f'{folder}/solution.py'])


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
