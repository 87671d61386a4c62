"""Generated word problems differ and have right solutions."""
import re

from magistral_jax.data.builders.stories import stories
from magistral_jax.data.jsonl import read_files
from magistral_jax.metrics import plain

LINES = stories(500, seed=0)
STEP = re.compile(r'(\d+) ([-+*/]) (\d+) = (\d+)')


def test_every_step_of_a_solution_is_right_and_the_last_is_the_answer():
  exact = {'+': lambda a, b: a + b, '-': lambda a, b: a - b, '*': lambda a, b: a * b,
           '/': lambda a, b: a / b}
  for line in LINES:
    steps = STEP.findall(line['solution'])
    assert len(steps) in (1, 2)
    for a, operation, b, result in steps:
      assert exact[operation](int(a), int(b)) == int(result) >= 0, line
    assert steps[-1][-1] == line['answer']


def test_problems_differ_and_depend_on_the_seed_alone():
  assert len({line['problem'] for line in LINES}) == len({line['id'] for line in LINES}) == 500
  assert stories(500, seed=0) == LINES
  assert stories(500, seed=1) != LINES


def test_the_lines_are_what_the_jsonl_source_reads(write):
  problem, = read_files(write('stories.jsonl', [plain(LINES[0])]))
  assert (problem.text, problem.solution) == (LINES[0]['problem'], LINES[0]['solution'])
