"""Whether a program is right: it is compiled, run on the tests in jails, and compared outside them.

A test of stdin and stdout: the program reads stdin in its jail and its output is compared here, so
the expected output never enters the jail. An assertion or a call: two processes in two jails. The
judge (harness/assertions.py) holds the test; the program's process only answers calls, and only
plain data crosses to the judge (harness/wire.py). So an object that is equal to everything, a
patched builtin or module, an early exit or a forged reply cannot make a test pass.

Every test is run by a fresh process in a fresh jail.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import random
import select
import socket
from collections.abc import Mapping
from typing import Any

from magistral_jax import code_tests
from magistral_jax.verifiers.code import compare, cpp
from magistral_jax.verifiers.sandbox.sandbox import COMPILE, Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome

# The names that people and models write behind the three backticks.
TAGS = dict(
    python=('python', 'python3', 'py', 'py3', 'python2', 'cpython', 'pypy', 'pypy3'),
    cpp=('cpp', 'c++', 'cxx', 'cc', 'cplusplus', 'c++17', 'c++20', 'cpp17', 'cpp20', 'c++14',
         'cpp14', 'c++11', 'cpp11', 'c++23', 'cpp23', 'hpp'))
MOST_SOURCE_BYTES = 256 << 10
_HARNESS = pathlib.Path(__file__).parent / 'harness'
_SYNTAX_ERROR = 97           # harness/script.py
_PYTHON_FLAGS = ('-I', '-S', '-B', '-X', 'utf8', '-X', 'int_max_str_digits=0')
_JUDGE = ('import sys; sys.path.insert(0, sys.argv[1]); import assertions; '
          'assertions.serve(int(sys.argv[2]))')
_PROGRAM = ('import sys; sys.path.insert(0, sys.argv[1]); import answer; del sys.path[0]; '
            'answer.serve(sys.argv[2], int(sys.argv[3]))')
_SLACK_S = 5.0               # Time to start and end jails on a loaded machine.


@dataclasses.dataclass(frozen=True)
class CodeResult:
  """The result of judging a program.

  CodeResult('wrong', passed=4, total=20, detail="test 5: token 3 is '7'")
  """
  status: str               # One of records.STATUSES.
  passed: int
  total: int
  detail: str = ''


def language_of(tag: str) -> str:
  """The language that a tag names: 'python', 'cpp', or the tag itself in lower case."""
  tag = tag.lower()
  return next((name for name, tags in TAGS.items() if tag in tags), tag)


def draw(tests: Mapping[str, Any], seed: int, count: int = 20) -> dict[str, Any]:
  """The tests that a whole group is judged by: `count` of them in their order, or all if fewer.

  The same seed draws the same tests.

  Reference: arXiv:2506.10910 section 2.2.2.
  """
  tests = code_tests.read(tests)
  found = tests['cases']
  if len(found) <= count:
    return tests
  # Seeded by text, which is hashed: neighbouring seeds draw independently.
  chosen = sorted(random.Random(f'tests {seed}').sample(range(len(found)), count))
  return tests | dict(cases=[found[n] for n in chosen])


def budget_s(tests: Mapping[str, Any], language: str, limits: Limits) -> float:
  """The longest wall time in seconds that `check` may take."""
  compiling = 0.0 if language == 'python' else COMPILE.wall_s + _SLACK_S
  return compiling + len(code_tests.read(tests)['cases']) * limits.wall_s + 2 * _SLACK_S


def check(source: str, block_language: str, tests: Mapping[str, Any], *, language: str,
          sandbox: Sandbox, every: bool = False) -> CodeResult:
  """Judges a program.

  Args:
    source: the program.
    block_language: language that the program's block names.
    tests: in the form of `code_tests.read`, or as a problem file has them.
    language: the language asked for: 'python', 'cpp' or 'any'.
    sandbox: runs it.
    every: run all tests even after one has failed, for a proportional reward; a test that exceeds
      its time, memory or output still ends the check.
  Returns:
    status 'correct' if all tests pass, else the status of the first that does not; 'error' only
    where our code or the sandbox failed, or the tests are broken.
  """
  tests = code_tests.read(tests)
  total, written = len(tests['cases']), language_of(block_language)
  asked = [language] if language != 'any' else ['python', 'cpp']
  if written not in asked:
    return CodeResult('wrong', 0, total, f'{block_language} instead of {" or ".join(asked)}')
  if len(source) > MOST_SOURCE_BYTES:
    return CodeResult('wrong', 0, total, f'a source of more than {MOST_SOURCE_BYTES} characters')
  if tests['kind'] == 'assert':
    if written != 'python':
      return CodeResult('wrong', 0, total, f'{written} where the tests call Python functions')
    return _settle(_assertions(source, tests, sandbox), total, every)
  return _settle(_pairs(source, written, tests, sandbox), total, every)


def _settle(results, total: int, every: bool) -> CodeResult:
  """The CodeResult of the tests' (status, detail), which come in order."""
  first, passed = None, 0
  for number, (status, detail) in enumerate(results, 1):
    if status == 'correct':
      passed += 1
      continue
    where = '' if status == 'compile_error' else f'test {number}: '
    first = first or (status, (where + detail)[:1000])
    if status == 'error':          # Our failure, which says nothing about the program.
      first = status, (where + detail)[:1000]
    if not every or status in ('timeout', 'memory', 'output_limit', 'compile_error', 'error'):
      break
  results.close()                  # Ends the judge and the program.
  status, detail = first or ('correct', '')
  return CodeResult(status, passed, total, detail)


