"""The weights of a dense model as one CPU decodes fastest with them.

Out of stacked arrays, a program for CPUs copies the weights of a layer before it multiplies with
them, which takes about as long as products with 32 rows do. And with few rows a product is quicker
where the numbers of an output of the matrix are neighbours.
"""

import jax
import jax.numpy as jnp

from magistral_jax.models.formats.layout import leaf_name
from magistral_jax.models.projection import Rounded, Turned
from magistral_jax.models.rounded import INPUTS


def apart(params):
  """The parameters of a dense model with arrays of each layer, {'norm': [D], 'layers': {...: (w0,
  w1, ...)}}, of which matrices are Turned unless they are Rounded; `Decoder.routed` computes the
  same with them.
  """
  def own(path, stacked):
    name = f'layers.{leaf_name(path)}'
    if isinstance(stacked, Rounded):
      return jax.tree.map(tuple, stacked)
    if name in INPUTS:
      return tuple(Turned(jnp.moveaxis(w, range(INPUTS[name]), range(-INPUTS[name], 0)))
                   for w in stacked)
    return tuple(stacked)
  rounded = lambda x: isinstance(x, Rounded)
  return params | dict(layers=jax.tree.map_with_path(own, params['layers'], is_leaf=rounded))
