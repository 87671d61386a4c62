"""Weights on their way from trainer processes to sampler processes; orchestration/roles.py:
WeightPublisher. weights/ has what moves them, at both ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from magistral_jax.runtime.trainer_proxy import RemoteTrainer, TrainerGang
from magistral_jax.weights.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Staged:
  """Weights that samplers may fetch: what they are, and the processes that lend their pieces.

  Staged(version=12, lineage=0, manifest=Manifest(...), lenders=(actor, ...))
  """
  version: int
  lineage: int
  manifest: Manifest
  lenders: Sequence

  @property
  def age(self) -> tuple[int, int]:
    """What orders weights: those of a later lineage are newer, whatever their version."""
    return self.lineage, self.version


class RemotePublisher:
  """Stages the trainer's weights once for all samplers; each sampler process fetches them itself.

  Args:
    samplers: how many there are.
  """

  def __init__(self, gang: TrainerGang, samplers: int):
    self._gang, self._samplers = gang, samplers
    self._staged: Staged | None = None

  def snapshots(self, trainer: RemoteTrainer, version: int) -> Iterator[Staged]:
    wanted = trainer.lineage, version
    if self._staged is None or self._staged.age != wanted:
      manifest = self._gang.all('stage', *wanted)[0]
      self._staged = Staged(version, trainer.lineage, manifest, self._gang.actors)
    for _ in range(self._samplers):
      yield self._staged
