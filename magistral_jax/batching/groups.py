"""Groups: their advantages, and whether they are kept, filtered or failed. G is the group size.

A verdict of status 'error' says that the verifier failed, not the completion: its reward is not
known. Such a member is left out of the group's mean and of training, and is counted; the others are
trained on without it, if there are at least two. So one completion is never worth a group:

    rewards   1.0  0.1  error  0.1      mean 0.4      advantages  0.6  -0.3  none  -0.3

Length: were the whole group dropped, a group would survive with the product of its members' chances
and long completions, whose verifier fails oftener, would take others with them; left out alone,
each is lost with its own chance, and the mean of the others stays what it was.
Escape: a completion that could force its own failure would escape a negative advantage and never
gain one, since what is not trained on is not made likelier. What a completion can force, its
verifiers call wrong, timeout or memory; 'error' is for what comes from us (verifiers/).

'gold_unparsable' is decided by the gold answer alone, so it means all members: the group fails.
"""

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


def is_judged(verdict: Verdict) -> bool:
  """Whether the verifier did its work: False for its own failures."""
  return verdict.status != 'error'


def make_group(prompt: Prompt, scored: Sequence[tuple[Completion, Verdict]]) -> Group:
  """Makes a group of scored completions in sample order.

  Advantages are reward minus the mean of the judged members; those of the others are None.
  """
  ordered = sorted(scored, key=lambda pair: pair[0].sample)
  completions, verdicts = zip(*ordered, strict=True)
  rewards = [v.reward for v in verdicts if is_judged(v)]
  found = iter(group_advantages(rewards) if rewards else ())
  return Group(prompt, completions, verdicts,
               tuple(next(found) if is_judged(v) else None for v in verdicts))


def judged(group: Group) -> Group:
  """The group without the members that the verifier failed on."""
  if all(map(is_judged, group.verdicts)):
    return group
  kept = [i for i, v in enumerate(group.verdicts) if is_judged(v)]
  pick = lambda values: tuple(values[i] for i in kept)
  return Group(group.prompt, pick(group.completions), pick(group.verdicts),
               pick(group.advantages))


def settle(group: Group) -> str:
  """Fate of a group: 'failed' if it cannot be judged, 'filtered' if flat, else 'keep'.

  It cannot be judged if its gold answer is unreadable, or if fewer than two members are judged: a
  mean over one says nothing about it.
  """
  rewards = [v.reward for v in group.verdicts if is_judged(v)]
  unreadable = any(v.status == 'gold_unparsable' for v in group.verdicts)
  if unreadable or len(rewards) < min(2, len(group.verdicts)):
    return 'failed'
  return 'filtered' if is_flat(rewards) else 'keep'
