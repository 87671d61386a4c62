"""Trainer parameters -> a snapshot in the sampler's layout and dtype, within one process."""

import jax
import jax.numpy as jnp

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.records import WeightSnapshot


class Publisher:
  """Copies parameters to one sampler mesh.

  The train step donates its state, so a snapshot that shared a buffer with it would be deleted
  under the sampler's feet: `may_alias=False` forbids that even where the sharding is unchanged.
  """

  def __init__(self, config: ModelConfig, mesh):
    _, axes = decoder.definition(config)
    self._shardings = sharding.tree_named(mesh, sharding.SAMPLER, axes)
    dtype = jnp.dtype(config.dtype)
    # Cast where the parameters lie, so that half the bytes travel.
    self._cast = jax.jit(lambda params: jax.tree.map(lambda x: x.astype(dtype), params))
    self._narrow = dtype != jnp.float32

  def snapshot(self, params, version: int) -> WeightSnapshot:
    """A copy of `params`, complete on the devices when this returns."""
    if self._narrow:
      params = self._cast(params)
    copy = jax.device_put(params, self._shardings, may_alias=False)
    return WeightSnapshot(version, jax.block_until_ready(copy))
