r"""JSONL source: problems from JSON Lines files, one object a line, checked before anything runs.

    {"problem": "How many ...?", "answer": "145", "id": "svamp-777", "source": "SVAMP",
     "solution": "290 / 2 = 145", "meta": {"language": "en"}}

`problem` and `answer` are required; keys other than these are ignored. A line with `tests` (or
"domain": "code") is a programming problem and needs no answer; `code_tests.read` says what tests
are:

    {"problem": "Read two ...", "language": "cpp", "tests": [{"stdin": "1 2", "stdout": "3"}]}

A problem with images names their files, relative to its own, and says where each of them stands:

    {"problem": "How much is the blue bar of <image>?", "answer": "7", "images": ["bars.png"]}
"""
from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from magistral_jax import code_tests
from magistral_jax.data import images
from magistral_jax.data.finite import FiniteSource, permutation, split, without_texts
from magistral_jax.records import Problem


class JsonlSource(FiniteSource):
  """Source of the problems of one or several files.

  Args:
    seed: decides the order of the training problems.
    path: a file, or several with commas between them.
    held_out_path: files of held-out problems; training problems with the same text are dropped.
    held_out: without held_out_path, how many problems of `path` are held out; the same ones
      whatever the seed. With held_out_path it is ignored.
  """

  def __init__(self, seed: int | str, *, path: str, held_out_path: str, held_out: int):
    if not path:
      raise ValueError('There is no file to read problems from: set data.jsonl.path.')
    problems = read_files(path.split(','))
    if held_out_path:
      evaluation = read_files(held_out_path.split(','))
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


def read_files(paths: Sequence[str]) -> list[Problem]:
  """Reads all problems of several files, in order; ValueError if an id occurs twice."""
  problems, seen = [], {}
  for path in map(str.strip, paths):
    before = len(problems)
    for number, problem in _read(path):
      where = f'{path}, line {number}'
      if problem.id in seen:
        raise ValueError(
            f'{where}: the id {problem.id!r} is taken by {seen[problem.id]}; give each '
            f'problem an id of its own, or leave "id" out.')
      seen[problem.id] = where
      problems.append(problem)
    if len(problems) == before:
      raise ValueError(f'{path} holds no problem: it needs a JSON object on each line.')
  return problems


def _read(path: str) -> Iterator[tuple[int, Problem]]:
  if not os.path.isfile(path):
    raise ValueError(f'The problem file {path!r} does not exist: correct its path.')
  folder, file = os.path.split(path)
  name = os.path.splitext(file)[0]
  # Binary, so that only \n ends a line: text mode also stops at characters that JSON allows.
  with open(path, 'rb') as lines:
    for number, line in enumerate(lines, 1):
      if line.strip():
        try:
          yield number, parse_line(line, number, name, folder)
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from None


def parse_line(line: bytes, number: int, name: str, folder: str = '') -> Problem:
  """Parses one line of a file into a problem.

  Args:
    number: the line's, from 1; it makes the id of a problem that has none.
    name: the file's without its ending; the source of a problem that names none.
    folder: the one that paths of images are relative to.
  Raises:
    ValueError: what is missing or wrong; the caller adds file and line.
  """
  row = read_object(line)
  meta = row.get('meta') or {}
  if not isinstance(meta, dict):
    raise ValueError(f'"meta" must be an object, this is {_kind(meta)}.')
  domain = _text(row, 'domain', 'code' if 'tests' in row else 'math')
  tests = code_tests.read(row) if domain == 'code' else None
  text = _text(row, 'problem')
  return Problem(
      id=_text(row, 'id', f'{name}-{number}'), text=text,
      answer=_text(row, 'answer', None if tests is None else ''),
      source=_text(row, 'source', name), domain=domain, language=_text(meta, 'language', 'en'),
      solution=_text(row, 'solution', ''), tests=tests,
      images=images.named(row, folder, text=text))


def read_object(line: bytes) -> dict[str, Any]:
  """Parses the JSON object of a line; ValueError, without file and line, if it holds none."""
  try:
    row = json.loads(line.decode('utf-8-sig').rstrip('\r\n'))
  except UnicodeDecodeError as error:
    raise ValueError(f'this is not UTF-8 (byte {error.start}); save the file as UTF-8.') from None
  except json.JSONDecodeError as error:
    raise ValueError(f'this is not JSON ({error.msg}, column {error.colno}).') from None
  except RecursionError:
    raise ValueError('this is nested too deep to be read.') from None
  if not isinstance(row, dict):
    raise ValueError(f'a JSON object is needed, this is {_kind(row)}.')
  return row


def _text(row: dict, key: str, default: str | None = None) -> str:
  """Value of a key as text without outer white space; without a default it is required."""
  value = row.get(key)
  if value is None:
    if default is None:
      raise ValueError(f'"{key}" is missing; every line needs "problem" and "answer".')
    return default
  if isinstance(value, (int, float)) and not isinstance(value, bool) and key in ('answer', 'id'):
    value = str(value)
  if not isinstance(value, str):
    raise ValueError(f'"{key}" must be text, this is {_kind(value)}.')
  if any('\ud800' <= letter <= '\udfff' for letter in value):
    raise ValueError(f'"{key}" holds half of a surrogate pair, which no UTF-8 file can hold.')
  if not value.strip():
    if default is None:
      raise ValueError(f'"{key}" is empty; every line needs "problem" and "answer".')
    return default
  return value.strip()


def _kind(value: Any) -> str:
  return {dict: 'an object', list: 'a list', str: 'text', bool: 'true or false'}.get(
      type(value), 'null' if value is None else 'a number')
