"""What happens at each arrow of the loop, one method each; lockstep.py and threads.py call them.

    admit:  stream -> sampler        judge:  verifier -> batcher (or evaluation)
    sample: sampler -> verifier      update: batcher -> trainer -> weights -> samplers
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from magistral_jax.batching.admission import Traffic
from magistral_jax.batching.groups import settle
from magistral_jax.batching.role import Batcher
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.orchestration import answering, evaluations, parity
from magistral_jax.orchestration.assignments import Assignments
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.exhaustion import Exhaustion
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.measurements import Measurements
from magistral_jax.orchestration.occupancy import Occupancy
from magistral_jax.orchestration.roles import (
  Checkpoints,
  Lost,
  RoleStatus,
  Runtime,
  Sampler,
  Trainer,
  Verifier,
)
from magistral_jax.records import Batch, Completion, Group, Prompt, Verdict
from magistral_jax.sampler.slots import Sampling


@dataclasses.dataclass(frozen=True)
class Roles:
  """The parts that the loop joins; roles.py says what each promises."""
  stream: Any               # prompt(ordinal) -> Prompt; data/stream.py: PromptStream.
  samplers: Sequence[Sampler]
  verifier: Verifier
  batcher: Batcher
  trainer: Trainer
  checkpoints: Checkpoints
  runtime: Runtime


@dataclasses.dataclass(frozen=True)
class Books:
  """What keeps account of a run: fates, files and totals, signs of life, the terminal."""
  ledger: Ledger
  journal: Journal
  health: Health
  display: Display


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a loop runs, from the config."""
  slots: int                        # Sequences that one sampler decodes at once.
  sampling: Sampling                # Of prompts that are trained on.
  evaluation_sampling: Sampling
  evaluation_prompts: Sequence[Prompt]
  evaluation_every: int             # Updates between evaluations; 0: none in the loop.
  checkpoint_every: int             # Updates between checkpoints; 0: none in the loop.
  prompts_per_batch: int            # Groups of an update.
  patience_batches: int             # Batches' worth of groups that may pass without an update.
  parity_limit: float               # Mean gap above which an update warns, in nats.
  # Whether nothing outlives a lost trainer, so that all is sampled again as it was (lockstep);
  # otherwise open completions and groups that wait for a batch stay.
  discard_in_flight: bool = False


