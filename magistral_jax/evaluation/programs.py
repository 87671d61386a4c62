"""Programming benchmarks: tests in the one form of `code_tests`, and how programs are asked for.

All assertions of a task are one test, run against one process of the program, as the published
graders do; time limits are those of all of them together.
"""

from __future__ import annotations

import json
from typing import Any

from magistral_jax import code_tests
from magistral_jax.evaluation.rows import Row

BLOCK = 'Reply with the whole program in one block that begins with ```python.'
BLOCK_TAKEN = 'the last block between lines of three backticks, after the thoughts'
# Published graders give programs far more memory than a test of training has.
MEMORY_MB = 4096


def assertions(row: Row, *code: str, setup: str = '', entry_point: str = '',
               problem: str = '') -> dict[str, Any]:
  """Tests that are pieces of code, in the one form; the pieces become one test."""
  return code_tests.read(dict(
      tests=[{'assert': '\n'.join(code)}], language='python', setup=setup,
      entry_point=entry_point, problem=problem))


def pieces(row: Row) -> list[str]:
  """The code of the assertions in a row: `tests` in our form, or MBPP's lists.

  Raises:
    ValueError: there are none, or tests of another kind.
  """
  if row.has('tests'):
    tests = row.list('tests', of=dict)
    found = [test.get('assert') for test in tests]
  else:
    found = row.list('test_list', of=str)
  if not found or not all(isinstance(code, str) and code.strip() for code in found):
    raise row.fault('its tests must be assertions: "tests" with "assert" each, or "test_list".')
  return found


# What EvalPlus does to a returned value and the one of the canonical solution. Names have two
# underscores, so that no program defines them.
_SAME = '''
def __same(found, expected, atol):
  if type(expected) is float and atol == 0:
    atol = 1e-6
  if found == expected:
    return True
  if isinstance(expected, (list, tuple)) and expected and all(
      type(item) is float for item in expected) and atol == 0:
    atol = 1e-6
  if not atol:
    return False
  if isinstance(expected, (list, tuple)):
    return type(found) is type(expected) and len(found) == len(expected) and all(
        __near(f, e, atol) for f, e in zip(found, expected))
  return type(found) in (int, float, bool, complex) and __near(found, expected, atol)

def __near(found, expected, atol):
  if isinstance(expected, (list, tuple)):
    return isinstance(found, (list, tuple)) and len(found) == len(expected) and all(
        __near(f, e, atol) for f, e in zip(found, expected))
  try:
    return abs(found - expected) <= atol + 1e-7 * abs(expected) or (
        found != found and expected != expected) or found == expected
  except TypeError:
    return False
'''


def against_canonical(row: Row, solution: str, entry_point: str, problem: str) -> dict[str, Any]:
  """Tests of EvalPlus: on every input what the canonical solution returns.

  The solution runs beside the tests, in their jail, and the program in its own.

  Args:
    solution: the canonical solution, whole.
  """
  inputs = [*_inputs(row, 'base_input'), *_inputs(row, 'plus_input')]
  atol = row.real('atol')
  setup = (f'{_SAME}\n__scope = {{}}\nexec({solution!r}, __scope)\n'
           f'__canonical = __scope[{entry_point!r}]\n')
  check = (f'import copy\nimport json\nfor __args in json.loads({json.dumps(inputs)!r}):\n'
           f'  __expected = __canonical(*copy.deepcopy(__args))\n'
           f'  assert __same({entry_point}(*__args), __expected, {atol!r}), repr(__args)[:200]')
  return assertions(row, check, setup=setup, entry_point=entry_point, problem=problem)


def _inputs(row: Row, key: str) -> list[Any]:
  """Lists of arguments; EvalPlus writes no inputs as an empty object."""
  value = row.values.get(key)
  if value in (None, {}, []):
    return []
  found = row.list(key)
  if not all(isinstance(args, list) for args in found):
    raise row.fault(f'"{key}" must be a list of lists of arguments.')
  return found
