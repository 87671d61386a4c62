"""Cold-start traces: right ones are right, slips end in wrong answers, nothing is held out."""
import random
import re

import pytest

from magistral_jax.data.arithmetic import (
  GREATEST_RESULT,
  LEAST_RESULT,
  ArithmeticSource,
  is_held_out,
  pick_slip,
  worked_sum,
)
from magistral_jax.data.jsonl import JsonlSource
from magistral_jax.data.traces import cold_start_examples

SUMS = dict(operations='+-*', min_terms=2, max_terms=4, max_number=20)
FORM = re.compile(r'<think>(-?\d+[-+*]-?\d+=-?\d+\n?)+</think>\\boxed\{(-?\d+)\}')


def boxed(response):
  return FORM.fullmatch(response).group(2)


def test_a_trace_by_hand():
  assert worked_sum('7+12-5=?') == '<think>7+12=19\n19-5=14</think>\\boxed{14}'


def test_traces_without_mistakes_are_right():
  examples = cold_start_examples(ArithmeticSource(0, **SUMS), examples=300, mistakes=0.0, seed=0)
  assert len(examples) == 300
  assert all(boxed(e.response) == e.problem.answer for e in examples)


def test_traces_with_mistakes_are_wrong():
  examples = cold_start_examples(ArithmeticSource(0, **SUMS), examples=300, mistakes=1.0, seed=0)
  assert not any(boxed(e.response) == e.problem.answer for e in examples)
  results = [int(n) for e in examples for n in re.findall(r'=(-?\d+)', e.response)]
  assert min(results) >= LEAST_RESULT and max(results) <= GREATEST_RESULT


def test_the_share_of_mistakes_is_the_one_asked_for():
  examples = cold_start_examples(ArithmeticSource(0, **SUMS), examples=2000, mistakes=0.3, seed=0)
  wrong = sum(boxed(e.response) != e.problem.answer for e in examples)
  # Five standard deviations of a binomial count: 5 * sqrt(2000 * .3 * .7) = 102.
  assert abs(wrong - 600) < 102


@pytest.mark.parametrize('text', ['999+0=?', '0-99=?', '5*3*0=?'])
def test_a_slip_exists_at_the_edges(text):
  rng = random.Random(0)
  for _ in range(50):
    assert worked_sum(text, pick_slip(text, rng)) != worked_sum(text)


def test_traces_are_of_training_problems_that_training_does_not_start_with():
  source = ArithmeticSource(0, **SUMS)
  examples = cold_start_examples(source, examples=500, mistakes=0.5, seed=0)
  texts = [e.problem.text for e in examples]
  assert not any(map(is_held_out, texts))
  assert texts[:50] != [source.problem(i).text for i in range(50)]
  assert list(examples) == list(cold_start_examples(source, examples=500, mistakes=0.5, seed=0))
  assert list(examples) != list(cold_start_examples(source, examples=500, mistakes=0.5, seed=1))


def test_solutions_of_a_file_are_wrapped(write, rows):
  source = JsonlSource(0, path=write('a.jsonl', rows), held_out_path='', held_out=6)
  examples = cold_start_examples(source, examples=100, mistakes=0.3, seed=0)
  solved = [problem for problem in source.training if problem.solution]
  assert sorted(e.problem.id for e in examples) == sorted(p.id for p in solved)
  for example in examples:
    problem = example.problem
    assert example.response == (
        f'<think>\n{problem.solution}\n</think>\n\nThe answer is \\boxed{{{problem.answer}}}.')
  assert len(cold_start_examples(source, examples=3, mistakes=0.0, seed=0)) == 3
  assert source.size > len(solved), 'the others are left for reinforcement learning'


def test_what_cannot_be_imitated_names_its_key(write):
  source = JsonlSource(
      0, path=write('a.jsonl', [dict(problem='?', answer='1')]), held_out_path='', held_out=0)
  with pytest.raises(ValueError, match=r'None of the 1 training problems.*cold_start\.steps=0'):
    cold_start_examples(source, examples=1, mistakes=0.0, seed=0)
  with pytest.raises(ValueError, match=r'share of 1\.5.*cold_start\.mistakes between 0 and 1'):
    cold_start_examples(source, examples=1, mistakes=1.5, seed=0)
