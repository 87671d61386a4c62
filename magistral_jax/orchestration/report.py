"""The report of a finished run: summary.json, reward.png, a table, and samples to read.

The table reads the accuracies of the summary and, where they stand beside them, their standard
errors: accuracy_start and accuracy_start_se, and likewise for cold_start and final.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from magistral_jax import durable, metrics
from magistral_jax.evaluation.results import with_error
from magistral_jax.orchestration import curves
from magistral_jax.orchestration.journal import ENDS
from magistral_jax.orchestration.panel import minutes

# Other tools read these from summary.json; a figure that the run did not measure is null.
SUMMARY_KEYS = (
    'accuracy_start', 'accuracy_cold_start', 'accuracy_final', 'reward_first', 'reward_last',
    'steps', 'wall_s', 'prompts_trained', 'groups_filtered', 'completions',
    'completions_spanning_versions', 'max_staleness', 'mean_staleness', 'sampled_tokens_per_s',
    'trained_tokens_per_s', 'packing_efficiency', 'logprob_gap_mean', 'logprob_gap_max',
    'parity_tokens', 'parity_updates')
STAGES = (
    ('start', 'before training'), ('cold_start', 'after the cold start'),
    ('final', 'after reinforcement learning'))
SAMPLE_CHARACTERS = 1200


def finish(
    workdir: str | os.PathLike, summary: Mapping[str, Any],
    samples: Sequence[tuple[str, str, float]], show: Callable[..., None]) -> None:
  """Writes summary.json and reward.png into `workdir`, shows the samples and the table.

  Args:
    workdir: the run's directory; metrics.jsonl is read from it when it is there.
    summary: SUMMARY_KEYS and anything else; a key that is missing is written as null.
    samples: (problem's text, completion's text, reward) of each completion to show.
    show: prints what rich can render; `Display.show`.
  """
  workdir = Path(workdir)
  summary = write_summary(workdir / 'summary.json', summary)
  lines_path = workdir / 'metrics.jsonl'
  lines = metrics.read_lines(lines_path) if lines_path.exists() else []
  curves.draw(workdir / 'reward.png', lines, summary)
  parts: list[RenderableType] = [
      sample_panel(index, *sample) for index, sample in enumerate(samples, 1)]
  if any(summary.get(f'accuracy_{key}') is not None for key, _ in STAGES):
    parts.append(accuracy_table(summary))
  show(*parts, course(summary),
       f'Written to {workdir}: summary.json, reward.png, metrics.jsonl, rollouts.jsonl, '
       f'stages.jsonl, checkpoints/, tensorboard/')


def course(summary: Mapping[str, Any]) -> str:
  """How long a run was and how its reward went, in one sentence."""
  steps, wall_s = summary.get('steps') or 0, summary.get('wall_s')
  words = f'{steps} update{"s" * (steps != 1)}'
  if wall_s is not None:
    words += f' in {minutes(wall_s)}'
  first, last = summary.get('reward_first'), summary.get('reward_last')
  if first is None or last is None:
    return f'{words}.'
  if steps <= ENDS:
    return f'{words}; mean reward {last:.3f}.'
  return f'{words}; mean reward {first:.3f} in the first {ENDS}, {last:.3f} in the last {ENDS}.'


def write_summary(path: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
  """Replaces summary.json in one go and returns what was written. Raises WriteError."""
  found = metrics.plain({**dict.fromkeys(SUMMARY_KEYS), **summary})
  path.parent.mkdir(parents=True, exist_ok=True)
  durable.write_json(path, found, indent=2)
  return found


def accuracy_table(summary: Mapping[str, Any]) -> Table:
  """Held-out accuracy at each stage that was measured, with standard errors and gains."""
  table = Table(title='Held-out accuracy', title_style='bold', border_style='cyan')
  table.add_column('')
  table.add_column('accuracy', justify='right')
  table.add_column('gain', justify='right')
  before = None
  for key, stage in STAGES:
    accuracy, error = summary.get(f'accuracy_{key}'), summary.get(f'accuracy_{key}_se')
    if accuracy is None:
      continue
    shown = with_error(accuracy, error)
    gain = '' if before is None else f'{accuracy - before:+.3f}'
    table.add_row(
        stage, Text(shown, 'bold'), Text(gain, 'red' if gain.startswith('-') else 'green'))
    before = accuracy
  return table


def sample_panel(index: int, prompt: str, completion: str, reward: float) -> Panel:
  """One completion under its problem; a long one loses its middle."""
  text = Text.assemble(
      (printable(prompt.strip()), 'bold'), '\n\n', printable(shorten(completion.strip())))
  return Panel(
      text, title=f'sample {index}, reward {reward:.2f}', title_align='left',
      border_style='green' if reward > 0.5 else 'yellow')


def shorten(text: str, limit: int = SAMPLE_CHARACTERS) -> str:
  """At most about `limit` characters: the beginning and the end, and how much is missing."""
  if len(text) <= limit:
    return text
  half = limit // 2
  return f'{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}'


def printable(text: str) -> str:
  """`text` with control characters replaced: a model may write any, and a terminal obeys them."""
  return ''.join(c if c.isprintable() or c in '\n\t' else '\ufffd' for c in text)
