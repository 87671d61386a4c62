"""Assertions and calls: a judge in one jail, the program in another, plain data between them.

    judge (harness/assertions.py)  -- requests -->  program (harness/answer.py)
          |                        <-- answers ---
          v  'started', then (status, detail) of each test

The judge holds the test; the program's process only answers requests, and only plain data crosses
to the judge (harness/wire.py). So an object that is equal to everything, a patched builtin or
module, an early exit or a forged reply cannot make a test pass.

The judge works on what the program says, so after 'started' whatever becomes of it is the program's
doing: its CPU time and memory are limited for each test, and a judge that exceeds them or ends is
this test's failure and the last test of this program. Before 'started' the program was not heard,
and a failure is ours.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from magistral_jax.verifiers.code import programs
from magistral_jax.verifiers.sandbox.sandbox import COMPILE, Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome, Running

_JUDGE = ('import sys; sys.path.insert(0, sys.argv[1]); import assertions; '
          'assertions.serve(int(sys.argv[2]))')
_PROGRAM = ('import sys; sys.path.insert(0, sys.argv[1]); import answer; del sys.path[0]; '
            'answer.serve(sys.argv[2], int(sys.argv[3]))')
_JUDGE_FILES = ('wire.py', 'known.py', 'session.py', 'assertions.py')
_PROGRAM_FILES = ('wire.py', 'known.py', 'structures.py', 'answer.py')
_READING_S = 2.0             # To start, and to read tests of megabytes.
_LIMITS = ('timeout', 'memory', 'output_limit')


def results(source: str, tests: Mapping[str, Any], sandbox: Sandbox) -> Iterator[tuple[str, str]]:
  """Yields (status, detail) of every assertion or call; ends early if the judge does.

  Args:
    source: a program in Python.
    tests: in the form of `code_tests.read`, of kind 'assert'.
    sandbox: runs the program and the judge.
  """
  ours, theirs = socket.socketpair()
  job = {k: tests[k] for k in ('setup', 'prelude', 'entry_point', 'tolerance')}
  with ours, theirs, sandbox.start(
      lambda files: [sandbox.python, *programs.PYTHON_FLAGS, '-c', _JUDGE, files,
                     str(theirs.fileno())],
      sandbox.python_view, files=programs.harness(*_JUDGE_FILES),
      stdin=json.dumps(job | dict(tests=tests['cases'])).encode(), keep=(theirs.fileno(),),
      limits=_judge_limits(sandbox.limits, len(tests['cases']))) as judge:
    theirs.close()
    files = programs.harness(*_PROGRAM_FILES) | {'solution.py': programs.encoded(source)}
    for _ in tests['cases']:
      judge.renew()
      status, detail, judge_ended = _result(files, ours, judge, sandbox)
      yield status, detail
      if judge_ended:
        return


def _judge_limits(test: Limits, tests: int) -> Limits:
  """What the judge may use: in each test the time of a program and its own, and more memory."""
  return dataclasses.replace(
      test, time_s=test.time_s + _READING_S, idle_s=test.idle_s + _READING_S,
      memory_mb=COMPILE.memory_mb, turns=tests + 1)


def _result(files, control, judge, sandbox) -> tuple[str, str, bool]:
  """(status, detail, whether the judge has ended) of one test on a fresh process."""
  program_end, judge_end = socket.socketpair()
  with judge_end, program_end, sandbox.start(
      lambda folder: [sandbox.python, *programs.PYTHON_FLAGS, '-c', _PROGRAM, folder,
                      f'{folder}/solution.py', str(program_end.fileno())],
      sandbox.python_view, files=files, keep=(program_end.fileno(),)) as program:
    program_end.close()
    try:
      socket.send_fds(control, [b'.'], [judge_end.fileno()])
    except OSError:
      return 'error', f'the judge of the tests is gone: {judge.last_words()}', True
    judge_end.close()
    ended = program.watch(until=control.fileno(), beside=judge)
    started, its_end = _message(control, judge)
    if started is None:
      return 'error', (f'the judge of the tests did not start ({its_end.status}): '
                       f'{its_end.detail or judge.last_words()}'), True
    if ended.status == 'stopped':
      ended = program.watch(until=control.fileno(), beside=judge)
    verdict, its_end = _message(control, judge)
    if verdict and verdict[0] == 'gone' and ended.status == 'stopped':
      ended = program.watch()
  if verdict is None:
    if ended.status in _LIMITS:
      return ended.status, ended.detail, True
    if its_end.status in _LIMITS:
      return its_end.status, f'with what the program returned: {its_end.detail}', True
    return 'wrong', f'the judge of the tests ended: {judge.last_words()}', True
  status, detail = verdict
  if status == 'gone':
    fault, words = programs.fault_of(ended, sandbox.limits)
    return fault or 'runtime_error', words or detail, False
  return status, detail, False


def _message(control: socket.socket, judge: Running) -> tuple[list[str] | None, Outcome | None]:
  """(next message of the judge, None), or (None, how it ended or reached a limit instead)."""
  received, end = b'', 4           # The length, then as much: the next message is left alone.
  while len(received) < end:
    ended = judge.watch(until=control.fileno())
    if ended.status != 'stopped':
      return None, ended
    part = os.read(control.fileno(), end - len(received))
    if not part:                   # It has closed its end, and so is about to end.
      return None, judge.watch()
    received += part
    if len(received) == 4:
      end = 4 + int.from_bytes(received, 'big')
  return json.loads(received[4:]), None
