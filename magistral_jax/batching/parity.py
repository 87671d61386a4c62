"""Sequences by which sampler and trainer are compared: tokens that one version drew alone.

The log-probabilities of sampler and trainer agree only under the same weights. The tokens of a
completion before its first change of weights were drawn by one version, from a cache that this
version wrote, prompt included:

    versions ((0, 4), (96, 5))     tokens 0 .. 95 are version 4's alone; from token 96 on the cache
                                   holds keys of version 4, too, which no trainer has

For the newest versions of a batch, as many such beginnings as fit a few rows are packed, of
different prompts first. The trainer scores those of one version whose weights it still has
(trainer/role.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from magistral_jax.batching.groups import judged
from magistral_jax.batching.packing import PackedSequence, Patches, pack
from magistral_jax.records import Completion, Group, ParityRows, Prompt


@dataclasses.dataclass(frozen=True)
class ParityRoom:
  """Room for the sequences of some versions. ParityRoom(rows=1, row_tokens=128, versions=4)"""
  rows: int                 # Of one version: the fewest that the trainer's mesh can be given.
  row_tokens: int           # T of these rows; longer beginnings are cut.
  versions: int             # That a trainer keeps: no older ones than so many are of use.


def parity_rows(groups: Sequence[Group], room: ParityRoom,
                patches: Patches | None = None) -> tuple[ParityRows, ...]:
  """Rows for the newest versions that began a completion of these groups, oldest version first."""
  members = [(group.prompt, completion) for group in groups
             for completion in judged(group).completions]
  members.sort(key=lambda pair: pair[1].sample)     # Stable: another prompt comes next.
  found: dict[int, list[PackedSequence]] = {}
  for prompt, completion in members:
    sequence = _beginning(prompt, completion, room.row_tokens)
    if sequence is not None:
      found.setdefault(completion.versions[0][1], []).append(sequence)
  newest = sorted(found)[-room.versions:]
  return tuple(_packed(version, found[version], room, patches) for version in newest)


def _beginning(prompt: Prompt, completion: Completion, row_tokens: int) -> PackedSequence | None:
  """The tokens that the first version drew, as far as they fit; None if not even one does."""
  end = completion.versions[1][0] if len(completion.versions) > 1 else len(completion.tokens)
  end = min(end, row_tokens + 1 - len(prompt.tokens))
  if end < 1:
    return None
  routes = completion.routes
  return PackedSequence(
      prompt.tokens, completion.tokens[:end], weight=0.0,
      sampler_logp=completion.sampler_logp[:end], images=prompt.images,
      routes=None if routes is None else routes[:len(prompt.tokens) + end - 1],
      temperature=completion.temperature)


def _packed(version: int, sequences: Sequence[PackedSequence], room: ParityRoom,
            patches: Patches | None) -> ParityRows:
  """As many of the sequences as fit, each in the first row with room for it."""
  layout: list[list[int]] = [[] for _ in range(room.rows)]
  left = [room.row_tokens] * room.rows
  patches_left = [patches.row_patches if patches else 0] * room.rows
  for index, sequence in enumerate(sequences):
    row = next((r for r in range(room.rows)
                if left[r] >= sequence.length and patches_left[r] >= sequence.patches), None)
    if row is not None:
      layout[row].append(index)
      left[row] -= sequence.length
      patches_left[row] -= sequence.patches
  rows = pack(sequences, row_tokens=room.row_tokens, rows_multiple=room.rows, patches=patches,
              layout=layout)
  return ParityRows(version, int(rows.mask.sum()), rows)
