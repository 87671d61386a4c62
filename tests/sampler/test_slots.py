"""Page counts are right, and a sequence knows the pages it needs."""
import collections

import numpy as np
import pytest

from magistral_jax import records
from magistral_jax.sampler import slots


def test_page_0_is_never_given_out():
  pool = slots.PagePool(5)
  assert len(pool) == 4 and sorted(pool.take(4)) == [1, 2, 3, 4] and len(pool) == 0


def test_nothing_may_be_taken_and_dropped():
  pool = slots.PagePool(3)
  assert pool.take(0) == []
  pool.hold(())
  pool.drop([])
  assert len(pool) == 2


def test_a_page_returns_when_its_last_holder_drops_it():
  pool = slots.PagePool(4)
  pages = pool.take(2)
  pool.hold(pages)
  pool.drop(pages)
  assert len(pool) == 1
  pool.drop(pages)
  assert len(pool) == 3


@pytest.mark.parametrize('seed', range(20))
def test_pages_are_free_or_held_whatever_happens(seed):
  """Compares random takes, holds and drops with a plain count of holders."""
  rng, total = np.random.default_rng(seed), 17
  pool, holders = slots.PagePool(total), collections.Counter()
  for _ in range(300):
    held = sorted(holders)
    action = rng.choice(['take', 'hold', 'drop'])
    if action == 'take':
      pages = pool.take(int(rng.integers(0, len(pool) + 1)))
      assert len(set(pages)) == len(pages) and 0 not in pages and not set(pages) & set(held)
      holders.update(pages)
    elif held:
      pages = rng.permutation(held)[:rng.integers(1, len(held) + 1)].tolist()
      if action == 'hold':
        pool.hold(pages)
        holders.update(pages)
      else:
        pool.drop(pages)
        holders -= collections.Counter(pages)
    assert len(pool) == total - 1 - len(holders)
  for page, count in holders.items():
    for _ in range(count):
      pool.drop([page])
  assert sorted(pool.take(len(pool))) == list(range(1, total))


def sequence(prompt=5, tokens=(), max_new_tokens=10):
  problem = records.Problem('', '', '', '')
  return slots.Sequence(records.Prompt(3, problem, np.arange(prompt, dtype=np.int32)), 1,
                        slots.Sampling(2, 1.0, 1.0, max_new_tokens), tokens=list(tokens))


@pytest.mark.parametrize('drawn, steps, pages, why', [
    (0, 1, 2, '4 tokens are cached, the 5th begins another page of 4'),
    (0, 4, 2, '8 tokens fill two pages'),
    (0, 5, 3, '9 tokens do not'),
    (9, 8, 4, 'one token is left to draw: 13 + 1'),
])
def test_pages_of_a_dispatch(drawn, steps, pages, why):
  assert sequence(tokens=range(drawn)).pages_for(steps, 4) == pages, why


def test_a_sequence_feeds_its_last_token_and_has_cached_the_others():
  one = sequence(tokens=[7, 9])
  assert one.context.tolist() == [0, 1, 2, 3, 4, 7, 9] and one.cached == 6


def test_versions_are_run_length_coded():
  one = sequence()
  for tokens, version in (([7], 4), ([8, 9], 4), ([5], 6), ([6, 6], 7), ([2], 7)):
    one.add(tokens, [-0.5] * len(tokens), version)
  done = one.completion(lambda ids: str(ids), (2,), now=1.0)
  assert done.versions == ((0, 4), (3, 6), (4, 7)) and done.oldest_version == 4


@pytest.mark.parametrize('last, finish, text', [(2, 'stop', '[7, 8]'), (9, 'length', '[7, 8, 9]')])
def test_the_end_token_is_among_the_tokens_and_not_in_the_text(last, finish, text):
  one = sequence()
  one.add([7, 8, last], [-0.1, -0.2, -0.3], 0)
  done = one.completion(str, (2,), now=1.0)
  assert (done.finish, done.text, done.tokens.tolist()) == (finish, text, [7, 8, last])
  assert (done.ordinal, done.sample) == (3, 1)
  assert done.tokens.dtype == np.int32 and done.sampler_logp.dtype == np.float32
