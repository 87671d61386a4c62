r"""Traces of the cold start: responses to imitate before reinforcement learning starts.

A generated source works its problems itself; problems of a file have solutions or whole traces,
which get the form that pays (responses.py); conversations are imitated as they are.

    7+12-5=?    <think>7+12=19\n19-5=14</think>\boxed{14}

Some generated traces slip on purpose. A model that imitates them is right only sometimes, which
leaves reinforcement learning something to find: the careful habit pays and the slips do not.

All examples are sequences that make or read an example when it is asked for: what is held in memory
is eight bytes for each line of a file.
"""
from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence

import numpy as np

from magistral_jax.data import conversations, files, jsonl, responses
from magistral_jax.data import fields as renaming
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.lines import Lines
from magistral_jax.data.mix import MixSource
from magistral_jax.data.schedule import Schedule
from magistral_jax.data.sources import Source
from magistral_jax.data.templates import Turn
from magistral_jax.records import Problem


@dataclasses.dataclass(frozen=True)
class Example:
  """A response to imitate, and what it answers: a problem, or the turns of a conversation.

  Example('<think>1+1=2</think>\\boxed{2}', Problem(...))
  Example('Hi.', turns=(Turn('user', 'Hello.'),), where='chat.jsonl, line 3')
  """
  response: str
  problem: Problem | None = None
  turns: tuple[Turn, ...] = ()
  where: str = ''           # File and line, or the problem's id: for messages.


class Generated(Sequence[Example]):
  """Examples that an endless source makes: its problems, worked by itself.

  Args:
    source: has `example(ordinal, slip)`.
    count: how many.
    mistakes: share that slips and ends in a wrong answer.
    seed: decides problems and slips.
  """

  def __init__(self, source: Source, *, count: int, mistakes: float, seed: int):
    # Another stream of the training side: training does not begin with the problems just seen.
    self._source = dataclasses.replace(source, seed=f'{source.seed} cold start {seed}')
    self._count, self._mistakes, self._seed = count, mistakes, seed

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> Example:
    if not 0 <= index < self._count:
      raise IndexError(index)
    rng = random.Random(f'slips {self._seed} {index}')
    slip = rng if rng.random() < self._mistakes else None
    problem, response = self._source.example(index, slip)
    return Example(response, problem, where=problem.id)


class Solved(Sequence[Example]):
  """Examples of problems that are held in memory, with their solutions in the form that pays."""

  def __init__(self, problems: Sequence[Problem]):
    self._problems = problems

  def __len__(self) -> int:
    return len(self._problems)

  def __getitem__(self, index: int) -> Example:
    problem = self._problems[index]
    return Example(responses.response(problem), problem, where=problem.where or problem.id)


class Joined(Sequence[Example]):
  """Several sequences of examples, one after the other."""

  def __init__(self, parts: Sequence[Sequence[Example]]):
    self._parts, self._starts = parts, np.cumsum([0, *map(len, parts)])

  def __len__(self) -> int:
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> Example:
    if not 0 <= index < len(self):
      raise IndexError(index)
    part = int(np.searchsorted(self._starts, index, 'right')) - 1
    return self._parts[part][index - int(self._starts[part])]


class FileTraces(Sequence[Example]):
  """Examples of files of problems with solutions or traces, read when asked for.

  Args:
    paths: as `files.expand` takes them.
    fields: names that the files give our keys, as in `fields.parse`.
  Raises:
    ValueError: a line that cannot be read, by file and number; no line has a solution.
  """

  def __init__(self, paths: str, *, fields: str):
    found = files.expand(paths, 'cold_start.path')
    self._names, self._fields = files.labels(found), renaming.parse(fields)
    damaged: list[str] = []
    def solved(path: str, number: int, line: bytes) -> list[int]:
      problem = self._problem(path, number, line)
      damaged.extend(jsonl.damage(problem))
      return [0] if problem.solution else []
    self._lines = Lines(found, solved)
    jsonl.warn_of_damage(damaged)
    if not len(self._lines):
      raise ValueError(f'None of the problems in {paths} has a solution to imitate: add a '
                       f'"solution" or a "response" to its lines, or set cold_start.steps=0.')

  def __len__(self) -> int:
    return len(self._lines)

  def __getitem__(self, index: int) -> Example:
    path, number, line, _ = self._lines[index]
    problem = self._problem(path, number, line)
    return Example(responses.response(problem), problem, where=problem.where)

  def _problem(self, path: str, number: int, line: bytes) -> Problem:
    row = renaming.rename(jsonl.read_object(line), self._fields)
    return jsonl.read_problem(row, path=path, number=number, name=self._names[path],
                              key='cold_start.fields')


class Conversations(Sequence[Example]):
  """Examples of files of conversations: one for everything that the assistant says.

  Args:
    paths: as `files.expand` takes them.
  Raises:
    ValueError: a line that holds no conversation, by file and number.
  """

  def __init__(self, paths: str):
    said = lambda path, number, line: conversations.answers(_turns(line))
    self._lines = Lines(files.expand(paths, 'cold_start.conversations'), said)
    if not len(self._lines):
      raise ValueError(f'{paths} holds no conversation: it needs {{"messages": [...]}} on a line.')

  def __len__(self) -> int:
    return len(self._lines)

  def __getitem__(self, index: int) -> Example:
    path, number, line, turn = self._lines[index]
    turns = _turns(line)
    return Example(turns[turn].text, turns=turns[:turn], where=f'{path}, line {number}')


def cold_start_examples(
    source: Source, *, examples: int, mistakes: float, seed: int) -> Sequence[Example]:
  """Training problems, each with a full response.

  Args:
    source: any of `data.sources`; only its training side is used.
    examples: how many; a file with fewer solutions gives all it has.
    mistakes: share of the generated traces that slip and end in a wrong answer. Solutions of a
      file are taken as they are.
    seed: decides problems and slips.
  Raises:
    ValueError: `mistakes` is not between 0 and 1; no problem of a file has a solution.
  """
  if not 0.0 <= mistakes <= 1.0:
    raise ValueError(
        f'A share of {mistakes} of the traces cannot be wrong: set cold_start.mistakes between '
        f'0 and 1.')
  if isinstance(source, MixSource):
    return _of_parts(source, examples, mistakes, seed)
  if isinstance(source, FiniteSource):
    return _solved(source, examples, seed)
  return Generated(source, count=examples, mistakes=mistakes, seed=seed)


def _of_parts(
    source: MixSource, examples: int, mistakes: float, seed: int) -> Joined:
  """Examples of the parts of a mix, of each in proportion to its weight, as far as it has them."""
  turns = Schedule(seed, [part.weight for part in source.parts])
  wanted = collections.Counter(turns.unshuffled(turn)[0] for turn in range(examples))
  parts = []
  for i, part in enumerate(source.parts):
    if wanted[i]:
      try:
        parts.append(cold_start_examples(
            part.source, examples=wanted[i], mistakes=mistakes, seed=seed))
      except ValueError as error:
        raise ValueError(f'data.mix.{part.name}: {error}') from None
  return Joined(parts)


def _solved(source: FiniteSource, examples: int, seed: int) -> Solved:
  solved = [problem for problem in source.training if problem.solution]
  if not solved:
    raise ValueError(
        f'None of the {source.size} training problems has a solution to imitate: add a '
        f'"solution" or a "response" to lines of the file, or set cold_start.steps=0.')
  random.Random(f'solutions {seed}').shuffle(solved)
  return Solved(solved[:examples])


def _turns(line: bytes) -> tuple[Turn, ...]:
  return conversations.read(jsonl.read_object(line))
