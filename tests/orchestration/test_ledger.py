"""The ledger: one fate for each prompt, admission that bounds staleness and never stalls."""
import dataclasses
import heapq
import random

import pytest

from magistral_jax.batching.admission import Pace, Traffic
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.records import FATES


def test_each_ordinal_has_exactly_one_fate():
  ledger = Ledger(None)
  assert [ledger.issue() for _ in range(5)] == [0, 1, 2, 3, 4]
  ledger.settle(0, 'filtered')
  ledger.complete(1)
  ledger.settle(1, 'trained')
  for ordinal in (0, 1, 7):              # Settled, settled, never issued.
    with pytest.raises(ValueError, match=f'Prompt {ordinal} cannot be trained'):
      ledger.settle(ordinal, 'trained')
    with pytest.raises(ValueError, match=f'Prompt {ordinal} cannot be complete'):
      ledger.complete(ordinal)
  with pytest.raises(ValueError, match="'lost': a fate is one of"):
    ledger.settle(2, 'lost')
  assert ledger.counts == dict(trained=1, filtered=1, stale=0, failed=0)
  assert ledger.on_the_way == 3


PACE = Pace(group_size=4, prompts_per_batch=2, in_flight=0, backlog_batches=1, max_staleness=1)


def test_admission_counts_what_is_not_settled():
  ledger = Ledger(PACE)                  # 3 others may be trained before a group or with it.
  assert [ledger.issue() for _ in range(5)] == [0, 1, 2, 3, None]
  ledger.complete(1)                     # Still on its way.
  assert ledger.issue() is None
  ledger.settle(2, 'filtered')
  assert ledger.issue() == 4
  ledger.settle(1, 'trained')
  assert ledger.issue() is None          # 0 flies; 1 was trained, 3 and 4 may be.
  ledger.settle(3, 'failed')
  assert ledger.issue() == 5


def test_admission_hears_of_the_load_under_the_ledgers_lock():
  """An update that ends between the question and the answer cannot be missed."""
  ledger, asked = Ledger(PACE), []
  def load():
    asked.append(ledger._lock.locked())
    return Traffic(lag=2)
  assert ledger.issue(load) is None and asked == [True]
  assert ledger.issue(lambda: Traffic(unjudged=4.0)) is None
  assert ledger.issue() == 0


def test_groups_are_trained_in_the_order_of_their_issue():
  ledger = Ledger(None)
  for _ in range(4):
    ledger.issue()
  ledger.reissue(1)
  assert ledger.issue() == 1
  assert [ledger.position(o) for o in range(4)] == [0, 4, 2, 3] and ledger.oldest == 0
  ledger.complete(2)
  assert ledger.position(2) == 2


def test_a_suspect_waits_until_it_is_asked_for():
  ledger = Ledger(PACE)
  ledger.issue(), ledger.issue()
  ledger.reissue(0, suspect=True)
  assert ledger.suspects == 1 and ledger.issue() == 2
  # What is guaranteed stays so.
  assert ledger.issue(lambda: Traffic(unjudged=100.0, lag=2), suspect=True) is None
  assert ledger.issue(lambda: Traffic(unjudged=100.0), suspect=True) == 0
  assert ledger.issue(suspect=True) is None and not ledger.suspects


@pytest.mark.parametrize('seed', range(20))
def test_a_restored_ledger_issues_again_exactly_what_was_on_its_way(seed):
  rng = random.Random(seed)
  ledger, flying, complete, settled = Ledger(None), set(), set(), {}
  for _ in range(300):
    what = rng.random()
    if what < 0.4 or not flying:
      flying.add(ledger.issue())
    elif what < 0.6:
      ordinal = rng.choice(sorted(flying))
      ledger.complete(ordinal)
      flying.remove(ordinal)
      complete.add(ordinal)
    else:
      ordinal, fate = rng.choice(sorted(flying | complete)), rng.choice(FATES)
      ledger.settle(ordinal, fate)
      flying.discard(ordinal)
      complete.discard(ordinal)
      settled[ordinal] = fate
  restored = Ledger(None)
  restored.restore(ledger.record())
  issued = len(flying) + len(complete) + len(settled)
  again = [restored.issue() for _ in range(len(flying) + len(complete))]
  assert again == sorted(flying | complete)
  assert restored.issue() == issued      # Then new ones.
  assert restored.counts == ledger.counts
  for ordinal in settled:
    with pytest.raises(ValueError):
      restored.settle(ordinal, 'trained')


