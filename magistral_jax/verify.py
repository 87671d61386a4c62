"""Scores completions offline: `python -m magistral_jax.verify --input=in.jsonl --output=out.jsonl`.

    input, one JSON object a line:
      {"id": "a", "domain": "math", "response": "<think>...</think>...", "answer": "145",
       "problem": "How many ...?", "language": "en", "n_tokens": 812}
      {"id": "b", "domain": "code", "response": "...", "language": "python",
       "tests": [{"stdin": "1\\n", "stdout": "2\\n"}]}
    output, in the same order:
      {"id": "a", "status": "correct", "reward": 1.1, "parts": {"format": 0.1, "correct": 0.9,
       "length": 0.0, "language": 0.1}, "detail": "", "seconds": 0.0004}

`response` and `answer` or `tests` are required. With "bare": true the response is only the final
answer or program: no gate, and the reward is the part for correctness alone. `tests` and what goes
with them (`setup`, `entry_point`, `meta`) are as in cases.py. `language` of a program is the
programming language asked for, of mathematics the natural language of the task; the natural
language of a programming task is read off its `problem`. `n_tokens` is needed where there is a
length penalty. `seconds` leaves out the time spent waiting for a worker.

Rewards and limits come from --config, of which only `verifiers` and runtime.verifier_workers are
read, with overrides such as --config.verifiers.language=0.0. Without one they are those of the
paper: language bonus, no length penalty, 20 tests of a problem (the same for all lines with the
same tests), 4 s and 300 MB for each. Programs are judged where bubblewrap isolates them; --probe
says whether it does here, and runs small programs through it.

All lines are checked before anything is scored. What is scored is kept in OUTPUT.partial; the same
command goes on from there after an interruption, and OUTPUT appears when all is done.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich import progress
from rich.console import Console
from rich.table import Table

from magistral_jax import code_tests
from magistral_jax.data.jsonl import read_object
from magistral_jax.experiment import build, checks, cli, values
from magistral_jax.records import Verdict
from magistral_jax.verifiers.code import cpp, judge
from magistral_jax.verifiers.reward import VERIFIERS
from magistral_jax.verifiers.sandbox import sandbox

# The reward of the paper and its limits; what the paper does not print is ours.
DEFAULTS = dict(
    verifiers=dict(
        format=0.1, correct=0.9, length_max=0, language=0.1, language_model='', queue=1024,
        timeout_s=1.5, memory_mb=1024, sandbox='bubblewrap', code_reward='all', code_tests=20,
        test_timeout_s=4.0, test_memory_mb=300),
    runtime=dict(verifier_workers=os.cpu_count() or 1))
AHEAD = 16                # Jobs of each worker that are handed out before the first is written.


@dataclasses.dataclass(frozen=True)
class Line:
  """One line of the input, checked.

  Line(id='a', job={'response': '...', 'answer': '145', 'domain': 'math', ...})
  """
  id: str | int
  job: Mapping[str, Any]


def read_lines(path: str, *, length_max: int, code_tests: int) -> Iterator[Line]:
  """Yields the lines of a file.

  Args:
    length_max, code_tests: as in config section `verifiers`; where there is a length penalty,
      lines need "n_tokens".
  Raises:
    ValueError: a line that is not as the module says, by file and line number.
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


def parse_line(line: bytes, number: int, *, length_max: int, code_tests: int) -> Line:
  """One line; ValueError without the place."""
  row = read_object(line)
  domain = row.get('domain', 'code' if 'tests' in row else 'math')
  if domain not in VERIFIERS:
    raise ValueError(f'"domain" is {domain!r}; it must be one of {", ".join(sorted(VERIFIERS))}.')
  id_ = row.get('id', number)
  if type(id_) not in (str, int):
    raise ValueError(f'"id" must be text or a whole number, not {id_!r}.')
  bare = row.get('bare', False)
  if type(bare) is not bool:
    raise ValueError(f'"bare" must be true or false, not {bare!r}.')
  job = dict(domain=domain, bare=bare, response=_text(row, 'response'),
             problem=_text(row, 'problem', ''), n_tokens=_tokens(row, bare, length_max))
  if domain == 'code':
    # Seed 0: lines with the same tests are judged by the same ones.
    return Line(id_, job | dict(tests=judge.draw(_tests(row, bare), 0, code_tests), language=''))
  return Line(id_, job | dict(answer=_answer(row), language=_text(row, 'language', '')))


