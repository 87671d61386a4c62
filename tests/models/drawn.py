"""Parameters drawn with numpy: unlike decoder.init, nothing is compiled."""
import jax
import numpy as np

from magistral_jax.models import decoder


def parameters(config, seed=0):
  """A parameter tree of normal numbers: spread 0.2 in general, 1 +- 0.1 in norms."""
  rng = np.random.default_rng(seed)
  def draw(path, leaf):
    x = rng.standard_normal(leaf.shape, np.float32)
    return 1 + 0.1 * x if 'norm' in path[-1].key else 0.2 * x
  return jax.device_put(jax.tree.map_with_path(draw, decoder.abstract(config)))
