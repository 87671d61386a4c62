"""The runtime of a run whose roles are processes on a Ray cluster: runtime.mode='ray'.

    driver (this process)   ledger, journal, batches, display: the loop itself, and no accelerator
    trainer-0 .. T-1        one JAX program over all their devices
    sampler-0 .. S-1        an engine each, on the devices of its machine
    verifier-0 .. V-1       a pool of workers each

Without runtime.address a cluster is started on this machine, and every process gets as many
virtual CPU devices as its part of the mesh needs. With it, nodes offer the custom resources
`trainer`, `sampler` and `verifier`, one for each process they are to hold (launch/tpu.py starts
them so); a sampler whose node comes later joins then.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterable, Sequence

import jax
import ray

from magistral_jax.orchestration.roles import Lost, RoleStatus
from magistral_jax.records import Prompt
from magistral_jax.runtime import actors, ray_log
from magistral_jax.runtime.actor_handle import ActorHandle, Watchdog
from magistral_jax.runtime.checkpoint_proxy import RemoteCheckpoints
from magistral_jax.runtime.sampler_proxy import RemoteSampler
from magistral_jax.runtime.trainer_proxy import RemoteTrainer, TrainerGang
from magistral_jax.runtime.verifier_proxy import RemoteVerifier
from magistral_jax.runtime.weight_proxy import RemotePublisher, Staged
from magistral_jax.trainer.role import DivergedError

# Of shared memory beside the weights; a cluster's nodes are given theirs where they are started.
STORE_BYTES = 256 << 20
_ROOT = str(pathlib.Path(__file__).resolve().parents[2])
# While no sampler is ready, they are asked this often.
_LOOK_AGAIN_S = 0.05


class ClusterRuntime:
  """Starts the actors of a config and makes the roles that stand for them; a context manager.

  Args:
    c: the config.
    workdir: Ray's own messages go to ray.log there.
    weight_bytes: of one version of the weights, which a store on this machine must hold three of.
    roles: has TrainerActor, SamplerActor and VerifierActor, each built from the config's JSON.
    stopping: whether the run was asked to stop, or has failed; nothing is waited for then.
  """

  def __init__(self, c, workdir, *, weight_bytes: int = 0, roles=actors,
               stopping: Callable[[], bool] = lambda: False):
    self._c, self._deadline_s = c, c.runtime.deadline_s
    self._weight_bytes = weight_bytes
    self._messages = ray_log.kept(pathlib.Path(workdir) / 'ray.log')
    self._text = c.to_json_best_effort()
    self._owned = not ray.is_initialized()
    self._connect()
    self._watchdog = Watchdog(c.runtime.heartbeat_s)
    self._sampler_handles = [self._start('sampler', i, roles.SamplerActor)
                             for i in range(c.runtime.samplers)]
    self._verifier_handles = [self._start('verifier', i, roles.VerifierActor)
                              for i in range(c.runtime.verifiers)]
    self._gang = TrainerGang(
        [self._start('trainer', i, roles.TrainerActor) for i in range(c.runtime.trainers)],
        deadline_s=self._deadline_s, microbatch_rows=c.trainer.microbatch_rows,
        stopping=stopping)
    self._publisher = RemotePublisher(self._gang, c.runtime.samplers)
    self._trainer: RemoteTrainer | None = None
    self._verifier: RemoteVerifier | None = None
    self._samplers: list[RemoteSampler] = []

  def __enter__(self) -> ClusterRuntime:
    self._messages.__enter__()
    self._watchdog.__enter__()
    try:
      try:
        self._gang.wait_ready()
      except Lost as error:
        self.restart(error)
    except BaseException:
      self.__exit__()      # `with` does not, for what fails here.
      raise
    return self

  def __exit__(self, *_) -> None:
    self._watchdog.__exit__()
    for handle in self.handles:
      handle.kill()
    if self._owned:
      ray.shutdown()
    self._messages.__exit__(None, None, None)

  @property
  def handles(self) -> list[ActorHandle]:
    """Those of all actors."""
    return self._watchdog.handles

  @property
  def publisher(self) -> RemotePublisher:
    return self._publisher

  def trainer(self, previous: RemoteTrainer | None = None, **changed) -> RemoteTrainer:
    version = self._gang.all('new', previous is not None, changed)[0]
    return self._take_up(version)

  def restored(self, checkpoints: RemoteCheckpoints, **changed) -> tuple[RemoteTrainer, dict]:
    version, record = checkpoints.restore(changed)
    return self._take_up(version), record

  def checkpoints(self, folder: str, *, keep: int, keep_every: int = 0) -> RemoteCheckpoints:
    return RemoteCheckpoints(self._gang, os.path.abspath(folder), keep, keep_every)

  def samplers(self, snapshots: Iterable[Staged]) -> Sequence[RemoteSampler]:
    """Returns when one sampler is ready: a broken transport of weights fails here, not later."""
    self._samplers = [
        RemoteSampler(handle, staged, slots=self._c.sampler.slots, deadline_s=self._deadline_s,
                      newest_only=self._c.runtime.mode == 'ray_lockstep')
        for handle, staged in zip(self._sampler_handles, snapshots, strict=True)]
    began = time.monotonic()
    while not any(sampler.has_capacity for sampler in self._samplers):
      self.check_trainer()
      if time.monotonic() - began > self._deadline_s:
        doing = '; '.join(f'{sampler.name} is waiting for {sampler.waits_for}'
                          for sampler in self._samplers)
        raise TimeoutError(f'No sampler has taken up the first weights within '
                           f'{self._deadline_s:.0f} s (runtime.deadline_s): {doing}.')
      time.sleep(_LOOK_AGAIN_S)
    return self._samplers

  def verifier(self) -> RemoteVerifier:
    # An answer takes as long as it is waited for, not as long as judging does. A process that holds
    # it back is lost before the run, which waits for its verdicts, gives up by the same deadline.
    self._verifier = RemoteVerifier(
        self._verifier_handles, workers=self._c.runtime.verifier_workers,
        most=self._c.verifiers.queue, deadline_s=self._deadline_s / 2)
    return self._verifier

  def on_lost(self, reissue: Callable[[Sequence[Prompt]], None]) -> None:
    for sampler in self._samplers:
      sampler.on_lost = reissue

  def check_trainer(self) -> None:
    self._gang.check()

  def restart(self, error: Lost) -> None:
    self._gang.restart(error)
    if self._trainer:
      # Weights that samplers hold may have a higher version and are of another lineage.
      self._trainer.lineage += 1

  def recover(self, trainer: RemoteTrainer, checkpoints: RemoteCheckpoints, error: Lost) -> dict:
    while True:
      self.restart(error)
      try:
        trainer.version, record = checkpoints.restore({})
        return record
      except Lost as another:
        error = another

  def role_status(self) -> dict[str, RoleStatus]:
    more = {sampler.name: dict(queue=sampler.open, version=sampler.version)
            for sampler in self._samplers}
    if self._verifier:
      more |= {name: dict(queue=queue) for name, queue in self._verifier.in_hand().items()}
    if self._trainer:
      more |= {f'trainer-{i}': dict(version=self._trainer.version)
               for i in range(len(self._gang))}
    found = {handle.name: RoleStatus(**handle.status, **more.get(handle.name, {}))
             for handle in self.handles}
    for sampler in self._samplers:
      if sampler.transport:
        where = f'{found[sampler.name].where}, weights {sampler.transport}'
        found[sampler.name] = dataclasses.replace(found[sampler.name], where=where)
    return found

  def transfers(self) -> dict[str, float]:
    """Totals of transfers, over all and by transport (`weights_device_...`, `weights_host_...`):
    failures, seconds from a failure until weights came again, GB/s of the time in transit."""
    total = {}
    for sampler in self._samplers:
      # A copy: the thread of that sampler may add to it.
      for key, value in dict(sampler.transfers).items():
        total[key] = total.get(key, 0.0) + value
    for part in ('weights', 'weights_device', 'weights_host'):
      if total.get(f'{part}_s'):
        total[f'{part}_gb_per_s'] = total[f'{part}_bytes'] / total[f'{part}_s'] / 1e9
    return total

  def _take_up(self, version: int) -> RemoteTrainer:
    lineage = self._trainer.lineage if self._trainer else 0
    self._trainer = RemoteTrainer(self._gang, version, lineage)
    return self._trainer

  def _connect(self) -> None:
    if not self._owned:
      return
    r = self._c.runtime
    if r.address:
      ray.init(address=r.address, log_to_driver=False, logging_level=logging.ERROR)
    else:
      start_here(trainers=r.trainers, samplers=r.samplers, verifiers=r.verifiers,
                 store_bytes=3 * self._weight_bytes)

  def _start(self, kind: str, number: int, make) -> ActorHandle:
    options = dict(num_cpus=0, resources={kind: 1},
                   runtime_env=dict(env_vars=self._environment(kind)))
    return self._watchdog.add(ActorHandle(
        f'{kind}-{number}', make, (self._text,), options=options,
        restarts=self._c.runtime.restarts, start_s=self._deadline_s, final=(DivergedError,)))

  def _environment(self, kind: str) -> dict[str, str]:
    """Variables of an actor's process. On one machine every process plays one of its own."""
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get('PYTHONPATH', '')]))
    shared = dict(PYTHONPATH=path)
    if compiled := jax.config.values['jax_compilation_cache_dir']:
      shared['JAX_COMPILATION_CACHE_DIR'] = compiled
    if self._c.runtime.address:
      return shared | (dict(JAX_PLATFORMS='cpu') if kind == 'verifier' else {})
    size = lambda mesh: math.prod(dict(mesh).values())
    devices = dict(trainer=size(self._c.mesh.trainer) // self._c.runtime.trainers,
                   sampler=size(self._c.mesh.sampler), verifier=1)[kind]
    return shared | dict(JAX_PLATFORMS='cpu',
                         XLA_FLAGS=f'--xla_force_host_platform_device_count={devices}')


def check_address(address: str) -> None:
  """Raises ValueError if nothing answers at runtime.address; Ray would try for minutes."""
  host, colon, port = address.rpartition(':')
  if not colon or '://' in address:
    return                           # 'auto', or another form that Ray knows.
  try:
    socket.create_connection((host, int(port)), 10.0).close()
  except (OSError, ValueError) as error:
    raise ValueError(f'runtime.address={address!r} does not answer ({error}): start Ray there '
                     f'(ray start --head), or correct it.') from None


def start_here(*, trainers: int, samplers: int, verifiers: int, store_bytes: int = 0) -> None:
  """Starts Ray on this machine, with room for so many actors and bytes of weights."""
  # By default Ray's processes give way to all others, this one included.
  os.environ.setdefault('RAY_worker_niceness', '0')
  # 'local': another cluster on this machine may belong to another user.
  ray.init('local', include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
           num_cpus=1, num_gpus=0, object_store_memory=STORE_BYTES + store_bytes,
           resources=dict(trainer=trainers, sampler=samplers, verifier=verifiers))
