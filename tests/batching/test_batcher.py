"""Groups are gathered in any order, and the same groups make the same batch."""
import dataclasses
import random

import numpy as np

from magistral_jax.batching.role import Batcher

SETTINGS = dict(group_size=3, prompts_per_batch=4, minibatches=2, max_staleness=2, row_tokens=32,
                microbatch_rows=2, advantage_norm='minibatch', normalizer='group',
                max_new_tokens=16)


def scored(make, ordinals, version=0):
  """Scored completions, (prompt, completion, verdict), of whole groups."""
  return [(make.prompt(o), make.completion(o, i, 2 + (o + i) % 7, version), make.verdict(i / 2))
          for o in ordinals for i in range(3)]


def test_a_group_is_returned_with_its_last_completion(make):
  batcher = Batcher(**SETTINGS)
  first, second, third = scored(make, [5])
  assert batcher.add(*third) is None and batcher.add(*first) is None
  assert batcher.gathering == 1
  group = batcher.add(*second)
  assert [c.sample for c in group.completions] == [0, 1, 2] and group.ordinal == 5
  assert batcher.gathering == 0 and batcher.waiting == 0


def test_the_same_sample_twice_counts_once(make):
  batcher = Batcher(**SETTINGS)
  first, *_ = scored(make, [5])
  batcher.add(*first)
  assert batcher.add(*first) is None and batcher.duplicates == 1


def test_a_batch_does_not_depend_on_the_order_of_arrival(make):
  batches = []
  for seed in (0, 1):
    arrivals, batcher = scored(make, range(4)), Batcher(**SETTINGS)
    random.Random(seed).shuffle(arrivals)
    for arrival in arrivals:
      assert batcher.take() is None
      group = batcher.add(*arrival)
      if group:
        batcher.offer(group, group.ordinal)
    batches.append(batcher.take())
    assert batcher.take() is None and batcher.waiting == 0
  assert [g.ordinal for g in batches[0].groups] == [0, 1, 2, 3]
  for a, b in zip(batches[0].minibatches, batches[1].minibatches, strict=True):
    for field in dataclasses.fields(a):
      np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_the_first_issued_are_trained_first_and_expired_ones_not_at_all(make):
  batcher = Batcher(**SETTINGS)
  for ordinal, version in [(0, 5), (1, 3), (2, 2), (3, 4), (4, 3), (5, 3)]:
    batcher.offer(make.group(ordinal, [2, 3, 4], [0, 1, 0], version), position=10 - ordinal)
  assert [g.ordinal for g in batcher.expire(version=5)] == [2]
  assert [g.ordinal for g in batcher.take().groups] == [1, 3, 4, 5]
  assert batcher.waiting_ordinals == {0}


def test_a_forgotten_group_says_how_many_tokens_it_had(make):
  batcher = Batcher(**SETTINGS)
  first, second, _ = scored(make, [5])
  batcher.add(*first)
  batcher.add(*second)
  assert batcher.forget(5) == len(first[1].tokens) + len(second[1].tokens)
  assert batcher.forget(5) == 0
