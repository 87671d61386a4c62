"""The declaration of a weight: initial values and the names of its axes, said once."""

import jax
import jax.numpy as jnp
from flax import nnx


def weight(rngs, shape, axes, *, fan_in=None) -> nnx.Param:
  """A weight drawn from N(0, 1 / fan_in), or ones where there is no fan_in (norms)."""
  if fan_in is None:
    return nnx.Param(jnp.ones(shape), axes=axes)
  return nnx.Param(jax.random.normal(rngs.params(), shape) * fan_in ** -0.5, axes=axes)
