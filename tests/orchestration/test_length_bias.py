"""Long completions come late; they must be trained on as often as they are written.

Lengths are spread fivefold and belong to (ordinal, sample) alone, so the law they are drawn from is
known. Compared by the two-sample Kolmogorov-Smirnov distance: the largest difference between two
cumulative distributions.
"""
import numpy as np

from magistral_jax.orchestration import threads
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


def test_trained_lengths_are_distributed_as_generated_ones(make_loop):
  loop = make_loop(max_staleness=2)
  threads.run(loop, total_steps=STEPS)
  sampler, = loop.samplers
  trained = lengths(fakes.trained(loop.trainer.batches[WARM_UP:]))
  generated = lengths(sampler.finished[WARM_UP * 16:])
  law = np.array([fakes.spread_length(o, i) for o in range(10_000, 11_000) for i in range(4)])
  assert trained.min() <= 21 and trained.max() >= 99
  assert ks_distance(trained, generated) < ks_limit(trained, generated)
  assert ks_distance(trained, law) < ks_limit(trained, law)
  assert loop.ledger.counts['stale'] == 0


def test_neither_lateness_nor_length_decides_what_is_trained(make_loop):
  """Everything issued up to the frontier was trained: what is missing is the end of the run."""
  loop = make_loop(max_staleness=2)
  threads.run(loop, total_steps=30)
  trained = {c.ordinal for c in fakes.trained(loop.trainer.batches)}
  assert max(trained) - 120 < 3 * 6
  missing = set(range(max(trained))) - trained
  assert len(missing) <= 6


def test_the_comparison_would_see_a_bias(make_loop):
  """The same run without pacing, the stale dropped: short completions win."""
  loop = make_loop(max_staleness=1, paced=False, samplers=[fakes.FakeSampler(slots=64)])
  loop.start_clock()
  sampler, = loop.samplers
  # By hand, in turn: an update as soon as there is a batch.
  while loop.trainer.version < 50:
    loop.admit(sampler)
    loop.sample(sampler)
    loop.judge(loop.verifier.drain())
    while (batch := loop.next_batch()) is not None:
      loop.update(batch)
  trained = lengths(fakes.trained(loop.trainer.batches[WARM_UP:]))
  generated = lengths(sampler.finished[WARM_UP * 16:])
  assert loop.ledger.counts['stale'] > 0
  assert ks_distance(trained, generated) > ks_limit(trained, generated)
