r"""JSONL source: problems from JSON Lines files, one object a line, checked before anything runs.

    {"problem": "How many ...?", "answer": "145", "id": "svamp-777", "source": "SVAMP",
     "solution": "290 / 2 = 145", "meta": {"language": "en"}}

`problem` and `answer` are required; keys other than these are ignored. Where a file has other names
for them, `fields` says which. A line with `tests` (or "domain": "code") is a programming problem
and needs no answer; `code_tests.read` says what tests are:

    {"problem": "Read two ...", "language": "cpp", "tests": [{"stdin": "1 2", "stdout": "3"}]}

A problem with images names their files, relative to its own, and says where each of them stands:

    {"problem": "How much is the blue bar of <image>?", "answer": "7", "images": ["bars.png"]}

A response to imitate, with thoughts and summary, is a `response`; a `solution` is only the worked
solution, and gets the form of a response in `traces`.
"""
from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from magistral_jax import code_tests
from magistral_jax.data import difficulty, escapes, files, golds, images
from magistral_jax.data import fields as renaming
from magistral_jax.data.finite import FiniteSource, permutation, split, without_texts
from magistral_jax.records import Problem

SHOWN = 3                 # Lines that a warning names.
MOST_LINES = 2            # An answer of more lines is a solution that ends in one.


class JsonlSource(FiniteSource):
  """Source of the problems of one or several files.

  Args:
    seed: decides the order of the training problems.
    path: file, folder, pattern, or several, as `files.expand` takes them.
    held_out_path: the same, of held-out problems; training problems with the same text are dropped.
    held_out: without held_out_path, how many problems of `path` are held out; the same ones
      whatever the seed. With held_out_path it is ignored.
    fields: names that the files give our keys, as in `fields.parse`.
  """

  def __init__(self, seed: int | str, *, path: str, held_out_path: str, held_out: int,
               fields: str = ''):
    if not path:
      raise ValueError('There is no file to read problems from: set data.jsonl.path.')
    training_files = files.expand(path, 'data.jsonl.path')
    others = files.expand(held_out_path, 'data.jsonl.held_out_path') if held_out_path else []
    names = files.labels([*training_files, *others])
    problems = read_files(training_files, fields=fields, names=names)
    if others:
      evaluation = read_files(others, fields=fields, names=names)
      training = problems
      evaluation = [evaluation[i] for i in permutation(len(evaluation), 'held out')]
    else:
      training, evaluation = split_held_out(problems, held_out, key='data.jsonl.held_out')
    super().__init__(seed, keep_apart(training, evaluation, name=path), evaluation)


def split_held_out(
    problems: Sequence[Problem], held_out: int, *, key: str) -> tuple[list[Problem], list[Problem]]:
  """Splits as `finite.split`; ValueError naming `key` if the number is out of range."""
  if not 0 <= held_out < len(problems):
    raise ValueError(
        f'{held_out} of {len(problems)} problems cannot be held out: set {key} between 0 and '
        f'{len(problems) - 1}.')
  return split(problems, held_out)


def keep_apart(
    training: Sequence[Problem], evaluation: Sequence[Problem], *, name: str) -> list[Problem]:
  """Training problems that are not also held out; ValueError if none is left."""
  kept = without_texts(training, evaluation)
  if not kept:
    raise ValueError(
        f'All {len(training)} training problems of {name} ask what the held-out problems ask: set '
        f'data.jsonl.held_out_path to other problems, or hold fewer out.')
  if len(kept) < len(training):
    logging.warning(
        '%d of %d training problems of %s are held out under the same text and were dropped.',
        len(training) - len(kept), len(training), name)
  return kept


