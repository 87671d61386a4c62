"""Rows of data files as their publishers have them: JSON, JSON lines, CSV, TSV, Parquet, gzip.

A row knows where it stands, and what is missing or wrong in it is said with file, line and key.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from magistral_jax.data import escapes, files
from magistral_jax.data.jsonl import read_object

# Ends of the names of files of rows, packed ones (.gz) aside.
ENDINGS = ('.jsonl', '.json', '.csv', '.tsv', '.parquet')
csv.field_size_limit(1 << 30)    # Tests of programs stand in cells of megabytes.
_KINDS = {dict: 'an object', list: 'a list', str: 'text', bool: 'true or false', type(None): 'null'}


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a file.

  Row({'problem': '1+1=?', 'answer': 2}, 'sums.jsonl', 7).text('question', 'problem') == '1+1=?'
  """
  values: Mapping[str, Any]
  path: str
  number: int                # From 1: the line, or the place in a list.
  start: int = -1            # Byte at which its line begins, where it can be read again from there.

  @classmethod
  def again(cls, path: str, number: int, start: int) -> Row:
    """The row of a line of a file of JSON lines, which begins at the byte `start`."""
    with open(path, 'rb') as file:
      file.seek(start)
      return cls(read_object(file.readline()), path, number, start)

  @property
  def where(self) -> str:
    """File and line, for messages."""
    return f'{self.path}, line {self.number}'

  @property
  def stem(self) -> str:
    """Name of the file without its endings."""
    return os.path.basename(self.path).split('.')[0]

  def has(self, key: str) -> bool:
    """Whether there is a value under a key that is not null."""
    return self.values.get(key) is not None

  def get(self, *keys: str) -> Any:
    """The value of the first of the keys that is there; ValueError naming them if none is."""
    for key in keys:
      if self.has(key):
        return self.values[key]
    raise self.fault(f'{" or ".join(map(json.dumps, keys))} is missing; the row has '
                     f'{", ".join(map(json.dumps, list(self.values)[:12])) or "nothing"}.')

  def text(self, *keys: str, default: str | None = None) -> str:
    """The same as text; a number is written out.

    Without a default one of the keys must have a text that is not empty.
    """
    if default is not None and not any(map(self.has, keys)):
      return default
    value = self.get(*keys)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
      value = str(value)
    if not isinstance(value, str):
      raise self.fault(f'"{self._key(keys)}" must be text, this is {_kind(value)}.')
    if escapes.SURROGATE.search(value):
      raise self.fault(f'"{self._key(keys)}" holds half of a surrogate pair, which no UTF-8 file '
                       f'can hold.')
    if default is None and not value.strip():
      raise self.fault(f'"{self._key(keys)}" is empty.')
    return value

  def whole(self, *keys: str) -> int:
    """The same as a whole number, which may be written as text."""
    value = self.get(*keys)
    try:
      if isinstance(value, (bool, float)):
        raise ValueError
      return int(value)
    except (ValueError, TypeError):
      raise self.fault(f'"{self._key(keys)}" must be a whole number, this is '
                       f'{str(value)[:40]!r}.') from None

  def real(self, key: str) -> float:
    """The number under a key, which may be written as text; 0 where there is none."""
    value = self.values.get(key)
    try:
      if isinstance(value, bool) or not math.isfinite(number := float(value or 0)):
        raise ValueError
    except (ValueError, TypeError, OverflowError):
      raise self.fault(f'"{key}" must be a number, this is {str(value)[:40]!r}.') from None
    return number

  def list(self, *keys: str, of: type | None = None) -> list[Any]:
    """The same as a list, which may be written as JSON; `of` is the type of all its items."""
    value = self.get(*keys)
    if isinstance(value, str):
      try:
        value = json.loads(value)
      except (ValueError, RecursionError):
        value = None
    if isinstance(value, tuple):
      value = list(value)
    if not isinstance(value, list) or of and not all(isinstance(item, of) for item in value):
      wanted = 'a list' if of is None else f'a list of {_kind(of())} each'
      raise self.fault(f'"{self._key(keys)}" must be {wanted}.')
    return value

  def mapping(self, *keys: str) -> Mapping[str, Any]:
    """The same as an object, which may be written as JSON."""
    value = self.get(*keys)
    if isinstance(value, str):
      try:
        value = json.loads(value)
      except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
      raise self.fault(f'"{self._key(keys)}" must be an object.')
    return value

  def identity(self, benchmark: str, *keys: str) -> str:
    """The id under 'id' or one of the keys; '<benchmark>-<number from 0>' where there is none."""
    return self.text('id', *keys, default=f'{benchmark}-{self.number - 1}').strip()

  def fault(self, words: str) -> ValueError:
    """The error of this row, with file and line."""
    return ValueError(f'{self.where}: {words}')

  def _key(self, keys: Sequence[str]) -> str:
    return next(filter(self.has, keys), keys[0])


