"""The weights of a sampler as it holds them: as the model computes, or its matrices as integers.

Axes: L layers; `in` and `out`, those that a product with a matrix sums over and those it leaves.

With sampler.weight_dtype='int8' the matrices of attention and feed-forward are numbers of eight
bits, with one scale for every output of every layer:

    s = max |w| / 127 over `in`,    values = round(w / s),    y = (x values) s

so that memory holds about half the bytes of bfloat16, and a token reads as many. Scales are applied
behind the product: what is read from memory are the integers. Embedding, head, norms, vision tower
and adapter stay as they are, and so do experts, which are read where the stacks of all layers lie
(moe.py). The weights of a trainer are never rounded.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats.layout import leaf_name
from magistral_jax.models.projection import Rounded

# The largest weight of an output falls on this integer.
LARGEST = 127
# Leaves that are rounded, and how many axes `in` they have behind that of layers.
INPUTS = {'layers.attention.q': 1, 'layers.attention.k': 1, 'layers.attention.v': 1,
          'layers.attention.o': 2, 'layers.ffn.w1': 1, 'layers.ffn.w3': 1, 'layers.ffn.w2': 1}


def matrix(w, inputs: int) -> Rounded:
  """Matrices [L, *in, *out] rounded; `inputs` is the number of axes `in`.

  One that is not finite makes a scale that is not.
  """
  over = tuple(range(1, 1 + inputs))
  w = w.astype(jnp.float32)
  # An output of zeros has a scale, too: nothing is divided by zero.
  scales = jnp.maximum(jnp.abs(w).max(over, keepdims=True), 1e-30) / LARGEST
  return Rounded(jnp.round(w / scales).astype(jnp.int8), scales.squeeze(over))


def held(config: ModelConfig, params, weight_dtype: str):
  """Parameters as a sampler holds them, in the dtype of its computation or rounded.

  Args:
    weight_dtype: a word of config.WEIGHT_DTYPES.
  """
  return jax.tree.map_with_path(lambda path, x: leaf(leaf_name(path), x.astype(config.dtype),
                                                     weight_dtype), params)


def leaf(name: str, x, weight_dtype: str):
  """One leaf of the parameter tree as a sampler holds it, or whole layers of it."""
  if weight_dtype == 'model' or name not in INPUTS:
    return x
  return matrix(x, INPUTS[name])


def on_devices(name: str, array: jax.Array, *, weight_dtype: str):
  """`leaf` of an array on its devices, once it is there; scales are cut as their outputs are."""
  if weight_dtype == 'model' or name not in INPUTS:
    return array
  cuts, inputs = array.sharding, INPUTS[name]
  if isinstance(cuts, NamedSharding):
    cuts = Rounded(cuts, NamedSharding(cuts.mesh, P(*cuts.spec[:1], *cuts.spec[1 + inputs:])))
  # Waits: of arrays that are not kept there may be only one.
  return jax.block_until_ready(_matrix(inputs, cuts)(array))


@functools.cache
def _matrix(inputs: int, cuts):
  return jax.jit(functools.partial(matrix, inputs=inputs), out_shardings=cuts)


def axes(config: ModelConfig, weight_dtype: str):
  """The tree of axis names of `held`."""
  def named(path, axes):
    name = leaf_name(path)
    if weight_dtype == 'model' or name not in INPUTS:
      return axes
    return Rounded(axes, axes[:1] + axes[1 + INPUTS[name]:])
  return jax.tree.map_with_path(named, decoder.definition(config)[1],
                                is_leaf=lambda x: isinstance(x, tuple))


def abstract(config: ModelConfig, weight_dtype: str):
  """The tree of `held` as shapes, nothing allocated."""
  return jax.eval_shape(functools.partial(held, config, weight_dtype=weight_dtype),
                        decoder.abstract(config))