def read_files(paths: str | Sequence[str], *, fields: str = '', key: str = 'data.jsonl.fields',
               names: Mapping[str, str] | None = None) -> list[Problem]:
  """Reads all problems of several files, in order.

  A problem without an id gets the file's name and the line's number; of two files with one name,
  also their folders.

  Args:
    paths: as `files.expand` takes them.
    fields: names that the files give our keys, as in `fields.parse`.
    key: where these are set, for messages.
    names: {file: its name in ids and as a source}; `files.labels` of the files by default.
  Raises:
    ValueError: a line that cannot be read, by file and number; an id that occurs twice; a file
      without problems.
  """
  found, renamed = files.expand(paths), renaming.parse(fields)
  names = names or files.labels(found)
  problems: list[Problem] = []
  given: dict[str, str] = {}         # Ids that the files give, and where.
  damaged: list[str] = []
  for path in found:
    before = len(problems)
    for number, line in files.lines(path):
      where = f'{path}, line {number}'
      try:
        row = renaming.rename(read_object(line), renamed)
        problem = read_problem(row, path=path, number=number, name=names[path], key=key)
      except ValueError as error:
        raise ValueError(f'{where}: {error}') from None
      if problem.id in given:
        raise ValueError(
            f'{where}: the id {problem.id!r} is taken by {given[problem.id]}; give each '
            f'problem an id of its own, or leave "id" out.')
      if problem.id:
        given[problem.id] = where
      problems.append(problem)
      damaged += damage(problem)
    if len(problems) == before:
      raise ValueError(f'{path} holds no problem: it needs a JSON object on each line.')
  warn_of_damage(damaged)
  return [problem if problem.id else dataclasses.replace(problem, id=_made(problem, names, given))
          for problem in problems]


def damage(problem: Problem) -> list[str]:
  """What shows that LaTeX in a problem or its solution has lost a backslash, if anything does."""
  fault = escapes.fault(problem.text) or escapes.fault(problem.solution)
  return [f'{problem.where}: {fault}'] if fault else []


def warn_of_damage(damaged: Sequence[str]) -> None:
  """Warns of problems that are read as they are although their LaTeX is damaged."""
  if damaged:
    logging.warning('%d problems are read although their LaTeX is damaged. %s', len(damaged),
                    ' '.join(damaged[:SHOWN]))


def _made(problem: Problem, names: Mapping[str, str], given: Mapping[str, str]) -> str:
  """An id for a problem without one: '<file>-<line>', and no id that another line gives."""
  path, _, number = problem.where.rpartition(', line ')
  made = f'{names[path]}-{number}'
  while made in given:
    made += '-line'
  return made


def domain_of(row: Mapping[str, Any]) -> Any:
  """The domain of a line: the one it names, else 'code' if it has tests and 'math' if not."""
  domain = row.get('domain')
  return domain if domain is not None else 'code' if row.get('tests') else 'math'


def read_problem(row: dict, *, path: str, number: int, name: str, key: str) -> Problem:
  """The problem on a line; its id is '' if the line gives none.

  Args:
    row: the line's object, with our keys.
    path, number: the line's file and its number from 1; images are named relative to the file.
    name: the source of a problem that names none.
    key: where the names of fields are set, for messages.
  Raises:
    ValueError: what is missing or wrong; the caller adds file and line.
  """
  meta = row.get('meta') or {}
  if not isinstance(meta, dict):
    raise ValueError(f'"meta" must be an object, this is {_kind(meta)}.')
  if not isinstance(domain_of(row), str):
    raise ValueError(f'"domain" must be text, this is {_kind(row["domain"])}; where it means '
                     f"something else, set {key}='domain=' to ignore it.")
  code = domain_of(row) == 'code'
  missing = [part for part in ('problem', 'answer')[:1 if code else 2] if row.get(part) is None]
  if missing:
    if missing[0] in row:
      raise ValueError(f'"{missing[0]}" is null, and every line needs "problem" and "answer": give '
                       f'it, or take the line out.')
    raise ValueError(f'"{missing[0]}" is missing; every line needs "problem" and "answer". '
                     f'{renaming.advice(row, *missing, key=key)}')
  tests = code_tests.read(row) if code else None
  text = _text(row, 'problem')
  answer = _text(row, 'answer', None if tests is None else '')
  gold, worked = ('', '') if tests else golds.split(answer)
  solution = _text(row, 'response', '') or _text(row, 'solution', '') or (
      _text(row, 'reference_solution', '') if tests else worked)
  return Problem(
      id=_text(row, 'id', ''), text=text, answer=gold, source=_text(row, 'source', name),
      domain=_text(row, 'domain', domain_of(row)), language=_text(meta, 'language', 'en'),
      solution=solution, tests=tests, where=f'{path}, line {number}',
      images=images.named(row, os.path.dirname(path), text=text),
      difficulty=difficulty.number(row.get('difficulty')))


