"""Trainer processes that give the numbers of their train state."""
import jax
import numpy as np
from jax.experimental import multihost_utils

from magistral_jax.runtime import actors


class TrainerActor(actors.TrainerActor):
  """Gathers its state from all processes."""

  def numbers(self):
    """{path in the train state: the whole array}."""
    state = multihost_utils.process_allgather(self._trainer.state, tiled=True)
    return {jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree.leaves_with_path(state)}
