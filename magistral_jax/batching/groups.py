"""Groups: their advantages, and whether they are kept, filtered or failed. G is the group size."""

from __future__ import annotations

from collections.abc import Sequence

from magistral_jax.records import Completion, Group, Prompt, Verdict

# Rewards are sums of a few parts near 0.1 - 1; below this they differ by rounding only.
_SAME_REWARD = 1e-9


def group_advantages(rewards: Sequence[float]) -> tuple[float, ...]:
  """Reward minus the group's mean: A_i = r_i - mean(r). Not divided by the standard deviation.

  References: arXiv:2506.10910 section 2.1; without the division, arXiv:2503.20783.
  """
  mean = sum(rewards) / len(rewards)
  return tuple(reward - mean for reward in rewards)


def is_flat(rewards: Sequence[float]) -> bool:
  """Whether all rewards are equal, so that no completion has an advantage over another.

  The total reward decides, with length penalty and bonuses, as in the paper's formula.
  """
  return max(rewards) - min(rewards) <= _SAME_REWARD


def make_group(prompt: Prompt, scored: Sequence[tuple[Completion, Verdict]]) -> Group:
  """Makes a group of scored completions in sample order; advantages are reward minus mean."""
  ordered = sorted(scored, key=lambda pair: pair[0].sample)
  completions, verdicts = zip(*ordered, strict=True)
  return Group(prompt, completions, verdicts, group_advantages([v.reward for v in verdicts]))


def settle(group: Group) -> str:
  """Fate of a group: 'failed' if a completion has no verdict, 'filtered' if flat, else 'keep'.

  A verifier's failure is not a wrong answer: the reward is unknown, and so is the group's mean.
  """
  if any(v.status in ('error', 'gold_unparsable') for v in group.verdicts):
    return 'failed'
  return 'filtered' if is_flat([v.reward for v in group.verdicts]) else 'keep'
