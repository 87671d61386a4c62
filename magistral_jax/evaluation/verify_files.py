"""Files of completions to verify, and of their verdicts: read, scored in order, resumed.

    input, one JSON object a line:
      {"id": "a", "domain": "math", "response": "<think>...</think>...", "answer": "145",
       "problem": "How many ...?", "language": "en", "n_tokens": 812}
      {"id": "b", "domain": "code", "response": "...", "language": "python",
       "tests": [{"stdin": "1\\n", "stdout": "2\\n"}]}
    output, in the same order:
      {"id": "a", "status": "correct", "reward": 1.1, "parts": {"format": 0.1, "correct": 0.9,
       "length": 0.0, "language": 0.1}, "detail": "", "seconds": 0.0004}

`response` and `answer` or `tests` are required. With "bare": true the response is only the final
answer or program: there is no gate, and the reward is the part for correctness alone. `tests` and
the keys beside it (`setup`, `entry_point`, `meta`) are as in code_tests.py. The `language` of a
program is the programming language asked for, that of mathematics the natural language of the task;
the natural language of a programming task is identified from its `problem`. `n_tokens` is required
where there is a length penalty. `seconds` does not include the time spent waiting for a worker.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich import progress
from rich.console import Console
from rich.table import Table

from magistral_jax import code_tests
from magistral_jax.data.jsonl import check_answer, number_text, read_object
from magistral_jax.evaluation.growing import GrowingFile
from magistral_jax.records import Verdict
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.reward import FILE_DOMAINS


@dataclasses.dataclass(frozen=True)
class VerifyLine:
  """One line of the input, checked.

  VerifyLine(id='a', job={'response': '...', 'answer': '145', 'domain': 'math', ...})
  """
  id: str | int
  job: Mapping[str, Any]


def read_lines(path: str, *, length_max: int, code_tests: int) -> Iterator[VerifyLine]:
  """Yields the lines of a file.

  Args:
    length_max, code_tests: as in the config section `verifiers`; where there is a length penalty,
      lines need "n_tokens".
  Raises:
    ValueError: a line that is not as the module documents, by file and line number.
  """
  if not os.path.isfile(path):
    raise ValueError(f'--input={path!r} is no file.')
  # Binary, so that only \n ends a line.
  with open(path, 'rb') as file:
    for number, line in enumerate(file, 1):
      if line.strip():
        try:
          yield parse_line(line, number, length_max=length_max, code_tests=code_tests)
        except ValueError as error:
          raise ValueError(f'{path}, line {number}: {error}') from None


def parse_line(line: bytes, number: int, *, length_max: int, code_tests: int) -> VerifyLine:
  """The line of a number, checked; ValueError without file and number."""
  row = read_object(line)
  domain = row.get('domain', 'code' if 'tests' in row else 'math')
  if domain not in FILE_DOMAINS:
    raise ValueError(f'"domain" is {domain!r}; it must be one of {", ".join(FILE_DOMAINS)}.')
  id_ = row.get('id', number)
  if type(id_) not in (str, int):
    raise ValueError(f'"id" must be text or a whole number, not {id_!r}.')
  bare = row.get('bare', False)
  if type(bare) is not bool:
    raise ValueError(f'"bare" must be true or false, not {bare!r}.')
  job = dict(domain=domain, bare=bare, response=_text(row, 'response'),
             problem=_text(row, 'problem', ''), n_tokens=_tokens(row, bare, length_max))
  if domain == 'code':
    # Always seed 0, so that lines with the same tests are judged by the same ones.
    tests = judge.draw(_tests(row, bare), 0, code_tests)
    return VerifyLine(id_, job | dict(tests=tests, language=''))
  return VerifyLine(id_, job | dict(answer=_answer(row), language=_text(row, 'language', '')))


def _tests(row: Mapping, bare: bool) -> dict[str, Any]:
  """The tests of a program in the one form, checked."""
  if 'tests' not in row:
    raise ValueError('"tests" is missing; a program is judged by its tests.')
  asked = judge.language_of(_text(row, 'language', ''))
  tests = code_tests.read({**row, 'language': asked})
  if bare and tests['language'] == 'any':
    raise ValueError('"language" is missing; a bare program does not say what it is written in.')
  return tests


def _text(row: Mapping, key: str, default: str | None = None) -> str:
  """The text under a key, checked; without a default the key is required."""
  value = row.get(key, default)
  if value is None and default is None:
    raise ValueError(f'"{key}" is missing.')
  value = default if value is None else value
  if not isinstance(value, str):
    raise ValueError(f'"{key}" must be text, not {str(value)[:40]!r}.')
  return value


def _answer(row: Mapping) -> str:
  """The true answer as text, checked."""
  value = row.get('answer')
  if type(value) in (int, float):
    value = number_text(value, 'answer')
  if not isinstance(value, str) or not value.strip():
    raise ValueError('"answer" must be the true answer, text or a number.' if 'answer' in row else
                     '"answer" is missing.')
  check_answer(value)
  return value


def _tokens(row: Mapping, bare: bool, length_max: int) -> int:
  """The number of tokens of a response, checked; 0 where it is not needed."""
  value = row.get('n_tokens')
  if value is None:
    if length_max and not bare:
      raise ValueError(f'"n_tokens" is missing, and verifiers.length_max={length_max} makes the '
                       f'reward depend on it: add it, or set verifiers.length_max=0.')
    return 0
  if type(value) is not int or value < 0:
    raise ValueError(f'"n_tokens" must be a whole number of at least 0, not {value!r}.')
  return value


def verdict_line(line: VerifyLine, verdict: Verdict) -> dict[str, Any]:
  """The line of the output for one of the input."""
  return dict(id=line.id, status=verdict.status, reward=verdict.reward, parts=dict(verdict.parts),
              detail=verdict.detail, seconds=verdict.seconds)


def score(lines: Iterator[VerifyLine], pool, most: int) -> Iterator[tuple[VerifyLine, Verdict]]:
  """Yields every line with its verdict, in order; at most `most` are in the pool at once.

  The waits are bounded by the pool, which gives every job a verdict within its time.
  """
  waiting = collections.deque()
  while True:
    for line in itertools.islice(lines, most - len(waiting)):
      waiting.append((line, pool.submit(line.job)))
    if not waiting:
      return
    line, future = waiting.popleft()
    yield line, future.result()


class Tally:
  """Counts by status, the mean reward, and the seconds of each verdict."""

  def __init__(self):
    self._began = time.monotonic()
    self._statuses, self._reward, self._seconds = collections.Counter(), 0.0, []

  def add(self, verdict: Verdict) -> None:
    """Counts one more verdict."""
    self._statuses[verdict.status] += 1
    self._reward += verdict.reward
    self._seconds.append(verdict.seconds)

  def show(self, console: Console) -> None:
    """Prints a table, and its figures as one line of JSON."""
    count, wall_s = len(self._seconds), time.monotonic() - self._began
    p50, p99 = np.percentile(self._seconds or [0.0], [50, 99])
    table = Table(title=f'{count} completions in {wall_s:.1f} s')
    table.add_column('status')
    table.add_column('completions', justify='right')
    for status, number in self._statuses.most_common():
      table.add_row(status, str(number))
    table.add_section()
    table.add_row('per second', f'{count / wall_s:.1f}')
    table.add_row('latency, p50', f'{1e3 * p50:.1f} ms')
    table.add_row('latency, p99', f'{1e3 * p99:.1f} ms')
    console.print(table)
    print(json.dumps(dict(
        completions=count, statuses=dict(self._statuses.most_common()),
        reward=self._reward / count if count else None, seconds=wall_s, per_s=count / wall_s,
        latency_p50_s=float(p50), latency_p99_s=float(p99))))


def write_all(scored: Iterator[tuple[VerifyLine, Verdict]], output: GrowingFile, done: int,
              count: int, console: Console) -> Tally:
  """Writes verdicts as they come, and returns their tally; of `count` lines `done` are there."""
  columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(),
             progress.TextColumn('completions'))
  tally = Tally()
  with progress.Progress(*columns, console=console) as bar:
    task = bar.add_task('Scoring', total=count, completed=done)
    for line, verdict in scored:
      output.write(verdict_line(line, verdict))
      tally.add(verdict)
      bar.advance(task)
  output.finish()
  return tally