def read_object(line: bytes) -> dict[str, Any]:
  """Parses the JSON object of a line; ValueError, without file and line, if it holds none."""
  try:
    row = json.loads(line.decode('utf-8-sig').rstrip('\r\n'))
  except UnicodeDecodeError as error:
    raise ValueError(f'this is not UTF-8 (byte {error.start}); save the file as UTF-8.') from None
  except json.JSONDecodeError as error:
    raise ValueError(
        f'this is not JSON ({error.msg}, column {error.colno}).{_json_advice(line, error)}'
    ) from None
  except RecursionError:
    raise ValueError('this is nested too deep to be read.') from None
  if not isinstance(row, dict):
    raise ValueError(f'a JSON object is needed, this is {_kind(row)}; a file that is one JSON '
                     f'list must be written with one object a line.')
  return row


def _json_advice(line: bytes, error: json.JSONDecodeError) -> str:
  if error.msg.startswith('Invalid \\'):
    return " Within JSON every backslash of LaTeX is written twice, as in '\\\\frac{1}{2}'."
  if line.strip() in (b'{', b'[', b'[{'):
    return ' An object must stand on one line, and the file must be no JSON list.'
  if not line.lstrip().startswith((b'{', b'[')):
    return (' Each line must be an object, such as {"problem": "1+1=?", "answer": "2"} in a file '
            'of problems; a table (CSV) must be written so first.')
  return ' Repair or remove the line: each line must be one whole JSON object.'


def _text(row: dict, key: str, default: str | None = None) -> str:
  """Value of a key as text without outer white space; without a default it is required."""
  value = row.get(key)
  if value is None and default is not None:
    return default
  if isinstance(value, (int, float)) and not isinstance(value, bool) and key in (
      'answer', 'id', 'source'):
    value = number_text(value, key)
  if not isinstance(value, str):
    raise ValueError(f'"{key}" must be text, this is {_kind(value)}.')
  if escapes.SURROGATE.search(value):
    raise ValueError(f'"{key}" holds half of a surrogate pair, which no UTF-8 file can hold.')
  if not value.strip():
    if default is None:
      raise ValueError(f'"{key}" is empty; every line needs "problem" and "answer".')
    return default
  if key == 'answer':
    check_answer(value)
  return value.strip()


def number_text(value: float, key: str) -> str:
  """The text of a number; ValueError for NaN and infinities, which Python's JSON lets through."""
  if not math.isfinite(value):
    raise ValueError(f'"{key}" is {value}, which is no {key}: give it, or take the line out.')
  return str(value)


def check_answer(value: str) -> None:
  """Raises ValueError for the text of an answer that is none, or that JSON has damaged."""
  if value.strip().casefold() == 'nan':
    raise ValueError(f'"answer" is {value.strip()}, which is no answer: give it, or take the line '
                     f'out.')
  # Several lines are a solution with the answer at its end.
  if fault := escapes.fault(value, one_line=value.count('\n') < MOST_LINES):
    raise ValueError(f'"answer" has {fault}')


def _kind(value: Any) -> str:
  return {dict: 'an object', list: 'a list', str: 'text', bool: 'true or false'}.get(
      type(value), 'null' if value is None else 'a number')
