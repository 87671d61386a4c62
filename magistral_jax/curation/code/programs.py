"""Solutions of a problem, and running them on its tests in jails.

A row names its solutions as

    "reference_solution": "print(...)"
    "solutions": ["print(...)", {"language": "cpp", "code": "#include ..."}, ...]

A text without a language is in that of the row, or in Python where the row takes any.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence

from magistral_jax.curation.rows import Row, text_of
from magistral_jax.verifiers.code import compare, judge, programs
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome

MOST_HANGS = 3              # Tests that may use up a solution's time before the others are skipped.


@dataclasses.dataclass(frozen=True)
class Solution:
  """A program that its source calls right.

  Solution('python', 'print(int(input()) + 1)')
  """
  language: str             # 'python' or 'cpp'.
  source: str


@dataclasses.dataclass(frozen=True)
class ProgramRun:
  """What a solution did on one test.

  ProgramRun('exited', '3\\n'); output is None where there is none: assertions, failures.
  """
  status: str               # 'exited', 'skipped', or one of records.STATUSES.
  output: str | None = None


def solutions_of(row: Row) -> list[Solution]:
  """The solutions of a row, each once, in its order.

  Raises:
    ValueError: an entry that is neither text nor an object with "code"; a language that is not
      judged.
  """
  default = judge.language_of(text_of(row, 'language') or 'any')
  default = 'python' if default == 'any' else default
  entries = row.get('solutions') or []
  if not isinstance(entries, list):
    raise ValueError('"solutions" must be a list.')
  found = []
  for entry in [row.get('reference_solution'), *entries]:
    if entry is None or entry == '':
      continue
    if isinstance(entry, str):
      entry = dict(code=entry)
    if not isinstance(entry, Mapping) or not isinstance(entry.get('code'), str):
      raise ValueError('a solution must be text, or an object with "language" and "code".')
    language = judge.language_of(str(entry.get('language') or default))
    if language not in ('python', 'cpp'):
      raise ValueError(f'a solution is in {language!r}; python and cpp are judged.')
    if entry['code'].strip():
      found.append(Solution(language, entry['code']))
  return list(dict.fromkeys(found))


class Runner:
  """Runs solutions in jails; any number of threads may call it, each with a sandbox of its own.

  Args:
    time_s, memory_mb: what one test may use.
    mode: one of sandbox.MODES.
  """

  def __init__(self, *, time_s: float = 4.0, memory_mb: int = 300, mode: str = 'bubblewrap'):
    self._limits = Limits(time_s=time_s, memory_mb=memory_mb)
    self._mode, self._local = mode, threading.local()

  @property
  def sandbox(self) -> Sandbox:
    """The sandbox of this thread."""
    if not hasattr(self._local, 'sandbox'):
      self._local.sandbox = Sandbox(self._limits, mode=self._mode)
    return self._local.sandbox

  def runs(self, solution: Solution, tests: Mapping) -> list[ProgramRun]:
    """What a solution does on each test of a problem, in the form of `code_tests.read`."""
    if tests['kind'] == 'stdin':
      return self.outputs(solution, [case['stdin'] for case in tests['cases']])
    return self._asserted(solution, tests)

  def outputs(self, solution: Solution, inputs: Sequence[str]) -> list[ProgramRun]:
    """What a solution writes for each input. After MOST_HANGS timeouts the rest is skipped."""
    with programs.prepare(solution.source, solution.language, self.sandbox) as program:
      if program.fault:
        return [ProgramRun(program.fault[0])] * len(inputs)
      found, hangs = [], 0
      for text in inputs:
        if hangs >= MOST_HANGS:
          found.append(ProgramRun('skipped'))
          continue
        outcome = program.run(text.encode())
        found.append(_run(outcome, program.fault_of(outcome)[0]))
        hangs += found[-1].status == 'timeout'
      return found

  def _asserted(self, solution: Solution, tests: Mapping) -> list[ProgramRun]:
    """One judge for each test, since the first failure ends a check."""
    found, hangs = [], 0
    for case in tests['cases']:
      if hangs >= MOST_HANGS:
        found.append(ProgramRun('skipped'))
        continue
      result = judge.check(solution.source, solution.language, dict(tests) | dict(cases=[case]),
                           language=solution.language, sandbox=self.sandbox)
      found.append(ProgramRun(result.status))
      hangs += result.status == 'timeout'
    return found


def _run(outcome: Outcome, fault: str) -> ProgramRun:
  """The ProgramRun of an outcome; `fault` is '' if it ended well."""
  if fault:
    return ProgramRun(fault)
  try:
    return ProgramRun('exited', outcome.stdout.decode())
  except UnicodeDecodeError:
    return ProgramRun('runtime_error')


def same_output(one: str, other: str, tests: Mapping) -> bool:
  """Whether two outputs are the same for the checker of a problem."""
  return compare.same_output(other.encode('utf-8', 'surrogateescape'), one,
                             checker=tests['checker'], tolerance=tests['tolerance'])[0]