def _pairs(source, language, tests, sandbox):
  """Yields (status, detail) of every stdin-stdout test."""
  if language == 'cpp':
    compiled = cpp.compile_source(source, sandbox)
    if not compiled.program:
      yield 'error' if compiled.failed else 'compile_error', compiled.detail
      return
    files, view, argv = {'program': compiled.program}, cpp.VIEW, cpp.start_argv
  else:
    files = _harness('script.py') | {'solution.py': _bytes(source)}
    view = sandbox.python_view
    argv = lambda folder: [sandbox.python, *_PYTHON_FLAGS, f'{folder}/script.py',
                           f'{folder}/solution.py']
  for case in tests['cases']:
    outcome = sandbox.run(argv, view, files=files, stdin=case['stdin'].encode())
    status, detail = _fault(outcome, sandbox.limits)
    if not status:
      same, detail = compare.same_output(
          outcome.stdout, case['stdout'], checker=tests['checker'], tolerance=tests['tolerance'])
      status = 'correct' if same else 'wrong'
    yield status, detail


def _fault(outcome: Outcome, limits: Limits) -> tuple[str, str]:
  """(status, detail) of a program that did not exit with code 0; ('', '') of one that did."""
  if outcome.status != 'exited':
    return outcome.status, outcome.detail
  if outcome.exit_code == 0:
    return '', ''
  said = outcome.stderr.decode(errors='replace').strip()
  last = said.splitlines()[-1][:300] if said else ''
  if outcome.exit_code == _SYNTAX_ERROR and 'Error: ' in last:
    return 'compile_error', said[-500:]
  if last.startswith('MemoryError') or 'std::bad_alloc' in said:
    return 'memory', last
  # The CPU limit of a process is rounded up to a whole second, and the last poll may be stale.
  if outcome.exit_code in (128 + 24, 128 + 9) and outcome.cpu_s > limits.time_s - 0.1:
    return 'timeout', 'killed for the CPU time it used'
  return 'runtime_error', f'exit code {outcome.exit_code}: {last}'


def _assertions(source, tests, sandbox):
  """Yields (status, detail) of every assertion or call."""
  ours, theirs = socket.socketpair()
  job = {k: tests[k] for k in ('setup', 'prelude', 'entry_point', 'tolerance')}
  limits = dataclasses.replace(
      COMPILE, time_s=budget_s(tests, 'python', sandbox.limits), wall_s=float('inf'))
  with ours, theirs, sandbox.start(
      lambda files: [sandbox.python, *_PYTHON_FLAGS, '-c', _JUDGE, files, str(theirs.fileno())],
      sandbox.python_view, files=_harness('wire.py', 'assertions.py'),
      stdin=json.dumps(job | dict(tests=tests['cases'])).encode(), keep=(theirs.fileno(),),
      limits=limits) as judge:
    theirs.close()
    files = _harness('wire.py', 'answer.py') | {'solution.py': _bytes(source)}
    for _ in tests['cases']:
      yield _assertion(files, ours, judge, sandbox)


def _assertion(files, control, judge, sandbox):
  """(status, detail) of one test, in a fresh process of the program that is joined to the judge."""
  program_end, judge_end = socket.socketpair()
  with judge_end, program_end, sandbox.start(
      lambda folder: [sandbox.python, *_PYTHON_FLAGS, '-c', _PROGRAM, folder,
                      f'{folder}/solution.py', str(program_end.fileno())],
      sandbox.python_view, files=files, keep=(program_end.fileno(),)) as program:
    program_end.close()
    socket.send_fds(control, [b'.'], [judge_end.fileno()])
    judge_end.close()
    outcome = program.watch(until=control.fileno())
    # A judge learns that its program ended, however late it starts. After a timeout the judge
    # itself may be what hangs, so it gets less time.
    said = _verdict(control, 1.0 if outcome.status == 'timeout' else _SLACK_S)
    if said and said[0] == 'gone' and outcome.status == 'stopped':
      outcome = program.watch()
  if said is None:
    if outcome.status in ('timeout', 'memory', 'output_limit'):
      return outcome.status, outcome.detail
    judge.kill()
    return 'error', f'the judge of the tests is gone: {judge.last_words()}'
  status, detail = said
  if status == 'gone':
    if outcome.status in ('timeout', 'memory', 'output_limit', 'error'):
      return outcome.status, outcome.detail
    fault, words = _fault(outcome, sandbox.limits)
    return fault or 'runtime_error', words or detail
  return status, detail


def _verdict(control: socket.socket, wait_s: float) -> tuple[str, str] | None:
  """The judge's (status, detail) of a test; None if none arrives within `wait_s`."""
  received = b''
  while len(received) < 4 or len(received) < 4 + int.from_bytes(received[:4], 'big'):
    if not select.select([control], [], [], wait_s)[0]:
      return None
    part = os.read(control.fileno(), 1 << 16)
    if not part:
      return None
    received += part
  status, detail = json.loads(received[4:])
  return status, detail


def _bytes(source: str) -> bytes:
  return source.encode('utf-8', 'surrogateescape')


@functools.lru_cache
def _harness(*names: str) -> dict[str, bytes]:
  """{name: content} of files of the harness."""
  return {name: (_HARNESS / name).read_bytes() for name in names}