def _tests(row: Mapping, bare: bool) -> dict[str, Any]:
  if 'tests' not in row:
    raise ValueError('"tests" is missing; a program is judged by its tests.')
  asked = judge.language_of(_text(row, 'language', ''))
  tests = code_tests.read({**row, 'language': asked})
  if bare and tests['language'] == 'any':
    raise ValueError('"language" is missing; a bare program does not say what it is written in.')
  return tests


def _text(row: Mapping, key: str, default: str | None = None) -> str:
  value = row.get(key, default)
  if value is None and default is None:
    raise ValueError(f'"{key}" is missing.')
  value = default if value is None else value
  if not isinstance(value, str):
    raise ValueError(f'"{key}" must be text, not {str(value)[:40]!r}.')
  return value


def _answer(row: Mapping) -> str:
  value = row.get('answer')
  if type(value) in (int, float):
    value = str(value)
  if not isinstance(value, str) or not value.strip():
    raise ValueError('"answer" must be the true answer, text or a number.' if 'answer' in row else
                     '"answer" is missing.')
  return value


def _tokens(row: Mapping, bare: bool, length_max: int) -> int:
  value = row.get('n_tokens')
  if value is None:
    if length_max and not bare:
      raise ValueError(f'"n_tokens" is missing, and verifiers.length_max={length_max} makes the '
                       f'reward depend on it: add it, or set verifiers.length_max=0.')
    return 0
  if type(value) is not int or value < 0:
    raise ValueError(f'"n_tokens" must be a whole number of at least 0, not {value!r}.')
  return value


class Output:
  """The output file while it grows: PATH.partial, with PATH.progress saying what it belongs to.

  Args:
    belongs: text that is the same only for the same input and settings.
  """

  def __init__(self, path: str, belongs: str):
    self._path, self._partial, self._progress = path, f'{path}.partial', f'{path}.progress'
    self.done = 0               # Lines that an interrupted run left.
    end = 0
    if _content(self._progress) == belongs and os.path.isfile(self._partial):
      with open(self._partial, 'rb') as file:
        for line in file:
          if line.endswith(b'\n'):
            self.done, end = self.done + 1, end + len(line)
    else:
      # Emptied first: an old part must never be taken for one of this input.
      open(self._partial, 'wb').close()
      with open(self._progress, 'w', encoding='utf-8') as file:
        file.write(belongs)
    self._file = open(self._partial, 'r+b')
    self._file.truncate(end)
    self._file.seek(end)

  def write(self, line: Line, verdict: Verdict) -> None:
    """One more line."""
    self._file.write(json.dumps(dict(
        id=line.id, status=verdict.status, reward=verdict.reward, parts=dict(verdict.parts),
        detail=verdict.detail, seconds=verdict.seconds)).encode() + b'\n')
    self._file.flush()

  def finish(self) -> None:
    """All is there: the file gets its name."""
    self._file.close()
    os.replace(self._partial, self._path)
    os.remove(self._progress)

  def close(self) -> None:
    self._file.close()


def open_output(path: str, belongs: str) -> Output:
  """An Output; ValueError if its files cannot be written."""
  try:
    return Output(path, belongs)
  except OSError as error:
    raise ValueError(f'--output={path!r} cannot be written ({error.strerror}): name another '
                     f'file.') from None


def _content(path: str) -> str:
  if not os.path.isfile(path):
    return ''
  with open(path, encoding='utf-8', errors='replace') as file:
    return file.read()