class Loop:
  """The roles and what lies between them. Roles know nothing of each other; only this does."""

  def __init__(self, roles: Roles, books: Books, settings: Settings):
    self.stream, self.samplers, self.verifier = roles.stream, roles.samplers, roles.verifier
    self.batcher, self.trainer = roles.batcher, roles.trainer
    self.checkpoints, self.runtime = roles.checkpoints, roles.runtime
    self.ledger, self.journal = books.ledger, books.journal
    self.health, self.display = books.health, books.display
    self.settings = settings
    self.exhaustion = Exhaustion(settings.patience_batches * settings.prompts_per_batch)
    self.arrived = threading.Condition()      # Guards the batcher; notified at every group kept.
    self.evaluation = evaluations.ConcurrentEvaluation(
        settings.evaluation_prompts, settings.evaluation_sampling, slots=settings.slots,
        group_size=settings.sampling.samples)
    self.measurements = Measurements(
        self.evaluation, self.samplers, self.checkpoints, self.journal,
        every=settings.evaluation_every, say=self.display.note)
    self._evaluation_prompts = {prompt.ordinal: prompt for prompt in settings.evaluation_prompts}
    self._prompts: dict[int, Prompt | None] = {}   # In flight; None: being made.
    self._index = {id(sampler): i for i, sampler in enumerate(self.samplers)}
    self._assigned = Assignments(len(self.samplers))
    self._occupancy = Occupancy(len(self.samplers), settings.slots)
    self._marks = (time.monotonic(), 0)       # Time and sampled tokens at the last update.
    self._whole = True                        # False in the middle of an update.
    self._forked = -1        # The last version of a lost trainer: others have those numbers now.

  def admit(self, sampler: Sampler, most: int | None = None) -> int:
    """Gives a sampler prompts while it has free slots (or `most`); returns how many it got.

    What limits it stands in batching/admission.py; besides, nothing begins while so many
    completions wait for a verdict that the verifier is full.
    """
    index = self._index[id(sampler)]
    self._assigned.note(index, ready=sampler.has_capacity or sampler.open > 0)
    pace = self.ledger.pace
    if pace and pace.max_staleness and not sampler.open and sampler.version < self.trainer.version:
      # Only a step takes newer weights, without which it might get nothing for ever.
      self.sample(sampler)
    given = 0
    while (not self.verifier.full
           and (sampler.has_capacity if most is None else given < most)):
      with self.arrived:     # A thread that restores the ledger sees both changes or neither.
        ordinal = self._issue(sampler, index)
        if ordinal is None:
          break
        self._prompts[ordinal] = None
      # Outside the lock: images take their time, and verdicts must not wait for them.
      self._prompts[ordinal] = prompt = self.stream.prompt(ordinal)
      sampler.submit(prompt, self.settings.sampling)
      given += 1
    self._occupancy.note(index, sampler.open)
    return given

  def _issue(self, sampler: Sampler, index: int) -> int | None:
    """The ordinal of the next prompt for a sampler, which counts as open there; None: not now."""
    turn = self._assigned.turn(index, self.ledger.suspects)
    if turn == 'none':
      return None
    own, total, ready = self._assigned.load(index)
    ordinal = self.ledger.issue(
        lambda: Traffic(own, total, ready, waiting=self.batcher.waiting,
                     lag=self.trainer.version - sampler.version), suspect=turn == 'suspect')
    if ordinal is not None:
      self._assigned.give(index, ordinal, self.settings.sampling.samples, alone=turn == 'suspect')
    return ordinal

  def sample(self, sampler: Sampler) -> None:
    """One dispatch of a sampler; what it finished goes to the verifier at once."""
    index, before = self._index[id(sampler)], sampler.counts['tokens']
    finished = sampler.step()
    self._occupancy.note(index, sampler.open)
    if sampler.counts['tokens'] > before:
      self.health.progress()
    for completion in finished:
      self._assigned.finish(index, completion.ordinal, len(completion.tokens))
      prompt = self._prompt(completion.ordinal)
      # None: its group is complete already, from before its sampler was lost.
      if prompt is None:
        continue
      if prompt.purpose == 'evaluation':
        self.evaluation.sampled(completion)
      self.verifier.put(completion, prompt.problem)

  def judge(self, scored: Sequence[tuple[Completion, Verdict]]) -> None:
    """Routes judged completions to their groups, and complete groups to their fates."""
    if scored:
      self.health.progress()
    for completion, verdict in scored:
      with self.arrived:
        prompt = self._prompt(completion.ordinal)
        if prompt is None:
          continue
        if prompt.purpose == 'evaluation':
          self.evaluation.judged(completion, verdict)
          continue
        group = self.batcher.add(prompt, completion, verdict)
        if group is None:
          continue
        del self._prompts[completion.ordinal]
        self._assigned.close(completion.ordinal)
        fate = settle(group)
        self.exhaustion.note(group, fate)
        if fate == 'keep':
          self.ledger.complete(group.ordinal)
          self.batcher.offer(group, self.ledger.position(group.ordinal))
        else:
          self.journal.settle(group, fate)
        self.arrived.notify_all()

  def _prompt(self, ordinal: int) -> Prompt | None:
    """The prompt of a completion, if it is still waited for."""
    return self._prompts.get(ordinal) or self._evaluation_prompts.get(ordinal)

  def reissue(self, prompts: Sequence[Prompt]) -> None:
    """Hands out again the prompts that a sampler had open when it was lost, under their ordinals.

    One that is a suspect (assignments.py) is sampled alone, and dropped and counted as failed once
    it has proved to be what kills samplers; an evaluation begins anew.
    """
    with self.arrived:
      for ordinal in [prompt.ordinal for prompt in prompts if prompt.purpose == 'training']:
        # None: its group is complete, by completions that came before.
        if self._prompts.pop(ordinal, None) is None:
          continue
        holder, becomes = self._assigned.holder(ordinal), self._assigned.lose(ordinal)
        lost = self.batcher.forget(ordinal)
        if holder is not None:
          drawn = self.samplers[holder].counts['tokens']
          lost += self._assigned.unfinished_tokens(holder, drawn)
        self.journal.discard(lost)
        if becomes == 'drop':
          self.journal.drop(ordinal)
        else:
          self.ledger.reissue(ordinal, suspect=becomes == 'suspect')
    self.evaluation.lost([p.ordinal for p in prompts if p.purpose == 'evaluation'])

  def role_status(self) -> dict[str, RoleStatus]:
    """How every role is doing; asks each of them, which costs where there are hundreds."""
    own: dict[str, dict[str, Any]] = dict(
        trainer=dict(queue=self.batcher.waiting, version=self.trainer.version),
        verifier=dict(queue=self.verifier.pending()))
    for i, sampler in enumerate(self.samplers):
      own[f'sampler-{i}'] = dict(queue=sampler.open, version=sampler.version)
    found = {role: dataclasses.replace(status, **own.get(role, {}))
             for role, status in self.health.role_status().items()}
    remote = self.runtime.role_status()
    for role, status in remote.items():
      # The thread that drives a role from here says what the role is doing.
      driver = found.get(role) or found.get(_kind(role)) or RoleStatus()
      queue = driver.queue if status.queue is None else status.queue
      found[role] = dataclasses.replace(status, doing=driver.doing, waiting=driver.waiting,
                                        queue=queue)
    for kind in {_kind(role) for role in remote} - remote.keys():
      found.pop(kind, None)
    return found

  def held(self) -> str:
    """Says where the oldest prompt in flight is: the role that holds up a run that stands still."""
    with self.arrived:
      oldest = self.ledger.oldest
      if oldest is None:
        return 'No prompt is on its way.'
      index = self._assigned.holder(oldest)
      holder = 'no sampler' if index is None else f'sampler-{index}'
      return (f'Prompt {oldest} is the oldest on its way: {holder} has it, '
              f'{self.batcher.members(oldest)} of its {self.settings.sampling.samples} completions '
              f'are scored, and {self.verifier.pending()} of all wait for a verdict.')

  def next_batch(self) -> Batch | None:
    """A batch, or None while there are too few groups. Stale groups are booked as such first."""
    with self.arrived:
      for group in self.batcher.expire(self.trainer.version):
        self.journal.settle(group, 'stale')
      return self.batcher.take()

  @property
  def exhausted(self) -> bool:
    """Whether groups keep coming and none has anything to teach."""
    return self.exhaustion.reached

  def update(self, batch: Batch, evaluate: Callable[[], Result | None] | None = None) -> None:
    """Trains on a batch, publishes the weights, writes everything down.

    Args:
      evaluate: holds an evaluation on the new weights, whose figures go into the same line; None
        if it was broken off.
    """
    self._whole = False
    began, version = time.monotonic(), self.trainer.version
    try:
      metrics = self.trainer.train(batch)
      self.exhaustion.reset()  # There was a batch, whatever its gradient.
      step = self.trainer.version
      if step == version:      # No gradient was finite, so that there are no new weights.
        self.journal.skip(batch)
        self._whole = True
        return
      trained = time.monotonic()
      self.publish()
      published = time.monotonic()
      sampled = self._drawn()
      if evaluate:
        self.measurements.note_open()
      evaluated = evaluate() if evaluate else None
    except Lost as error:
      self.recover(error, batch.groups)
      return
    then, before = self._marks
    self._marks = published, sampled
    if evaluated:
      self.start_clock()       # Its tokens are not sampled for training, nor is its time.
    self.journal.add_rl_seconds(published - then)
    line = self.journal.trained(step, batch, parity.trusted(metrics, self._forked) | dict(
        train_s=trained - began, publish_s=published - trained,
        sampled_tokens_per_s=(sampled - before) / (published - then),
        trained_tokens_per_s=metrics['tokens'] / (trained - began),
        verifier=self.verifier.stats(), open_sequences=sum(s.open for s in self.samplers),
        slots_idle=self._occupancy.idle(), staleness_expected=self._expected_staleness(),
        preemptions=sum(s.counts['preemptions'] for s in self.samplers),
        failed_saves=self.checkpoints.failed_saves, **self.runtime.transfers(),
        **self.measurements.figures(evaluated)))
    self._whole = True
    self.display.update(line)
    if warning := parity.warning(line, self.settings.parity_limit):
      self.display.note(warning)
    every = self.settings.checkpoint_every
    if evaluated or (every and step % every == 0):
      self.save()
    if 'eval/version' in line:
      self.measurements.score()

  def _drawn(self) -> int:
    """Tokens that all samplers have drawn, without those of evaluations."""
    return sum(s.counts['tokens'] - s.counts['evaluation_tokens'] for s in self.samplers)

  def _expected_staleness(self) -> float:
    """Versions that overtake a sequence by the number in flight: n_async / n_batch."""
    pace = self.ledger.pace
    return pace.expected_staleness(self.settings.slots * len(self.samplers)) if pace else 0.0

  def recover_if_lost(self) -> bool:
    """Recovers from the loss of a trainer that no call is waiting for; whether there was one."""
    try:
      self.runtime.check_trainer()
      return False
    except Lost as error:
      self.recover(error)
      return True

  def recover(self, error: Lost, groups: Sequence[Group] = ()) -> None:
    """Restarts the trainer from the newest checkpoint; samplers keep what is open in them.

    What was trained since that checkpoint is sampled again. Groups that wait for a batch and
    prompts in flight stay as they are, unless `discard_in_flight`.

    Args:
      groups: those of the batch that the trainer was working on.
    """
    began = time.monotonic()
    self.health.busy('trainer', 'restarting from the newest checkpoint')
    if self.settings.discard_in_flight:
      self._drop_all()
    else:
      self._forked = max(self._forked, self.trainer.version)
      with self.arrived:
        for group in groups:
          self.batcher.offer(group, self.ledger.position(group.ordinal))
    while True:
      record = self.runtime.recover(self.trainer, self.checkpoints, error)
      with self.arrived:
        self.journal.restore(record, flying=set(self._prompts),
                             complete=self.batcher.waiting_ordinals)
        self.exhaustion.reset()
      try:
        self.publish()
        break
      except Lost as another:
        error = another
    self._whole = True
    self.measurements.recovered(self.trainer.version)
    self.health.progress()       # However long it took: what waits has its deadline from now on.
    self.display.note(f'The trainer was lost and is back at step {self.trainer.version} after '
                      f'{time.monotonic() - began:.0f} s. {str(error).splitlines()[0][:200]}')

  def _drop_all(self) -> None:
    for sampler in self.samplers:
      sampler.abandon()
    answering.discard(self.verifier, self.health.deadline_s)
    with self.arrived:
      self._prompts = {}
      self._assigned.clear()
      self.batcher.clear()

  def publish(self) -> None:
    """Offers a copy of the trainer's weights to every sampler. Raises Lost."""
    for sampler in self.samplers:
      sampler.withdraw()
    snapshots = self.runtime.publisher.snapshots(self.trainer, self.trainer.version)
    for sampler, snapshot in zip(self.samplers, snapshots, strict=True):
      sampler.offer(snapshot)

  def start_clock(self) -> None:
    """Starts measuring the speed of sampling here: what came before does not count."""
    self._marks = (time.monotonic(), self._drawn())
    self._assigned.count_from([sampler.counts['tokens'] for sampler in self.samplers])
    self._occupancy.idle()

  def save(self) -> None:
    """Saves the train state and everything the run has to remember, unless it is on disk.

    A save that failed is tried again by the next call. Not in the middle of an update that failed:
    weights and ledger would disagree.
    """
    if self._whole:
      self.checkpoints.save(self.trainer, self.journal.record(),
                            self.measurements.metric(self.trainer.version))


def _kind(role: str) -> str:
  """'sampler' of 'sampler-2'."""
  return role.rsplit('-', 1)[0]
