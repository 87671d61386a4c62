"""Snapshot of the trainer's parameters in the sampler's layout and dtype, within one process."""

import jax
import jax.numpy as jnp

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.records import WeightSnapshot


def cast(config: ModelConfig):
  """Compiled function params -> copy in the dtype that samplers compute in.

  The cast happens where the parameters lie, so that in bfloat16 half the bytes travel.
  """
  dtype = jnp.dtype(config.dtype)
  return jax.jit(lambda params: jax.tree.map(lambda x: jnp.copy(x.astype(dtype)), params))


class Publisher:
  """Copies parameters to one sampler mesh.

  The train step donates its state, so a snapshot that shared a buffer with it would be deleted
  while the sampler uses it. A compiled copy shares none; `jax.device_put(may_alias=False)` does
  where an array that is whole on several devices goes to some of them.
  """

  def __init__(self, config: ModelConfig, mesh):
    _, axes = decoder.definition(config)
    self._shardings = sharding.tree_named(mesh, sharding.SAMPLER, axes)
    self._copy = cast(config)

  def snapshot(self, params, version: int) -> WeightSnapshot:
    """Copies `params`; the copy is complete on the devices when this returns."""
    copied = self._copy(params)
    # From jax 0.12 on, arrays that go to other devices in another layout pass through the CPU.
    with jax.transfer_guard('allow'):
      copy = jax.device_put(copied, self._shardings)
    return WeightSnapshot(version, jax.block_until_ready(copy))
