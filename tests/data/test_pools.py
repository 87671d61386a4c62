"""Difficulty pools: who comes how often, and that what was dealt stays dealt."""
import collections
import json
import random

import numpy as np
import pytest

from magistral_jax.data import mix
from magistral_jax.data.difficulty import DifficultyRange
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.pools import NAMES, Pools
from magistral_jax.data.role import Dealer
from magistral_jax.records import Problem

POOLS = Pools(hard_reward=0.25, hard_weight=0.2, easy_reward=0.75, easy_weight=0.5)
NEW, HARD, NORMAL, EASY = map(NAMES.index, ('new', 'hard', 'normal', 'easy'))


def test_a_reward_says_the_pool():
  rewards = np.array([np.nan, -0.1, 0.25, 0.26, 0.75, 0.76, 1.1])
  assert POOLS.of(rewards).tolist() == [NEW, HARD, HARD, NORMAL, NORMAL, EASY, EASY]
  with pytest.raises(ValueError, match='hard_reward=0.8 is above data.mix.NAME.easy_reward=0.7'):
    Pools(hard_reward=0.8, hard_weight=0.2, easy_reward=0.7, easy_weight=0.2)


def test_a_pool_is_in_its_share_of_the_rounds_and_rounds_have_about_their_share_of_it():
  pools = np.array([NEW, NORMAL, *[HARD] * 20, *[EASY] * 20], np.int8)
  rounds = [POOLS.roster(0, number, pools).tolist() for number in range(20)]
  assert all(len(set(found)) == len(found) for found in rounds)
  times = collections.Counter(i for found in rounds for i in found)
  assert [times[i] for i in range(len(pools))] == [20, 20, *[4] * 20, *[10] * 20]
  assert all(8 <= len(found) <= 24 for found in rounds)      # 16 on average.


def test_rounds_of_new_problems_are_epochs():
  source = FiniteSource('s', [Problem(str(i), f'{i}?', '1', 'x') for i in range(9)], ())
  dealer = Dealer(mix.MixSource(0, [mix.Part('a', source, 1, pools=POOLS)]))
  assert [dealer.problem(i) for i in range(50)] == [source.problem(i) for i in range(50)]


def file(name, count):
  return FiniteSource(name, [Problem(f'{name}{i}', f'{name} {i}?', '1', name, difficulty=i / count)
                             for i in range(count)], ())


def mixed(seed=0, weight=2.0):
  """A part with pools and a range, one with pools, and one without either."""
  return mix.MixSource(seed, [
      mix.Part('a', file('a', 12), weight, DifficultyRange(0.0, 0.8), POOLS),
      mix.Part('b', file('b', 5), 1.0, pools=POOLS), mix.Part('c', file('c', 4), 1.0)])


def reward(name, ordinal):
  """Mean reward of a problem that some are always, some never and some at times solved."""
  return random.Random(f'{name} {ordinal // 100}').choice([0.0, 0.0, 0.5, 1.0, 1.0])


CHANGES = {96: dict(a=dict(difficulty_low=0.3)), 160: dict(b=dict(weight=3.0)), 320: dict(
    a=dict(difficulty_low=0.0, difficulty_high=1.0), c=dict(weight=0.0))}
BATCH, LAST = 16, 640


def train(dealer, first, last, saved):
  """In lockstep: a batch is dealt, then noted in any order; {update: record} goes to `saved`.

  Returns the ids of what was dealt.
  """
  found = []
  for begin in range(first, last, BATCH):
    saved[begin] = json.loads(json.dumps(dealer.record(begin)))
    if begin in CHANGES:
      dealer.change(begin, CHANGES[begin])
    ordinals = list(range(begin, begin + BATCH))
    names = [dealer.problem(ordinal).id for ordinal in ordinals]
    for i in random.Random(f'{begin} {first}').sample(range(BATCH), BATCH):
      dealer.note(ordinals[i], names[i], reward(names[i], ordinals[i]))
    found += names
  return found


def test_resumed_is_uninterrupted():
  saved = {}
  whole = train(Dealer(mixed()), 0, LAST, saved)
  assert len(set(whole)) == 12 + 5 + 4
  for begin, record in saved.items():
    dealer = Dealer(mixed())
    train(dealer, 0, 48, {})               # Has rounds and rewards of its own: forgotten.
    dealer.restore(record)
    assert train(dealer, begin, LAST, {}) == whole[begin:]
  assert max(len(json.dumps(record)) for record in saved.values()) < 4000


def test_a_run_set_back_deals_again_what_was_on_its_way():
  dealer, saved = Dealer(mixed()), {}
  dealt = train(dealer, 0, 304, saved)
  for begin in (192, 288, 176):          # The save after it failed, that before it, too.
    dealer.restore(saved[begin], keep=True)
    assert [dealer.problem(ordinal).id for ordinal in range(begin, 304)] == dealt[begin:]


def test_a_round_that_has_begun_is_not_changed_by_results():
  part = mix.Part('b', file('b', 5), 1.0, pools=POOLS)
  dealer = Dealer(mix.MixSource(0, [part]))
  first = [dealer.problem(i).id for i in range(5)]
  for ordinal, name in enumerate(first):
    dealer.note(ordinal, name, 0.0)
  assert [dealer.problem(i).id for i in range(5)] == first
  # All five are hard now: one a round.
  assert sorted(dealer.problem(i).id for i in range(5, 10)) == sorted(first)
  assert dealer.figures() == {'pools/b/new': 0, 'pools/b/hard': 5, 'pools/b/normal': 0,
                              'pools/b/easy': 0}


def test_the_latest_group_decides_whenever_it_is_judged():
  dealer = Dealer(mix.MixSource(0, [mix.Part('b', file('b', 5), 1.0, pools=POOLS)]))
  for ordinal, mean in ((7, 1.0), (2, 0.0), (3, 0.5)):
    dealer.note(ordinal, 'b1', mean)
  dealer.note(8, 'of no part', 1.0)
  assert dealer.figures()['pools/b/easy'] == 1 and dealer.figures()['pools/b/new'] == 4


def test_what_the_config_has_changed_begins_anew_with_the_rewards_there_are():
  saved = {}
  train(Dealer(mixed()), 0, 96, saved)
  other = Dealer(mixed(weight=1.0))
  other.restore(saved[80])
  assert sum(count for name, count in other.figures().items() if name.endswith('new')) < 5
  assert len({other.problem(ordinal).id for ordinal in range(80, 300)}) == 10 + 5 + 4
  plain = Dealer(mix.MixSource(0, [mix.Part('c', file('c', 4), 1.0)]))
  plain.restore(saved[80])
  assert plain.figures() == {}
