"""What becomes of a group: kept for training, filtered, or failed. G is the group size."""

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
  """Whether every reward is the same, so that no completion has an advantage over another.

  The total reward decides, length penalty and bonuses included, as the paper's formula says.
  """
  return max(rewards) - min(rewards) <= _SAME_REWARD


def make_group(prompt: Prompt, scored: Sequence[tuple[Completion, Verdict]]) -> Group:
  """The group of `scored` completions in sample order, with reward minus mean as advantages."""
  ordered = sorted(scored, key=lambda pair: pair[0].sample)
  completions, verdicts = zip(*ordered, strict=True)
  return Group(prompt, completions, verdicts, group_advantages([v.reward for v in verdicts]))


def settle(group: Group) -> str:
  """'failed' if any completion could not be judged, 'filtered' if the rewards are flat, or 'keep'.

  A verifier's failure is not a wrong answer: its reward is unknown, and so is the group's mean.
  """
  if any(v.status in ('error', 'gold_unparsable') for v in group.verdicts):
    return 'failed'
  return 'filtered' if is_flat([v.reward for v in group.verdicts]) else 'keep'
