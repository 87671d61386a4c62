"""The steps `difficulty` and `labels`, which read how a model fares on every problem.

A line of a rates file, as `rate` writes it:

    {"id": "train-7", "samples": 16, "correct": 3, "answers": ["12", "12", null, "7", ...]}

difficulty   keeps problems with min_rate < correct / samples <= max_rate: neither unsolved nor easy
labels       drops problems where more than `majority` of the samples give one answer that is not
             the gold: the label is more likely wrong than the model. They are listed in
             suspects.jsonl

Reference: arXiv:2506.10910 section 4.1, which prints none of the thresholds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from magistral_jax.curation import golds
from magistral_jax.curation.rows import Decide, Decision, Lookup, Row, answer_of

MIN_RATE, MAX_RATE, MAJORITY = 0.0, 0.75, 0.5


def read(path: str) -> Lookup:
  """The lines of a rates file by their id."""
  return Lookup(path)


def rate_of(rates: Lookup, row: Row) -> dict | None:
  """The checked line of a row; None if there is none.

  Raises:
    ValueError: a line that is not as the module says.
  """
  line = rates.find(str(row['id']))
  if line is None:
    return None
  samples, correct = line.get('samples'), line.get('correct')
  if type(samples) is not int or type(correct) is not int or not 0 <= correct <= samples:
    raise ValueError(f'--rates: the line of {row["id"]!r} has samples={samples!r} and '
                     f'correct={correct!r}; needed are whole numbers, 0 <= correct <= samples.')
  return line if samples else None


def difficulty(rates: Lookup, *, min_rate: float = MIN_RATE, max_rate: float = MAX_RATE,
               ) -> Callable:
  """Makes the opener of the step that keeps problems of the right difficulty.

  Raises:
    ValueError: not 0 <= min_rate < max_rate <= 1.
  """
  if not 0 <= min_rate < max_rate <= 1:
    raise ValueError(f'--min_rate={min_rate} and --max_rate={max_rate} must be shares with '
                     f'0 <= min_rate < max_rate <= 1.')

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    yield lambda number, row: decide_difficulty(rate_of(rates, row), row, min_rate, max_rate)
  return step


def decide_difficulty(line: dict | None, row: Row, min_rate: float, max_rate: float) -> Decision:
  """The decision on one row by its line of the rates file."""
  if line is None:
    return Decision((), 'no_rate')
  rate = line['correct'] / line['samples']
  detail = f'{line["correct"]} of {line["samples"]} samples are correct'
  if rate <= min_rate:
    return Decision((), 'unsolved' if not line['correct'] else 'too_hard', detail)
  return Decision((), 'too_easy', detail) if rate > max_rate else Decision((row,))


def labels(rates: Lookup, *, majority: float = MAJORITY, workers: int = 0) -> Callable:
  """Makes the opener of the step that drops labels which a majority contradicts.

  Raises:
    ValueError: a majority that is none.
  """
  if not 0.5 <= majority < 1:
    raise ValueError(f'--majority={majority} must be a share from 0.5 to below 1.')

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    with golds.comparer(workers) as comparer:
      yield lambda number, row: decide_label(
          rate_of(rates, row), row, majority, comparer.same)
  return step


def decide_label(line: dict | None, row: Row, majority: float,
                 same: Callable[[str, str], bool]) -> Decision:
  """The decision on one row by its line of the rates file; a row without one stays."""
  if line is None:
    return Decision((row,))
  answers = line.get('answers')
  if not isinstance(answers, list) or len(answers) != line['samples'] or not all(
      a is None or isinstance(a, str) for a in answers):
    raise ValueError(f'--rates: "answers" of {row["id"]!r} must list the answer of each of the '
                     f'{line["samples"]} samples, text or null.')
  answer, votes = largest_class(answers, same)
  if votes <= majority * len(answers) or same(answer, answer_of(row)):
    return Decision((row,))
  detail = f'{votes} of {len(answers)} samples answer {answer[:80]!r}'
  return Decision((), 'contradicted', detail, dict(suspects=dict(
      id=row['id'], answer=answer_of(row), majority=answer, votes=votes,
      samples=len(answers))))


def largest_class(answers: Sequence[str | None], same: Callable[[str, str], bool],
                  ) -> tuple[str, int]:
  """(first spelling, votes) of the answer that most samples give; ('', 0) without any answer."""
  classes: list[list] = []
  for answer in answers:
    if answer is None or not answer.strip():
      continue
    known = next((c for c in classes if c[0] == answer or same(answer, c[0])), None)
    if known:
      known[1] += 1
    else:
      classes.append([answer, 1])
  return tuple(max(classes, key=lambda c: c[1])) if classes else ('', 0)
