"""Roles without a model: threads, ledger and journal meet them as they would the real ones.

A completion's tokens are all the version that drew them, so that what is recorded can be checked
by eye:  versions ((0, 4), (2, 5))  <->  tokens [4 4 5 5 5]
"""
import collections
import json
import queue

import numpy as np

from magistral_jax.batching.role import Batcher
from magistral_jax.batching.staleness import window_groups
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.loop import Loop
from magistral_jax.records import Problem, Prompt, Verdict, WeightSnapshot
from magistral_jax.sampler.slots import Sampling, Sequence

EOS = -1                  # No version is ever that.


def spread_length(ordinal, sample):
  """Between 20 and 100 tokens, fivefold, whatever happens in the run."""
  return int(np.random.default_rng([7, abs(ordinal), sample]).integers(20, 101))


def every_other(completion):
  """Half of each group is right."""
  right = completion.sample % 2 == 0
  return Verdict('correct' if right else 'wrong', float(right), dict(correct=float(right)), 'x')


class FakeStream:
  """Prompts of one token."""

  def prompt(self, ordinal):
    problem = Problem(f'p{ordinal}', f'problem {ordinal}', 'x', 'fake')
    return Prompt(ordinal, problem, np.array([1], np.int32))

  def held_out(self, n):
    return [self.prompt(-1 - i) for i in range(n)]


class FakeSampler:
  """Draws `decode_steps` tokens a dispatch for each of its slots; lengths are a given function."""

  def __init__(self, *, slots=32, decode_steps=4, length=spread_length, before_step=lambda: None):
    self._slots, self._decode_steps, self._length = slots, decode_steps, length
    self.before_step = before_step
    self.version, self._lineage, self._offered = 0, 0, None
    self._seated, self._waiting = [], collections.deque()
    self.pinned_open = 0
    self.finished, self.counts = [], collections.Counter()

  @property
  def open(self):
    return len(self._seated) + len(self._waiting)

  @property
  def has_capacity(self):
    return len(self._waiting) < self._slots - len(self._seated)

  @property
  def pinned(self):
    return self.pinned_open > 0

  idle = 'waiting for the trainer'

  def offer(self, snapshot):
    self._offered = snapshot.lineage, snapshot.version

  def submit(self, prompt, sampling, *, pinned=False):
    sequences = [Sequence(prompt, i, sampling) for i in range(sampling.samples)]
    if pinned:
      if not self.pinned:
        self._take_offer()
      self.pinned_open += len(sequences)
      self._waiting.extendleft(reversed(sequences))
    else:
      self._waiting.extend(sequences)

  def step(self):
    self.before_step()
    if not self.pinned:
      self._take_offer()
    while self._waiting and len(self._seated) < self._slots:
      self._seated.append(self._waiting.popleft())
    seated, self._seated, done = self._seated, [], []
    for s in seated:
      length = self._length(s.prompt.ordinal, s.sample)
      new = min(self._decode_steps, length - len(s.tokens))
      s.add([self.version] * new, [-1.0] * new, self.version)
      self.counts['tokens'] += new
      if len(s.tokens) < length:
        self._seated.append(s)
      else:
        self.pinned_open -= s.prompt.ordinal < 0
        done.append(s.completion(lambda ids: f'{len(ids)} tokens', EOS, now=0.0))
    self.finished += done
    return done

  def abandon(self):
    self._seated, self.pinned_open = [], 0
    self._waiting.clear()

  def _take_offer(self):
    if self._offered is not None:
      self._lineage, self.version = max((self._lineage, self.version), self._offered)
      self._offered = None


class FakeVerifier:
  """Judges at once, by a given function of the completion."""

  def __init__(self, judge=every_other):
    self._judge, self._judged = judge, queue.SimpleQueue()

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

  full = False              # It never falls behind.

  def pending(self):
    return self._judged.qsize()

  def stats(self):
    return dict(queue_depth=self.pending())


class FakeTrainer:
  """Keeps the batches it is given; its state is how many they were."""

  def __init__(self, version=0, before_train=lambda version: None):
    self.version, self.before_train = version, before_train   # Called with the version so far.
    self.batches = []

  params = None

  @property
  def state(self):
    return self.version

  def train(self, batch):
    self.before_train(self.version)
    self.batches.append(batch)
    self.version += 1
    return dict(tokens=float(sum(len(c.tokens) for c in trained([batch]))), loss=0.0)


class FakePublisher:
  def snapshot(self, params, version):
    return WeightSnapshot(version, params)


class FakeCheckpoints:
  """What was saved, as JSON gives it back."""

  failed_saves = 0

  def __init__(self):
    self.saved = {}

  def save(self, step, state, record, metric):
    del metric
    self.saved[step] = (state, json.loads(json.dumps(record)))


def trained(batches):
  """All completions of the batches."""
  return [c for batch in batches for group in batch.groups for c in group.completions]


def make_loop(workdir, *, samplers=None, verifier=None, trainer=None, group_size=4,
              prompts_per_batch=4, max_staleness=2, patience_batches=20, deadline_s=60.0,
              paced=True, evaluation_every=0, checkpoint_every=0, record=None, **more):
  """A Loop of fakes around the real ledger, journal, batcher and health."""
  ledger = Ledger(window_groups(max_staleness, prompts_per_batch) if paced else None)
  journal = Journal(workdir, ledger)
  if record:
    journal.restore(record)
  batcher = Batcher(
      group_size=group_size, microbatch_rows=1, max_new_tokens=128, minibatches=1, row_tokens=128,
      prompts_per_batch=prompts_per_batch, max_staleness=max_staleness, advantage_norm='minibatch',
      normalizer='group')
  samplers = samplers or [FakeSampler()]
  sampling = Sampling(group_size, 1.0, 1.0, 128)
  return Loop(
      stream=FakeStream(), samplers=samplers, verifier=verifier or FakeVerifier(), batcher=batcher,
      trainer=trainer or FakeTrainer(), publishers=[FakePublisher() for _ in samplers],
      ledger=ledger, journal=journal, health=Health(deadline_s), display=Display(1, False),
      checkpoints=FakeCheckpoints(), sampling=sampling, evaluation_sampling=Sampling(2, 0.0, 1.0, 128),
      evaluation_prompts=FakeStream().held_out(3), evaluation_every=evaluation_every,
      checkpoint_every=checkpoint_every, prompts_per_batch=prompts_per_batch,
      patience_batches=patience_batches, **more)


def fill(loop, groups):
  """Samples and judges in turn until so many groups wait for the trainer."""
  sampler, = loop.samplers
  while loop.batcher.waiting < groups:
    loop.admit(sampler)
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
