"""The tokens of a completion as texts with their log-probabilities, for a share of the groups.

A line of the rollouts has the text of a completion, which says neither where its tokens end nor how
likely each was. With these it can be shown token by token, coloured by log-probability or, with the
line's `versions`, by the weights that drew each. They take about four times the bytes of the text.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from magistral_jax.records import Completion

# Tokens before one that its text may depend on: parts of a character, spaces at a beginning.
CONTEXT = 4
DIGITS = 3                 # Behind the point of a log-probability, in nats.


class TokenTexts:
  """Chooses groups, and spells their tokens.

  Args:
    share: of the groups, from 0 to 1; which ones, a checksum of their ordinals says.
    decode: tokens -> text.
  """

  def __init__(self, share: float, decode: Callable[[Sequence[int]], str]):
    self._share, self._decode = share, decode

  def of(self, completion: Completion) -> dict[str, list] | None:
    """{'texts': [...], 'logp': [...]} of a completion of a chosen group; None of another one."""
    if zlib.crc32(completion.ordinal.to_bytes(8, 'little', signed=True)) >= self._share * 2 ** 32:
      return None
    return dict(texts=spelled(completion.tokens.tolist(), self._decode),
                logp=[round(float(value), DIGITS) for value in completion.sampler_logp])


def spelled(tokens: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
  """What each token adds to the text of those before it; '' of one that ends the text.

  A token with a part of a character adds nothing, the one that completes it the whole.
  """
  found, begin = [], 0           # Where the tokens begin whose text is not complete.
  for end in range(1, len(tokens) + 1):
    first = max(0, begin - CONTEXT)
    before, now = decode(tokens[first:begin]), decode(tokens[first:end])
    if not now.startswith(before) or (now.endswith('\ufffd') and end - begin < CONTEXT):
      found.append('')
      continue
    found.append(now[len(before):])
    begin = end
  return found
