"""Programs by the hundred and answers by the ten thousand; the default suite has a few of them."""
import pytest

from magistral_jax.verifiers.sandbox import sandbox
from magistral_jax.verifiers.workers.pool import Pool
from tests.fuzz import programs
from tests.verifiers.code import test_any_program
from tests.verifiers.code.test_any_program import assertions, hurried
from tests.verifiers.conftest import jails
from tests.verifiers.workers.pools import LIMITS, TESTS, WAIT_S, started

pytestmark = pytest.mark.long
__all__ = ['assertions', 'hurried', 'jails']        # Fixtures.


@pytest.mark.parametrize('part', range(4))
def test_no_program_is_an_error_or_paid_though_it_is_wrong(hurried, part):
  test_any_program.check_programs(hurried, range(1000 * (part + 1), 1000 * (part + 1) + 150))


def test_right_programs_are_paid_whatever_they_do_besides(jails):
  del jails
  test_any_program.check_decorated(sandbox.Sandbox(), range(1000, 1200))


@pytest.mark.parametrize('part', range(4))
def test_no_answers_are_an_error_or_paid(assertions, part):
  test_any_program.check_answers(assertions, range(10**5 * (part + 1), 10**5 * (part + 1) + 20_000))


def test_no_program_costs_a_worker(jails):
  del jails
  with Pool(2, **(LIMITS | dict(test_timeout_s=0.5))) as pool:
    workers = started(pool, 2)
    futures = [pool.submit(dict(
        response=programs.program(seed), bare=True, domain='code', n_tokens=9, language='en',
        problem='Add.', tests=TESTS | dict(cases=[dict(stdin='1', stdout=str(programs.SECRET))])))
        for seed in range(5000, 5200)]
    for future in futures:
      assert future.result(20 * WAIT_S).status in {'no_answer', *test_any_program.FAILURES}
    assert pool.pids() == workers and pool.stats()['errors'] == 0
