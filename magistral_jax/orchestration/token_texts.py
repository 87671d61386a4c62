"""The tokens of a completion as texts with their log-probabilities, for a share of the groups.

A line of the rollouts has the text of a completion, which says neither where its tokens end nor how
likely each was. With these it can be shown token by token, coloured by log-probability, by the gap
of sampler and trainer or, with the line's `versions`, by the weights that drew each. They take
about six times the bytes of the text.

The gap of a token is the trainer's log-probability less the sampler's, under the weights that the
completion is then trained from: the logarithm of its first importance ratio. Of a token that these
very weights drew, it is a difference of the two programs; of an older one, also what was learned
since. Only groups that are trained have it, for one more forward pass over them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from magistral_jax.batching.groups import is_judged
from magistral_jax.batching.recorded import RecordedRoom, recorded_rows
from magistral_jax.records import Completion, Group, Rows

# Tokens before one that its text may depend on: parts of a character, spaces at a beginning.
CONTEXT = 4
DIGITS = 3                 # Behind the point of a log-probability, in nats.
GAP_DIGITS = 5             # Of a gap, where float32 alone makes about 1e-6.

Gaps = dict[tuple[int, int], np.ndarray]    # [tokens] by (ordinal, sample).


class TokenTexts:
  """Chooses groups, and spells their tokens.

  Args:
    share: of the groups, from 0 to 1; which ones, a checksum of their ordinals says.
    decode: tokens -> text.
    room: for completions in the trainer's rows; None records no gaps.
  """

  def __init__(self, share: float, decode: Callable[[Sequence[int]], str],
               room: RecordedRoom | None = None):
    self._share, self._decode, self._room = share, decode, room

  def gaps(self, groups: Sequence[Group], logps: Callable[[Rows], np.ndarray]) -> Gaps:
    """The gaps of all tokens of the chosen groups that are about to be trained.

    Args:
      logps: rows -> [R, T] the trainer's log-probabilities, which is not asked without any.
    """
    chosen = [group for group in groups
              if self._chosen(group.ordinal) and any(map(is_judged, group.verdicts))]
    if not chosen or self._room is None:
      return {}
    found = recorded_rows(chosen, self._room)
    return found.gaps(logps(found.rows))

  def of(self, completion: Completion, gaps: Gaps) -> dict[str, list] | None:
    """{'texts': [...], 'logp': [...]} of a completion of a chosen group; None of another one.

    Where `gaps` has it, also 'gap'.
    """
    if not self._chosen(completion.ordinal):
      return None
    found = dict(texts=spelled(completion.tokens.tolist(), self._decode),
                 logp=_rounded(completion.sampler_logp, DIGITS))
    gap = gaps.get((completion.ordinal, completion.sample))
    return found if gap is None else found | dict(gap=_rounded(gap, GAP_DIGITS))

  def _chosen(self, ordinal: int) -> bool:
    return zlib.crc32(ordinal.to_bytes(8, 'little', signed=True)) < self._share * 2 ** 32


def _rounded(values: np.ndarray, digits: int) -> list[float]:
  return [round(float(value), digits) for value in values]


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
