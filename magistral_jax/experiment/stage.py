"""What a stage of a run is: its name, and what opens it."""

from __future__ import annotations

import dataclasses

# A curve of the run and how its values are compared: reward and accuracy by differences, lengths by
# ratios. {what opens a stage: figure in a line of metrics.jsonl}
CURVES = dict(reward='reward', accuracy='eval/accuracy', length='completion_tokens_mean')
# What may open a stage besides: a number of updates, too few pages, and nothing but a person.
REASONS = (*CURVES, 'memory', 'update', 'hand')
# Keys that a stage may change. Those of `data` and `verifiers`, and the two of `sampler` after
# them, hold for prompts that are issued from its opening on; the others for updates.
CHANGEABLE = (
    'data.mix.*.weight', 'data.mix.*.difficulty_low', 'data.mix.*.difficulty_high',
    'verifiers.length_max', 'verifiers.length_cache',
    'sampler.max_new_tokens', 'sampler.temperature',
    'sampler.in_flight', 'batching.prompts_per_batch', 'loss.clip_high', 'optimizer.learning_rate')


@dataclasses.dataclass(frozen=True)
class Stage:
  """One stage after the first: Stage('longer', 'length', window=40, rise=.05, risk=.05)."""
  name: str
  opens: str                # One of REASONS. A person may open any stage.
  update: int = 0           # Updates after which it opens; only where `opens` is 'update'.
  # Only of a curve: how many updates are looked at, the least rise in so many that counts as
  # rising, the chance to open while it rises, and the updates after which it opens all the same (0:
  # never).
  window: int = 0
  rise: float = 0.0
  risk: float = 0.0
  latest: int = 0
