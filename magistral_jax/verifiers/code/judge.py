"""Whether a program is right: it is compiled, run on the tests in jails, and compared outside them.

A test of stdin and stdout: the program reads stdin in its jail (programs.py) and its output is
compared here, so the expected output never enters the jail. An assertion or a call: the test runs
in a jail of its own and only exchanges plain data with the program's (calls.py).

Every test is run by a fresh process, in a jail where nothing is left of any other test.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping
from typing import Any

from magistral_jax import code_tests
from magistral_jax.verifiers.code import calls, compare, programs
from magistral_jax.verifiers.sandbox.sandbox import COMPILE, Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits

# The names that people and models write behind the three backticks.
TAGS = dict(
    python=('python', 'python3', 'py', 'py3', 'python2', 'cpython', 'pypy', 'pypy3'),
    cpp=('cpp', 'c++', 'cxx', 'cc', 'cplusplus', 'c++17', 'c++20', 'cpp17', 'cpp20', 'c++14',
         'cpp14', 'c++11', 'cpp11', 'c++23', 'cpp23', 'hpp'))
MOST_SOURCE_BYTES = 256 << 10
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
  """The longest wall time in seconds that `check` may take, on a machine that hardly runs it."""
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
    return _settle(calls.results(source, tests, sandbox), total, every)
  return _settle(_pairs(source, written, tests, sandbox), total, every)


def check_once(source: str, block_language: str, tests: Mapping[str, Any], *, language: str,
               sandbox: Sandbox, every: bool = False) -> CodeResult:
  """As `check`, but a program that this sandbox has just judged by the same tests is not run again.

  Equal programs of a group are so paid the same, even if chance decides what they print or a limit
  is near. Only the last few hundred results are held, so that no group inherits the luck that an
  earlier one of the same problem had. What was our failure is not held.
  """
  said = json.dumps([source, block_language, tests, language, every]).encode()
  key = hashlib.sha256(said).digest()
  if (found := sandbox.results.get(key)) is None:
    found = check(source, block_language, tests, language=language, sandbox=sandbox, every=every)
    if found.status != 'error':
      sandbox.results.put(key, found, 1)
  return found


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
  with programs.prepare(source, language, sandbox) as program:
    if program.fault:
      yield program.fault
      return
    for case in tests['cases']:
      outcome = program.run(case['stdin'].encode())
      status, detail = program.fault_of(outcome)
      if not status:
        same, detail = compare.same_output(
            outcome.stdout, case['stdout'], checker=tests['checker'], tolerance=tests['tolerance'])
        status = 'correct' if same else 'wrong'
      yield status, detail
