"""The roles as their own processes hold them on a cluster; `orchestration/host.py` calls them.

Each is built from the config alone, in the process where it lives. Nothing here is called in
process: there, places.Local makes the roles directly.
"""

from __future__ import annotations

import json
import socket
import time

import jax
import ray
from ml_collections import ConfigDict

from magistral_jax import build, check, sharding
from magistral_jax.models import decoder
from magistral_jax.places import Local
from magistral_jax.records import WeightSnapshot
from magistral_jax.weights import manifest as manifests
from magistral_jax.weights import staging


def _parts(text: str, meshes_of) -> tuple[ConfigDict, check.Parts]:
  c = ConfigDict(json.loads(text))
  tok = build.tokenizer(c)
  config = build.model_config(c, tok.vocab_size)
  return c, check.Parts(tok, config, meshes_of(c), None)


class TrainerHost:
  """One of the T processes of the trainer: its devices of the mesh, its rows of every batch, its
  part of every checkpoint. All T get the same calls in the same order."""

  def __init__(self, config: str):
    self._text = config
    self._trainer = None
    self._folders = {}

  def address(self) -> str:
    """Where the first process will listen: 'host:port', free a moment ago."""
    with socket.socket() as probe:
      probe.bind(('', 0))
      return f'{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}'

  def join(self, coordinator: str, processes: int, process: int, timeout_s: float) -> None:
    """Forms one JAX program of all processes, and the mesh over all their devices."""
    if processes > 1:
      # On accelerators this says nothing; between CPUs it is what collectives run on.
      jax.config.update('jax_cpu_collectives_implementation', 'gloo')
      jax.distributed.initialize(coordinator, processes, process,
                                 initialization_timeout=int(timeout_s))
    self._c, self._parts = _parts(self._text, lambda c: build.Meshes(
        sharding.make_mesh(jax.devices(), **c.mesh.trainer), ()))
    self._place = Local(self._c, self._parts)

  def span(self) -> tuple[int, int]:
    """The rows (start, stop) of a microbatch that lie on this process's devices."""
    return sharding.local_span(self._parts.meshes.trainer, self._c.trainer.microbatch_rows)

  def new(self, keep_weights: bool, changed: dict) -> int:
    """A trainer at step 0: with the weights of the one before, or with those of the config."""
    weights = self._trainer.params if keep_weights else None
    self._trainer = None
    self._trainer = self._place.trainer(weights, **changed)
    return self._trainer.version

  def restored(self, folder: str, keep: int, changed: dict):
    """A trainer as the newest checkpoint in a folder has it: (version, record)."""
    self._trainer = None
    self._trainer, record = self._place.restored(self._open(folder, keep), **changed)
    return self._trainer.version, record

  def train(self, share) -> dict[str, float]:
    return self._trainer.train(share)

  def supervised(self, rows) -> dict[str, float]:
    return self._trainer.supervised(rows)

  def stage(self, lineage: int, version: int):
    """(Manifest, object references of its pieces' bytes) on the first process, None on others."""
    keeps = jax.process_index() == 0
    announced, references = [], []
    for leaf, start, stop, array in staging.pieces(
        self._trainer.params, self._parts.config.dtype):
      if keeps:
        announced.append(manifests.piece(leaf, start, stop, array))
        references.append(ray.put(manifests.to_bytes(array)))
    return (manifests.Manifest(lineage, version, tuple(announced)), references) if keeps else None

  def latest(self, folder: str, keep: int) -> int | None:
    return self._open(folder, keep).latest()

  def save(self, folder: str, keep: int, step: int, record: dict, metric: float | None) -> bool:
    return self._open(folder, keep).save(step, self._trainer.state, record, metric)

  def wait(self, folder: str, keep: int) -> int:
    """Returns when nothing is being written there: how many saves have failed."""
    checkpoints = self._open(folder, keep)
    checkpoints.wait()
    return checkpoints.failed_saves

  def close(self, folder: str, keep: int) -> None:
    self._open(folder, keep).close()
    del self._folders[folder]

  def _open(self, folder: str, keep: int):
    if folder not in self._folders:
      self._folders[folder] = self._place.checkpoints(folder, keep=keep)
    return self._folders[folder]


class SamplerHost:
  """A sampler and the weights on their way to it."""

  def __init__(self, config: str):
    self._c, self._parts = _parts(config, lambda c: build.Meshes(
        None, (sharding.make_mesh(jax.devices(), **c.mesh.sampler),)))
    self._sampler = None
    _, axes = decoder.definition(self._parts.config)
    self._shardings = sharding.tree_named(self._parts.meshes.samplers[0], sharding.SAMPLER, axes)

  def take(self, lineage: int, manifest, references) -> dict[str, float] | None:
    """Fetches and checks weights, then offers them to the sampler; may be called beside `serve`.

    Nothing is offered before every piece has been checked. None: they went down with the trainer
    that held them, and others will come.

    Raises:
      weights.manifest.WeightError: they are not what the manifest says.
    """
    began = time.monotonic()
    config = self._parts.config
    manifests.compare(manifest, decoder.abstract(config), config.dtype)
    try:
      arrays = ray.get(references)
    except ray.exceptions.ObjectLostError:
      return None
    params = manifests.assemble(
        manifest, arrays, decoder.abstract(config), self._shardings, config.dtype)
    snapshot = WeightSnapshot(manifest.version, params, lineage)
    if self._sampler is None:
      self._sampler, = Local(self._c, self._parts).samplers([snapshot])
    else:
      self._sampler.offer(snapshot)
    return dict(weights_bytes=manifest.bytes, weights_s=time.monotonic() - began, weights=1)

  def serve(self, orders) -> tuple[list, dict]:
    """Takes up orders and decodes one dispatch: (finished completions, status)."""
    for order in orders:
      self._sampler.submit(order.prompt, order.sampling, pinned=order.pinned)
    finished = self._sampler.step()
    return finished, dict(version=self._sampler.version, counts=dict(self._sampler.counts))

  def abandon(self) -> None:
    self._sampler.abandon()


class VerifierHost:
  """A pool of verifier workers."""

  def __init__(self, config: str):
    c = ConfigDict(json.loads(config))
    self._verifier = build.verifier(c, build.pool(c))
    self._keys = {}

  def exchange(self, jobs, wait_s: float) -> tuple[list, dict]:
    """Takes up (key, completion, problem); gives back (key, verdict) of what has been judged."""
    for key, completion, problem in jobs:
      self._keys[id(completion)] = key, completion   # Kept, so that its id stays its own.
      self._verifier.put(completion, problem)
    judged = self._verifier.drain(wait_s)
    return ([(self._keys.pop(id(completion))[0], verdict) for completion, verdict in judged],
            self._verifier.stats())
