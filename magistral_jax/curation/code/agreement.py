"""The step `agreement`: every solution on every test; tests are dropped, repaired or kept.

    agreement of a test: the largest group of solutions with the same output, of all solutions

    below `agreement`                           the test is dropped: its input or task is unclear
    enough, and some solution passes            the test is kept
    enough, and no solution passes              its expected output becomes the group's output, if
                                                the group has at least `voters` solutions; with
                                                fewer the test is dropped as unconfirmed

An assertion has no output to vote with: it is kept if at least `agreement` of the solutions pass.
A problem stays if a test is left and at least one solution passes all that are left. The matrix of
what each solution did on each test is kept in agreement.jsonl.

Reference: arXiv:2506.10910 section 4.2, which prints no thresholds.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from magistral_jax import code_tests
from magistral_jax.curation.code.programs import ProgramRun, Runner, same_output, solutions_of
from magistral_jax.curation.rows import Decide, Decision, Row

AGREEMENT, VOTERS, MOST_SOLUTIONS = 0.6, 2, 32


def opened(runner: Runner, *, agreement: float = AGREEMENT, voters: int = VOTERS,
           most_solutions: int = MOST_SOLUTIONS) -> Callable:
  """Makes the opener of the step.

  Raises:
    ValueError: a share that is none, or fewer than one voter or solution.
  """
  check_votes(agreement, voters, most_solutions)

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    yield lambda number, row: decide(row, runner, agreement, voters, most_solutions)
  return step


def check_votes(agreement: float, voters: int, most_solutions: int = 1) -> None:
  """Raises ValueError for thresholds that cannot work."""
  if not 0 < agreement <= 1:
    raise ValueError(f'--agreement={agreement} must be a share above 0, at most 1.')
  if voters < 1 or most_solutions < 1:
    raise ValueError(f'--voters={voters} and --most_solutions={most_solutions} must be at least 1.')


def decide(row: Row, runner: Runner, agreement: float, voters: int, most_solutions: int,
           ) -> Decision:
  """The decision on one programming problem."""
  tests = code_tests.read(row)
  solutions = solutions_of(row)[:most_solutions]
  matrix = [runner.runs(solution, tests) for solution in solutions]
  columns = list(zip(*matrix, strict=True))
  judged = [judge_test(case, runs, tests, agreement, voters)
            for case, runs in zip(tests['cases'], columns, strict=True)]
  kept = [(raw, fate, output) for raw, (fate, output) in zip(row['tests'], judged, strict=True)
          if fate in ('kept', 'repaired')]
  counts = collections.Counter(fate for fate, _ in judged)
  detail = ', '.join(f'{n} {fate}' for fate, n in sorted(counts.items()))
  note = dict(agreement=dict(
      id=row['id'], solutions=[s.language for s in solutions], tests=[fate for fate, _ in judged],
      matrix=[[status(case, run, tests) for case, run in zip(tests['cases'], runs, strict=True)]
              for runs in matrix]))
  if not kept:
    return Decision((), 'no_test_left', detail, note)
  changed = row | dict(tests=[raw | dict(stdout=output) if fate == 'repaired' else raw
                              for raw, fate, output in kept])
  left = [n for n, (fate, _) in enumerate(judged) if fate in ('kept', 'repaired')]
  cases = code_tests.read(changed)['cases']
  if not any(all(status(case, runs[n], tests) == 'correct'
                 for case, n in zip(cases, left, strict=True)) for runs in matrix):
    return Decision((), 'unsolved_tests', f'no solution passes all tests; {detail}', note)
  if counts['kept'] == len(judged):
    return Decision((row,), notes=note)
  reason = 'repaired_tests' if counts['repaired'] else 'dropped_tests'
  return Decision((changed,), reason, detail, note)


def judge_test(case: Mapping, runs: Sequence[ProgramRun], tests: Mapping, agreement: float,
               voters: int) -> tuple[str, str | None]:
  """(fate, new expected output or None) of one test.

  The fate is 'kept', 'repaired', 'disputed' (too little agreement) or 'unconfirmed'.
  """
  if tests['kind'] != 'stdin':
    passed = sum(run.status == 'correct' for run in runs)
    return ('kept' if passed >= agreement * len(runs) else 'disputed'), None
  output, votes = largest_group(runs, tests)
  if output is None or votes < agreement * len(runs):
    return 'disputed', None
  if any(status(case, run, tests) == 'correct' for run in runs):
    return 'kept', None
  return ('repaired', output) if votes >= voters else ('unconfirmed', None)


def largest_group(runs: Sequence[ProgramRun], tests: Mapping) -> tuple[str | None, int]:
  """(output, number of solutions) of the output that most solutions write; the first of equals."""
  groups: list[list] = []
  for run in runs:
    if run.status != 'exited':
      continue
    known = next((g for g in groups if same_output(g[0], run.output, tests)), None)
    if known:
      known[1] += 1
    else:
      groups.append([run.output, 1])
  return tuple(max(groups, key=lambda g: g[1])) if groups else (None, 0)


def status(case: Mapping, run: ProgramRun, tests: Mapping) -> str:
  """The verdict on what a solution did: 'correct', 'wrong', or how it failed."""
  if run.status != 'exited':
    return run.status
  return 'correct' if same_output(case['stdout'], run.output, tests) else 'wrong'
