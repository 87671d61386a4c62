"""Batches: the groups of one update become packed minibatches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from magistral_jax.batching.advantages import loss_weights, standardise
from magistral_jax.batching.groups import is_judged, judged
from magistral_jax.batching.packing import PackedSequence, Patches, efficiency, pack
from magistral_jax.batching.parity import ParityRoom, parity_rows
from magistral_jax.records import Batch, Group


def make_batch(
    groups: Sequence[Group], *, minibatches: int, row_tokens: int, microbatch_rows: int,
    advantage_norm: str, normalizer: str, max_new_tokens: int,
    patches: Patches | None = None, parity: ParityRoom | None = None,
    share_prompts: bool = False) -> Batch:
  """Standardises, weighs and packs complete groups, minibatch by minibatch.

  Group i goes to minibatch i mod `minibatches`, which spreads neighbours in the stream, alike in
  version and length, evenly.

  Args:
    groups: complete groups, already settled as 'keep'.
    minibatches: optimizer steps of this batch; divides the number of groups.
    row_tokens: T, positions of a row.
    microbatch_rows: each minibatch has a multiple of this many rows, the last ones empty.
    advantage_norm: 'minibatch' | 'group' | 'none', see `standardise`.
    normalizer: 'group' | 'batch' | 'sequence' | 'constant', see `loss_weights`.
    max_new_tokens: the sampler's limit, for the normalizer 'constant'.
    patches: room for images in a row; None where prompts have none.
    parity: room for the sequences that parity is measured by; None measures none.
    share_prompts: as for `pack`.
  Returns:
    A batch whose groups, in the given order, carry the advantages that are trained on. Members
    that the verifier failed on are in them with the advantage None, and in no row.
  Raises:
    ValueError: the groups do not divide into minibatches; a sequence is longer than a row.
  """
  if not groups or len(groups) % minibatches:
    raise ValueError(
        f'{len(groups)} groups do not divide into {minibatches} minibatches: make '
        f'batching.prompts_per_batch a multiple of batching.minibatches.')
  final: list[Group | None] = [None] * len(groups)
  packed, alone = [], 0
  for m in range(minibatches):
    own_groups = groups[m::minibatches]
    members = [judged(group) for group in own_groups]
    weights = loss_weights(members, normalizer, max_new_tokens)
    members = [dataclasses.replace(group, advantages=advantages) for group, advantages
               in zip(members, standardise(members, advantage_norm), strict=True)]
    final[m::minibatches] = map(_with_advantages, own_groups, members)
    sequences = _sequences(members, weights)
    alone += sum(sequence.length for sequence in sequences)
    packed.append(pack(sequences, row_tokens=row_tokens, rows_multiple=microbatch_rows,
                       patches=patches, share_prompts=share_prompts))
  segments = np.concatenate([rows.segments for rows in packed])
  compared = parity_rows(groups, parity, patches) if parity else ()
  return Batch(tuple(final), tuple(packed), efficiency(segments), compared,
               positions_shared=1 - np.count_nonzero(segments) / alone)


def _with_advantages(group: Group, members: Group) -> Group:
  """The group with the advantages of its judged members, None for the others."""
  found = iter(members.advantages)
  return dataclasses.replace(
      group, advantages=tuple(next(found) if is_judged(v) else None for v in group.verdicts))


def _sequences(groups: Sequence[Group],
               weights: Sequence[tuple[float, ...]]) -> list[PackedSequence]:
  """The completions of groups, as they are packed."""
  return [
      PackedSequence(group.prompt.tokens, completion.tokens, weight, advantage,
                     completion.sampler_logp, group.prompt.images, completion.routes,
                     completion.temperature)
      for group, group_weights in zip(groups, weights, strict=True)
      for completion, weight, advantage in zip(
          group.completions, group_weights, group.advantages, strict=True)]
