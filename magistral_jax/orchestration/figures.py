"""The figures of completions, groups and batches that stand in a line of metrics.jsonl."""

from __future__ import annotations

import numpy as np

from magistral_jax.batching.groups import judged
from magistral_jax.metrics import percentiles
from magistral_jax.records import Batch, Completion, Group, Verdict


def of_completion(completion: Completion, verdict: Verdict) -> dict:
  """The figures of a completion that a line of metrics.jsonl needs, as JSON has them."""
  return dict(status=verdict.status, reward=float(verdict.reward), parts=dict(verdict.parts),
              seconds=verdict.seconds, finish=completion.finish, tokens=len(completion.tokens))


def of_groups(groups: list[list[dict]]) -> dict:
  """Figures over all groups booked since the last update, filtered ones included.

  A verifier's failure is no reward and is left out of the means.
  """
  completions = [c for group in groups for c in group]
  judged = [c for c in completions if c['status'] != 'error']
  if not judged:
    return {}
  share = lambda of: float(np.mean([of(c) for c in judged]))
  solved = [np.mean([c['status'] == 'correct' for c in group if c['status'] != 'error'])
            for group in groups if any(c['status'] != 'error' for c in group)]
  parts = {name for c in judged for name in c['parts']}
  return dict(
      reward=share(lambda c: c['reward']), accuracy=share(lambda c: c['status'] == 'correct'),
      bad_format=share(lambda c: c['status'] == 'bad_format'),
      truncated=share(lambda c: c['finish'] == 'length'),
      verifier_errors=len(completions) - len(judged), verifier_s=share(lambda c: c['seconds']),
      groups_all_correct=float(np.mean([s == 1 for s in solved])),
      groups_none_correct=float(np.mean([s == 0 for s in solved])),
      **{f'part_{name}': share(lambda c: c['parts'].get(name, 0.0)) for name in sorted(parts)},
      **percentiles('completion_tokens', [c['tokens'] for c in judged]))


def mean_reward(group: Group) -> float:
  """Mean reward of the members of a group that were judged."""
  return float(np.mean([verdict.reward for verdict in judged(group).verdicts]))


def of_batch(batch: Batch, staleness: list[int]) -> dict:
  """Figures over the groups of one batch; `staleness` of each completion, in versions."""
  groups = [judged(group) for group in batch.groups]
  verdicts = [v for g in groups for v in g.verdicts]
  lengths = [len(c.tokens) for g in groups for c in g.completions]
  return dict(
      trained_reward=float(np.mean([v.reward for v in verdicts])),
      trained_accuracy=float(np.mean([v.status == 'correct' for v in verdicts])),
      trained_tokens_mean=float(np.mean(lengths)), packing_efficiency=batch.packing_efficiency,
      positions_shared=batch.positions_shared,
      versions_mean=float(np.mean([len(c.versions) for g in groups for c in g.completions])),
      **percentiles('staleness', staleness))
