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

from magistral_jax.batching.groups import settle
from magistral_jax.evaluation.evaluation import Result
from magistral_jax.orchestration import answering, evaluations, parity, role_status
from magistral_jax.orchestration.exhaustion import Exhaustion
from magistral_jax.orchestration.in_flight import InFlight
from magistral_jax.orchestration.loop_parts import Books, Roles, Settings
from magistral_jax.orchestration.measurements import Measurements
from magistral_jax.orchestration.roles import Lost, RoleStatus, Sampler
from magistral_jax.profiling import region
from magistral_jax.records import Batch, Completion, Group, Prompt, Terms, Verdict
from magistral_jax.sampler.slots import Sampling

# A wait looks this often whether it is over.
LOOK_S = 0.05


class Loop:
  """The roles and what lies between them. Roles know nothing of each other; only this does."""

  def __init__(self, roles: Roles, books: Books, settings: Settings):
    self.stream, self.samplers, self.verifier = roles.stream, roles.samplers, roles.verifier
    self.batcher, self.trainer = roles.batcher, roles.trainer
    self.checkpoints, self.runtime = roles.checkpoints, roles.runtime
    self.ledger, self.journal = books.ledger, books.journal
    self.health, self.display, self.profile = books.health, books.display, books.profile
    self.settings, self.stages = settings, books.stages
    self.exhaustion = Exhaustion()
    self.arrived = threading.Condition()      # Guards the batcher; notified at every group kept.
    self.evaluation = evaluations.ConcurrentEvaluation(
        settings.evaluation_prompts, settings.evaluation_sampling, slots=settings.slots,
        group_size=settings.sampling.samples)
    self.measurements = Measurements(
        self.evaluation, self.samplers, self.checkpoints, self.journal,
        every=settings.evaluation_every, say=self.display.note)
    self._evaluation_prompts = {prompt.ordinal: prompt for prompt in settings.evaluation_prompts}
    self.in_flight = InFlight(self.samplers, self.ledger, self.trainer, self.verifier,
                              slots=settings.slots, samples=settings.sampling.samples)
    self._marks = (time.monotonic(), 0)       # Time and sampled tokens at the last update.
    self._whole = True                        # False in the middle of an update.
    self._forked = -1        # The last version of a lost trainer: others have those numbers now.
    self._take_up_stages()

  @region
  def admit(self, sampler: Sampler, most: int | None = None) -> int:
    """Gives a sampler prompts while it has free slots (or `most`); returns how many it got.

    What limits it stands in batching/admission.py; besides, nothing begins while the verifier holds
    as many completions as it may.
    """
    self.in_flight.note(sampler)
    pace = self.ledger.pace
    if pace and pace.max_staleness and not sampler.open and sampler.version < self.trainer.version:
      # Only a step takes newer weights, without which it might get nothing for ever.
      self.sample(sampler)
    given = 0
    while (not self.verifier.full
           and (sampler.has_capacity if most is None else given < most)):
      with self.arrived:     # A thread that restores the ledger sees both changes or neither.
        ordinal = self.in_flight.issue(sampler)
        if ordinal is None:
          break
        terms = self.stages.terms(ordinal)
      # Outside the lock: images take their time, and verdicts must not wait for them.
      prompt = dataclasses.replace(self.stream.prompt(ordinal), terms=terms)
      self.in_flight.made(prompt)
      sampler.submit(prompt, self._sampling(terms))
      given += 1
    self.in_flight.note(sampler)
    return given

  def _sampling(self, terms: Terms) -> Sampling:
    config = self.settings.sampling
    return dataclasses.replace(
        config, max_new_tokens=terms.max_new_tokens,
        temperature=config.temperature if terms.temperature is None else terms.temperature)

  @region
  def sample(self, sampler: Sampler) -> None:
    """One dispatch of a sampler; what it finished goes to the verifier at once."""
    before = sampler.counts['tokens']
    finished = sampler.step()
    self.in_flight.note(sampler)
    if sampler.counts['tokens'] > before:
      self.health.progress()
    for completion in finished:
      self.in_flight.finish(sampler, completion)
      prompt = self._prompt(completion.ordinal)
      # None: its group is complete already, from before its sampler was lost.
      if prompt is None:
        continue
      if prompt.purpose == 'evaluation':
        self.evaluation.sampled(completion)
      else:
        self.in_flight.count_judging(+1)
      self.verifier.put(completion, prompt.problem)

  @region
  def judge(self, scored: Sequence[tuple[Completion, Verdict]]) -> None:
    """Routes judged completions to their groups, and complete groups to their fates."""
    if scored:
      self.health.progress()
    self.in_flight.count_judging(-sum(c.purpose == 'training' for c, _ in scored))
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
        self.in_flight.close(completion.ordinal)
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
    return self.in_flight.prompt(ordinal) or self._evaluation_prompts.get(ordinal)

  def reissue(self, prompts: Sequence[Prompt]) -> None:
    """Hands out again the prompts that a sampler had open when it was lost, under their ordinals.

    One that is a suspect (assignments.py) is sampled alone, and dropped and counted as failed once
    it has proved to be what kills samplers; an evaluation begins anew.
    """
    with self.arrived:
      for ordinal in [prompt.ordinal for prompt in prompts if prompt.purpose == 'training']:
        lost = self.in_flight.lose(ordinal)
        if lost is None:
          continue
        becomes, tokens = lost
        self.journal.discard(tokens + self.batcher.forget(ordinal))
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
    return role_status.joined(self.health.role_status(), self.runtime.role_status(), own)

  def held(self) -> str:
    """Says where the oldest prompt in flight is: the role that holds up a run that stands still."""
    with self.arrived:
      oldest = self.ledger.oldest
      if oldest is None:
        return 'No prompt is on its way.'
      return (f'Prompt {oldest} is the oldest on its way: {self.in_flight.holder(oldest)} has it, '
              f'{self.batcher.members(oldest)} of its {self.settings.sampling.samples} completions '
              f'are scored, and {self.verifier.pending()} of all wait for a verdict.')

  @region
  def next_batch(self) -> Batch | None:
    """A batch, or None while there are too few groups. Stale groups are booked as such first."""
    with self.arrived:
      for group in self.batcher.expire(self.trainer.version):
        self.journal.settle(group, 'stale')
      with self.journal.time.doing('packing'):
        batch, now = self.batcher.take(), self.stages.now
    return batch and dataclasses.replace(
        batch, clip_scale=now.clip_scale, rate_scale=now.rate_scale)

  @property
  def prompts_per_batch(self) -> int:
    """Groups of an update."""
    return self.stages.now.prompts_per_batch

  @property
  def exhausted(self) -> bool:
    """Whether groups keep coming and none has anything to teach."""
    return self.exhaustion.reached

  def nothing_left(self) -> bool:
    """Whether the loop is `exhausted` although the stages that wait for that are open."""
    if self.exhausted:
      self._decide(lambda: self.stages.after_last(self.trainer.version))
    return self.exhausted

  def _decide(self, decide: Callable[[], list[str]]) -> bool:
    """Lets stages open; whether one did."""
    with self.arrived:
      said = decide()
      if said:
        self.exhaustion.reset()
        self._take_up_stages()
    for sentence in said:
      self.display.note(sentence)
    self.display.update(self.stages.status())
    return bool(said)

  def _take_up_stages(self) -> None:
    """Makes batches and admission what the open stages say."""
    now = self.stages.now
    self.exhaustion.patience = self.settings.patience_batches * now.prompts_per_batch
    self.batcher.resize(now.prompts_per_batch)
    self.ledger.repace(prompts_per_batch=now.prompts_per_batch, in_flight=now.in_flight)

  @region
  def update(self, batch: Batch, evaluate: Callable[[], Result | None] | None = None) -> None:
    """Trains on a batch, publishes the weights, writes everything down.

    Args:
      evaluate: holds an evaluation on the new weights, whose figures go into the same line; None
        if it was broken off.
    """
    self._whole = False
    began, version = time.monotonic(), self.trainer.version
    try:
      with self.journal.time.doing('training'):
        texts = self.journal.token_texts
        gaps = texts.gaps(batch.groups, self.trainer.logps) if texts else {}
        metrics = self.trainer.train(batch)
      self.exhaustion.reset()  # There was a batch, whatever its gradient.
      step = self.trainer.version
      if step == version:      # No gradient was finite, so that there are no new weights.
        self.journal.skip(batch)
        self._whole = True
        return
      trained = time.monotonic()
      self._let_arrive()
      self.publish()
      published = time.monotonic()
      sampled = self.in_flight.drawn()
      if evaluate:
        self.measurements.note_open()
      with self.journal.time.doing('evaluating'):
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
        verifier=self.verifier.stats(), staleness_expected=self._expected_staleness(),
        failed_saves=self.checkpoints.failed_saves, **self.in_flight.figures(),
        **self.runtime.transfers(), **self.stages.figures(),
        **self.measurements.figures(evaluated)), gaps)
    self._whole = True
    self.display.update(line)
    if warning := parity.warning(line, self.settings.parity_limit):
      self.display.note(warning)
    opened = self._decide(lambda: self.stages.after(line))
    every = self.settings.checkpoint_every
    if opened or evaluated or (every and step % every == 0):
      self.save()
    if 'eval/version' in line:
      self.measurements.score()

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
        self.journal.restore(record, flying=set(self.in_flight),
                             complete=self.batcher.waiting_ordinals)
        self.stages.restore()
        self._take_up_stages()
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
      self.in_flight.clear()
      self.batcher.clear()

  @region
  def publish(self) -> None:
    """Offers a copy of the trainer's weights to every sampler. Raises Lost."""
    for sampler in self.samplers:
      sampler.withdraw()
    with self.journal.time.doing('publishing'):
      snapshots = self.runtime.publisher.snapshots(self.trainer, self.trainer.version)
      for sampler, snapshot in zip(self.samplers, snapshots, strict=True):
        sampler.offer(snapshot)

  def _let_arrive(self) -> None:
    """Waits while weights that are to be measured are on their way to all samplers.

    New ones would take their place, and where updates are faster than transfers no evaluation would
    ever be held. It does not wait beyond the deadline, after which that one is given up. Raises
    Lost.
    """
    until = time.monotonic() + self.health.deadline_s
    with self.journal.time.doing('evaluating'):
      while (self.evaluation.unread(self.samplers) and not self.health.stopping.is_set()
             and time.monotonic() < until):
        self.health.waiting('trainer', 'measured weights to arrive')
        self.runtime.check_trainer()
        time.sleep(LOOK_S)

  def start_clock(self) -> None:
    """Starts measuring the speed of sampling here: what came before does not count."""
    self._marks = (time.monotonic(), self.in_flight.drawn())
    self.in_flight.count_from_here()

  @region
  def save(self) -> None:
    """Saves the train state and everything the run has to remember, unless it is on disk.

    A save that failed is tried again by the next call. Not in the middle of an update that failed:
    weights and ledger would disagree.
    """
    if self._whole:
      with self.journal.time.doing('saving'):
        self.checkpoints.save(self.trainer, self.journal.record(),
                              self.measurements.metric(self.trainer.version))
