"""The cold start's batches: every example once an epoch, the same whenever the run is resumed."""
import collections
import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.batching.packing import evenly_weighted, pack_examples
from magistral_jax.data.examples import Examples
from magistral_jax.data.traces import Example
from magistral_jax.experiment import build
from magistral_jax.models import decoder
from magistral_jax.orchestration import cold_start
from tests import tiny

ROWS, ROW_TOKENS = 4, 16


def examples(count, *, seed=0, conversations=0, share=0.0):
  """Example i: one token of prompt, i + 1, and 1 to 9 tokens of response, all of them i + 1."""
  def make(example):
    n = int(example.response)
    return [n], [n] * (1 + n % 9), ()
  some = lambda first, last: [Example(str(i + 1)) for i in range(first, last)]
  return Examples(some(0, count), some(count, count + conversations), most=10**6, share=share,
                  make=make, fault=lambda example: '', row_tokens=ROW_TOKENS, row_patches=0,
                  seed=seed)


def batches(found, *, start=0, seed=0):
  return cold_start.batches(found, rows=ROWS, row_tokens=ROW_TOKENS, patches=None, seed=seed,
                            start=start)


def epoch_of(found, number=0):
  """Batches of one epoch."""
  size = [len(cold_start._layout(found, i, ROW_TOKENS, None, 0)) for i in range(number + 1)]
  per = [-(-n // ROWS) for n in size]
  return list(itertools.islice(batches(found), sum(per[:number]), sum(per)))


@pytest.mark.parametrize('number', [0, 3])
def test_an_epoch_trains_every_token_of_every_example_once(number):
  counts = collections.Counter()
  for rows in epoch_of(examples(50), number):
    counts.update(rows.targets[rows.mask].tolist())
    assert rows.tokens.shape == (ROWS, ROW_TOKENS)
    np.testing.assert_allclose(rows.weight[rows.mask].sum(), 1.0, rtol=1e-5)
  assert counts == {n: 1 + n % 9 for n in range(1, 51)}


def test_an_epoch_is_what_packing_all_at_once_gives():
  """The same rows as packing the epoch as one list; only their order is drawn."""
  found = examples(50)
  order = [found[i] for i in found.epoch(0)]
  whole = pack_examples(order, row_tokens=ROW_TOKENS, rows_multiple=1)
  rows = [tuple(row) for batch in epoch_of(found) for row in batch.tokens if row.any()]
  assert collections.Counter(rows) == collections.Counter(map(tuple, whole.tokens))
  first = epoch_of(found)[0]
  np.testing.assert_array_equal(first.weight, evenly_weighted(first).weight)


@pytest.mark.parametrize('share', [0.0, 0.25])
def test_resumed_batches_are_the_uninterrupted_ones(share):
  found = examples(50, conversations=20, share=share)
  whole = list(itertools.islice(batches(found), 40))
  for start in (0, 1, 7, 13, 29):
    again = list(itertools.islice(
        batches(examples(50, conversations=20, share=share), start=start), 40 - start))
    for one, other in zip(whole[start:], again, strict=True):
      for name, value in one.arrays().items():
        np.testing.assert_array_equal(value, other.arrays()[name])
  other = next(batches(examples(50, seed=1, conversations=20, share=share), seed=1))
  assert not np.array_equal(other.tokens, whole[0].tokens)


def test_many_examples_are_packed_in_parts(monkeypatch):
  monkeypatch.setattr(cold_start, 'PACKED_TOGETHER', 16)
  counts = collections.Counter()
  for rows in epoch_of(examples(50)):
    counts.update(rows.targets[rows.mask].tolist())
  assert counts == {n: 1 + n % 9 for n in range(1, 51)}


class FakeTrainer:
  """Counts its steps and keeps what it was trained on."""

  def __init__(self, version=0):
    self.version, self.seen = version, []

  def supervised(self, rows):
    self.version += 1
    self.seen.append(rows.tokens)
    return dict(loss=0.0)


def test_a_stopped_cold_start_goes_on_where_it_was():
  def train(trainer, steps, stop_after=None):
    stopping, saves = threading.Event(), []
    cold_start.run(
        trainer, examples(30), steps=steps, rows=ROWS, row_tokens=ROW_TOKENS, patches=None, seed=0,
        stopping=stopping, save=lambda: saves.append(trainer.version), save_every=5,
        progress=lambda step, metrics: stopping.set() if step == stop_after else None)
    return saves
  whole, first = FakeTrainer(), FakeTrainer()
  assert train(whole, 20) == [5, 10, 15]
  assert train(first, 20, stop_after=7) == [5, 7]
  second = FakeTrainer(version=7)
  train(second, 20)
  np.testing.assert_array_equal(whole.seen, first.seen + second.seen)


@pytest.mark.parametrize('schedule, last', [('constant', 0.5), ('linear', 0.0), ('cosine', 0.0)])
def test_the_rate_falls_over_the_steps_of_the_cold_start(schedule, last):
  """Whatever the loop's own schedule and number of updates."""
  c = tiny.load(**{
      'optimizer.name': 'sgd', 'optimizer.clip_norm': 0.0, 'optimizer.beta1': 0.0,
      'cold_start.learning_rate': 0.5, 'cold_start.warmup_steps': 0,
      'cold_start.schedule': schedule})
  config = build.model_config(c, vocab=16)
  chain = build.optimizer(c, config, **cold_start.optimizer(c, steps=4))
  params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), decoder.abstract(config))
  ones = jax.tree.map(jnp.ones_like, params)
  state, changes = chain.init(params), []
  for _ in range(4):
    update, state = chain.update(ones, state, params)
    changes.append(-float(jax.tree.leaves(update)[-1].ravel()[0]))
  assert changes[-1] == pytest.approx(last, abs=1e-7) and changes[0] > 0.3
