"""Rates files: how often a model solves each problem of a file, one line a problem.

    {"id": "train-7", "samples": 16, "correct": 3, "answers": ["12", "12", null, "7", ...]}

`samples` are those that were judged: a verifier's own failure is no sample. `answers` has the
extracted answer of each, null where there is none, and of programs, which nobody compares. Lines
stand in the order in which problems were finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from magistral_jax.records import Problem, Verdict

# Solve rates above one bound and up to the next are shown together, between none and all.
BOUNDS = (0.25, 0.5, 0.75)
BAR = 40                    # Characters of the longest bar of the histogram.


def rates_line(problem: Problem, verdicts: Sequence[Verdict]) -> dict[str, Any]:
  """The line of a problem whose completions have these verdicts."""
  judged = [verdict for verdict in verdicts if verdict.status != 'error']
  compared = problem.domain == 'math'
  return dict(id=problem.id, samples=len(judged),
              correct=sum(verdict.status == 'correct' for verdict in judged),
              answers=[compared and verdict.answer or None for verdict in judged])


def histogram(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
  """Numbers of problems by their solve rates, in words that a table can show."""
  edges = (0.0, *BOUNDS, 1.0)
  names = [f'above {low:g} up to {high:g}' for low, high in zip(edges, edges[1:], strict=False)]
  names[-1] = f'above {edges[-2]:g} and below 1'
  found = dict.fromkeys(['0: never solved', *names, '1: always solved', 'not judged'], 0)
  for line in lines:
    samples, correct = line['samples'], line['correct']
    if not samples:
      name = 'not judged'
    elif correct in (0, samples):
      name = '1: always solved' if correct else '0: never solved'
    else:
      name = names[sum(correct > bound * samples for bound in BOUNDS)]
    found[name] += 1
  return found


def table(counts: Mapping[str, int]) -> Table:
  """Table of a histogram."""
  total, longest = sum(counts.values()), max(counts.values())
  found = Table(title=f'Solve rates of {total} problems')
  for name, justify in (('solve rate', 'left'), ('problems', 'right'), ('share', 'right'),
                        ('', 'left')):
    found.add_column(name, justify=justify)
  for name, count in counts.items():
    if count or name != 'not judged':
      found.add_row(name, str(count), f'{count / max(1, total):.1%}',
                    '█' * round(BAR * count / max(1, longest)))
  return found
