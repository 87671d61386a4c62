"""The roles inside their own processes on a cluster; `runtime/actor_handle.py` calls them.

Each is built from the config alone, in the process where it lives, by the LocalRuntime of that
process. The driver calls none of this directly.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import ray
from ml_collections import ConfigDict

from magistral_jax import sharding
from magistral_jax.experiment import build, checks
from magistral_jax.models import decoder, rounded
from magistral_jax.records import WeightSnapshot
from magistral_jax.runtime.checkpoint_proxy import Kept, Reading
from magistral_jax.runtime.local import LocalCheckpoints, LocalRuntime
from magistral_jax.trainer.checkpoint import DamagedError, DifferentError, UnreadableError
from magistral_jax.weights import cpu, device
from magistral_jax.weights.manifest import Manifest, WeightError, WeightsGone
from magistral_jax.weights.role import TRANSPORTS, Taken, WeightReceiver, WeightSender


def _parts(text: str, meshes_of) -> tuple[ConfigDict, checks.Parts]:
  c = ConfigDict(json.loads(text))
  tok = build.tokenizer(c)
  config = build.model_config(c, tok.vocab_size)
  return c, checks.Parts(tok, config, meshes_of(c), None, None)


class TrainerActor:
  """One of the T processes of the trainer: its devices of the mesh, its rows of every batch, its
  part of every checkpoint. All T get the same calls in the same order.

  What `train`, `supervised` and the methods of checkpoints do is said in orchestration/roles.py.
  """

  def __init__(self, config: str):
    self._text = config
    self._trainer: Any = None          # Made by `new` or `restored`.
    self._folders: dict[str, LocalCheckpoints] = {}

  def address(self) -> str:
    """The address at which the first process will listen: 'host:port', free a moment ago."""
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
    self._runtime = LocalRuntime(self._c, self._parts)
    # A sampler that is alive pulls without a pause; what a dead one had on loan is freed soon.
    lenders = dict(device=device.DeviceLender(ray.util.get_node_ip_address(),
                                              10 * self._c.runtime.heartbeat_s),
                   host=cpu.CpuLender(ray.put))
    self._sender = WeightSender(
        self._parts.config.dtype,
        {name: lenders[name] for name in TRANSPORTS[self._c.runtime.transport]},
        process=process, processes=processes)

  def span(self) -> tuple[int, int]:
    """The rows (start, stop) of a microbatch that lie on this process's devices."""
    return sharding.local_span(self._parts.meshes.trainer, self._c.trainer.microbatch_rows)

  def new(self, keep_weights: bool, changed: dict) -> int:
    """A trainer at version 0, with the weights of the one before or those of the config."""
    previous, self._trainer = self._trainer if keep_weights else None, None
    self._trainer = self._runtime.trainer(previous, **changed)
    return self._trainer.version

  def restored(self, folder: str, kept: Kept, step: int, changed: dict) -> Reading:
    """Takes up a checkpoint, or says why it cannot: that is no failure of this process."""
    self._trainer = None
    checkpoints = self._open(folder, kept)
    try:
      self._trainer, record = self._runtime.restored_at(checkpoints, step, **changed)
    except DamagedError as error:
      return Reading(damage=str(error))
    except (DifferentError, UnreadableError) as error:
      return Reading(refusal=str(error))
    return Reading(self._trainer.version, record)

  def train(self, share) -> dict[str, float]:
    return self._trainer.train(share)

  def logps(self, rows) -> np.ndarray:
    return self._trainer.logps(rows)

  def supervised(self, rows) -> dict[str, float]:
    return self._trainer.supervised(rows)

  def stage(self, lineage: int, version: int) -> Manifest:
    """Copies the weights, for `lend`."""
    return self._sender.stage(self._trainer.params, lineage, version)

  def lend(self, lineage: int, version: int, transport: str):
    """See weights/role.py; may be called beside the other methods."""
    return self._sender.lend(lineage, version, transport)

  def steps(self, folder: str, kept: Kept) -> list[int]:
    return self._open(folder, kept).steps()

  def begin(self, folder: str, kept: Kept, version: int) -> str | None:
    """See trainer/checkpoint_writer.py, as of the other methods of a save."""
    return self._open(folder, kept).begin(version)

  def write(self, folder: str, kept: Kept, name: str, record: dict, metric: float | None) -> bool:
    return self._open(folder, kept).write(name, self._trainer, record, metric)

  def give_up(self, folder: str, kept: Kept) -> None:
    self._open(folder, kept).give_up()

  def await_score(self, folder: str, kept: Kept, version: int | None) -> None:
    self._open(folder, kept).await_score(version)

  def score(self, folder: str, kept: Kept, version: int, accuracy: float) -> bool:
    return self._open(folder, kept).score(version, accuracy)

  def set_aside(self, folder: str, kept: Kept, steps: list[int]) -> None:
    self._open(folder, kept).set_aside(steps)

  def wait(self, folder: str, kept: Kept) -> int:
    """How many saves of this process have failed, once nothing is being written any more."""
    checkpoints = self._open(folder, kept)
    checkpoints.wait()
    return checkpoints.failed_saves

  def close(self, folder: str, kept: Kept) -> None:
    self._open(folder, kept).close()
    del self._folders[folder]

  def _open(self, folder: str, kept: Kept) -> LocalCheckpoints:
    if folder not in self._folders:
      self._folders[folder] = self._runtime.checkpoints(folder, **kept)
    return self._folders[folder]


