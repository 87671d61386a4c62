"""Trainer processes that give the numbers of their train state."""
import os
import resource

import jax
import numpy as np
from jax.experimental import multihost_utils

from magistral_jax.models.formats import committed
from magistral_jax.runtime import actors


class TrainerActor(actors.TrainerActor):
  """Gathers its state from all processes; one of them may have trouble with its disk."""

  def numbers(self):
    """{path in the train state: the whole array}."""
    state = multihost_utils.process_allgather(self._trainer.state, tiled=True)
    return {jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree.leaves_with_path(state)}

  def cannot_read(self, process, step):
    """Lets one process find the checkpoint of a step damaged."""
    fault, unlucky = committed.fault, jax.process_index() == process
    committed.fault = lambda folder: (
        'record.json has other content than it had'
        if unlucky and os.path.basename(folder).split('.')[0] == str(step)
        else fault(folder))

  def write_at_most(self, process, file_bytes):
    """Limits the files of one process, as a full disk does; -1 lifts the limit."""
    if jax.process_index() == process:
      _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
      resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
