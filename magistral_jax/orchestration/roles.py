"""The roles of a run and what each of them promises. Read this file first, then loop.py.

    role             in one process                   with processes of its own (Ray)
    Sampler          sampler/role.py: EngineSampler   runtime/sampler_proxy.py: RemoteSampler
    Verifier         verifiers/role.py: PoolVerifier  runtime/verifier_proxy.py: RemoteVerifier
    Trainer          trainer/role.py: MeshTrainer     runtime/trainer_proxy.py: RemoteTrainer
    WeightPublisher  runtime/local.py                 runtime/weight_proxy.py: RemotePublisher
    Checkpoints      runtime/local.py                 runtime/checkpoint_proxy.py
    Runtime          runtime/local.py: LocalRuntime   runtime/ray_cluster.py: ClusterRuntime

tests/fakes.py has all of them without a model, and tests/orchestration/test_roles.py holds all
three kinds to what stands here. Records go from one role to the next (records.py), and only the
loop knows more than one of them:

    Runtime makes and restarts the roles
       |
       v     Prompt           Completion             Group, Batch           weights
    Loop ---------> Sampler -----------> Verifier -----------> Trainer ---------------> Sampler
                                                                  |     WeightPublisher
                                                                  +---> Checkpoints

Each docstring names the thread that may call the method:

    main thread      the thread of `threads.run` or `lockstep.run`, which trains
    its own thread   the one thread that drives this sampler, or drains the verifier. In lockstep,
                     in an evaluation and before the loop begins that is the main thread
    any thread       safe at any time beside all other calls
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from magistral_jax.records import Batch, Completion, Problem, Prompt, Rows, Verdict
from magistral_jax.sampler.slots import Sampling

# A prompt or completion that was open in a role this often when the role was lost may be the
# reason. A prompt is then sampled alone (assignments.py), a completion gets no verdict.
LOST_TOO_OFTEN = 3


class Lost(RuntimeError):
  """A role's process died, hung, or failed; what it held is gone. The message has its last output.

  A sampler and a verifier restart their processes themselves and do not raise it. A trainer
  raises it, and `Runtime.recover` brings the trainer back.
  """


@dataclasses.dataclass(frozen=True)
class RoleStatus:
  """How one role is doing, as the display shows it; what is not known is None.

  RoleStatus('decoding 128 sequences', where='10.0.0.7 pid 4711', heard_s=.4, queue=128, version=12)
  """
  doing: str | None = None
  where: str | None = None      # None: in the process that asks.
  heard_s: float | None = None  # Seconds since its last sign of life.
  queue: int | None = None      # Completions it has in hand; of the trainer: groups that wait.
  version: int | None = None    # Of its weights.
  waiting: bool = False         # It waits for another role.


class Sampler(Protocol):
  """Writes completions: continuous batching, with new weights taken up between two dispatches.

  Reads Prompts (`submit`) and weights (`offer`), writes Completions (`step`). A sampler whose
  process was lost starts another one inside `step` or `has_capacity`, and hands the prompts that
  were open there to the function of `Runtime.on_lost`.
  """
  counts: Mapping[str, int]
  """Totals since the start, lost processes included. 'tokens' is always there, and counts those
  of evaluations, too; 'evaluation_tokens' counts them alone. Any thread."""

  @property
  def version(self) -> int:
    """The version of the weights in use. Any thread."""
    ...

  @property
  def open(self) -> int:
    """Sequences submitted and not finished. Any thread."""
    ...

  @property
  def has_capacity(self) -> bool:
    """Whether the sequences of another group would begin at the next dispatch.

    False also while its process is starting or waits for its first weights; asking drives that
    start forward. Never waits. Its own thread.

    Raises:
      RuntimeError: its process was lost more than runtime.restarts times in a row.
    """
    ...

  @property
  def pinned(self) -> bool:
    """Whether it was told to keep one version of the weights. Any thread.

    False again if its process was lost, or if those weights were gone before it could fetch them.
    """
    ...

  @property
  def pinned_version(self) -> int | None:
    """The version that all tokens from now on are drawn with; None if it is not pinned, or if
    those weights are still on their way. Its own thread."""
    ...

  @property
  def waits_for(self) -> str:
    """What it waits for while nothing is open, for people: 'its first weights'. Any thread."""
    ...

  def offer(self, snapshot: Any) -> None:
    """Makes weights available, as `WeightPublisher.snapshots` gives them; the newest wins.

    They are taken up at the next dispatch, unless others are pinned. Never waits for the transfer.
    Any thread.
    """
    ...

  def withdraw(self) -> None:
    """Forgets weights that were offered and are neither in use nor pinned, before newer ones are
    made: a sampler holds two versions at most. Any thread."""
    ...

  def pin(self) -> None:
    """Keeps the newest weights offered so far, for an evaluation, until `unpin` or `abandon`.

    Training prompts are sampled by them meanwhile, too. Any thread.
    """
    ...

  def unpin(self) -> None:
    """Lets newer weights be taken up again. Any thread."""
    ...

  def submit(self, prompt: Prompt, sampling: Sampling) -> None:
    """Queues all samples of a prompt. Its own thread.

    Raises:
      ValueError: prompt and completion may become longer than the pages of a slot.
    """
    ...

  def step(self) -> list[Completion]:
    """Decodes one dispatch and returns the completions that ended in it, each completion once.

    Waits at most runtime.deadline_s for another process. Its own thread.

    Raises:
      RuntimeError: as `has_capacity`.
    """
    ...

  def abandon(self) -> None:
    """Drops everything submitted, and unpins. The ordinals stay unsettled in the ledger. Its own
    thread."""
    ...


class Verifier(Protocol):
  """Judges completions, in the order in which its workers come free.

  Reads Completions with their Problems (`put`), writes Verdicts (`drain`). What a lost process had
  not judged goes to another one; a completion that was in LOST_TOO_OFTEN lost processes gets the
  status 'error'.
  """

  @property
  def full(self) -> bool:
    """Whether so many completions wait that no new prompt should be started. Any thread."""
    ...

  @property
  def waiting(self) -> int:
    """Completions that no worker has begun to judge: 0 as long as it keeps up. Any thread."""
    ...

  def put(self, completion: Completion, problem: Problem) -> None:
    """Sends a completion to be judged. Never waits. Any thread."""
    ...

  def drain(self, wait_s: float = 0.0) -> list[tuple[Completion, Verdict]]:
    """Everything judged since the last call, each completion once. Its own thread.

    Args:
      wait_s: seconds to wait for the first verdict if there is none yet.
    Raises:
      RuntimeError: a process was lost more than runtime.restarts times in a row.
    """
    ...

  def pending(self) -> int:
    """Completions put and not yet drained. Any thread."""
    ...

  def stats(self) -> Mapping[str, float]:
    """Counts and latencies (seconds) of the workers, for metrics.jsonl. Any thread."""
    ...


class Trainer(Protocol):
  """Turns batches into new weights, which only publishers and checkpoints look at.

  All calls come from the main thread. Any thread may read `version`.
  """
  version: int
  """Batches trained so far, or steps of the cold start; the version of the weights."""

  def train(self, batch: Batch) -> dict[str, float]:
    """Trains on one batch and adds 1 to `version`. Main thread.

    If no gradient of it is finite, neither the weights nor the version change.

    Returns:
      Means over the trained tokens, sums and maxima by name; 'tokens' and 'loss' are always there.
      With 'parity_tokens' above 0, 'parity_version', 'logprob_gap_mean' and 'logprob_gap_max', in
      nats, compare it with the samplers under the weights of that version.
    Raises:
      Lost: one of its processes was lost; no part of the update counts.
      RuntimeError: optimizer.max_bad_steps steps in a row had gradients that are not finite
        (trainer/role.py: DivergedError).
    """
    ...

  def logps(self, rows: Rows) -> np.ndarray:
    """[R, T] log-probabilities (nats) of the targets under its weights, at trained positions.

    Main thread. Raises Lost.
    """
    ...

  def supervised(self, rows: Rows) -> dict[str, float]:
    """One step of the cold start on packed traces; adds 1 to `version`. Raises as `train`."""
    ...


class WeightPublisher(Protocol):
  """Copies the trainer's weights into the layout and dtype of the samplers."""

  def snapshots(self, trainer: Trainer, version: int) -> Iterator[Any]:
    """What each sampler's `offer` takes, one by one, in the order of the samplers. Main thread.

    A snapshot shares no buffer with the trainer, whose next step deletes its own.

    Args:
      version: what the snapshots are called; the trainer's own, but for the cold start.
    Raises:
      Lost: the trainer was lost.
    """
    ...


