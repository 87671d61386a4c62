"""Prompts that stand once in a row for several completions: which sequences can, and in which rows.

A sequence takes the positions of its prompt but the last token, and as many as it has completion
tokens. The first are taken once by all sequences of one prompt in a row:

  prompt of 5, completions of 3 and 4     alone 4 + 3 and 4 + 4, together 4 + 3 + 4

Several rules assign sequences to rows, and the assignment with the fewest rows is taken. Which rule
that is depends on how long prompts and completions are beside a row: filling rows with completions
of one prompt saves the most positions, mixing prompts leaves fewer of them empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class RowShare:
  """What a sequence takes of a row. RowShare(prompt=0, shared=41, own=63, patches=0)"""
  prompt: int               # Number of the prompt, the same for sequences that can share it.
  shared: int               # Positions of the prompt but its last token.
  own: int                  # All other positions.
  patches: int = 0          # Patches of images, all of them in the prompt.


def shares(sequences: Sequence) -> list[RowShare]:
  """What each of the `packing.PackedSequence`s takes.

  Prompts are the same if their tokens and images are, and the experts that their tokens took: those
  can differ where one was written to the cache again under other weights. A prompt of one token has
  nothing to share.
  """
  found, numbers = [], {}
  for index, s in enumerate(sequences):
    shared = len(s.prompt) - 1
    routes = b'' if s.routes is None else s.routes[:shared].tobytes()
    name = np.asarray(s.prompt, np.int32).tobytes(), tuple(map(id, s.images)), routes
    name = name if shared else index
    found.append(RowShare(numbers.setdefault(name, len(numbers)), shared, s.length - shared,
                          s.patches))
  return found


def positions(shares: Sequence[RowShare]) -> int:
  """Positions that these take together in one row."""
  return sum({p.prompt: p.shared for p in shares}.values()) + sum(p.own for p in shares)


def fewest_rows(shares: Sequence[RowShare], row_tokens: int, row_patches: int,
                apart: Sequence[Sequence[int]]) -> list[list[int]]:
  """Indices of the shares of every row: the best of several rules.

  Args:
    apart: an assignment in which every sequence has room for all its positions; the result has at
      most as many rows.
  """
  longest = lambda i: (-shares[i].shared - shares[i].own, i)
  whole: dict[int, int] = {}
  for share in shares:
    whole[share.prompt] = whole.get(share.prompt, share.shared) + share.own
  together = lambda i: (-whole[shares[i].prompt], shares[i].prompt, -shares[i].own, i)
  layouts = [[list(row) for row in apart],
             *(_best_fit(shares, sorted(range(len(shares)), key=key), row_tokens, row_patches)
               for key in (longest, together)),
             _bunched(shares, row_tokens, row_patches)]
  taken = lambda layout: sum(positions([shares[i] for i in row]) for row in layout)
  return min(layouts, key=lambda layout: (len(layout), taken(layout)))


def _best_fit(shares, order, row_tokens, row_patches) -> list[list[int]]:
  """Each share, in this order, into a row with its prompt, else into the fullest with room."""
  rows: list[list[int]] = []
  room, patch_room = (np.full(len(order), size) for size in (row_tokens, row_patches))
  holders: dict[int, list[int]] = {}
  for index in order:
    share = shares[index]
    there = [r for r in holders.get(share.prompt, ()) if room[r] >= share.own]
    needed, patches = share.own, 0
    if there:
      row = min(there, key=lambda r: (room[r], r))
    else:
      needed, patches = share.shared + share.own, share.patches
      used = room[:len(rows) + 1]
      fits = (used >= needed) & (patch_room[:len(used)] >= patches)
      row = int(np.argmin(np.where(fits, used, np.iinfo(used.dtype).max)))
      if row == len(rows):
        rows.append([])
      holders.setdefault(share.prompt, []).append(row)
    rows[row].append(index)
    room[row] -= needed
    patch_room[row] -= patches
  return rows


def _bunched(shares, row_tokens, row_patches) -> list[list[int]]:
  """Completions of each prompt in bunches that fill a row; bunches that do not in common rows."""
  members: dict[int, list[int]] = {}
  for index, share in enumerate(shares):
    members.setdefault(share.prompt, []).append(index)
  bunches = [[indices[i] for i in bin] for indices in members.values()
             for bin in full_bins([shares[i].own for i in indices],
                                  row_tokens - shares[indices[0]].shared)]
  whole = [RowShare(number, 0, positions([shares[i] for i in bunch]), shares[bunch[0]].patches)
           for number, bunch in enumerate(bunches)]
  order = sorted(range(len(whole)), key=lambda i: (-whole[i].own, i))
  return [[i for number in row for i in bunches[number]]
          for row in _best_fit(whole, order, row_tokens, row_patches)]


def full_bins(sizes: Sequence[int], capacity: int) -> list[list[int]]:
  """Indices of the sizes in every bin: the largest that is left, and what fills its bin best.

  The sums that can be reached are the set bits of an integer, so that all are found at once.
  """
  left = sorted(range(len(sizes)), key=lambda i: -sizes[i])
  bins = []
  while left:
    first = left.pop(0)
    room = capacity - sizes[first]
    reached, within = [1], (1 << room + 1) - 1
    for i in left:
      reached.append((reached[-1] | reached[-1] << sizes[i]) & within)
    rest, taken = reached[-1].bit_length() - 1, []
    for place in range(len(left), 0, -1):
      # What is reached without it needs no smaller size.
      if not reached[place - 1] >> rest & 1:
        taken.append(place - 1)
        rest -= sizes[left[place - 1]]
    bins.append([first, *(left[place] for place in reversed(taken))])
    for place in taken:
      left.pop(place)
  return bins

