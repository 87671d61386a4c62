"""The soft length penalty of the reward."""

from __future__ import annotations


def length_penalty(
    n_tokens: int, *, length_max: int, length_cache: int, length_penalty: float) -> float:
  """A penalty that ramps up over the last `length_cache` tokens before `length_max`, then is flat.

    0                                                    up to length_max - length_cache
    -length_penalty * (n - length_max + length_cache) / length_cache        up to length_max
    -length_penalty                                                         beyond

  Args:
    n_tokens: length of the completion, its end-of-sequence token included.
    length_max, length_cache: tokens. `length_max` 0 switches the penalty off.
    length_penalty: reward that an overlong completion loses.
  Returns:
    The penalty, from -length_penalty to 0.
  Reference: arXiv:2506.10910 eq. 1.
  """
  free = length_max - length_cache
  if not length_max or n_tokens <= free:
    return 0.0
  if n_tokens > length_max:
    return -length_penalty
  return -length_penalty * (n_tokens - free) / length_cache
