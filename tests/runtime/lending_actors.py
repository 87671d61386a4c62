"""The fake actors with real weights between them: small ones, whose values say their version."""
import jax
import numpy as np
import ray

from magistral_jax.runtime import actors
from magistral_jax.weights import cpu, device
from magistral_jax.weights.role import WeightSender
from tests.runtime import fake_actors
from tests.weights import peers


class Trainer(fake_actors.TrainerActor):
  """Weights of version n are those of version 0 plus n."""
  fault = None

  def join(self, coordinator, processes, process, timeout_s):
    super().join(coordinator, processes, process, timeout_s)
    by_device = device.DeviceLender(peers.IP, peers.DEADLINE_S)
    if self.fault:
      by_device = peers.Faulty(by_device, self.fault)
    self._params = peers.trainer_params(jax.devices()[:1])
    self._sender = WeightSender('float32', dict(device=by_device, host=cpu.CpuLender(ray.put)),
                        process=process, processes=processes, piece_bytes=peers.PIECE_BYTES)

  def stage(self, lineage, version):
    return self._sender.stage(jax.tree.map(lambda x: x + version, self._params), lineage, version)

  def lend(self, lineage, version, transport):
    return self._sender.lend(lineage, version, transport)


class Sampler(fake_actors.SamplerActor):
  """Counts nothing as taken that is not what the version should be."""

  def __init__(self, config):
    super().__init__(config)
    self._receiver = peers.receiver(
        'float32', get=lambda refs: actors.answers(refs, peers.DEADLINE_S))
    self._first = peers.trainer_params(jax.devices()[:1])

  def take(self, manifest, lenders):
    ask = actors.asking(lenders, manifest, peers.DEADLINE_S)
    params, taken = self._receiver.take(manifest, ask)
    if taken.transport:
      for now, first in zip(jax.tree.leaves(params), jax.tree.leaves(self._first), strict=True):
        np.testing.assert_array_equal(np.asarray(now), np.asarray(first + manifest.version))
      super().take(manifest, lenders)
    return taken


class SpoiledTrainer(Trainer):
  """What it offers by device lacks a piece."""
  fault = staticmethod(peers.lost)
