"""The steps `enough` and `languages`: few tests are too few; one problem for Python, one for C++.

A problem of stdin and stdout can be solved in both languages, one of assertions in Python alone.
The sentence that asks for a language is part of the statement, since the reward looks for a block
of that language. Where a statement does not name the function that its tests call, it gets a test
as an example: nobody could pass them otherwise.

Reference: arXiv:2506.10910 section 4.2.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from magistral_jax import code_tests
from magistral_jax.curation.code.programs import solutions_of
from magistral_jax.curation.rows import Decide, Decision, Row, statement_of

MIN_TESTS = 3
_ASKS = dict(
    python='Write the program in Python, in one block that begins with ```python.',
    cpp='Write the program in C++, in one block that begins with ```cpp.')
_STREAMS = ' It reads standard input and writes standard output.'
_FUNCTION = 'Write the function in Python, in one block that begins with ```python.'


def enough(min_tests: int = MIN_TESTS) -> Callable:
  """Makes the opener of the step that drops problems with fewer tests.

  Raises:
    ValueError: less than one test.
  """
  if min_tests < 1:
    raise ValueError(f'--min_tests={min_tests} must be at least 1.')

  def decide(number: int, row: Row) -> Decision:
    found = len(code_tests.read(row)['cases'])
    if found < min_tests:
      return Decision((), 'too_few_tests', f'{found} tests')
    return Decision((row,))

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    yield decide
  return step


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Decide]:
  """Opens the step that asks for a problem in every language that it allows."""
  del path
  yield lambda number, row: decide(row)


def decide(row: Row) -> Decision:
  """The decision on one programming problem: one row for each language."""
  tests = code_tests.read(row)
  if tests['kind'] != 'stdin':
    words = _FUNCTION + _example(statement_of(row), tests)
    return Decision((_asking(row, 'python', words) | dict(id=row['id']),), 'python_function')
  return Decision(tuple(_asking(row, language, words + _STREAMS)
                        for language, words in _ASKS.items()), 'both_languages')


def _example(statement: str, tests: Mapping) -> str:
  """A sentence with a test, where the statement does not name the function under test; else ''."""
  case = tests['cases'][0]
  call, name = case.get('assert', ''), code_tests.called(tests)
  if not name or re.search(rf'\b{re.escape(name)}\b', statement):
    return ''
  if '\n' in call.strip() or not call:
    return f' It is called `{name}`.'
  return f' It must pass this test: `{call.strip()}`'


def _asking(row: Row, language: str, words: str) -> Row:
  """The row for one language: its statement asks for it, and only its solutions stay."""
  kept = [s for s in solutions_of(row) if s.language == language]
  found = {key: value for key, value in row.items()
           if key not in ('reference_solution', 'solutions')}
  found |= dict(id=f'{row["id"]}-{language}', problem=f'{statement_of(row)}\n\n{words}',
                language=language)
  if kept:
    found['reference_solution'] = kept[0].source
  if kept[1:]:
    found['solutions'] = [dict(language=language, code=s.source) for s in kept[1:]]
  return found
