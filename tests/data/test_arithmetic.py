"""Arithmetic source: right answers, addressed problems, two sides that share no text."""
import subprocess
import sys

import pytest

from magistral_jax.data.arithmetic import (
    GREATEST_RESULT,
    LEAST_RESULT,
    ArithmeticSource,
    is_held_out,
    work,
)

WIDE = dict(operations='+-*', min_terms=2, max_terms=4, max_number=20)


@pytest.mark.parametrize('text, lines', [
    ('7+12-5=?', ['7+12=19', '19-5=14']),
    ('5-12+3=?', ['5-12=-7', '-7+3=-4']),
    ('2+3*4=?', ['3*4=12', '2+12=14']),
    ('2*3-4*5=?', ['2*3=6', '4*5=20', '6-20=-14']),
])
def test_work_by_hand(text, lines):
  assert [str(step) for step in work(text)] == lines


def test_later_steps_build_on_a_slip():
  assert [str(step) for step in work('7+12-5=?', {0: 10})] == ['7+12=29', '29-5=24']


def test_answers_are_those_of_python():
  source = ArithmeticSource(0, **WIDE)
  for problem in [*map(source.problem, range(500)), *source.held_out(100)]:
    assert problem.text.endswith('=?')
    assert int(problem.answer) == eval(problem.text[:-2])
    assert all(LEAST_RESULT <= step.result <= GREATEST_RESULT for step in work(problem.text))


def test_the_sides_are_disjoint_whatever_the_seed():
  evaluation = {p.text for p in ArithmeticSource(0, **WIDE).held_out(200)}
  assert evaluation == {p.text for p in ArithmeticSource(7, **WIDE).held_out(200)}
  assert len(evaluation) == 200 and all(map(is_held_out, evaluation))
  for seed in (0, 7):
    source = ArithmeticSource(seed, **WIDE)
    assert not any(is_held_out(source.problem(i).text) for i in range(1000))


def test_a_shorter_evaluation_is_the_start_of_a_longer_one():
  source = ArithmeticSource(0, **WIDE)
  assert source.held_out(100)[:10] == source.held_out(10)


def test_all_depths_and_operations_occur():
  source = ArithmeticSource(3, **WIDE)
  texts = [source.problem(i).text for i in range(300)]
  assert {len(work(text)) for text in texts} == {1, 2, 3}
  assert all(any(operation in text for text in texts) for operation in '+-*')


def test_problems_are_addressed_by_seed_and_ordinal():
  source = ArithmeticSource(0, **WIDE)
  backwards = [source.problem(i) for i in reversed(range(50))]
  assert [source.problem(i) for i in range(50)] == backwards[::-1]
  assert [ArithmeticSource(1, **WIDE).problem(i) for i in range(50)] != backwards[::-1]


def test_another_process_sees_the_same_problems():
  code = ('from magistral_jax.data.arithmetic import ArithmeticSource as A;'
          'print([A(0, operations="+-*", min_terms=2, max_terms=4, max_number=20).problem(i).text'
          ' for i in (0, 17, 10**12)])')
  run = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=True,
      env={'PYTHONHASHSEED': '5', 'PYTHONPATH': ':'.join(filter(None, sys.path))})
  source = ArithmeticSource(0, **WIDE)
  assert run.stdout.strip() == str([source.problem(i).text for i in (0, 17, 10**12)])


def test_a_tiny_space_is_still_two_sides():
  source = ArithmeticSource(0, operations='+', min_terms=2, max_terms=2, max_number=5)
  trained = {source.problem(i).text for i in range(2000)}
  evaluation = {p.text for p in source.held_out(1000)}
  assert len(trained) + len(evaluation) == 36, 'every sum is on one side, and all are found'
  assert evaluation and not trained & evaluation


@pytest.mark.parametrize('change, message', [
    (dict(operations='+/'), r"'\+/' cannot be used.*data\.arithmetic\.operations"),
    (dict(operations=''), r'data\.arithmetic\.operations'),
    (dict(min_terms=1), r'1 to 4 terms.*data\.arithmetic\.min_terms'),
    (dict(min_terms=5), r'5 to 4 terms.*data\.arithmetic\.max_terms'),
    (dict(max_number=1000), r'up to 1000.*data\.arithmetic\.max_number between 0 and 999'),
    (dict(operations='+', max_terms=2, max_number=0), r'No held-out problem exists.*max_number'),
])
def test_impossible_sums_name_their_key(change, message):
  with pytest.raises(ValueError, match=message):
    ArithmeticSource(0, **WIDE | change)


def test_the_longest_problem_is_longest():
  source = ArithmeticSource(0, **WIDE)
  longest = len(source.longest().text)
  assert all(len(source.problem(i).text) <= longest for i in range(500))
