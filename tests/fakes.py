"""Roles without a model: threads, ledger and journal meet them as they would the real ones.

A completion's tokens are all the version that drew them, so that what is recorded can be checked
by eye:  versions ((0, 4), (2, 5))  <->  tokens [4 4 5 5 5]
"""
import collections
import json
import queue

import numpy as np

from magistral_jax.batching.admission import Pace
from magistral_jax.batching.role import Batcher
from magistral_jax.data.role import Dealer
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.loop import Loop
from magistral_jax.orchestration.loop_parts import Books, Roles, Settings
from magistral_jax.orchestration.run_stages import RunStages, fixed
from magistral_jax.orchestration.stages import Controller
from magistral_jax.records import Problem, Prompt, Terms, Verdict, WeightSnapshot
from magistral_jax.sampler.slots import Sampling, Sequence

EOS = -1                  # No version is ever that.
GROUP = 4                 # Completions of a prompt.


def spread_length(ordinal, sample):
  """Between 20 and 100 tokens, fivefold, whatever happens in the run."""
  return int(np.random.default_rng([7, abs(ordinal), sample]).integers(20, 101))


def every_other(completion):
  """Half of each group is right."""
  right = completion.sample % 2 == 0
  return Verdict('correct' if right else 'wrong', float(right), dict(correct=float(right)), 'x')


class FakeStream:
  """Prompts of one token."""

  def __init__(self):
    self.dealer = Dealer(self)

  def prompt(self, ordinal, purpose='training'):
    problem = Problem(f'p{ordinal}', f'problem {ordinal}', 'x', 'fake')
    return Prompt(ordinal, problem, np.array([1], np.int32), purpose=purpose)

  def held_out(self, n):
    return [self.prompt(-1 - i, 'evaluation') for i in range(n)]


class FakeSampler:
  """Draws `decode_steps` tokens a dispatch for each of its slots; lengths are a given function."""

  def __init__(self, *, slots=32, decode_steps=4, length=spread_length, version=0,
               before_step=lambda: None):
    self.slots, self._decode_steps, self._length = slots, decode_steps, length
    self.before_step = before_step
    self._age, self._offered = (0, version), None    # Lineage and version of the weights.
    self._active, self._waiting = [], collections.deque()
    self._pinned = None       # Lineage and version of weights that it keeps.
    self.finished, self.counts = [], collections.Counter()

  @property
  def version(self):
    return self._age[1]

  @property
  def open(self):
    return len(self._active) + len(self._waiting)

  @property
  def has_capacity(self):
    return len(self._waiting) < self.slots - len(self._active)

  @property
  def pinned(self):
    return self._pinned is not None

  @property
  def pinned_version(self):
    return self._pinned[1] if self.pinned else None

  @property
  def waits_for(self):
    return 'the trainer'

  def offer(self, snapshot):
    self._offered = snapshot.lineage, snapshot.version

  def withdraw(self):
    pass

  def pin(self):
    self._pinned = max(self._age, self._offered or self._age)

  def unpin(self):
    self._pinned = None

  def submit(self, prompt, sampling):
    self._waiting.extend(Sequence(prompt, i, sampling) for i in range(sampling.samples))

  def step(self):
    self.before_step()
    self._take_offer()
    while self._waiting and len(self._active) < self.slots:
      self._active.append(self._waiting.popleft())
    active, self._active, done = self._active, [], []
    for s in active:
      length = self._length(s.prompt.ordinal, s.sample)
      new = min(self._decode_steps, length - len(s.tokens))
      s.add([self.version] * new, [-1.0] * new, self.version)
      self.counts['tokens'] += new
      self.counts['evaluation_tokens'] += new * (s.prompt.purpose == 'evaluation')
      if len(s.tokens) < length:
        self._active.append(s)
      else:
        done.append(s.completion(lambda ids: f'{len(ids)} tokens', (EOS,), now=0.0))
    self.finished += done
    return done

  def abandon(self):
    self._active, self._pinned = [], None
    self._waiting.clear()

  def _take_offer(self):
    # Read once, since another thread may replace either at any moment.
    self._age = max(self._age, self._pinned or self._offered or self._age)


