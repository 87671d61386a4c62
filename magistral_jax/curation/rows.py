"""Rows of a curation: JSON objects as their files have them, each with an id of its own."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax.data import fields as renaming
from magistral_jax.data import files, golds
from magistral_jax.data.jsonl import domain_of, read_object, read_problem
from magistral_jax.metrics import JsonlWriter
from magistral_jax.verifiers.reward import FILE_DOMAINS

Row = dict[str, Any]
# Keys that evaluation files give a statement, the first that a row has.
STATEMENTS = ('problem', 'question', 'prompt', 'Problem', 'Question', 'question_content',
              'statement')


@dataclasses.dataclass(frozen=True)
class Decision:
  """What a step decides on one row.

  Decision((row,))                        keeps it
  Decision((), 'proof', 'Prove that')     drops it
  Decision((new,), 'open_question')       changes it; several new rows replace it
  """
  rows: tuple[Row, ...]     # What leaves the step.
  reason: str = ''          # Of a drop or a change; '' for a row that stays as it is.
  detail: str = ''          # For people: the words or the row that decided.
  # Lines for further files of the ledger, by the file's name without its ending.
  notes: Mapping[str, Row] = dataclasses.field(default_factory=dict)


Decide = Callable[[int, Row], Decision]


@dataclasses.dataclass(frozen=True)
class CurationStep:
  """One step of a curation.

  CurationStep('format', open=format.opened, threads=8)
  """
  name: str
  # The opener: path of the rows that enter -> a context of the function that decides on each.
  open: Callable[[Path], contextlib.AbstractContextManager[Decide]]
  threads: int = 1          # Rows decided at the same time; the order of the output is the input's.


def text_of(row: Row, key: str) -> str:
  """The value of a key as text without outer white space; '' if it is missing or not text."""
  value = row.get(key)
  if isinstance(value, int | float) and not isinstance(value, bool):
    value = str(value)
  return value.strip() if isinstance(value, str) else ''


def answer_of(row: Row) -> str:
  """The gold answer of a row; '' if it has none."""
  return text_of(row, 'answer')


def statement_of(row: Row) -> str:
  """The statement of a row."""
  return text_of(row, 'problem')


def is_code(row: Row) -> bool:
  """Whether a row is a programming problem, as `data.jsonl` decides it."""
  return domain_of(row) == 'code'


def language_of(row: Row) -> str:
  """Natural language of the statement, as the row names it; 'en' if it does not."""
  meta = row.get('meta')
  return (text_of(meta, 'language') if isinstance(meta, dict) else '') or 'en'


def unreadable(row: Row) -> str:
  """The reason why `train` would not take a row; '' if it would."""
  try:
    problem = read_problem(row, path='', number=0, name='curated', key='--fields')
  except ValueError as error:
    return str(error)
  if problem.domain not in FILE_DOMAINS:
    return (f'"domain" is {problem.domain[:40]!r}, which no verifier judges; where it means '
            f"something else, set --fields='domain=' to ignore it.")
  return ''


def read_rows(path: str | os.PathLike, offset: int = 0) -> Iterator[tuple[int, Row]]:
  """Yields (byte offset behind the line, row) of a JSONL file, from a line's own offset on.

  Raises:
    ValueError: a line holds no JSON object; the message has the file and the line's number.
  """
  if not os.path.isfile(path):
    raise ValueError(f'The file {str(path)!r} does not exist: correct its path.')
  with open(path, 'rb') as file:
    file.seek(offset)
    for number, line in enumerate(file, 1):
      offset += len(line)
      if line.strip():
        try:
          yield offset, read_object(line)
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from None


def gather(paths: str, out: Path, *, fields: str = '') -> int:
  """Joins input files to one file of rows with unique ids, and returns their number.

  A row without an id gets `<file>-<line>`, as in `data.jsonl`. An answer that is a solution, with
  the answer behind hashes or in a box, is read as `data.jsonl` reads it. Paths of images, which
  are relative to the file of their row, become whole.

  Args:
    paths: as `files.expand` takes them.
    fields: names that the files give our keys, as in `fields.parse`.
  Raises:
    ValueError: a file without rows, a line that is no JSON object, an id that occurs twice.
  """
  found, names = files.expand(paths, '--input'), renaming.parse(fields)
  labels = files.labels(found)
  hashes = array.array('Q')      # 8 bytes a row, where a list of numbers takes 40.
  with JsonlWriter(out) as writer:
    writer.truncate(0)
    for path in found:
      before = len(hashes)
      for number, row in input_rows(path):
        row = _identified(renaming.rename(row, names), path, f'{labels[path]}-{number}', number)
        hashes.append(_hash(row['id']))
        writer.write(_with_images(_with_gold(row), path))
      if len(hashes) == before:
        raise ValueError(f'{path} holds no problem: it needs a JSON object on each line.')
    writer.position()
  _check_unique(np.frombuffer(hashes, np.uint64), out)
  return len(hashes)


def input_rows(path: str) -> Iterator[tuple[int, Row]]:
  """Yields (line number, row) of a file that may be packed; blank lines count.

  Raises:
    ValueError: the file cannot be read, or a line holds no JSON object.
  """
  for number, line in files.lines(path):
    try:
      yield number, read_object(line)
    except ValueError as error:
      raise ValueError(f'{path}, line {number}: {error}') from None


def _with_gold(row: Row) -> Row:
  """The row with the gold alone as its answer."""
  if is_code(row) or not isinstance(row.get('answer'), str):
    return row
  gold, worked = golds.split(row['answer'])
  if gold == row['answer']:
    return row
  return row | dict(answer=gold) | (
      {} if row.get('solution') or not worked else dict(solution=worked))


def _with_images(row: Row, path: str) -> Row:
  """The row with paths of its images that hold wherever it is written."""
  paths = row.get('images')
  if not isinstance(paths, list) or not all(isinstance(name, str) for name in paths) or not paths:
    return row
  folder = os.path.dirname(os.path.abspath(path))
  return row | dict(images=[os.path.join(folder, name) for name in paths])


def _identified(row: Row, path: str, name: str, number: int) -> Row:
  """The row with its id as text: `name` if it has none."""
  found = row.get('id')
  if found is None or found == '':
    return row | dict(id=name)
  if type(found) not in (str, int):
    raise ValueError(f'{path}, line {number}: "id" must be text or a whole number, not '
                     f'{json.dumps(found)[:40]}.')
  return row | dict(id=str(found))


def _check_unique(hashes: np.ndarray, path: Path) -> None:
  values, counts = np.unique(hashes, return_counts=True)
  twice = set(values[counts > 1].tolist())
  if not twice:
    return
  seen = set()
  for _, row in read_rows(path):
    if _hash(row['id']) in twice:
      if row['id'] in seen:
        raise ValueError(f'--input: the id {row["id"]!r} occurs twice; give each problem an id of '
                         f'its own, or leave "id" out.')
      seen.add(row['id'])


def _hash(text: str) -> int:
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), 'little')


class Lookup:
  """Lines of a large JSONL file by the value of a key, with 16 bytes of memory per line.

  Args:
    path: the file. key: the name whose values are looked up, each of them once in the file.
  Raises:
    ValueError: a line without the key, or a value that occurs twice.
  """

  def __init__(self, path: str, key: str = 'id'):
    self._path, self._key = path, key
    hashes, starts, start = array.array('Q'), array.array('q'), 0
    for offset, row in read_rows(path):
      if key not in row:
        raise ValueError(f'{path}: the line at byte {start} has no "{key}"; every line needs one.')
      hashes.append(_hash(str(row[key])))
      starts.append(start)
      start = offset
    order = np.argsort(np.array(hashes, np.uint64), kind='stable')
    self._hashes = np.array(hashes, np.uint64)[order]
    self._starts = np.array(starts, np.int64)[order]
    same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
    if len(same):
      row = self._read(same[0])
      raise ValueError(f'{path}: {key} {row[key]!r} occurs twice; remove one of the lines.')

  def __len__(self) -> int:
    return len(self._hashes)

  def find(self, value: str) -> Row | None:
    """The line with this value, or None."""
    at = np.searchsorted(self._hashes, np.uint64(_hash(value)))
    if at == len(self._hashes) or self._hashes[at] != _hash(value):
      return None
    row = self._read(at)
    return row if str(row[self._key]) == value else None

  def _read(self, at: int) -> Row:
    with open(self._path, 'rb') as file:
      file.seek(self._starts[at])
      return read_object(file.readline())
