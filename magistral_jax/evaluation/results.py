"""Results of an evaluation for people and files: a table, and completions as JSON lines."""

from __future__ import annotations

import math
import os
from typing import Any

from rich.table import Table

from magistral_jax.evaluation.evaluation import Evaluation, Result
from magistral_jax.metrics import JsonlWriter
from magistral_jax.records import Completion, Prompt, Verdict
from magistral_jax.rollouts import rollout_line

# Keys of a line in rollouts.jsonl that only training fills.
_OF_TRAINING = ('fate', 'step', 'advantage')


def with_error(mean: float, standard_error: float | None, digits: int = 3) -> str:
  """'0.250 ± 0.040', or the mean alone where too few problems were measured to know an error."""
  shown = f'{mean:.{digits}f}'
  known = standard_error is not None and math.isfinite(standard_error)
  return f'{shown} ± {standard_error:.{digits}f}' if known else shown


def sentence(result: Result) -> str:
  """The figures of an evaluation in one line."""
  statuses = ', '.join(f'{count} {status}' for status, count in result.statuses.items())
  samples = _counted(result.samples, 'sample')
  return (f'{with_error(result.accuracy, result.accuracy_se)} on '
          f'{_counted(result.problems, "problem")}, '
          f'{samples} each, {result.mean_tokens:.0f} tokens on average ({statuses}).')


def _counted(number: int, noun: str) -> str:
  return f'{number:,} {noun}' if number == 1 else f'{number:,} {noun}s'


def table(result: Result) -> Table:
  """Table of the figures of an evaluation."""
  found = Table(title=f'{_counted(result.problems, "problem")}, '
                      f'{_counted(result.samples, "sample")} each')
  found.add_column('measure')
  found.add_column('value', justify='right')
  found.add_row('pass@1', with_error(result.accuracy, result.accuracy_se, 4))
  for k in list(result.pass_at)[1:]:
    found.add_row(f'pass@{k}', f'{result.pass_at[k]:.4f}')
    found.add_row(f'maj@{k}', f'{result.maj_at[k]:.4f}')
  found.add_row('tokens of a completion', f'{result.mean_tokens:.1f}')
  for status, count in result.statuses.items():
    found.add_row(status, str(count))
  return found


def write(evaluation: Evaluation, path: str | os.PathLike) -> None:
  """Writes one JSON line per completion, in the order of the problems; replaces the file."""
  prompts = {prompt.ordinal: prompt for prompt in evaluation.prompts}
  with JsonlWriter(path) as out:
    out.truncate(0)
    # Ordinals count down from -1.
    for ordinal, sample in sorted(evaluation.answers, key=lambda key: (-key[0], key[1])):
      out.write(answer_line(prompts[ordinal], *evaluation.answers[ordinal, sample]))


def answer_line(prompt: Prompt, completion: Completion, verdict: Verdict) -> dict[str, Any]:
  """The line of a completion that is not for training: that of the rollouts, without its fate."""
  line = rollout_line(prompt, completion, verdict, None, 'filtered', None)
  return {key: value for key, value in line.items() if key not in _OF_TRAINING}
