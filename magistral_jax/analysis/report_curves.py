"""The curves of a report: which there are, and their points out of the lines of a run.

A panel is drawn where a run of the report has a point of it. Its series are keys of metrics.jsonl,
of stages.jsonl for the cold start, or made of keys by FORMED.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magistral_jax.analysis.report_run import RecordedRun
from magistral_jax.records import FATES

DIGITS = 6                       # Significant ones of a point.


@dataclasses.dataclass(frozen=True)
class Panel:
  """One diagram.

  Panel('length', 'Length', 'tokens', {'completion_tokens_mean': 'mean'},
        band=('completion_tokens_p10', 'completion_tokens_p90'))
  """
  name: str
  title: str
  unit: str
  series: Mapping[str, str]        # Key -> label; a key that ends in * stands for all such keys.
  band: tuple[str, str] | None = None    # From the 10th to the 90th percentile.
  zero: bool = True                # The axis begins at 0.
  share: bool = False              # It goes from 0 to 1.
  axis: str = 'loop'               # Whose steps: of the 'loop', or of the 'cold_start'.
  held_out: bool = False           # The points of evaluations belong to it.


PANELS = (
    Panel('reward', 'Reward', 'mean of all groups',
          {'reward': 'sampled', 'trained_reward': 'trained'}, zero=False),
    Panel('parts', 'Parts of the reward', 'mean of all groups', {'part_*': '*'}, zero=False),
    Panel('accuracy', 'Accuracy', 'share', {'accuracy': 'sampled'}, share=True, held_out=True),
    Panel('length', 'Length of completions', 'tokens',
          {'completion_tokens_mean': 'mean', 'trained_tokens_mean': 'mean of trained'},
          band=('completion_tokens_p10', 'completion_tokens_p90')),
    Panel('gates', 'Cut off, or without the format', 'share',
          {'truncated': 'cut off', 'bad_format': 'bad format'}, share=True),
    Panel('solved', 'Groups that teach nothing', 'share of groups',
          {'groups_all_correct': 'all correct', 'groups_none_correct': 'none correct'}, share=True),
    Panel('fates', 'What became of groups', 'groups per update',
          {f'fate_{fate}': fate for fate in FATES}),
    Panel('entropy', 'Entropy', 'nats per token', {'entropy': 'entropy'}),
    Panel('clip', 'Clipped tokens', 'share',
          {'clip_fraction_low': 'lower bound', 'clip_fraction_high': 'upper bound'}),
    Panel('gradient', 'Gradient norm', 'before clipping', {'grad_norm': 'norm'}),
    Panel('kl', 'KL(sampler, policy)', 'nats per token', {'kl_k3': 'k3', 'kl_k1': 'k1'},
          zero=False),
    Panel('staleness', 'Staleness', 'versions', {'staleness_mean': 'mean', 'staleness_max': 'most'},
          band=('staleness_p10', 'staleness_p90')),
    Panel('parity', 'Parity gap of sampler and trainer', 'nats',
          {'logprob_gap_mean': 'mean', 'logprob_gap_max': 'most'}),
    Panel('speed', 'Speed', 'tokens per second',
          {'sampled_tokens_per_s': 'sampled', 'trained_tokens_per_s': 'trained'}),
    Panel('queues', 'What waits', 'completions',
          {'open_sequences': 'being sampled', 'verifier_queue': 'for a verdict'}),
    Panel('waste', 'Idle slots, discarded tokens', 'share',
          {'slots_idle': 'slots idle', 'tokens_discarded': 'tokens discarded'}, share=True),
    Panel('update', 'Seconds of an update', 'seconds',
          {'train_s': 'training', 'publish_s': 'publishing', 'waiting_s': 'waiting for a batch'}),
    Panel('cold_loss', 'Cold start', 'nats per token', {'loss': 'loss', 'entropy': 'entropy'},
          axis='cold_start'))

Lines = Sequence[Mapping[str, Any]]


def _differences(lines: Lines, of: Callable[[Mapping[str, Any]], float | None]) -> list:
  """What a running total gained from line to line, the first from 0; none below 0."""
  found, before = [], 0.0
  for line in lines:
    total = of(line)
    found.append(None if total is None else max(0.0, total - before))
    before = before if total is None else total
  return found


# Series that stand under no key of their own.
FORMED: dict[str, Callable[[Lines], list]] = {
    **{f'fate_{fate}': lambda lines, key=f'groups_{fate}': _differences(
        lines, lambda line: line.get(key)) for fate in FATES},
    'waiting_s': lambda lines: _differences(
        lines, lambda line: (line.get('time_s') or {}).get('waiting')),
    'verifier_queue': lambda lines: [
        (line.get('verifier') or {}).get('queue_depth') for line in lines]}


def of_run(run: RecordedRun) -> dict[str, Any]:
  """Points of a run: {'loop': {'step': [...], key: [...]}, 'cold_start': ..., 'held_out': ...}.

  A point is None where a line has no number. `held_out` has step, accuracy and standard error (None
  where unknown) of every evaluation, `stages` the update after which each stage has opened.
  """
  cold = [line for line in run.stages if line.get('stage') == 'cold_start' and 'loss' in line]
  opened = [dict(step=line['step'], name=line['stage']) for line in run.stages
            if line.get('opens') is True]
  return dict(name=run.name, loop=_points(run.lines, 'loop'), held_out=held_out(run),
              cold_start=_points(cold, 'cold_start'), stages=opened)


def panels(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """The panels of which some run has a point, with the series that there are."""
  found = []
  for panel in PANELS:
    series = {key: label for one in points
              for key, label in _expanded(panel, one[panel.axis]).items()
              if any(value is not None for value in one[panel.axis].get(key, ()))}
    if series or panel.held_out and any(one['held_out'] for one in points):
      found.append(dataclasses.asdict(panel) | dict(series=series))
  return found


def held_out(run: RecordedRun) -> list[dict[str, Any]]:
  """Step, accuracy and standard error of evaluations, by step of the loop."""
  found = {}
  for line in run.stages:
    if 'eval/accuracy' in line and line['stage'] in ('start', 'cold_start', 'final'):
      found[line['step'] if line['stage'] == 'final' else 0] = line
  for line in run.lines:
    if 'eval/accuracy' in line:
      version = line.get('eval/version')
      found.setdefault(line['step'] if version is None else version, line)
  return [dict(step=step, accuracy=number(line['eval/accuracy']),
               error=number(line.get('eval/accuracy_se')))
          for step, line in sorted(found.items()) if number(line['eval/accuracy']) is not None]


def _points(lines: Lines, axis: str) -> dict[str, list]:
  steps = [line['step'] for line in lines]
  wanted = {key for panel in PANELS if panel.axis == axis
            for key in [*panel.series, *(panel.band or ())]}
  keys = [key for key in sorted({key for line in lines for key in line} | FORMED.keys())
          if key in wanted or f'{key.partition("_")[0]}_*' in wanted]
  columns = {key: FORMED[key](lines) if key in FORMED else [line.get(key) for line in lines]
             for key in keys}
  shown = {key: [number(value) for value in column] for key, column in columns.items()}
  return dict(step=steps) | {key: column for key, column in shown.items()
                             if any(value is not None for value in column)}


def _expanded(panel: Panel, points: Mapping[str, list]) -> dict[str, str]:
  """The panel's series, where * has become what the keys of the points have in its place."""
  found = {}
  for key, label in panel.series.items():
    if key.endswith('*'):
      found |= {name: name.removeprefix(key[:-1]) for name in points if name.startswith(key[:-1])}
    else:
      found[key] = label
  return found


def number(value: Any) -> float | None:
  """A finite number of DIGITS significant digits; None for all else."""
  if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
    return None
  return float(f'{value:.{DIGITS}g}')
