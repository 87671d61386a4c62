"""The place of a run whose roles are processes on a Ray cluster: runtime.mode='ray'.

    driver (this process)   ledger, journal, batches, display: the loop itself, and no accelerator
    trainer-0 .. T-1        one JAX program over all their devices
    sampler-0 .. S-1        an engine each, on the devices of its host
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

import jax
import ray

from magistral_jax.orchestration.health import Lost, RoleStatus
from magistral_jax.runtime import actors, ray_log
from magistral_jax.runtime.actor_handle import ActorHandle, Watchdog
from magistral_jax.runtime.sampler_proxy import RemoteSampler, Staged
from magistral_jax.runtime.trainer_proxy import RemoteTrainer, TrainerGang
from magistral_jax.runtime.verifier_proxy import RemoteVerifier

# Of shared memory beside the weights; a cluster's nodes are given theirs where they are started.
STORE_BYTES = 256 << 20
_ROOT = str(pathlib.Path(__file__).resolve().parents[2])


class ClusterRuntime:
  """Starts the hosts of a config and makes the roles that stand for them; a context manager.

  Args:
    c: the config.
    workdir: where checkpoints go; every trainer process must see it under this name. Ray's own
      messages go to ray.log there.
    weight_bytes: of one version of the weights, which a store on this machine must hold three of.
    roles: has TrainerActor, SamplerActor and VerifierActor, each built from the config's JSON.
  """

  def __init__(self, c, workdir, *, weight_bytes: int = 0, roles=actors):
    self._c, self._deadline_s = c, c.runtime.deadline_s
    self._weight_bytes = weight_bytes
    self._checkpoints = str(pathlib.Path(workdir).resolve() / 'checkpoints')
    self._messages = ray_log.kept(pathlib.Path(workdir) / 'ray.log')
    self._text = c.to_json_best_effort()
    self._owned = not ray.is_initialized()
    self._connect()
    self._watch = Watchdog(c.runtime.heartbeat_s)
    self._samplers = [self._start('sampler', i, roles.SamplerActor)
                      for i in range(c.runtime.samplers)]
    self._verifiers = [self._start('verifier', i, roles.VerifierActor)
                       for i in range(c.runtime.verifier_hosts)]
    self._group = TrainerGang(
        [self._start('trainer', i, roles.TrainerActor) for i in range(c.runtime.trainers)],
        deadline_s=self._deadline_s, microbatch_rows=c.trainer.microbatch_rows)
    self._trainer: RemoteTrainer | None = None
    self._verifier: RemoteVerifier | None = None
    self._staged: Staged | None = None
    self._roles: list[RemoteSampler] = []
    self.publishers = [self] * c.runtime.samplers

  def __enter__(self) -> ClusterRuntime:
    self._messages.__enter__()
    self._watch.__enter__()
    try:
      try:
        self._group.wait_ready()
      except Lost as error:
        self.restart(error)
    except BaseException:
      self.__exit__()      # `with` does not, for what fails here.
      raise
    return self

  def __exit__(self, *_) -> None:
    self._watch.__exit__()
    for handle in self._watch.handles:
      handle.kill()
    if self._owned:
      ray.shutdown()
    self._messages.__exit__(None, None, None)

  @property
  def handles(self) -> list[ActorHandle]:
    """Of all hosts."""
    return self._watch.handles

  def verifier(self) -> RemoteVerifier:
    """The verifier hosts as one role."""
    # An answer takes as long as it is waited for, not as long as judging does. Who holds it back is
    # lost before the run, which waits for its verdicts, gives up by the same deadline.
    self._verifier = RemoteVerifier(self._verifiers, most=self._c.verifiers.queue,
                                    deadline_s=self._deadline_s / 2)
    return self._verifier

  def trainer(self, weights: RemoteTrainer | None = None, **changed) -> RemoteTrainer:
    """See places.LocalRuntime; `weights` is the trainer whose weights are kept."""
    version = self._group.all('new', weights is not None, changed)[0]
    return self._take_up(version)

  def restored(self, checkpoints: RemoteCheckpoints, **changed):
    """(trainer, record) as the newest of `checkpoints` has them."""
    version, record = self._group.all(
        'restored', checkpoints.folder, checkpoints.keep, changed)[0]
    return self._take_up(version), record

  def checkpoints(self, folder: str, *, keep: int) -> RemoteCheckpoints:
    return RemoteCheckpoints(self._group, os.path.abspath(folder), keep)

  def samplers(self, snapshots) -> list[RemoteSampler]:
    """The samplers, the first of them ready: a broken path for weights fails here, not later.

    Raises:
      RuntimeError, TimeoutError: no sampler has taken up the weights.
      Lost: the trainer was, which has them.
    """
    self._roles = [
        RemoteSampler(handle, staged, slots=self._c.sampler.slots, deadline_s=self._deadline_s,
                      newest_only=self._c.runtime.mode == 'ray_lockstep')
        for handle, staged in zip(self._samplers, snapshots, strict=True)]
    began = time.monotonic()
    while not any(role.has_capacity for role in self._roles):
      self.check_trainer()
      if time.monotonic() - began > self._deadline_s:
        doing = '; '.join(f'{role.name} is {role.idle}' for role in self._roles)
        raise TimeoutError(f'No sampler has taken up the first weights within '
                           f'{self._deadline_s:.0f} s (runtime.deadline_s): {doing}.')
      time.sleep(0.05)
    return self._roles

  def on_lost(self, reissue) -> None:
    """From here on the open prompts of a lost sampler are given to `reissue`."""
    for role in self._roles:
      role.on_lost = reissue

  def check_trainer(self) -> None:
    """Raises Lost if one of the trainer's processes has died; never waits."""
    self._group.check()

  def snapshot(self, trainer: RemoteTrainer, version: int) -> Staged:
    """Stages the trainer's weights for all samplers, once for each version. Raises Lost."""
    wanted = trainer.lineage, version
    if self._staged is None or (self._staged.lineage, self._staged.version) != wanted:
      manifest = self._group.all('stage', *wanted)[0]
      self._staged = Staged(version, trainer.lineage, manifest, self._group.actors)
    return self._staged

  def restart(self, error: Lost) -> None:
    """Starts the trainer's processes again, without a trainer in them yet.

    Raises:
      RuntimeError: they were lost too often in a row.
    """
    while True:
      try:
        self._group.restart(error)
        break
      except Lost as another:
        error = another
    if self._trainer:
      # What samplers hold may be newer by its number and is of another line.
      self._trainer.lineage += 1

  def recover(self, error: Lost) -> dict:
    """Starts the trainer again from the newest checkpoint; returns the checkpoint's record.

    Raises:
      RuntimeError: it was lost too often in a row.
    """
    trainer, keep = self._trainer, self._c.checkpoints.keep
    while True:
      self.restart(error)
      try:
        trainer.version, record = self._group.all('restored', self._checkpoints, keep, {})[0]
        return record
      except Lost as another:
        error = another

  def places(self) -> dict[str, RoleStatus]:
    """{role: where it lives, when it was last heard of, what it has in hand and of weights}."""
    more = {role.name: dict(queue=role.open, version=role.version) for role in self._roles}
    if self._verifier:
      more |= {name: dict(queue=queue) for name, queue in self._verifier.in_hand().items()}
    if self._trainer:
      more |= {f'trainer-{i}': dict(version=self._trainer.version)
               for i in range(len(self._group))}
    found = {handle.name: RoleStatus(**handle.place, **more.get(handle.name, {}))
             for handle in self._watch.handles}
    for role in self._roles:
      if role.transport:
        where = f'{found[role.name].where}, weights {role.transport}'
        found[role.name] = dataclasses.replace(found[role.name], where=where)
    return found

  def transfers(self) -> dict[str, float]:
    """Weights sent to samplers: bytes, seconds, and GB/s while they were on their way.

    In all and by each way (`weights_device_...`, `weights_host_...`), with failures and the seconds
    from a failure until weights came again.
    """
    total = {}
    for role in self._roles:
      # A copy: the thread of that sampler may add to it.
      for key, value in dict(role.transfers).items():
        total[key] = total.get(key, 0.0) + value
    for part in ('weights', 'weights_device', 'weights_host'):
      if total.get(f'{part}_s'):
        total[f'{part}_gb_per_s'] = total[f'{part}_bytes'] / total[f'{part}_s'] / 1e9
    return total

  def _take_up(self, version: int) -> RemoteTrainer:
    lineage = self._trainer.lineage if self._trainer else 0
    self._trainer = RemoteTrainer(self._group, version, lineage)
    self._trainer.recover = self.recover
    return self._trainer

  def _connect(self) -> None:
    if not self._owned:
      return
    r = self._c.runtime
    if r.address:
      ray.init(address=r.address, log_to_driver=False, logging_level=logging.ERROR)
    else:
      start_here(trainers=r.trainers, samplers=r.samplers, verifier_hosts=r.verifier_hosts,
                 store_bytes=3 * self._weight_bytes)

  def _start(self, kind: str, number: int, make) -> ActorHandle:
    options = dict(num_cpus=0, resources={kind: 1},
                   runtime_env=dict(env_vars=self._environment(kind)))
    return self._watch.add(ActorHandle(f'{kind}-{number}', make, (self._text,), options=options,
                                  restarts=self._c.runtime.restarts, start_s=self._deadline_s))

  def _environment(self, kind: str) -> dict[str, str]:
    """Of a host's process. On one machine every process plays a host of its own."""
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get('PYTHONPATH', '')]))
    shared = dict(PYTHONPATH=path)
    if jax.config.jax_compilation_cache_dir:
      shared['JAX_COMPILATION_CACHE_DIR'] = jax.config.jax_compilation_cache_dir
    if self._c.runtime.address:
      return shared | (dict(JAX_PLATFORMS='cpu') if kind == 'verifier' else {})
    size = lambda mesh: math.prod(dict(mesh).values())
    devices = dict(trainer=size(self._c.mesh.trainer) // self._c.runtime.trainers,
                   sampler=size(self._c.mesh.sampler), verifier=1)[kind]
    return shared | dict(JAX_PLATFORMS='cpu',
                         XLA_FLAGS=f'--xla_force_host_platform_device_count={devices}')


