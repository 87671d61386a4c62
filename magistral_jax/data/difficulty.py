"""How hard problems are: a number, the larger the harder; None where nothing says it.

    rates    1 - correct / samples of a line of `rate`: 0 is always solved, 1 never
    field    the number in a row's own `difficulty`: 4.5, '7', 'Level 4'
"""
from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from magistral_jax.data import files
from magistral_jax.records import Problem

# What may say it: nothing, the rows, or files of rates.
ORIGINS = ('none', 'field', 'rates')
_NUMBER = re.compile(r'-?\d+(?:\.\d+)?')


@dataclasses.dataclass(frozen=True)
class DifficultyRange:
  """Difficulties from `low` to `high`, both included: 0.5 in DifficultyRange(0.2, 0.9)."""
  low: float
  high: float

  def __contains__(self, difficulty: float | None) -> bool:
    return difficulty is not None and self.low <= difficulty <= self.high

  def of(self, problems: Sequence[Problem], key: str) -> list[Problem]:
    """The problems within the range.

    Args:
      key: config section of the source, for messages.
    Raises:
      ValueError: there is none.
    """
    kept = [problem for problem in problems if problem.difficulty in self]
    if kept:
      return kept
    known = [p.difficulty for p in problems if p.difficulty is not None]
    found = (f'those that are known lie between {min(known):g} and {max(known):g}' if known else
             f'none is known: correct {key}.difficulty')
    raise ValueError(f'No training problem of {key} has a difficulty from {key}.difficulty_low='
                     f'{self.low:g} to {key}.difficulty_high={self.high:g}; {found}.')


def number(value: Any) -> float | None:
  """The difficulty that a row's field gives: a number, or text with a single one in it."""
  if isinstance(value, str):
    found = _NUMBER.findall(value)
    return float(found[0]) if len(found) == 1 else None
  known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
  return float(value) if known else None


def read_rates(paths: str, key: str) -> dict[str, float]:
  """{id of a problem: its difficulty} by files of rates; problems without a sample are left out.

  Args:
    paths: as `files.expand` takes them.
    key: config key that names them, for messages.
  Raises:
    ValueError: a line that is none of a rates file, or an id that occurs twice.
  """
  found: dict[str, float] = {}
  for path in files.expand(paths, key):
    for index, line in files.lines(path):
      try:
        name, samples, correct = _rate(line)
        if name in found:
          raise ValueError(f'the id {name!r} occurs twice: keep one of the two lines.')
      except ValueError as error:
        raise ValueError(f'{key}: {path}, line {index}: {error}') from None
      if samples:
        found[name] = 1 - correct / samples
  return found


def graded(problems: Iterable[Problem], difficulties: dict[str, float]) -> list[Problem]:
  """The problems with their difficulties by id, whatever their rows said."""
  return [dataclasses.replace(problem, difficulty=difficulties.get(problem.id))
          for problem in problems]


def _rate(line: bytes) -> tuple[str, int, int]:
  """(id, samples, correct) of a line."""
  try:
    row = json.loads(line)
  except ValueError as error:
    raise ValueError(f'this is not JSON ({error}).') from None
  row = row if isinstance(row, dict) else {}
  name, samples, correct = (row.get(key) for key in ('id', 'samples', 'correct'))
  if not isinstance(name, str) or type(samples) is not int or type(correct) is not int or (
      not 0 <= correct <= samples):
    raise ValueError(f'a line of rates has "id", "samples" and "correct", 0 <= correct <= samples; '
                     f'this one has {name!r}, {samples!r} and {correct!r}.')
  return name, samples, correct
