"""Advantages of completions, and the weight of every token in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magistral_jax.batching.groups import group_advantages
from magistral_jax.records import Group

ADVANTAGE_NORMS = ('minibatch', 'group', 'none')
NORMALIZERS = ('group', 'batch', 'sequence', 'constant')

# Keeps the division finite where all advantages are equal; far below any real spread of rewards.
_EPSILON = 1e-8


def standardise(groups: Sequence[Group], advantage_norm: str) -> list[tuple[float, ...]]:
  """Standardises the advantages of one minibatch: one float per completion, not per token.

  With A_i = r_i - mean of the group:
    'minibatch'  (A_i - mean(A)) / std(A) over all completions of the minibatch (the paper)
    'group'      A_i / std of the group's rewards (GRPO)
    'none'       A_i (Dr. GRPO)

  Args:
    groups: complete groups of one minibatch.
    advantage_norm: one of ADVANTAGE_NORMS.
  Returns:
    One tuple per group, in sample order.
  Raises:
    ValueError: another `advantage_norm`.
  References: arXiv:2506.10910 section 2.1; 'group' arXiv:2402.03300; 'none' arXiv:2503.20783.
  """
  raw = [np.array(group_advantages([v.reward for v in g.verdicts])) for g in groups]
  if advantage_norm == 'minibatch':
    everything = np.concatenate(raw)
    scaled = [(a - everything.mean()) / (everything.std() + _EPSILON) for a in raw]
  elif advantage_norm == 'group':
    scaled = [a / (a.std() + _EPSILON) for a in raw]
  elif advantage_norm == 'none':
    scaled = raw
  else:
    raise ValueError(f'batching.advantage_norm is {advantage_norm!r}: choose one of '
                     f'{", ".join(ADVANTAGE_NORMS)}.')
  return [tuple(a.tolist()) for a in scaled]


def loss_weights(
    groups: Sequence[Group], normalizer: str, max_new_tokens: int) -> list[tuple[float, ...]]:
  """Weight of one token of each completion in the loss of its minibatch.

  The loss is sum over tokens of weight x cost, so it does not depend on how sequences fall into
  rows, microbatches or processes. With n_i the tokens of completion i:
    'group'     1 / (tokens of the group x groups)          (the paper)
    'batch'     1 / tokens of the minibatch                 (DAPO)
    'sequence'  1 / (n_i x completions)                     (GRPO)
    'constant'  1 / (max_new_tokens x completions)          (Dr. GRPO)
  The first three sum to 1 over a minibatch, the last to less.

  Args:
    groups: complete groups of one minibatch.
    normalizer: one of NORMALIZERS.
    max_new_tokens: the sampler's limit; only 'constant' uses it.
  Returns:
    One tuple per group, in sample order.
  Raises:
    ValueError: another `normalizer`.
  """
  counts = [np.array([len(c.tokens) for c in g.completions], float) for g in groups]
  sequences = sum(len(n) for n in counts)
  if normalizer == 'group':
    weights = [np.full(len(n), 1.0 / (n.sum() * len(groups))) for n in counts]
  elif normalizer == 'batch':
    total = sum(n.sum() for n in counts)
    weights = [np.full(len(n), 1.0 / total) for n in counts]
  elif normalizer == 'sequence':
    weights = [1.0 / (n * sequences) for n in counts]
  elif normalizer == 'constant':
    weights = [np.full(len(n), 1.0 / (max_new_tokens * sequences)) for n in counts]
  else:
    raise ValueError(f'batching.normalizer is {normalizer!r}: choose one of '
                     f'{", ".join(NORMALIZERS)}.')
  return [tuple(w.tolist()) for w in weights]
