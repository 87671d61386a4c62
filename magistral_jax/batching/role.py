"""Batcher role: gathers groups from completions in any order, and cuts batches."""

from __future__ import annotations

from magistral_jax.batching.backlog import Backlog
from magistral_jax.batching.batch import make_batch
from magistral_jax.batching.groups import make_group
from magistral_jax.batching.packing import Patches
from magistral_jax.batching.parity import ParityRoom
from magistral_jax.records import Batch, Completion, Group, Prompt, Verdict


class Batcher:
  """Batcher of incomplete groups, and of complete ones that wait for a batch.

  Reads:  Prompt, Completion, Verdict, one scored completion at a time. Writes: Group, Batch.
  Owns:   the members gathered so far.
  One thread makes all calls. It settles nothing itself: the caller asks `groups.settle` about each
  group that `add` returns, records its fate, and returns those to train on through `offer`.
  """

  def __init__(
      self, *, group_size: int, prompts_per_batch: int, minibatches: int, max_staleness: int,
      row_tokens: int, microbatch_rows: int, advantage_norm: str, normalizer: str,
      max_new_tokens: int, patches: Patches | None = None, parity: ParityRoom | None = None,
      share_prompts: bool = False):
    self._group_size, self._prompts_per_batch = group_size, prompts_per_batch
    self._max_staleness = max_staleness
    self._make = dict(
        minibatches=minibatches, row_tokens=row_tokens, microbatch_rows=microbatch_rows,
        advantage_norm=advantage_norm, normalizer=normalizer, max_new_tokens=max_new_tokens,
        patches=patches, parity=parity, share_prompts=share_prompts)
    self._gathering: dict[int, dict[int, tuple[Completion, Verdict]]] = {}
    self._waiting: Backlog[Group] = Backlog()
    self.duplicates = 0

  def add(self, prompt: Prompt, completion: Completion, verdict: Verdict) -> Group | None:
    """Takes a scored completion; returns its group if this was the last of it.

    A sample that has arrived before is counted in `duplicates` and ignored.
    """
    members = self._gathering.setdefault(prompt.ordinal, {})
    if completion.sample in members:
      self.duplicates += 1
      return None
    members[completion.sample] = (completion, verdict)
    if len(members) < self._group_size:
      return None
    return make_group(prompt, list(self._gathering.pop(prompt.ordinal).values()))

  def offer(self, group: Group, position: int) -> None:
    """Queues a complete group that is to be trained on for the next batch.

    Args:
      position: that of its issue (`Ledger.position`); groups are trained in this order.
    """
    self._waiting.offer(group, position=position, oldest_version=group.oldest_version)

  def expire(self, version: int) -> list[Group]:
    """Removes waiting groups with a token over max_staleness versions old (0: none); returns them.
    """
    return self._waiting.expire(version, self._max_staleness)

  def take(self) -> Batch | None:
    """Takes a batch of exactly prompts_per_batch groups, first issued first; None if too few wait.

    Within the batch groups are ordered by ordinal, so that it depends on which groups arrived, not
    on when.
    """
    first = self._waiting.take(self._prompts_per_batch)
    return first and make_batch(sorted(first, key=lambda g: g.ordinal), **self._make)

  def resize(self, prompts_per_batch: int) -> None:
    """Makes the batches from now on of so many groups."""
    self._prompts_per_batch = prompts_per_batch

  def forget(self, ordinal: int) -> int:
    """Drops the members of a group that will not be completed; returns their tokens."""
    members = self._gathering.pop(ordinal, {})
    return sum(len(completion.tokens) for completion, _ in members.values())

  def clear(self) -> None:
    """Drops everything that is in no batch yet."""
    self._gathering.clear()
    self._waiting.clear()

  def members(self, ordinal: int) -> int:
    """Number of completions gathered of an incomplete group."""
    return len(self._gathering.get(ordinal, ()))

  @property
  def waiting_ordinals(self) -> set[int]:
    """Ordinals of the groups that wait for a batch."""
    return {group.ordinal for group in self._waiting}

  @property
  def waiting(self) -> int:
    """Number of complete groups that wait for a batch."""
    return len(self._waiting)

  @property
  def gathering(self) -> int:
    """Number of groups with some completions gathered and some missing."""
    return len(self._gathering)