class FakeVerifier:
  """Judges at once, by a given function of the completion."""

  def __init__(self, judge=every_other):
    self._judge, self._judged = judge, queue.SimpleQueue()
    self.behind = False       # Set by tests.

  def put(self, completion, problem):
    del problem
    self._judged.put((completion, self._judge(completion)))

  def drain(self, wait_s=0.0):
    found = []
    try:
      if wait_s:
        found.append(self._judged.get(timeout=wait_s))
      while True:
        found.append(self._judged.get_nowait())
    except queue.Empty:
      return found

  @property
  def full(self):
    return self.behind

  @property
  def waiting(self):
    return 0

  def pending(self):
    return self._judged.qsize()

  def stats(self):
    return dict(queue_depth=self.pending())


class SlowVerifier(FakeVerifier):
  """Judges so many completions between two calls of `drain`."""

  def __init__(self, workers, judge=every_other):
    super().__init__(judge)
    self._workers, self._queue, self._at_work = workers, collections.deque(), []

  def put(self, completion, problem):
    self._queue.append((completion, problem))

  def drain(self, wait_s=0.0):
    for completion, problem in self._at_work:
      super().put(completion, problem)
    self._at_work = [self._queue.popleft() for _ in range(min(self._workers, len(self._queue)))]
    return super().drain()

  @property
  def waiting(self):
    return len(self._queue)

  def pending(self):
    return len(self._queue) + len(self._at_work)


class FakeTrainer:
  """Keeps the batches it is given; its weights are its version."""

  def __init__(self, version=0, before_train=lambda version: None, skips=()):
    self._skips = skips        # Batches, counted from 0, whose gradient is not finite.
    self.version, self.before_train = version, before_train   # Called with the version so far.
    self.batches = []

  def train(self, batch):
    self.before_train(self.version)
    self.version += len(self.batches) not in self._skips
    self.batches.append(batch)
    return dict(tokens=float(sum(len(c.tokens) for c in trained([batch]))), loss=0.0)

  def logps(self, rows):
    return rows.sampler_logp + 0.25

  def supervised(self, rows):
    self.version += 1
    return dict(tokens=float(rows.mask.sum()), loss=0.0)


class FakePublisher:
  """Snapshots that are a version and nothing else."""

  def __init__(self, samplers):
    self._samplers = samplers

  def snapshots(self, trainer, version):
    for _ in range(self._samplers):
      yield WeightSnapshot(version, None)


class FakeCheckpoints:
  """What was saved, as JSON gives it back."""

  def __init__(self):
    self.saved = {}          # {version: record}.
    self.scores = {}         # {version: accuracy}.
    self.awaiting = None

  @property
  def failed_saves(self):
    return 0

  def save(self, trainer, record, metric):
    if trainer.version in self.saved:
      return False
    self.saved[trainer.version] = json.loads(json.dumps(record))
    if metric is not None:
      self.scores[trainer.version] = metric
    return True

  def await_score(self, version):
    self.awaiting = version

  def score(self, version, accuracy):
    self.awaiting = None
    if version not in self.saved:
      return False
    self.scores[version] = accuracy
    return True

  def latest(self):
    return max(self.saved, default=None)

  def wait(self):
    pass

  def close(self):
    pass