def check_address(address: str) -> None:
  """ValueError if nobody answers at runtime.address; Ray would try for minutes."""
  host, colon, port = address.rpartition(':')
  if not colon or '://' in address:
    return                           # 'auto', or a form of Ray's own.
  try:
    socket.create_connection((host, int(port)), 10.0).close()
  except (OSError, ValueError) as error:
    raise ValueError(f'runtime.address={address!r} does not answer ({error}): start Ray there '
                     f'(ray start --head), or correct it.') from None


def start_here(*, trainers: int, samplers: int, verifier_hosts: int, store_bytes: int = 0) -> None:
  """Starts Ray on this machine, with room for so many hosts and bytes on their way."""
  # By default Ray's processes give way to all others, this one included.
  os.environ.setdefault('RAY_worker_niceness', '0')
  # LocalRuntime: another cluster of this machine may be somebody else's.
  ray.init('local', include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
           num_cpus=1, num_gpus=0, object_store_memory=STORE_BYTES + store_bytes,
           resources=dict(trainer=trainers, sampler=samplers, verifier=verifier_hosts))


class RemoteCheckpoints:
  """The checkpoints of a folder, written by all trainer processes together; see Checkpoints.

  If one of them is lost meanwhile, that checkpoint is, and who next asks the trainer for anything
  hears of the loss. `failed_saves` counts those, and those that could not be written.
  """

  def __init__(self, group: TrainerGang, folder: str, keep: int):
    self._group, self.folder, self.keep = group, folder, keep
    self._actors = group.actors
    self._failed, self._before = 0, 0  # By the processes that run now, and by those before them.
    self._writing: int | None = None   # The step that may not be on disk yet.

  @property
  def failed_saves(self) -> int:
    return self._failed + self._before

  def latest(self) -> int | None:
    return self._group.all('latest', self.folder, self.keep)[0]

  def save(self, step: int, state: RemoteTrainer, record: dict, metric: float | None) -> bool:
    del state                # It never leaves its processes.
    saved, self._failed = self._try('save', step, record, metric) or (False, self._failed)
    self._writing = step if saved else self._writing
    return saved

  def wait(self) -> None:
    failed = self._try('wait')
    if failed is not None:
      self._failed, self._writing = failed, None

  def close(self) -> None:
    self._try('close')

  def _try(self, method: str, *args):
    try:
      self._count_anew()
      return self._group.all(method, self.folder, self.keep, *args)[0]
    except Lost as error:
      if method == 'save':
        self._before += 1
      logging.error('The trainer was lost at a checkpoint (%s): the newest whole one in %s stands.',
                    str(error).split('\n')[0][:300], self.folder)
      return None

  def _count_anew(self) -> None:
    """New processes begin to count at 0, and do not know what was being written."""
    if self._actors == self._group.actors:
      return
    self._before, self._failed, self._actors = self.failed_saves, 0, self._group.actors
    writing, self._writing = self._writing, None
    if writing is not None and (self.latest() or 0) < writing:
      self._before += 1