def test_a_restored_ledger_keeps_its_limits():
  ledger = Ledger(PACE)
  for _ in range(4):
    ledger.issue()
  ledger.settle(1, 'filtered')
  restored = Ledger(PACE)
  restored.restore(ledger.record())
  assert [restored.issue() for _ in range(5)] == [0, 2, 3, 4, None]


def test_what_flies_keeps_its_place_when_the_trainer_is_set_back():
  ledger = Ledger(dataclasses.replace(PACE, max_staleness=3))
  saved = ledger.record()
  for _ in range(40):
    ordinal = ledger.issue()
    ledger.complete(ordinal)
    ledger.settle(ordinal, 'trained')
  flying = [ledger.issue(), ledger.issue()]
  ledger.restore(saved, flying=flying)
  # Seven others may come before the first of the two, and what was lost comes first.
  assert [ledger.issue() for _ in range(7)] == [0, 1, 2, 3, 4, 5, None]
  assert ledger.oldest == flying[0] and ledger.position(0) > ledger.position(flying[1])


class Simulation:
  """The loop with random speeds: samplers whose weights are late at random, groups that finish, are
  filtered or wait, a trainer that takes the first issued, losses of samplers and of the trainer.

  A group's oldest version is that of its sampler at its issue, the oldest that it can be.

  Args:
    lost_share, set_back_share: of the events that are the loss of a sampler, or of the trainer.
    crash_every: updates after which everything dies, and goes on from the ledger's record.
  """

  def __init__(self, seed, *, max_staleness, prompts_per_batch, filtered, straggler, train_s,
               samplers=3, late_s=0.0, lost_share=0.0, set_back_share=0.0, crash_every=0):
    self.rng, self.filtered, self.straggler = random.Random(seed), filtered, straggler
    self.prompts_per_batch, self.train_s, self.late_s = prompts_per_batch, train_s, late_s
    self.pace = Pace(4, prompts_per_batch, 0, 10**6, max_staleness)
    self.lost_share, self.set_back_share = lost_share, set_back_share
    self.ledger, self.crash_every = Ledger(self.pace), crash_every
    self.now, self.version, self.updates, self.events, self.waiting = 0.0, 0, 0, [], []
    self.versions = [0] * samplers
    # Of each issue: sampler, version of its weights, and updates made or owed before it.
    self.began, self.training, self.fates = {}, None, {}
    self.staleness, self.passed = [], []
    self.saved, self.sets_back, self.losses = (0, self.ledger.record(), {}), 0, 0

  def run(self, updates):
    while self.version < updates:
      self.issue()
      self.train()
      assert self.events, 'Nothing is on its way and nothing may start.'
      what = self.rng.random()
      if what < self.lost_share:
        self.lose(self.rng.randrange(len(self.versions)))
      elif what < self.lost_share + self.set_back_share:
        self.set_back()
      self.now, _, kind, of = heapq.heappop(self.events)
      getattr(self, kind)(of)

  def push(self, seconds, kind, of):
    heapq.heappush(self.events, (self.now + seconds, self.rng.random(), kind, of))

  def issue(self):
    stuck = 0
    while stuck < len(self.versions):
      stuck, i = stuck + 1, self.rng.randrange(len(self.versions))
      lag = self.version - self.versions[i]
      ordinal = self.ledger.issue(lambda lag=lag: Traffic(lag=lag))
      if ordinal is not None:
        stuck = 0
        assert ordinal not in self.fates
        # Each issue is another one, whose completions alone count.
        self.began[ordinal] = key = (i, self.versions[i], self.updates - max(0, lag), ordinal,
                                     self.rng.random())
        late = self.rng.random() < self.straggler
        self.push(self.rng.uniform(1, 5) * (self.rng.uniform(10, 200) if late else 1), 'end', key)

  def end(self, key):
    ordinal = key[3]
    if self.began.get(ordinal) != key:
      return                # It was lost since.
    if self.rng.random() < self.filtered:
      self.book(ordinal, self.rng.choice(['filtered', 'failed']))
    else:
      self.ledger.complete(ordinal)
      self.waiting.append(ordinal)

  def train(self):
    if self.training is None and len(self.waiting) >= self.prompts_per_batch:
      self.waiting.sort(key=self.ledger.position)
      self.training = self.waiting[:self.prompts_per_batch]
      self.waiting = self.waiting[self.prompts_per_batch:]
      self.staleness += [self.version - self.began[o][1] for o in self.training]
      self.passed += [self.updates - self.began[o][2] for o in self.training]
      self.push(self.rng.expovariate(1 / self.train_s), 'update', self.training)

  def update(self, batch):
    if batch is not self.training:
      return                # The trainer was lost in it.
    for ordinal in batch:
      self.book(ordinal, 'trained')
    self.version, self.updates, self.training = self.version + 1, self.updates + 1, None
    for i in range(len(self.versions)):
      late = self.rng.expovariate(1 / self.late_s) if self.late_s else 0.0
      self.push(late, 'arrive', (i, self.version))
    if self.crash_every and self.version % self.crash_every == 0:
      self.crash()
    elif self.version % 3 == 0:
      self.saved = self.version, self.ledger.record(), dict(self.fates)

  def arrive(self, of):
    i, version = of
    if version <= self.version:          # Not of a trainer that is gone.
      self.versions[i] = max(self.versions[i], version)

  def lose(self, i):
    """A sampler is lost: what it has is issued again; it comes back with the newest weights."""
    self.losses += 1
    flying = [o for o, key in self.began.items() if key[0] == i and o not in self.fates
              and o not in self.waiting and o not in (self.training or ())]
    for ordinal in flying:
      del self.began[ordinal]
      self.ledger.reissue(ordinal)
    self.versions[i] = self.version

  def set_back(self):
    """The trainer is lost: it goes back to its checkpoint, samplers keep what they have."""
    self.sets_back += 1
    self.version, record, self.fates = self.saved[0], self.saved[1], dict(self.saved[2])
    self.waiting, self.training = self.waiting + (self.training or []), None
    # What was settled since then is sampled again; what is in other hands stays there.
    flying = list(self.ledger._flying)
    self.began = {o: self.began[o] for o in [*flying, *self.waiting]}
    self.ledger.restore(record, flying=flying, complete=self.waiting)

  def crash(self):
    record, self.ledger = self.ledger.record(), Ledger(self.pace)
    self.ledger.restore(record)
    self.events, self.waiting, self.began = [], [], {}
    self.versions = [self.version] * len(self.versions)

  def book(self, ordinal, fate):
    assert ordinal not in self.fates
    self.ledger.settle(ordinal, fate)
    self.fates[ordinal] = fate


