"""The step `generate`: problems with few tests get new ones.

New inputs are mutations of the given ones (`inputs`) and, with an endpoint, what a generator
writes that a served model programmed, run in a jail. The expected output is that of the majority
of the solutions that pass all given tests, under the same rule of agreement as for given tests. So
a wrong solution has no vote, and an input that is not allowed, on which right solutions fail or
differ, makes no test. With fewer than `voters` such solutions there are no new tests. A solution
that hangs on MOST_HANGS of the inputs is run on no other, and new tests end where too few are left.

Only problems with stdin and stdout get new tests.

Reference: arXiv:2506.10910 section 4.2.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from magistral_jax import code_tests
from magistral_jax.curation.code import agreement as votes
from magistral_jax.curation.code import inputs
from magistral_jax.curation.code.programs import MOST_HANGS, Runner, Solution, solutions_of
from magistral_jax.curation.endpoint import Endpoint, RequestRefused
from magistral_jax.curation.rows import Decide, Decision, Row, statement_of
from magistral_jax.verifiers import format

WANTED = 10
_SURPLUS = 3                # Inputs tried for each test wanted.
_SEEDS = 8                  # Runs of a served model's generator.
_MOST_BYTES = 1 << 16
_PROGRAM = (
    'Write a Python program that prints one valid input for the problem below. It reads a whole '
    'number, the seed, from standard input, seeds `random` with it, and prints only the input. '
    'Different seeds give inputs of different sizes, small ones and the extreme ones that the '
    'constraints allow, and every constraint holds. Answer with one block that begins with '
    '```python.\n\nProblem:\n{problem}')


def opened(runner: Runner, endpoint: Endpoint | None = None, *, wanted: int = WANTED,
           agreement: float = votes.AGREEMENT, voters: int = votes.VOTERS,
           most_solutions: int = votes.MOST_SOLUTIONS) -> Callable:
  """Makes the opener of the step that adds tests up to `wanted`.

  Raises:
    ValueError: thresholds that cannot work.
  """
  votes.check_votes(agreement, voters, most_solutions)
  if wanted < 0:
    raise ValueError(f'--wanted_tests={wanted} must be at least 0.')

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    yield lambda number, row: decide(row, runner, endpoint, wanted, agreement, voters,
                                     most_solutions)
  return step


def decide(row: Row, runner: Runner, endpoint: Endpoint | None, wanted: int, agreement: float,
           voters: int, most_solutions: int) -> Decision:
  """The decision on one programming problem: it stays as it is, or gets more tests."""
  tests = code_tests.read(row)
  missing = wanted - len(tests['cases'])
  if tests['kind'] != 'stdin' or missing <= 0:
    return Decision((row,))
  right = [s for s in solutions_of(row)[:most_solutions] if all(
      votes.status(case, run, tests) == 'correct'
      for case, run in zip(tests['cases'], runner.runs(s, tests), strict=True))]
  if len(right) < voters:
    return Decision((row,))
  given = [case['stdin'] for case in tests['cases']]
  found = itertools.chain(
      _served(row, runner, endpoint, given) if endpoint else (),
      inputs.mutations(given, _SURPLUS * missing, str(row['id'])))
  added = list(itertools.islice(_tests(found, right, runner, tests, agreement, voters), missing))
  if not added:
    return Decision((row,))
  changed = row | dict(tests=[*row['tests'], *added])
  return Decision((changed,), 'added_tests', f'{len(added)} new tests')


def _tests(found: Iterator[str], right: list[Solution], runner: Runner, tests: dict,
           agreement: float, voters: int) -> Iterator[dict]:
  """Yields a test for each input that the solutions agree on."""
  hangs: collections.Counter[Solution] = collections.Counter()
  for text in found:
    able = [solution for solution in right if hangs[solution] < MOST_HANGS]
    if len(able) < max(voters, agreement * len(right)):
      return
    runs = [runner.outputs(solution, [text])[0] for solution in able]
    hangs.update(solution for solution, run in zip(able, runs, strict=True)
                 if run.status == 'timeout')
    output, count = votes.largest_group(runs, tests)
    if output is not None and count >= max(voters, agreement * len(right)):
      yield dict(stdin=text, stdout=output, public=False, generated=True)


def _served(row: Row, runner: Runner, endpoint: Endpoint, given: list[str]) -> Iterator[str]:
  """Yields what a served model's generator prints for some seeds."""
  try:
    said = endpoint.ask(_PROGRAM.format(problem=statement_of(row)))
  except RequestRefused:
    return
  program = format.first_program(said)
  if program is None:
    return
  known = set(given)
  for run in runner.outputs(Solution('python', program[1]), [f'{n}\n' for n in range(_SEEDS)]):
    text = run.output or ''
    if text.strip() and len(text) <= _MOST_BYTES and text not in known:
      known.add(text)
      yield text
