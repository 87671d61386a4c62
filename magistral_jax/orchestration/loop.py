"""What happens at each arrow of the loop, one method each; lockstep.py and threads.py call them.

    admit:  stream -> sampler        judge:  verifier -> batcher (or evaluation)
    sample: sampler -> verifier      update: batcher -> trainer -> weights -> samplers
"""

import collections
import dataclasses
import threading
import time

from magistral_jax.batching.groups import settle
from magistral_jax.evaluation.held_out import Evaluation
from magistral_jax.orchestration import evaluations
from magistral_jax.orchestration.health import LOST_TOO_OFTEN, Lost, RoleStatus
from magistral_jax.records import Prompt
from magistral_jax.sampler.slots import Sampling


class Loop:
  """The roles and what lies between them. Roles know nothing of each other; only this does.

  Args:
    publishers: one for each sampler, from trainer parameters to that sampler's mesh.
    sampling, evaluation_sampling: how prompts are sampled for training and for evaluations.
    evaluation_prompts: held-out prompts; evaluation_every: updates between evaluations, 0 for none.
    patience_batches: how many batches' worth of groups may pass without one update.
    places: {role: RoleStatus} of roles in other processes; {} where all is in one.
    transfers: what the transport of weights has measured so far.
    check_trainer: raises Lost if the trainer has died.
    afresh: nothing outlives a lost trainer, so that all comes again as it was (lockstep); else what
      samplers are writing and what waits for a batch does.
  """

  def __init__(self, *, stream, samplers, verifier, batcher, trainer, publishers, ledger, journal,
               health, display, checkpoints, sampling: Sampling, evaluation_sampling: Sampling,
               evaluation_prompts: list[Prompt], evaluation_every: int, checkpoint_every: int,
               prompts_per_batch: int, patience_batches: int, places=dict, transfers=dict,
               check_trainer=lambda: None, discard_in_flight: bool = False):
    self.stream, self.samplers, self.verifier = stream, samplers, verifier
    self.batcher, self.trainer, self.publishers = batcher, trainer, publishers
    self.ledger, self.journal, self.health = ledger, journal, health
    self.display, self.checkpoints = display, checkpoints
    self.sampling, self.evaluation_sampling = sampling, evaluation_sampling
    self.evaluation_prompts, self.evaluation_every = evaluation_prompts, evaluation_every
    self.checkpoint_every, self.prompts_per_batch = checkpoint_every, prompts_per_batch
    self.patience = patience_batches * prompts_per_batch
    self.arrived = threading.Condition()      # Guards the batcher; notified at every group kept.
    self.evaluation: Evaluation | None = None             # The one that is open, in threads mode.
    self._handed_in = {}     # Answers to the evaluation that is open; those to one broken off are others.
    self._places, self._transfers = places, transfers
    self.check_trainer, self._discard_in_flight = check_trainer, discard_in_flight
    self._prompts: dict[int, Prompt | None] = {}   # On their way; None: being made.
    self._given: dict[int, str] = {}          # To which sampler each of them went.
    self._names = {id(sampler): f'sampler-{i}' for i, sampler in enumerate(samplers)}
    self._lost = collections.Counter()        # How often a prompt was open in a lost sampler.
    self._since_update = 0                    # Complete groups.
    self._marks = (time.monotonic(), 0)       # Time and sampled tokens at the last update.
    self._saved: int | None = None
    self._whole = True                        # False in the middle of an update.
    self._forked = -1        # The last version of a lost trainer: others have those numbers now.

  def admit(self, sampler, most: int | None = None) -> int:
    """Gives a sampler prompts while it has free slots (or `most`); returns how many it got."""
    # Held still by an evaluation, it would start groups with weights that are already old.
    if sampler.pinned and sampler.version < self.trainer.version:
      return 0
    # Nothing that is being written waits for a verdict; but nothing new is begun meanwhile.
    if self.verifier.full:
      return 0
    given = 0
    while (sampler.has_capacity if most is None else given < most):
      with self.arrived:     # Who restores the ledger sees both or neither.
        ordinal = self.ledger.issue()
        if ordinal is None:
          break
        self._prompts[ordinal], self._given[ordinal] = None, self._names[id(sampler)]
      # Not under the lock: pictures take their time, and verdicts must not wait for them.
      self._prompts[ordinal] = prompt = self.stream.prompt(ordinal)
      sampler.submit(prompt, self.sampling)
      given += 1
    return given

  def open_evaluation(self) -> None:
    """Starts an evaluation on the newest weights; its prompts go to the first sampler that is well."""
    with self.arrived:
      self._prompts |= {prompt.ordinal: prompt for prompt in self.evaluation_prompts}
      self._handed_in = {}
      # Last: from here on a sampler may take it.
      self.evaluation = Evaluation(self.evaluation_prompts, self.evaluation_sampling.samples)

  def submit_evaluation(self, sampler) -> None:
    """Hands an open evaluation to a sampler, once; not to one that is down or starting."""
    if self.evaluation is None or not (sampler.open or sampler.has_capacity):
      return
    with self.arrived:
      evaluation = self.evaluation
      if evaluation is None or evaluation.submitted:
        return
      evaluation.submitted = True
    evaluations.submit(evaluation, sampler, self.evaluation_sampling)

  def sample(self, sampler) -> None:
    """One dispatch of a sampler; what it finished goes to the verifier at once."""
    before = sampler.counts['tokens']
    finished = sampler.step()
    if sampler.counts['tokens'] > before:
      self.health.progress()
    for completion in finished:
      prompt = self._prompts.get(completion.ordinal)
      if completion.ordinal < 0:
        self._handed_in[completion.ordinal, completion.sample] = completion
      # None: its group is complete already, from before its sampler was lost.
      if prompt is not None:
        self.verifier.put(completion, prompt.problem)

  def judge(self, scored) -> None:
    """Routes scored completions to their groups, and complete groups to their fates."""
    if scored:
      self.health.progress()
    for completion, verdict in scored:
      if completion.ordinal < 0:
        with self.arrived:   # Another evaluation may take the place of one that was broken off.
          if self._handed_in.get((completion.ordinal, completion.sample)) is completion:
            self.evaluation.add(completion, verdict)
        continue
      with self.arrived:
        prompt = self._prompts.get(completion.ordinal)
        group = prompt and self.batcher.add(prompt, completion, verdict)
        if group is None:
          continue
        del self._prompts[completion.ordinal], self._given[completion.ordinal]
        self._lost.pop(completion.ordinal, None)
        self._since_update += 1
        fate = settle(group)
        if fate == 'keep':
          self.ledger.complete(group.ordinal)
          self.batcher.offer(group)
        else:
          self.journal.settle(group, fate)
        self.arrived.notify_all()

  def reissue(self, orders) -> None:
    """Hands out again what a sampler had open when it was lost, under the same ordinals.

    A prompt that was there too often is dropped and counted as failed; an evaluation begins anew.
    """
    with self.arrived:
      for ordinal in [order.prompt.ordinal for order in orders if not order.pinned]:
        self._lost[ordinal] += 1
        # None: its group is complete, by what came from it before.
        if self._prompts.pop(ordinal, None) is None:
          continue
        del self._given[ordinal]
        self.batcher.forget(ordinal)
        if self._lost[ordinal] < LOST_TOO_OFTEN:
          self.ledger.reissue(ordinal)
        else:
          del self._lost[ordinal]
          self.journal.drop(ordinal)
    if any(order.pinned for order in orders):
      self.open_evaluation()

  def roles(self) -> dict[str, RoleStatus]:
    """How every role stands; costs a look at each of them."""
    found = self.health.standings
    own = dict(trainer=dict(queue=self.batcher.waiting, version=self.trainer.version),
               verifier=dict(queue=self.verifier.pending()))
    for i, sampler in enumerate(self.samplers):
      own[f'sampler-{i}'] = dict(queue=sampler.open, version=sampler.version)
    found = {role: dataclasses.replace(standing, **own.get(role, {}))
             for role, standing in found.items()}
    places = self._places()
    for role, place in places.items():
      # What the thread here that speaks for a role last said is what that role is at.
      kind = role.rsplit('-', 1)[0]
      speaks = found.get(role) or found.get(kind)
      found[role] = dataclasses.replace(
          place, doing=speaks and speaks.doing,
          queue=speaks.queue if place.queue is None and speaks else place.queue)
    for kind in {role.rsplit('-', 1)[0] for role in places} - places.keys():
      found.pop(kind, None)
    return found

  def held(self) -> str:
    """Where the oldest prompt on its way is: whoever holds up a run that stands still has it."""
    with self.arrived:
      oldest = self.ledger.oldest
      if oldest is None:
        return 'No prompt is on its way.'
      return (f'Prompt {oldest} is the oldest on its way: {self._given.get(oldest, "nobody")} has '
              f'it, {self.batcher.members(oldest)} of its {self.sampling.samples} completions are '
              f'scored, and {self.verifier.pending()} of all wait for a verdict.')

  def next_batch(self):
    """A batch, or None while there are too few groups. Stale groups are booked as such first."""
    with self.arrived:
      for group in self.batcher.expire(self.trainer.version):
        self.journal.settle(group, 'stale')
      return self.batcher.take()

  @property
  def exhausted(self) -> bool:
    """True when groups keep coming and none has anything to teach."""
    return self._since_update >= self.patience

  def update(self, batch, evaluate=dict) -> None:
    """Trains on a batch, publishes the weights, writes everything down.

    Args:
      evaluate: gives the figures of an evaluation to be held on the new weights, for the same line.
    """
    self._whole = False
    began = time.monotonic()
    try:
      metrics = self.trainer.train(batch)
      step = self.trainer.version
      trained = time.monotonic()
      self.publish()
      published = time.monotonic()
      sampled = sum(s.counts['tokens'] for s in self.samplers)
      evaluation = evaluate()
    except Lost as error:
      self.recover(error, batch.groups)
      return
    then, before = self._marks
    self._marks, self._since_update = (published, sampled), 0
    if step - 1 <= self._forked:
      metrics.pop('logprob_gap_max', None)     # Its tokens may be of weights that are gone.
    if evaluation:
      self.start_clock()       # Its tokens are not sampled for training, nor its time.
    self.journal.add_rl_seconds(published - then)
    line = self.journal.trained(step, batch, metrics | dict(
        train_s=trained - began, publish_s=published - trained,
        sampled_tokens_per_s=(sampled - before) / (published - then),
        trained_tokens_per_s=metrics['tokens'] / (trained - began),
        verifier=self.verifier.stats(), open_sequences=sum(s.open for s in self.samplers),
        failed_saves=self.checkpoints.failed_saves, **self._transfers(), **evaluation,
        **self._evaluation_result()))
    self._whole = True
    self.display.update(line)
    if self.checkpoint_every and step % self.checkpoint_every == 0:
      self.save()

  def mind_trainer(self) -> None:
    """Recovers from a death of the trainer while nobody has called it."""
    try:
      self.check_trainer()
    except Lost as error:
      self.recover(error)

  def recover(self, error: Lost, groups=()) -> None:
    """The trainer again, from the newest checkpoint; the samplers keep what they are writing.

    What was trained since then is sampled again. The groups that waited and the prompts on their
    way stay what they are, but for `discard_in_flight`.

    Args:
      groups: those of the batch that was in its hands.
    """
    began = time.monotonic()
    self.health.beat('trainer', 'starting again from the newest checkpoint')
    if self._discard_in_flight:
      self._drop_all()
    else:
      self._forked = max(self._forked, self.trainer.version)
      with self.arrived:
        for group in groups:
          self.batcher.offer(group)
    while True:
      record = self.trainer.recover(error)
      with self.arrived:
        flying = {ordinal for ordinal in self._prompts if ordinal >= 0}
        self.journal.restore(record, flying=flying, complete=self.batcher.waiting_ordinals)
        self._since_update = 0
      try:
        self.publish()
        break
      except Lost as another:
        error = another
    self._saved, self._whole = self.trainer.version, True
    self.display.note(f'The trainer was lost and is back at step {self.trainer.version} after '
                      f'{time.monotonic() - began:.0f} s. {str(error).splitlines()[0][:200]}')

  def _drop_all(self) -> None:
    for sampler in self.samplers:
      sampler.abandon()
    evaluations.discard(self.verifier, self.health.deadline_s)
    with self.arrived:
      self._prompts, self._given = {}, {}
      self.batcher.clear()

  def publish(self) -> None:
    """A copy of the trainer's weights for every sampler."""
    for sampler, publisher in zip(self.samplers, self.publishers, strict=True):
      sampler.offer(publisher.snapshot(self.trainer.params, self.trainer.version))

  def start_clock(self) -> None:
    """Sampling and training begin now, or go on."""
    self._marks = (time.monotonic(), sum(s.counts['tokens'] for s in self.samplers))

  def save(self) -> None:
    """A checkpoint of the train state and of everything the run has to remember.

    Not in the middle of an update that failed: weights and ledger would tell two stories.
    """
    if self._saved == self.trainer.version or not self._whole:
      return
    self._saved = self.trainer.version
    self.checkpoints.save(self._saved, self.trainer.state, self.journal.record(),
                          self.journal.measured('held_out_accuracy'))

  def _evaluation_result(self) -> dict:
    """The finished evaluation's figures, once."""
    with self.arrived:
      evaluation = self.evaluation
      if evaluation is None or evaluation.open:
        return {}
      self.evaluation = None
    return self.held_out(evaluation.result())

  def held_out(self, result) -> dict:
    """The figures of an evaluation, kept for the summary too."""
    self.journal.note(held_out_accuracy=result.accuracy)
    return dict(held_out_accuracy=result.accuracy, held_out_accuracy_se=result.accuracy_se,
                held_out_version=result.version, held_out_tokens_mean=result.mean_tokens)
