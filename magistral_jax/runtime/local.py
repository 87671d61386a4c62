"""The runtime of a run whose roles are all in this process; orchestration/roles.py says what each
method promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NoReturn

from magistral_jax import sharding
from magistral_jax.experiment import build
from magistral_jax.orchestration.roles import Lost, RoleStatus
from magistral_jax.records import Prompt, WeightSnapshot
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.trainer.checkpoint import CheckpointFolder, newest_readable
from magistral_jax.trainer.role import MeshTrainer
from magistral_jax.trainer.state import TrainState
from magistral_jax.verifiers.role import PoolVerifier
from magistral_jax.weights.snapshot import Publisher


class LocalRuntime:
  """Every role in this process, on the meshes of `parts`; a context manager."""

  def __init__(self, c, parts):
    self._c, self._parts = c, parts
    self._pool = None
    self._publisher = LocalPublisher(
        [Publisher(parts.config, mesh, c.sampler.weight_dtype)
         for mesh in parts.meshes.samplers])

  @property
  def publisher(self) -> LocalPublisher:
    return self._publisher

  def trainer(self, previous: MeshTrainer | None = None, **changed) -> MeshTrainer:
    c, config, mesh = self._c, self._parts.config, self._parts.meshes.trainer
    if previous is None:
      weights = build.params(c, config, mesh, sharding.TRAINER)
    else:
      weights = previous.release()
    return build.trainer(c, config, mesh, weights, **changed)

  def restored(self, checkpoints: LocalCheckpoints, **changed) -> tuple[MeshTrainer, dict]:
    found, damaged = newest_readable(
        checkpoints.folder, checkpoints.steps(),
        lambda step: self.restored_at(checkpoints, step, **changed))
    checkpoints.set_aside(damaged)
    return found

  def restored_at(self, checkpoints: LocalCheckpoints, step: int,
                  **changed) -> tuple[MeshTrainer, dict]:
    """As `restored`, of one step; raises as trainer/checkpoint.py: CheckpointFolder.restore."""
    found = {}
    def restore(abstract):
      state, found['record'] = checkpoints.restore(step, abstract)
      return state
    trainer = build.trainer(self._c, self._parts.config, self._parts.meshes.trainer,
                            restore=restore, **changed)
    return trainer, found['record']

  def checkpoints(self, folder: str, *, keep: int, keep_every: int = 0) -> LocalCheckpoints:
    # Shorter than the deadline: a trainer process says why before the driver gives it up.
    return LocalCheckpoints(folder, CheckpointFolder(
        folder, keep=keep, keep_every=keep_every, patience_s=0.75 * self._c.runtime.deadline_s))

  def samplers(self, snapshots: Iterable[WeightSnapshot]) -> Sequence[EngineSampler]:
    c, parts = self._c, self._parts
    return [build.sampler(c, parts.config, mesh, parts.tokenizer, snapshot)
            for mesh, snapshot in zip(parts.meshes.samplers, snapshots, strict=True)]

  def verifier(self) -> PoolVerifier:
    self._pool = build.pool(self._c)
    return build.verifier(self._c, self._pool)

  def on_lost(self, reissue: Callable[[Sequence[Prompt]], None]) -> None:
    """Does nothing: no sampler is lost while this process lives."""

  def check_trainer(self) -> None:
    """Does nothing: the trainer cannot be lost while this process lives."""

  def restart(self, error: Lost) -> NoReturn:
    raise error

  def recover(self, trainer: MeshTrainer, checkpoints: LocalCheckpoints, error: Lost) -> NoReturn:
    raise error

  def role_status(self) -> dict[str, RoleStatus]:
    return {}

  def transfers(self) -> dict[str, float]:
    """Returns {}: weights are copied within the process, which is part of publish_s."""
    return {}

  def __enter__(self) -> LocalRuntime:
    return self

  def __exit__(self, *_) -> None:
    if self._pool is not None:
      self._pool.close()


class LocalPublisher:
  """Copies weights to each sampler's mesh, one sampler after another."""

  def __init__(self, publishers: Sequence[Publisher]):
    self._publishers = list(publishers)

  def snapshots(self, trainer: MeshTrainer, version: int) -> Iterator[WeightSnapshot]:
    for publisher in self._publishers:
      yield publisher.snapshot(trainer.params, version)


class LocalCheckpoints:
  """The checkpoints in a folder, written by this process; alone, or as one of several trainers."""

  def __init__(self, folder: str, files: CheckpointFolder):
    self.folder, self._files = folder, files

  @property
  def failed_saves(self) -> int:
    return self._files.failed_saves

  def save(self, trainer: MeshTrainer, record: dict, metric: float | None) -> bool:
    return self._files.save(trainer.version, trainer.state, record, metric)

  def begin(self, version: int) -> str | None:
    """See CheckpointFolder; this and the following are for one of several processes."""
    return self._files.begin(version)

  def write(self, name: str, trainer: MeshTrainer, record: dict, metric: float | None) -> bool:
    return self._files.write(name, trainer.state, record, metric)

  def give_up(self) -> None:
    self._files.give_up()

  def await_score(self, version: int | None) -> None:
    self._files.await_score(version)

  def score(self, version: int, accuracy: float) -> bool:
    return self._files.score(version, accuracy)

  def restore(self, version: int, abstract_state: TrainState) -> tuple[TrainState, dict]:
    """The train state and record of a checkpoint; see CheckpointFolder."""
    return self._files.restore(version, abstract_state)

  def set_aside(self, versions: Collection[int]) -> None:
    """Makes damaged checkpoints count no longer."""
    self._files.set_aside(versions)

  def steps(self) -> list[int]:
    """The versions on disk, oldest first."""
    return self._files.steps()

  def latest(self) -> int | None:
    return self._files.latest()

  def wait(self) -> None:
    self._files.wait()

  def close(self) -> None:
    self._files.close()
