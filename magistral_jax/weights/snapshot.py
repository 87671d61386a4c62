"""Snapshot of the trainer's parameters in the sampler's layout and dtype, within one process."""

import jax
import jax.numpy as jnp

from magistral_jax import sharding
from magistral_jax.models import rounded
from magistral_jax.models.config import ModelConfig
from magistral_jax.records import WeightSnapshot


def cast(config: ModelConfig, weight_dtype: str):
  """Compiled function params -> copy as samplers hold it; weight_dtype as in rounded.py.

  Cast and rounding happen where the parameters lie, so that half or a quarter of the bytes travel.
  """
  return jax.jit(lambda params: jax.tree.map(jnp.copy, rounded.held(config, params, weight_dtype)))


class Publisher:
  """Copies parameters to one sampler mesh; weight_dtype: a word of config.WEIGHT_DTYPES.

  The train step donates its state, so a snapshot that shared a buffer with it would be deleted
  while the sampler uses it. A compiled copy shares none; `jax.device_put(may_alias=False)` does
  where an array that is whole on several devices goes to some of them.
  """

  def __init__(self, config: ModelConfig, mesh, weight_dtype: str = 'model'):
    self._shardings = sharding.tree_named(mesh, sharding.SAMPLER,
                                          rounded.axes(config, weight_dtype))
    self._copy = cast(config, weight_dtype)

  def snapshot(self, params, version: int) -> WeightSnapshot:
    """Copies `params`; the copy is complete on the devices when this returns."""
    copied = self._copy(params)
    # From jax 0.12 on, arrays that go to other devices in another layout pass through the CPU.
    with jax.transfer_guard('allow'):
      copy = jax.device_put(copied, self._shardings)
    return WeightSnapshot(version, jax.block_until_ready(copy))
