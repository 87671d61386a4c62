"""The tests of a programming problem in one form for all sources, checked once.

    {'kind': 'stdin', 'language': 'any', 'checker': 'tokens', 'tolerance': 0.0,
     'cases': [{'stdin': '1 2\\n', 'stdout': '3\\n'}, ...]}
    {'kind': 'assert', 'language': 'python', 'setup': '', 'prelude': '', 'entry_point': 'add',
     'tolerance': 1e-6, 'cases': [{'assert': 'assert add(1, 2) == 3'}, ...]}

A case of kind 'assert' may also be a call: {'call': 'add', 'args': [1, 2], 'kwargs': {},
'expected': 3}. The form is plain JSON, so that it can be stored and sent as it is.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Mapping
from typing import Any

LANGUAGES = ('python', 'cpp', 'any')
_TOKENS, _ANY_CASE, _FLOAT = 'tokens', 'case_insensitive_tokens', 'float'
CHECKERS = (_TOKENS, _ANY_CASE, _FLOAT, 'lines')
DEFAULT_TOLERANCE = 1e-6
# Keys of the one form, by its kind.
_FORMS = {
    'stdin': {'kind', 'language', 'checker', 'tolerance', 'cases'},
    'assert': {'kind', 'language', 'setup', 'prelude', 'entry_point', 'tolerance', 'cases'}}


def read(row: Mapping[str, Any]) -> dict[str, Any]:
  """The tests of a problem, from the form of its file; tests already in the one form stay as is.

  Args:
    row: `tests`, a list of {stdin, stdout}, of {assert} or of {call, args, expected}, or what this
      function returns; optionally `language`, `setup` (test code that runs first), `entry_point`
      (the function under test), `problem`, and in `meta` `checker` and `float_tolerance`.
  Raises:
    ValueError: a key that is missing or wrong, without file and line.
  """
  if _is_read(row):
    return dict(row)
  tests, meta = row.get('tests'), row.get('meta') or {}
  if not isinstance(meta, Mapping):
    raise ValueError(f'"meta" must be an object, this is {type(meta).__name__}.')
  if isinstance(tests, Mapping) and _is_read(tests):
    return dict(tests)
  if not isinstance(tests, list) or not tests or not all(isinstance(t, dict) for t in tests):
    raise ValueError('"tests" must be a list of objects, and not an empty one.')
  language = row.get('language') or 'any'
  if language not in LANGUAGES:
    raise ValueError(f'"language" is {language!r}; programs are judged in {", ".join(LANGUAGES)}.')
  if 'stdin' in tests[0] or 'stdout' in tests[0]:
    checker, tolerance = _checker(meta)
    return dict(kind='stdin', language=language, checker=checker, tolerance=tolerance,
                cases=[_pair(t, n) for n, t in enumerate(tests, 1)])
  if language == 'cpp':
    raise ValueError('"language" is cpp, but assertions and calls only judge Python programs: give '
                     'the tests as "stdin" and "stdout".')
  entry_point = _words(row, 'entry_point', 'the row')
  return dict(
      kind='assert', language='python', setup=_words(row, 'setup', 'the row'),
      entry_point=entry_point, tolerance=DEFAULT_TOLERANCE,
      prelude=_prelude(row.get('problem'), entry_point),
      cases=[_call(t, n) if 'call' in t else _assert(t, n) for n, t in enumerate(tests, 1)])


def called(tests: Mapping[str, Any]) -> str:
  """The function that tests in the one form call; '' if none can be told.

  It is the entry point, the function of the first call, or the first name in the first assertion
  that is called and is no builtin.
  """
  case = tests['cases'][0]
  name = tests.get('entry_point') or case.get('call')
  if name:
    return name
  try:
    calls = [node.func for node in ast.walk(ast.parse(case.get('assert', '')))
             if isinstance(node, ast.Call)]
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return ''
  return next((call.id for call in calls if isinstance(call, ast.Name)
               and not hasattr(builtins, call.id)), '')


def _is_read(row: Mapping[str, Any]) -> bool:
  """Whether a row has the one form: a line of a file may have a "kind" of its own."""
  keys = _FORMS.get(row['kind']) if isinstance(row.get('kind'), str) else None
  return keys is not None and keys <= set(row) and 'tests' not in row


def _pair(test: Mapping, number: int) -> dict[str, str]:
  """A case of kind 'stdin', checked."""
  where = f'test {number}'
  for key in ('stdin', 'stdout'):
    if key not in test:
      raise ValueError(f'{where} has no "{key}"; every test needs "stdin" and "stdout".')
  return dict(stdin=_words(test, 'stdin', where), stdout=_words(test, 'stdout', where))


def _assert(test: Mapping, number: int) -> dict[str, str]:
  """An assertion, checked."""
  code = _words(test, 'assert', f'test {number}')
  if not code.strip():
    raise ValueError(f'test {number} has neither "assert" nor "call" nor "stdin" and "stdout".')
  return {'assert': code}


def _call(test: Mapping, number: int) -> dict[str, Any]:
  """A call with its expected value, checked."""
  if 'expected' not in test:
    raise ValueError(f'test {number} calls {test["call"]!r}, but has no "expected" value.')
  args, kwargs = test.get('args', []), test.get('kwargs', {})
  if not isinstance(args, list) or not isinstance(kwargs, dict):
    raise ValueError(f'test {number}: "args" must be a list and "kwargs" an object.')
  return dict(call=_words(test, 'call', f'test {number}'), args=args, kwargs=kwargs,
              expected=test['expected'])


def _words(row: Mapping, key: str, where: str) -> str:
  """The text under a key, '' if there is none; ValueError for any other type."""
  value = row.get(key)
  if value is not None and not isinstance(value, str):
    raise ValueError(f'"{key}" of {where} must be text, this is {type(value).__name__}.')
  return value or ''


def _checker(meta: Mapping) -> tuple[str, float]:
  """(checker, tolerance) of a problem; the tolerance is 0 but for the checker 'float'."""
  name, tolerance = meta.get('checker') or _TOKENS, meta.get('float_tolerance')
  found = isinstance(name, str) and re.fullmatch(rf'{_FLOAT}_(\d+(?:\.\d+)?(?:e-?\d+)?)', name)
  if found:
    name, tolerance = _FLOAT, float(found[1])        # float_1e-6
  if name not in CHECKERS:
    raise ValueError(f'"checker" is {name!r}; it must be one of {", ".join(CHECKERS)}.')
  tolerance = (DEFAULT_TOLERANCE if tolerance is None else tolerance) if name == _FLOAT else 0.0
  if type(tolerance) not in (int, float) or not 0 <= tolerance < 1:
    raise ValueError(f'"float_tolerance" is {tolerance!r}; it must be a number from 0 to below 1.')
  return name, float(tolerance)


def _prelude(problem: Any, entry_point: str) -> str:
  """The definitions in a problem's own text, but for the function under test, for the tests to use.

  Where the statement is code (HumanEval), tests call its other functions too. If they came from the
  program, it could replace them by functions that make the tests pass.
  """
  if not entry_point or not isinstance(problem, str):
    return ''
  try:
    body = ast.parse(problem).body
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return ''
  names = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
  if entry_point not in names or len(names) == 1:
    return ''
  return ast.unparse(ast.Module(
      [n for n in body if getattr(n, 'name', '') != entry_point], type_ignores=[]))
