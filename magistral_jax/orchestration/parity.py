"""What the loop makes of the trainer's figures of parity (trainer/role.py)."""

from __future__ import annotations

from collections.abc import Mapping

KEYS = ('parity_version', 'logprob_gap_mean', 'logprob_gap_max')


def trusted(metrics: Mapping[str, float], forked: int) -> dict[str, float]:
  """Metrics without the figures of a version that was there twice, with other weights.

  Args:
    forked: the last version of a trainer that was lost; others have its numbers now.
  """
  if metrics.get('parity_version', forked + 1) > forked:
    return dict(metrics)
  return {key: value for key, value in metrics.items() if key not in KEYS} | dict(parity_tokens=0.0)


def warning(metrics: Mapping[str, float], limit: float) -> str:
  """The sentence that warns of a gap above trainer.parity_limit; '' if there is nothing to say."""
  gap = metrics.get('logprob_gap_mean', 0.0)
  if gap <= limit:           # One that is not a number is above.
    return ''
  return (f'Warning: sampler and trainer differ by {gap:.2g} nats on average, and by '
          f'{metrics["logprob_gap_max"]:.2g} at most, over {metrics["parity_tokens"]:.0f} tokens '
          f'that version {metrics["parity_version"]:.0f} drew (trainer.parity_limit={limit:g}): '
          f"every ratio is off by as much. If model.dtype='float32', sampler.kv_dtype='model' and "
          f"sampler.weight_dtype='model' make it vanish, it is rounding; raise the limit, bound "
          f'its effect by loss.importance_cap, and with experts set trainer.routing_replay. If '
          f'not, sampler and trainer do not compute the same, or have other weights.')
