"""Where the roles of a run live: all in this process (LocalRuntime), or on a cluster (cluster.ClusterRuntime).

A place makes roles from the config and hands out what `train.Run` and the loop drive. Both kinds
answer the same calls, so that neither Run nor the loop knows which it has.
"""

from __future__ import annotations

from magistral_jax import sharding
from magistral_jax.experiment import build
from magistral_jax.trainer.checkpoint import CheckpointFolder
from magistral_jax.verifiers.role import PoolVerifier
from magistral_jax.weights.snapshot import Publisher


class LocalRuntime:
  """Every role in this process, on the meshes of `parts`; a context manager."""

  def __init__(self, c, parts):
    self._c, self._parts = c, parts
    self._pool = None
    self.publishers = [Publisher(parts.config, mesh) for mesh in parts.meshes.samplers]

  def trainer(self, weights=None, **changed):
    """A trainer at step 0.

    Args:
      weights: parameters to start from, taken over; None reads the checkpoint of the config, or
        draws them.
      changed: keys of config section `optimizer` to replace, for the cold start.
    """
    if weights is None:
      weights = build.params(self._c, self._parts.config, self._parts.meshes.trainer,
                             sharding.TRAINER)
    return build.trainer(self._c, self._parts.config, self._parts.meshes.trainer, weights,
                         **changed)

  def restored(self, checkpoints, **changed):
    """(trainer, record) as the newest of `checkpoints` has them."""
    found = {}
    def restore(abstract):
      state, found['record'] = checkpoints.restore(abstract)
      return state
    trainer = build.trainer(self._c, self._parts.config, self._parts.meshes.trainer,
                            restore=restore, **changed)
    return trainer, found['record']

  def checkpoints(self, folder: str, *, keep: int) -> CheckpointFolder:
    """The checkpoints kept in a folder."""
    return CheckpointFolder(folder, keep=keep)

  def samplers(self, snapshots) -> list:
    """The samplers, each with the first weights of its own; `snapshots` in their order."""
    c, parts = self._c, self._parts
    return [build.sampler(c, parts.config, mesh, parts.tokenizer, snapshot)
            for mesh, snapshot in zip(parts.meshes.samplers, snapshots, strict=True)]

  def verifier(self) -> PoolVerifier:
    """The verifier, with worker processes that end with this place."""
    self._pool = build.pool(self._c)
    return build.verifier(self._c, self._pool)

  def on_lost(self, reissue) -> None:
    """Names whom to tell of the prompts of a lost sampler: none is lost alone here."""

  def check_trainer(self) -> None:
    """Raises Lost if the trainer has died: it cannot, alone."""

  def places(self) -> dict:
    """{role: RoleStatus} of roles in other processes: there are none."""
    return {}

  def transfers(self) -> dict[str, float]:
    """What the transport of weights has measured: nothing, they are copied."""
    return {}

  def __enter__(self) -> LocalRuntime:
    return self

  def __exit__(self, *_) -> None:
    if self._pool is not None:
      self._pool.close()