def read_rows(path: str) -> Iterator[Row]:
  """Yields the rows of a file, whose name says what it is.

  A TSV file without a line of names (those of MGSM) has the keys 'column1', 'column2', ...

  Raises:
    ValueError: the file cannot be read, or a line of it.
  """
  name = path.removesuffix('.gz')
  if not os.path.isfile(path):
    raise ValueError(f'The data file {path!r} does not exist: correct its path.')
  if name.endswith('.parquet'):
    yield from _parquet(path)
  elif name.endswith('.csv'):
    yield from _table(path, csv.DictReader(io.StringIO(_whole(path))))
  elif name.endswith('.tsv'):
    lines = csv.reader(io.StringIO(_whole(path)), delimiter='\t', quoting=csv.QUOTE_NONE)
    yield from _table(path, ({f'column{i}': cell for i, cell in enumerate(cells, 1)}
                             for cells in lines if cells))
  elif name.endswith('.json'):
    yield from _listed(path)
  else:
    yield from _lines(path)


def _lines(path: str) -> Iterator[Row]:
  """The rows of a file of JSON lines."""
  with files.opened(path) as file:
    packed, start = files.is_packed(path), 0
    for number, line in enumerate(file, 1):
      if line.strip():
        try:
          yield Row(read_object(line), path, number, -1 if packed else start)
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from None
      start += len(line)


def _whole(path: str) -> str:
  """The text of a file."""
  with files.opened(path) as file:
    data = file.read()
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} is not UTF-8 (byte {error.start}): save it as UTF-8.') from None


def _table(path: str, rows) -> Iterator[Row]:
  """The rows of a table; `number` counts rows, since a cell may have several lines."""
  number = 0
  while True:
    try:
      row = next(rows, None)
    except csv.Error as error:
      raise ValueError(f'{path}, row {number + 1}: this is no table ({error}).') from None
    if row is None:
      return
    number += 1
    if None in row or None in row.values():
      raise ValueError(f'{path}, row {number}: it has more or fewer cells than the first line has '
                       f'names.')
    yield Row(row, path, number)


def _listed(path: str) -> Iterator[Row]:
  """The rows of a JSON file: a list of objects, one object, or JSON lines under another name."""
  text = _whole(path)
  try:
    value = json.loads(text)
  except (ValueError, RecursionError):
    value = None
  if isinstance(value, dict):
    yield Row(value, path, 1)
    return
  if isinstance(value, list):
    for number, item in enumerate(value, 1):
      if not isinstance(item, dict):
        raise ValueError(f'{path}, item {number}: an object is needed, this is {_kind(item)}.')
      yield Row(item, path, number)
    return
  yield from _lines(path)


def _parquet(path: str) -> Iterator[Row]:
  """The rows of a Parquet file, if pyarrow is there to read it."""
  try:
    from pyarrow import ArrowException, parquet
  except ImportError:
    raise ValueError(f'{path} is a Parquet file, and pyarrow, which reads those, is not installed: '
                     f'install it, or write the rows as JSON lines.') from None
  try:
    with parquet.ParquetFile(path) as file:
      number = 0
      for batch in file.iter_batches(256):
        for row in batch.to_pylist():
          number += 1
          yield Row(row, path, number)
  except (OSError, ArrowException) as error:
    raise ValueError(f'{path} is no Parquet file that can be read ({error}).') from None


def _kind(value: Any) -> str:
  return _KINDS.get(type(value), 'a number')