class SamplerActor:
  """A sampler and the weights on their way to it."""

  def __init__(self, config: str):
    self._c, self._parts = _parts(config, lambda c: build.Meshes(
        None, (sharding.make_mesh(jax.devices(), **c.mesh.sampler),)))
    self._sampler: Any = None          # Made with its first weights.
    model, mesh = self._parts.config, self._parts.meshes.samplers[0]
    axes = rounded.axes(model, self._c.sampler.weight_dtype)
    devices, self._patience_s = mesh.local_devices, self._c.runtime.heartbeat_s
    fetchers = dict(
        device=device.DeviceFetcher(ray.util.get_node_ip_address(), self._patience_s, devices),
        host=cpu.CpuFetcher(lambda references: answers(references, self._patience_s), devices))
    self._receiver = WeightReceiver(
        decoder.abstract(model), sharding.tree_named(mesh, sharding.SAMPLER, axes), model.dtype,
        {name: fetchers[name] for name in TRANSPORTS[self._c.runtime.transport]})

  def take(self, manifest: Manifest, lenders) -> Taken:
    """Fetches and checks weights, then offers them to the sampler; may be called beside `serve`.

    Nothing is offered before every piece has been checked, nor if it is gone by then.

    Args:
      lenders: the actors of the trainer processes that hold them.
    Raises:
      weights.manifest.WeightError: they are not what the manifest says.
    """
    if self._sampler is not None:
      # Room for two versions, not for three: the one in use, and the one that arrives.
      self._sampler.withdraw()
    params, taken = self._receiver.take(manifest, asking(lenders, manifest, self._patience_s))
    if not taken.transport:
      return taken
    snapshot = WeightSnapshot(manifest.version, params, manifest.lineage)
    if self._sampler is None:
      self._sampler, = LocalRuntime(self._c, self._parts).samplers([snapshot])
    else:
      self._sampler.offer(snapshot)
    return taken

  def serve(self, orders) -> tuple[list, dict]:
    """Takes up orders and decodes one dispatch: (finished completions, status)."""
    for order in orders:
      self._sampler.submit(order.prompt, order.sampling)
    finished = self._sampler.step()
    return finished, dict(version=self._sampler.version, counts=dict(self._sampler.counts),
                          short_of_pages=self._sampler.short_of_pages)

  def abandon(self) -> None:
    self._sampler.abandon()


def asking(lenders, manifest: Manifest, timeout_s: float) -> Callable[[str], list]:
  """Function transport -> leases of a version, from its holders; raises as `answers` does."""
  def ask(transport):
    return answers([lender.aside.remote('lend', manifest.lineage, manifest.version, transport)
                    for lender in lenders], timeout_s)
  return ask


def answers(references, timeout_s: float) -> list:
  """What trainer processes lend or have put into the store.

  Raises:
    WeightsGone: they died, or give no answer.
    WeightError: they failed.
  """
  try:
    return ray.get(references, timeout=timeout_s)
  except ray.exceptions.RayTaskError as error:
    cause = error.cause
    raise (cause if isinstance(cause, WeightError) else WeightError(repr(cause))) from error
  except ray.exceptions.RayError as error:
    said = ' '.join(str(error).split())[:300]
    raise WeightsGone(f'The trainer that had them gives no answer: {said}') from error


class VerifierActor:
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
