"""What attention to a packed row takes, from the lengths of the sequences in it."""

from __future__ import annotations

import numpy as np

from magistral_jax import sharding
from magistral_jax.models import kernels


def lengths(row_tokens: int, sequence_tokens: int) -> list[int]:
  """Tokens of the sequences of a full row, the last of which is what is left of it.

  Args:
    sequence_tokens: of all the others; 0 for one sequence as long as the row.
  Raises:
    ValueError: a sequence is longer than the row.
  """
  size = sequence_tokens or row_tokens
  if size > row_tokens:
    raise ValueError(f'--sequence_tokens={size} must be at most '
                     f'batching.row_tokens={row_tokens}.')
  whole, rest = divmod(row_tokens, size)
  return [size] * whole + [rest] * (rest > 0)


def needed(sequences: list[int]) -> float:
  """Pairs of a query and a key of its own sequence, not later than itself."""
  return sum(n * (n + 1) / 2 for n in sequences)


def computed(sequences: list[int], layout: sharding.Layout, head_dim: int) -> float:
  """Pairs that the kernel of `layout` computes of such a row; without a kernel, all of them.

  Where the positions of a row are cut over devices, all are taken to have as many as the busiest.
  """
  tokens, cut = sum(sequences), layout.pieces('position')
  if not kernels.rows_fit(layout, tokens, head_dim):
    return float(tokens) ** 2
  segments = np.repeat(np.arange(1, len(sequences) + 1, dtype=np.int32), sequences)
  return cut * float(kernels.computed_pairs(segments[None], cut).max())
