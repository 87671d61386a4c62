"""TFDS source: problems from a prepared data set (array_record files), without TensorFlow.

`python -m magistral_jax.data.builders.problems` prepares one from a JSONL file. All problems are
held in memory as text; a million of them take about a gigabyte.
"""
from __future__ import annotations

import json
import pathlib

from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.jsonl import keep_apart, split_held_out
from magistral_jax.records import Problem

# Text fields of a Problem that the builder writes and this module reads.
FIELDS = ('id', 'text', 'answer', 'source', 'domain', 'language', 'solution')
TESTS = 'tests'              # As JSON; '' for none.
DIFFICULTY = 'difficulty'    # As text; '' for none.


class TfdsSource(FiniteSource):
  """Source of the `train` split of a prepared data set.

  Args:
    seed: decides the order of the training problems.
    path: the folder with dataset_info.json, or one above it that holds a single data set.
    held_out: how many problems are held out; the same ones whatever the seed.
  """

  def __init__(self, seed: int | str, *, path: str, held_out: int):
    problems = read_prepared(path)
    training, evaluation = split_held_out(problems, held_out, key='data.tfds.held_out')
    super().__init__(seed, keep_apart(training, evaluation, name=path), evaluation)


def read_prepared(path: str) -> list[Problem]:
  """Reads all problems of a prepared data set, in its order."""
  import tensorflow_datasets as tfds  # Half a second that other sources are spared.
  folder = find_prepared(path)
  builder = tfds.builder_from_directory(folder)
  missing = sorted(set(FIELDS) - set(builder.info.features))
  if missing:
    raise ValueError(
        f'The data set in {folder} has no field {missing[0]!r}: prepare it with '
        f'magistral_jax.data.builders.problems, or correct data.tfds.path.')
  rows = builder.as_data_source('train')
  return [_problem(row) for row in rows]


def to_row(problem: Problem) -> dict[str, str]:
  """Fields of a problem as they are written, all text."""
  tests = '' if problem.tests is None else json.dumps(problem.tests)
  difficulty = '' if problem.difficulty is None else repr(problem.difficulty)
  return {key: getattr(problem, key) for key in FIELDS} | {TESTS: tests, DIFFICULTY: difficulty}


def _problem(row) -> Problem:
  fields = {key: row[key].decode('utf-8') for key in FIELDS}
  # Data sets prepared before these existed lack them.
  tests, difficulty = row.get(TESTS, b''), row.get(DIFFICULTY, b'')
  return Problem(**fields, tests=json.loads(tests) if tests else None,
                 difficulty=float(difficulty) if difficulty else None)


def find_prepared(path: str) -> pathlib.Path:
  """Finds the one folder at or below `path` that TFDS has finished writing; else ValueError."""
  if not path:
    raise ValueError('There is no prepared data set to read: set data.tfds.path.')
  folders = [info.parent for info in pathlib.Path(path).expanduser().rglob('dataset_info.json')]
  # An interrupted preparation leaves a folder named *.incomplete* behind.
  folders = sorted(f for f in folders if 'incomplete' not in f.name)
  if len(folders) != 1:
    raise ValueError(
        f'{path!r} holds {len(folders)} prepared data sets where one is needed: set data.tfds.path '
        f'to the folder with its dataset_info.json.')
  return folders[0]
