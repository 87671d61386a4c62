"""Responses to benchmarks in files: those to be judged, and those that are.

    in    {"id": "aime24-7", "sample": 0, "response": "... \\\\boxed{204}"}
    out   the same with "benchmark", "status", "correct", "answer", "detail", "tokens", "truncated"

What is written can be read again. Of a line that is read, "benchmark" is needed where several are
judged at once; "tokens" (its length), "finish" ("stop" or "length") and "truncated" are optional. A
response that is null is missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from magistral_jax import durable
from magistral_jax.data import files
from magistral_jax.data.jsonl import read_object
from magistral_jax.evaluation.card import FAILED
from magistral_jax.evaluation.extraction import cut_off
from magistral_jax.evaluation.growing import GrowingFile

MOST_SAMPLES = 1024
RESPONSES, SETTINGS, RESULTS = 'responses.jsonl', 'settings.json', 'results.json'
# Keys of a line that the figures do not need, and that take room.
_LONG = ('response',)


@dataclasses.dataclass(frozen=True)
class Stored:
  """A response on a line of a file.

  Stored('aime24', 'aime24-7', 0, 'So \\\\boxed{204}.', tokens=812, truncated=False)
  """
  benchmark: str
  id: str
  sample: int
  response: str
  tokens: int | None
  truncated: bool


def read_responses(path: str, ids: Mapping[str, set[str]], all_ids: Mapping[str, set[str]],
                   ) -> Iterator[Stored]:
  """Yields the responses of a file to items of the benchmarks, checked.

  Args:
    ids: name of a benchmark -> ids of the items that are judged.
    all_ids: the same with all items of its data.
  Raises:
    ValueError: a line that is not as the module says, or comes twice, by file and line.
  """
  if not os.path.isfile(path):
    raise ValueError(f'--responses={path!r} is no file: correct its path.')
  seen: dict[tuple[str, str, int], int] = {}
  for number, text in files.lines(path):
    try:
      found = _stored(read_object(text), all_ids)
      if found is None:
        continue
      key = found.benchmark, found.id, found.sample
      if key in seen:
        raise ValueError(f'sample {found.sample} of "id" {found.id!r} stands on line {seen[key]} '
                         f'already: keep one of them.')
    except ValueError as error:
      raise ValueError(f'{path}, line {number}: {error}') from None
    seen[key] = number
    if found.id in ids[found.benchmark] and found.response is not None:
      yield found


def _stored(row: Mapping[str, Any], ids: Mapping[str, set[str]]) -> Stored | None:
  """The response on a line; None for one to another benchmark."""
  benchmark = row.get('benchmark')
  if benchmark is None:
    if len(ids) > 1:
      raise ValueError(f'"benchmark" is missing: with {len(ids)} of them (--benchmark) every line '
                       f'says to which it belongs.')
    benchmark = next(iter(ids))
  elif not isinstance(benchmark, str):
    raise ValueError(f'"benchmark" must be text, not {str(benchmark)[:40]!r}.')
  elif benchmark not in ids:
    return None
  for key in ('id', 'sample', 'response'):
    if key not in row:
      raise ValueError(f'"{key}" is missing: a line is {{"id", "sample", "response"}}.')
  id_, sample, response = row['id'], row['sample'], row['response']
  if type(id_) not in (str, int):
    raise ValueError(f'"id" must be text or a whole number, not {str(id_)[:40]!r}.')
  if str(id_) not in ids[benchmark]:
    raise ValueError(f'"id" {id_!r} is none of the {len(ids[benchmark])} items of {benchmark} in '
                     f'--data.')
  if type(sample) is not int or not 0 <= sample < MOST_SAMPLES:
    raise ValueError(f'"sample" must be a whole number from 0 to {MOST_SAMPLES - 1}, not '
                     f'{str(sample)[:40]!r}.')
  if response is not None and not isinstance(response, str):
    raise ValueError(f'"response" must be text, or null where there is none, not '
                     f'{str(response)[:40]!r}.')
  tokens = row.get('tokens')
  if tokens is not None and (type(tokens) is not int or tokens < 0):
    raise ValueError(f'"tokens" must be a whole number of at least 0, not {str(tokens)[:40]!r}.')
  return Stored(benchmark, str(id_), sample, response, tokens, _truncated(row))


def _truncated(row: Mapping[str, Any]) -> bool:
  """Whether a response was cut off: as the line says, else as its text shows."""
  if row.get('truncated') is not None:
    if not isinstance(row['truncated'], bool):
      raise ValueError(f'"truncated" must be true or false, not {str(row["truncated"])[:40]!r}.')
    return row['truncated']
  finish = row.get('finish', row.get('finish_reason'))
  return finish == 'length' if isinstance(finish, str) else cut_off(row['response'] or '')


class JudgedFile:
  """responses.jsonl of a folder while it grows, and what the figures need of its lines.

  A response that failed is asked for and judged again by the same command; its newest line counts,
  and is the only one in the finished file.

  Args:
    folder: for the three files; it exists.
    settings: plain JSON, equal only for the same benchmarks and model.
    restart: whether what there is of other settings is written over; otherwise it is refused.
  Raises:
    ValueError: as `GrowingFile`.
  """

  def __init__(self, folder: str, settings: Mapping[str, Any], *, restart: bool):
    self._path = os.path.join(folder, RESPONSES)
    self._settings = json.loads(json.dumps(settings))
    self.lines: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    self._resume(os.path.join(folder, SETTINGS), restart)
    self._file = GrowingFile(self._path, self._settings, self._note, restart=restart)

  def write(self, line: Mapping[str, Any]) -> None:
    """Writes a line. Raises WriteError."""
    self._file.write(line)
    self._note(line)

  def done(self, benchmark: str) -> set[tuple[str, int]]:
    """(id, sample) of the responses of a benchmark that need not be judged again."""
    return {(id_, sample) for (name, id_, sample), line in self.lines.items()
            if name == benchmark and line['status'] not in FAILED}

  def of(self, benchmark: str) -> list[Mapping[str, Any]]:
    """The lines of a benchmark, without the responses themselves."""
    return [line for (name, _, _), line in self.lines.items() if name == benchmark]

  def finish(self, ids: Mapping[str, Sequence[str]]) -> None:
    """Gives the complete file its name, with its lines in order: the same ones, the same file.

    Args:
      ids: benchmark -> ids of its items, in their order.
    Raises:
      WriteError: the disk fails.
    """
    place = {(name, id_): (i, j) for i, (name, found) in enumerate(ids.items())
             for j, id_ in enumerate(found)}
    durable.write_json(os.path.join(os.path.dirname(self._path), SETTINGS), self._settings,
                       indent=2)
    self._file.finish()
    _put_in_order(self._path, lambda key: (*place[key[:2]], key[2]))

  def close(self) -> None:
    """Closes the file; an incomplete one can be continued."""
    self._file.close()

  def _note(self, line: Mapping[str, Any]) -> None:
    self.lines[line['benchmark'], str(line['id']), line['sample']] = {
        key: value for key, value in line.items() if key not in _LONG}

  def _resume(self, settings: str, restart: bool) -> None:
    """Takes a finished file of the same settings up again; refuses one of others."""
    if not os.path.isfile(self._path) or os.path.exists(f'{self._path}.progress'):
      return
    try:
      with open(settings, 'rb') as file:
        before = read_object(file.read().replace(b'\n', b' '))
    except (OSError, ValueError):
      before = None
    if before == self._settings and not restart:
      durable.write_json(f'{self._path}.progress', self._settings)
      os.replace(self._path, f'{self._path}.partial')
    elif not restart:
      changed = sorted(key for key in self._settings if (before or {}).get(key) !=
                       self._settings[key])
      raise ValueError(f'--output has {self._path!r} of another evaluation already (other '
                       f'{", ".join(changed)}): name another folder.')


def _put_in_order(path: str, place: Callable[[tuple[str, str, int]], tuple]) -> None:
  """Leaves the newest line of every response in a file, sorted by place. Raises WriteError."""
  newest: dict[tuple[str, str, int], tuple[int, int]] = {}
  with open(path, 'rb') as file:
    start = 0
    for text in file:
      line = json.loads(text)
      newest[line['benchmark'], line['id'], line['sample']] = start, len(text)
      start += len(text)
    def lines() -> Iterator[bytes]:
      for key in sorted(newest, key=place):
        start, length = newest[key]
        file.seek(start)
        yield file.read(length)
    durable.write_lines(path, lines())


def fingerprints(paths: Sequence[str]) -> list[str]:
  """Hashes of the contents of files."""
  found = []
  for path in paths:
    with open(path, 'rb') as file:
      found.append(hashlib.file_digest(file, 'sha256').hexdigest()[:16])
  return found
