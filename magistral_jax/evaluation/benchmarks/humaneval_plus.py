"""HumanEval+: HumanEval with 80 times the tests, of EvalPlus."""

import dataclasses

from magistral_jax.evaluation import programs
from magistral_jax.evaluation.benchmarks import humaneval
from magistral_jax.evaluation.card import Item
from magistral_jax.evaluation.rows import Row

# Any root of the polynomial is right, so the value there is compared, with EvalPlus's tolerance.
_ROOT = '''
assert callable(find_zero)
for __xs in __inputs:
  __x = find_zero(*__xs)
  assert type(__x) in (int, float), __x
  assert abs(sum(c * __x ** i for i, c in enumerate(__xs[0]))) <= 1e-4, __xs
'''


def read(row: Row) -> Item:
  """The function's beginning, with the inputs of EvalPlus or tests in our form."""
  if not row.has('base_input'):
    return humaneval.read(row)
  begun, name = row.text('prompt'), row.text('entry_point')
  if name == 'find_zero':
    inputs = [*row.list('base_input'), *row.list('plus_input')]
    tests = programs.assertions(row, f'__inputs = {inputs!r}{_ROOT}', entry_point=name,
                                problem=begun)
  else:
    tests = programs.against_canonical(row, begun + row.text('canonical_solution'), name, begun)
  return humaneval.item(row, begun, tests)


CARD = dataclasses.replace(
    humaneval.CARD, name='humaneval_plus',
    form='EvalPlus\'s rows: "task_id", "prompt", "entry_point", "canonical_solution", '
         '"base_input", "plus_input" and "atol"; or those of humaneval.',
    source='github.com/evalplus/humanevalplus_release, HumanEvalPlus.jsonl.gz.',
    files=('humaneval_plus*', 'humanevalplus*'),
    grading='on every input the value of the canonical solution, within EvalPlus\'s tolerances and '
            '30 s of CPU time for all inputs',
    read=read, paper={},
    checked='evalplus 0.3.1 on 155 solutions and mutants, with inputs of HumanEval in its form',
    limits=humaneval.CARD.limits | dict(test_timeout_s=30.0))