class Checkpoints(Protocol):
  """The checkpoints of one folder: train state and record together, written in the background.

  A save that fails is logged and counted, and the run goes on with the checkpoint before. All
  calls come from the main thread.
  """

  @property
  def failed_saves(self) -> int:
    """Checkpoints that could not be written, since this object was made. Any thread."""
    ...

  def save(self, trainer: Trainer, record: dict, metric: float | None) -> bool:
    """Begins to write the checkpoint of `trainer.version`; one that is there already is left.

    Args:
      record: what JSON can hold; read back as it was, with tuples as lists.
      metric: the score of exactly these weights, for keeping the best, higher is better; None if
        it is not measured, or not yet (`score`).
    Returns:
      Whether it is being written. A trainer that is lost here counts as a failed save; its next
      call raises Lost.
    """
    ...

  def await_score(self, version: int | None) -> None:
    """Keeps the checkpoint of a version until its score is there; None: no longer of any.

    A trainer that is lost here has no such checkpoint to keep; its next call raises Lost.
    """
    ...

  def score(self, version: int, accuracy: float) -> bool:
    """Attaches a held-out accuracy to the checkpoint of the weights that were measured.

    Waits until that checkpoint is written.

    Returns:
      Whether it is on disk; one that could not be written has no score.
    """
    ...

  def latest(self) -> int | None:
    """The newest version on disk, or None. Raises Lost if the trainer was lost."""
    ...

  def wait(self) -> None:
    """Returns when nothing is being written any more."""
    ...

  def close(self) -> None:
    """Finishes what is being written and frees what writing needs."""
    ...


