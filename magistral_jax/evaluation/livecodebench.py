"""Rows of LiveCodeBench: their packed tests, read without running anything, and how they judge.

    private_test_cases: JSON, or base64 > zlib > pickle > JSON

A pickle can call any function that it names. Theirs holds one text, so the reader here admits no
names at all. Tests are megabytes for a task: they are unpacked when a program is judged, out of the
row, which stays on disk where it can.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import json
import pickle
import zlib
from collections.abc import Mapping
from typing import Any

from magistral_jax.evaluation.rows import Row

KEYS = ('public_test_cases', 'private_test_cases')
MOST_BYTES = 1 << 30       # Of the unpacked tests of a task.
# What every program can use without importing it, as in LiveCodeBench.
_STARS = (
    'string', 're', 'datetime', 'collections', 'heapq', 'bisect', 'copy', 'math', 'random',
    'statistics', 'itertools', 'functools', 'operator', 'io', 'sys', 'json', 'builtins', 'typing')
IMPORTS = ''.join(f'from {name} import *\n' for name in _STARS) + (
    f'import {", ".join(_STARS)}\nsys.setrecursionlimit(50000)\n')
# One JSON value a line are the arguments. The method is that of a class Solution, if there is one.
_CALL = '''
import json
try:
  __method = Solution().{name}
except NameError:
  __method = {name}
__found = __method(*[json.loads(line) for line in {given!r}.split('\\n')])
if isinstance(__found, tuple):
  __found = list(__found)
assert __found == json.loads({expected!r})
'''


class _OnlyData(pickle.Unpickler):
  """Reads pickles of plain data."""

  def find_class(self, module: str, name: str) -> Any:
    raise pickle.UnpicklingError(f'it asks for {module}.{name}')

  def persistent_load(self, pid: Any) -> Any:
    raise pickle.UnpicklingError('it asks for an object of another file')


def unpacked(text: str) -> Any:
  """The value of `private_test_cases`; ValueError where it is neither JSON nor packed JSON."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    pass
  try:
    packed = zlib.decompressobj()
    content = packed.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    if packed.unconsumed_tail:
      raise ValueError(f'more than {MOST_BYTES >> 20} MiB')
    inner = _OnlyData(io.BytesIO(content)).load()
    return json.loads(inner) if isinstance(inner, str | bytes) else inner
  except (ValueError, RecursionError, binascii.Error, zlib.error, pickle.UnpicklingError, EOFError,
          LookupError, TypeError, AttributeError, MemoryError) as error:
    raise ValueError(f'it is neither JSON nor JSON packed by base64, zlib and pickle '
                     f'({error}).') from None


def tests_of(row: Row) -> dict[str, Any]:
  """The tests of a row, public and private, in the one form of `code_tests`.

  Raises:
    ValueError: there are none, or what is there is none.
  """
  cases = []
  for key in KEYS:
    value = row.get(key)
    if isinstance(value, str):
      try:
        value = unpacked(value)
      except ValueError as error:
        raise row.fault(f'"{key}": {error}') from None
    if not isinstance(value, list) or not all(
        isinstance(case, Mapping) and isinstance(case.get(part), str)
        for case in value for part in ('input', 'output')):
      raise row.fault(f'"{key}" must be a list of objects with "input" and "output".')
    cases += value
  if not cases:
    raise row.fault('"public_test_cases" and "private_test_cases" hold no test.')
  name = function(row)
  if not name:
    return dict(kind='stdin', language='python', checker='lines', tolerance=0.0,
                cases=[dict(stdin=case['input'], stdout=case['output']) for case in cases])
  return dict(
      kind='assert', language='python', setup='', prelude='', entry_point='', tolerance=0.0,
      cases=[{'assert': _CALL.format(name=name, given=case['input'], expected=case['output'])}
             for case in cases])


def function(row: Row) -> str:
  """The function that a task asks for; '' where programs read stdin."""
  metadata = row.mapping('metadata') if row.has('metadata') else {}
  name = metadata.get('func_name') or ''
  if name and not (isinstance(name, str) and name.isidentifier()):
    raise row.fault(f'"func_name" of "metadata" is {str(name)[:40]!r}, which is no name.')
  return name


@functools.lru_cache(maxsize=4)      # Samples of an item come one after another.
def tests_at(path: str, number: int, start: int) -> dict[str, Any]:
  """The tests of the row of a line, as `Row.again` finds it."""
  return tests_of(Row.again(path, number, start))
