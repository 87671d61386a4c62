"""C++20 programs, right and wrong."""
import pytest

from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import sandbox
from tests.verifiers.code import cpp_solutions

QUICK = ('sum in C', 'sort with concepts', 'primes below', 'knapsack of gigabytes')


def _check(jails, source, tests):
  box = sandbox.Sandbox(sandbox.Limits(time_s=1.0, wall_s=3.0))
  return judge.check(source, 'cpp', tests, language='cpp', sandbox=box)


@pytest.mark.parametrize('source, tests, status, why', [
    pytest.param(*row[1:], id=row[0], marks=() if row[0] in QUICK else pytest.mark.long)
    for row in cpp_solutions.SOLUTIONS])
def test_solutions(jails, compiler, source, tests, status, why):
  found = _check(jails, source, tests)
  assert found.status == status, (why, found)


def test_there_are_enough_of_both_kinds():
  statuses = [row[3] for row in cpp_solutions.SOLUTIONS]
  assert len(statuses) >= 30 and statuses.count('correct') >= 12
  assert len(set(statuses)) == 6