class Runtime(Protocol):
  """Makes the roles of a config where they are to run, restarts them, and knows where they are.

  A context manager: when it is left, every process that it started is gone. Main thread, but for
  `role_status`.
  """

  @property
  def publisher(self) -> WeightPublisher:
    """What carries the weights of this runtime's trainer to its samplers."""
    ...

  def trainer(self, previous: Trainer | None = None, **changed: Any) -> Trainer:
    """A trainer at version 0 with fresh optimizer moments.

    Args:
      previous: the trainer whose weights it takes over, which must not be used any more; None
        reads the config's checkpoint, or draws the weights.
      changed: keys of the config section `optimizer` to replace, for the cold start.
    Raises:
      Lost: one of its processes was lost.
      ValueError: the checkpoint does not fit the config.
    """
    ...

  def restored(self, checkpoints: Checkpoints, **changed: Any) -> tuple[Trainer, dict]:
    """A trainer and the record of the newest checkpoint; `changed` and errors as `trainer`."""
    ...

  def checkpoints(self, folder: str, *, keep: int, keep_every: int = 0) -> Checkpoints:
    """The checkpoints in a folder; trainer/checkpoint.py says which stay."""
    ...

  def samplers(self, snapshots: Iterable[Any]) -> Sequence[Sampler]:
    """The samplers, each with its first weights; at least one of them is ready.

    Raises:
      Lost: the trainer, which has the weights, was lost.
      TimeoutError: no sampler was ready within runtime.deadline_s.
    """
    ...

  def verifier(self) -> Verifier:
    """The verifier. Its workers end with this runtime."""
    ...

  def on_lost(self, reissue: Callable[[Sequence[Prompt]], None]) -> None:
    """Names the function that takes back the open prompts of a lost sampler.

    It is called from that sampler's own thread. Until it is named, such prompts are dropped.
    """
    ...

  def check_trainer(self) -> None:
    """Raises Lost if it is known by now that the trainer was lost. Never waits.

    For a thread that waits for something that comes from the trainer without a call of it.
    """
    ...

  def restart(self, error: Lost) -> None:
    """Starts the processes of the trainer again, without a trainer in them yet.

    Raises:
      Lost: `error` itself, where the trainer is part of this process.
      RuntimeError: they were lost more than runtime.restarts times in a row.
      StoppedError: the run was asked to stop before they were there.
    """
    ...

  def recover(self, trainer: Trainer, checkpoints: Checkpoints, error: Lost) -> dict:
    """Restarts the trainer from the newest checkpoint; returns that checkpoint's record.

    `trainer` stays the same object and has the version of the checkpoint. Raises as `restart`.
    """
    ...

  def role_status(self) -> dict[str, RoleStatus]:
    """{'sampler-1': RoleStatus} of the roles in other processes; {} if there are none. Any thread.
    """
    ...

  def transfers(self) -> dict[str, float]:
    """Totals of the weights sent to samplers, for metrics.jsonl: bytes, seconds, GB/s, failures."""
    ...
