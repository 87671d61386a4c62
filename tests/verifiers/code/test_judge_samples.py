"""A sample of real problems: their own solutions pass, the same broken in three ways do not.

code_samples.jsonl: HumanEval (MIT), MBPP (CC-BY-4.0), CRUXEval (MIT), DeepMind CodeContests
(CC-BY-4.0, statements cut to 200 characters, at most 3 tests each) and Google's coding competitions
archive (Apache-2.0); every line names its own. All of the data sets are run by
tests/benchmarks/code_truth.py.
"""
import json
import pathlib

import pytest

from magistral_jax import code_tests
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import sandbox
from tests.benchmarks import code_truth

ROWS = [json.loads(line) for line in pathlib.Path(__file__).with_name('code_samples.jsonl')
        .read_text('utf-8').splitlines()]
# Mutants that are right on these tests: (id, kind).
EQUIVALENT = {('Mbpp/3', 'swapped'), ('cc-1516_b_agaga_xooorrr_3468', 'swapped')}


@pytest.mark.parametrize('row', [pytest.param(row, id=row['id']) for row in ROWS])
def test_right_programs_pass_and_broken_ones_fail(jails, row):
  tests = code_tests.read(row)
  hurried = sandbox.Sandbox(sandbox.Limits(time_s=2.0, wall_s=4.0))
  check = lambda source: judge.check(source, 'python', tests, language='any', sandbox=hurried)
  assert check(row['reference_solution']).status == 'correct'
  mutants = code_truth.mutants(row['reference_solution'])
  assert mutants
  for kind, mutant in mutants.items():
    found = check(mutant)
    assert found.status != 'error' and (
        (found.status == 'correct') == ((row['id'], kind) in EQUIVALENT)), (kind, found)


def test_every_row_names_its_licence():
  assert len(ROWS) >= 12 and all(row['license'] and row['source'] for row in ROWS)
