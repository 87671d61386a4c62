"""Completions whose log-probabilities the trainer is asked for: in rows, and where each lies.

They are packed like those of a batch, and train nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from magistral_jax.batching.groups import judged
from magistral_jax.batching.packing import PackedSequence, Patches, first_fit_decreasing, pack
from magistral_jax.records import Completion, Group, Rows


@dataclasses.dataclass(frozen=True)
class RecordedRoom:
  """Room for them. RecordedRoom(row_tokens=128, microbatch_rows=16)"""
  row_tokens: int           # T, positions of a row.
  microbatch_rows: int      # There is a multiple of this many rows, the last ones empty.
  patches: Patches | None = None   # Room for images in a row; None where prompts have none.


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedRows:
  """Rows, and the completion of each segment: places[i] = (row, segment) of completions[i]."""
  rows: Rows
  completions: tuple[Completion, ...]
  places: tuple[tuple[int, int], ...]

  def gaps(self, logps: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """{(ordinal, sample): [m] the trainer's log-probability of each token less the sampler's}.

    Args:
      logps: [R, T] the trainer's, in nats.
    """
    found = {}
    for completion, (r, segment) in zip(self.completions, self.places, strict=True):
      own = (self.rows.segments[r] == segment) & self.rows.mask[r]
      found[completion.ordinal, completion.sample] = logps[r][own] - completion.sampler_logp
    return found


def recorded_rows(groups: Sequence[Group], room: RecordedRoom) -> RecordedRows:
  """Rows of all judged completions of these groups, of which there must be one."""
  members = [(group.prompt, completion) for group in groups
             for completion in judged(group).completions]
  sequences = [PackedSequence(
      prompt.tokens, completion.tokens, weight=0.0, sampler_logp=completion.sampler_logp,
      images=prompt.images, routes=completion.routes, temperature=completion.temperature)
               for prompt, completion in members]
  layout = first_fit_decreasing(
      [s.length for s in sequences], room.row_tokens, [s.patches for s in sequences],
      room.patches.row_patches if room.patches else 0)
  rows = pack(sequences, row_tokens=room.row_tokens, rows_multiple=room.microbatch_rows,
              patches=room.patches, layout=layout)
  placed = [(index, (r, segment)) for r, row in enumerate(layout)
            for segment, index in enumerate(row, 1)]
  return RecordedRows(rows, tuple(members[index][1] for index, _ in placed),
                      tuple(place for _, place in placed))