class FakeRuntime:
  """Makes fakes, and takes a lost trainer back to the newest checkpoint.

  Args:
    lost: what `check_trainer` is to raise, one by one; None raises nothing.
  """

  def __init__(self, samplers=1, lost=()):
    self._samplers, self._lost = samplers, iter(lost)
    self._publisher = FakePublisher(samplers)

  @property
  def publisher(self):
    return self._publisher

  def trainer(self, previous=None, **changed):
    return FakeTrainer()

  def restored(self, checkpoints, **changed):
    newest = checkpoints.latest()
    return FakeTrainer(newest), checkpoints.saved[newest]

  def checkpoints(self, folder, *, keep, keep_every=0):
    return FakeCheckpoints()

  def samplers(self, snapshots):
    return [FakeSampler(version=snapshot.version) for snapshot in snapshots]

  def verifier(self):
    return FakeVerifier()

  def on_lost(self, reissue):
    self.reissue = reissue

  def check_trainer(self):
    error = next(self._lost, None)
    if error is not None:
      raise error

  def restart(self, error):
    pass

  def recover(self, trainer, checkpoints, error):
    trainer.version = checkpoints.latest()
    return checkpoints.saved[trainer.version]

  def role_status(self):
    return {}

  def transfers(self):
    return {}

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


def trained(batches):
  """All completions of the batches that were trained on."""
  return [c for batch in batches for group in batch.groups
          for c, advantage in zip(group.completions, group.advantages, strict=True)
          if advantage is not None]


def make_loop(workdir, *, samplers=None, verifier=None, trainer=None, runtime=None,
              prompts_per_batch=4, max_staleness=0, in_flight=0, backlog_batches=1,
              deadline_s=60.0, paced=True, record=None, stages=(), effects=None, stream=None,
              **settings):
  """A Loop of fakes around the real ledger, journal, batcher and health.

  Args:
    paced: whether admission has limits: `in_flight`, `backlog_batches`, `max_staleness`.
    record: of a checkpoint to go on from.
    stages, effects: after the first, and what they do.
    settings: of `Settings`, in place of those here.
  """
  ledger = Ledger(Pace(GROUP, prompts_per_batch, in_flight, backlog_batches, max_staleness)
                  if paced else None)
  stream = stream or FakeStream()
  journal = Journal(workdir, ledger, stream.dealer)
  if record:
    journal.restore(record)
  batcher = Batcher(
      group_size=GROUP, microbatch_rows=1, max_new_tokens=128, minibatches=1, row_tokens=128,
      prompts_per_batch=prompts_per_batch, max_staleness=max_staleness, advantage_norm='minibatch',
      normalizer='group')
  samplers = samplers or [FakeSampler()]
  slots = getattr(samplers[0], 'slots', 32)
  return Loop(
      Roles(stream, samplers, verifier or FakeVerifier(), batcher, trainer or FakeTrainer(),
            FakeCheckpoints(), runtime or FakeRuntime(len(samplers))),
      Books(ledger, journal, RunStages(
          Controller(stages), effects or fixed(
              Terms(128, 0, 0), prompts_per_batch=prompts_per_batch, in_flight=in_flight),
          journal, ledger, stream.dealer, workdir), Health(deadline_s), Display(1, False)),
      Settings(**dict(
          slots=slots, sampling=Sampling(GROUP, 1.0, 1.0, 128),
          evaluation_sampling=Sampling(2, 0.0, 1.0, 128),
          evaluation_prompts=stream.held_out(3), evaluation_every=0, checkpoint_every=0,
          patience_batches=20, parity_limit=0.1) | settings))


def fill(loop, groups):
  """Samples and judges in turn until so many groups wait for the trainer."""
  sampler, = loop.samplers
  while loop.batcher.waiting < groups:
    loop.admit(sampler)
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())


def run_in_turn(loop, updates, before_turn=lambda: None, after_update=lambda: None):
  """Steps the roles in turn, with an update as soon as there is a batch, until so many are done.

  `before_turn` and `after_update` are called when their names say.
  """
  loop.start_clock()
  while loop.trainer.version < updates:
    before_turn()
    for sampler in loop.samplers:
      loop.admit(sampler)
      loop.sample(sampler)
    loop.judge(loop.verifier.drain())
    while (batch := loop.next_batch()) is not None:
      loop.update(batch)
      after_update()
