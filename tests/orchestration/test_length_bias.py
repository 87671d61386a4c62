"""Long completions come late; they must be trained on as often as they are written.

Lengths are spread fivefold and belong to (ordinal, sample) alone, so the law they are drawn from is
known. Compared by the two-sample Kolmogorov-Smirnov distance: the largest difference between two
cumulative distributions.
"""
import collections

import numpy as np
import pytest

from magistral_jax.orchestration import threads
from magistral_jax.records import Verdict
from tests import fakes

STEPS, WARM_UP = 90, 10


def ks_distance(a, b):
  points = np.sort(np.concatenate([a, b]))
  share = lambda values: np.searchsorted(np.sort(values), points, side='right') / len(values)
  return np.abs(share(a) - share(b)).max()


def ks_limit(a, b):
  """Two samples of one law are further apart once in a thousand times."""
  return 1.95 * np.sqrt(1 / len(a) + 1 / len(b))


def lengths(completions):
  return np.array([len(c.tokens) for c in completions])


def test_distance_by_hand():
  # Below 1: 0 and 0. At 1: 1/2 and 0. At 2: 1 and 1/3. At 3: 1 and 1.
  np.testing.assert_allclose(ks_distance([1, 2], [2, 3, 3]), 2 / 3)
  assert ks_distance([1, 2, 2], [2, 1, 2]) == 0.0


class LateSampler(fakes.FakeSampler):
  """Takes up weights only so many dispatches after they were offered."""

  def __init__(self, *, late, **parts):
    super().__init__(**parts)
    self._late, self._coming = late, collections.deque()

  def offer(self, snapshot):
    self._coming.append([self._late, snapshot])

  def step(self):
    for entry in list(self._coming):
      entry[0] -= 1
      if entry[0] <= 0:
        super().offer(entry[1])
        self._coming.remove(entry)
    return super().step()


def late_samplers():
  return [LateSampler(late=late, slots=32) for late in (0, 7, 40)]


def law():
  return np.array([fakes.spread_length(o, i) for o in range(10_000, 11_000) for i in range(4)])


@pytest.mark.parametrize('pace', [
    dict(), dict(in_flight=48), dict(max_staleness=4), dict(max_staleness=4, in_flight=64)],
    ids=lambda pace: '-'.join(pace) or 'slots')
def test_trained_lengths_are_distributed_as_generated_ones(make_loop, pace):
  """Three samplers, two of them with late weights, and three quarters of the groups kept."""
  def judge(completion):
    right = completion.sample % 2 == 0 and completion.ordinal % 4 > 0
    return Verdict('correct' if right else 'wrong', float(right), {}, 'x')
  loop = make_loop(samplers=late_samplers(), verifier=fakes.FakeVerifier(judge), **pace)
  threads.run(loop, total_steps=STEPS)
  trained = lengths(fakes.trained(loop.trainer.batches[WARM_UP:]))
  generated = lengths([c for sampler in loop.samplers for c in sampler.finished])
  assert trained.min() <= 21 and trained.max() >= 99
  assert ks_distance(trained, generated) < ks_limit(trained, generated)
  assert ks_distance(trained, law()) < ks_limit(trained, law())
  assert loop.ledger.counts['stale'] == 0
  limit = pace.get('max_staleness', 0)
  assert not limit or loop.journal.summary()['max_staleness'] <= limit


def test_neither_lateness_nor_length_decides_what_is_trained(make_loop):
  """Everything that was issued was trained, but for what is on its way at the end of the run."""
  loop = make_loop(samplers=late_samplers())
  threads.run(loop, total_steps=30)
  trained = {c.ordinal for c in fakes.trained(loop.trainer.batches)}
  missing = set(range(max(trained))) - trained
  # One sequence of a group holds a slot; 2 batches wait at most, and what lands meanwhile.
  assert len(missing) <= loop.ledger.on_the_way <= 3 * 32 + 2 * 4 + 3 * 8


def test_losses_of_samplers_favour_no_length(make_loop):
  """Long prompts are lost more often, many of them three times; none is dropped for it."""
  class Losing(fakes.FakeSampler):
    """Loses everything open now and then, as a process that is gone."""
    def step(self):
      if rng.random() < 0.006:
        prompts = list({s.prompt.ordinal: s.prompt for s in [*self._active, *self._waiting]}
                       .values())
        self.abandon()
        losses.append(len(prompts))
        loop.reissue(prompts)
        return []
      return super().step()
  rng, losses = np.random.default_rng(3), []
  loop = make_loop(samplers=[Losing(slots=32), Losing(slots=32)])
  fakes.run_in_turn(loop, updates=150)
  trained = lengths(fakes.trained(loop.trainer.batches[WARM_UP:]))
  assert ks_distance(trained, law()) < ks_limit(trained, law())
  assert sum(losses) > 50 and loop.ledger.counts['failed'] == 0
  assert 0 < loop.journal.summary()['tokens_discarded'] < 0.9


def test_the_comparison_would_see_a_bias(make_loop):
  """The same run without pacing, the stale dropped: short completions win."""
  loop = make_loop(max_staleness=1, paced=False, samplers=[fakes.FakeSampler(slots=64)])
  fakes.run_in_turn(loop, updates=50)
  sampler, = loop.samplers
  trained = lengths(fakes.trained(loop.trainer.batches[WARM_UP:]))
  generated = lengths(sampler.finished[WARM_UP * 16:])
  assert loop.ledger.counts['stale'] > 0
  assert ks_distance(trained, generated) > ks_limit(trained, generated)