def score(lines: Iterator[Line], pool, most: int) -> Iterator[tuple[Line, Verdict]]:
  """Yields every line with its verdict, in order; at most `most` are on their way at once.

  The waits are bounded by the pool, which judges every job within its time or says why not.
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
  """What was found and how fast: counts by status, the mean reward, seconds of each."""

  def __init__(self):
    self._began = time.monotonic()
    self._statuses, self._reward, self._seconds = collections.Counter(), 0.0, []

  def add(self, verdict: Verdict) -> None:
    self._statuses[verdict.status] += 1
    self._reward += verdict.reward
    self._seconds.append(verdict.seconds)

  def show(self, console: Console) -> None:
    """Prints a table, and the same as one line of JSON."""
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


PROGRAMS = dict(
    python='print(sum(map(int, input().split())))',
    cpp='#include <bits/stdc++.h>\n'
        'int main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }')


def probe(console: Console) -> bool:
  """Prints what isolates programs here and what became of small ones; True if they ran."""
  say = functools.partial(console.print, markup=False, highlight=False)
  found = sandbox.probe()
  if not found.ok:
    say(f'Programs cannot be isolated here: {checks.no_isolation(found)}')
    return False
  say(f'Programs are isolated by {found.words}.')
  jail = sandbox.Sandbox()
  tests = code_tests.read(dict(tests=[dict(stdin='20 22\n', stdout='42\n')]))
  results = {}
  for language, source in PROGRAMS.items():
    began = time.monotonic()
    results[language] = judge.check(source, language, tests, language=language, sandbox=jail)
    say(f'{language}: {results[language].status} in {time.monotonic() - began:.2f} s. '
        f'{results[language].detail}')
  return results['python'].status == 'correct'


def parse(argv: Sequence[str]):
  """The command line; what begins with --config is the config's."""
  parser = cli.ArgumentParser(
      description='Scores completions offline.', allow_abbrev=False,
      epilog='--config=FILE and --config.verifiers.KEY=VALUE: rewards and limits.')
  parser.add_argument('--input', help='JSON lines to score')
  parser.add_argument('--output', help='JSON lines with status, reward and parts')
  parser.add_argument('--probe', action='store_true',
                      help='print how programs are isolated on this machine, try it, and end')
  parser.add_argument('--workers', type=int,
                      help="worker processes; default: the config's, or one for each processor")
  args, rest = parser.parse_known_args(argv[1:])
  others = [a for a in rest if a.startswith('-') and not re.match(r'--?(no)?config\b', a)]
  if others:
    parser.error(f'unrecognized arguments: {" ".join(others)}')
  for flag in ('input', 'output'):
    if not args.probe and not getattr(args, flag):
      parser.error(f'the following arguments are required: --{flag}')
  with cli.one_sentence():
    args.config = cli.read_config(argv, optional=True)
  return args


def settings(args) -> ConfigDict:
  """The config of the command line, checked; DEFAULTS if it names none."""
  c = args.config
  if c is None:
    c = ConfigDict(DEFAULTS)
  else:
    values.check_limits(c)
  checks.check_verifiers(c)
  if args.workers is not None:
    c.runtime.verifier_workers = args.workers
  return c


def main(args) -> None:
  console = Console()
  if args.probe:
    raise SystemExit(0 if probe(console) else 1)
  with cli.one_sentence():
    if os.path.realpath(args.input) == os.path.realpath(args.output):
      raise ValueError(f'--output={args.output!r} is the file of --input: name another one.')
    c = settings(args)
    v = values.filled(c, 'verifiers')
    read = lambda: read_lines(args.input, length_max=v['length_max'], code_tests=v['code_tests'])
    # By the language that programs are asked for in; None for mathematics.
    kinds = collections.Counter(line.job.get('tests', {}).get('language') for line in read())
    if programs := kinds.total() - kinds[None]:
      checks.check_sandbox(c, f'--input={args.input!r} holds {programs} programs')
      if programs > kinds['python']:
        cpp.check_compiler()
    with open(args.input, 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
    pool = build.pool(c)
  with pool:
    with cli.one_sentence():
      output = open_output(
          args.output, json.dumps(dict(input_sha256=digest, verifiers=v)))
    if output.done:
      console.print(f'Going on after {output.done} completions of an interrupted run.')
    lines = itertools.islice(read(), output.done, None)
    most = AHEAD * c.runtime.verifier_workers
    try:
      tally = write_all(score(lines, pool, most), output, kinds.total(), console)
    except KeyboardInterrupt:
      console.print('Interrupted. What is scored is kept; the same command goes on from there.')
      raise SystemExit(130) from None
    finally:
      output.close()
  tally.show(console)


def write_all(scored, output: Output, count: int, console: Console) -> Tally:
  """Writes what is scored as it comes, under a bar of progress."""
  columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(),
             progress.TextColumn('completions'))
  tally = Tally()
  with progress.Progress(*columns, console=console) as bar:
    task = bar.add_task('Scoring', total=count, completed=output.done)
    for line, verdict in scored:
      output.write(line, verdict)
      tally.add(verdict)
      bar.advance(task)
  output.finish()
  return tally


if __name__ == '__main__':
  cli.run(main, parse=parse)
