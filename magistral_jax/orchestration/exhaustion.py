"""When a run has nothing left to learn, and why: groups keep coming, and none makes a batch.

Not every group teaches: where all rewards are equal no completion is better than another. Beyond
`patience` groups without an update it is not bad luck any more.
"""

from __future__ import annotations

import collections

from magistral_jax.records import Group

# The most frequent reason, with what helps.
ADVICE = {
    'all right': 'All that these problems teach is learnt: harder ones would teach more.',
    'none right': 'The problems are too hard for the model: easier ones, or more of a cold start '
                  '(cold_start.steps), give it something to learn from.',
    'no format': 'Most completions fail the format gate: a cold start (cold_start.steps) or a '
                 'system prompt (data.system_prompt) teaches the form.',
    'truncated': 'Most completions are cut off: raise sampler.max_new_tokens.',
    'failed': 'They could not be judged: rollouts.jsonl says why in "status".',
    'equal': 'Their completions have equal rewards: a larger sampler.group_size or a higher '
             'sampler.temperature makes them differ.'}


class Exhaustion:
  """Counts the groups since the last batch. The caller sees to it that one thread calls at a time.

  `patience` is the number of groups without an update after which nothing is left to learn.
  """

  def __init__(self, patience: int = 0):
    self.patience = patience
    self.reset()

  def reset(self) -> None:
    """Begins anew, after a batch was trained on."""
    self.groups = 0
    self._reasons = collections.Counter()

  def note(self, group: Group, fate: str) -> None:
    """Counts a complete group; `fate` as `groups.settle` gives it."""
    self.groups += 1
    if fate != 'keep':
      self._reasons[_reason(group, fate)] += 1

  @property
  def reached(self) -> bool:
    """Whether nothing is left to learn."""
    return self.groups >= self.patience

  @property
  def solved(self) -> bool:
    """Whether that is because almost all problems are solved."""
    return self._reasons['all right'] > self.groups / 2

  def sentence(self) -> str:
    """Why nothing is left to learn, and what would help."""
    counted = ', '.join(f'{count} ({reason})' for reason, count in self._reasons.most_common())
    advice = [ADVICE[reason] for reason, _ in self._reasons.most_common(1)]
    return ' '.join([
        f'Of {self.groups} groups since the last update too few have different rewards for a '
        f'batch; the others teach nothing: {counted}.', *advice])


def _reason(group: Group, fate: str) -> str:
  """The key of ADVICE for a group that is not trained on."""
  if fate == 'failed':
    return 'failed'
  half = len(group.verdicts) / 2
  statuses = collections.Counter(verdict.status for verdict in group.verdicts)
  if statuses['correct'] > half:
    return 'all right'
  if sum(completion.finish == 'length' for completion in group.completions) > half:
    return 'truncated'
  if statuses['bad_format'] > half:
    return 'no format'
  return 'equal' if statuses['correct'] else 'none right'