@pytest.mark.parametrize('max_staleness, prompts_per_batch', [(1, 1), (1, 4), (2, 5), (3, 16)])
@pytest.mark.parametrize('filtered', [0.0, 0.5, 0.9])
@pytest.mark.parametrize('late_s, straggler', [(0.0, 0.0), (0.0, 0.02), (8.0, 0.02)])
def test_staleness_is_bounded_and_nothing_stalls(
    max_staleness, prompts_per_batch, filtered, late_s, straggler):
  groups = 0
  for seed, train_s in enumerate((0.01, 1.0, 20.0)):
    s = Simulation(seed, max_staleness=max_staleness, prompts_per_batch=prompts_per_batch,
                   filtered=filtered, straggler=straggler, train_s=train_s, late_s=late_s)
    s.run(updates=160 // prompts_per_batch + 20)
    assert max(s.staleness) <= max_staleness
    groups += len(s.fates)
  assert groups >= 180


@pytest.mark.parametrize('seed', range(6))
def test_losses_of_samplers_and_of_the_trainer_keep_the_bound(seed):
  """Also counted in updates made, those included that were undone since."""
  s = Simulation(seed, max_staleness=2, prompts_per_batch=4, filtered=0.4, straggler=0.05,
                 train_s=1.0, late_s=4.0, lost_share=0.01, set_back_share=0.004)
  s.run(updates=120)
  assert s.losses > 5 and s.sets_back
  assert max(s.staleness) <= 2 and max(s.passed) <= 2
  assert list(s.fates.values()).count('trained') == 120 * 4 == s.ledger.counts['trained']


@pytest.mark.parametrize('late_s', [0.0, 3.0])
def test_the_bound_is_reached(late_s):
  worst = 0
  for seed in range(5):
    s = Simulation(seed, max_staleness=3, prompts_per_batch=4, filtered=0.3, straggler=0.05,
                   train_s=1.0, late_s=late_s)
    s.run(updates=300)
    worst = max(worst, *s.staleness)
  assert worst == 3


@pytest.mark.parametrize('filtered', [0.0, 0.9])
def test_crashes_keep_the_bound_the_pace_and_every_ordinal(filtered):
  s = Simulation(0, max_staleness=2, prompts_per_batch=4, filtered=filtered, straggler=0.05,
                 train_s=1.0, crash_every=7)
  s.run(updates=105)
  assert max(s.staleness) <= 2
  frontier = s.ledger.record()['frontier']
  assert set(range(frontier)) <= set(s.fates)
  assert list(s.fates.values()).count('trained') == 105 * 4 == s.ledger.counts['trained']
