"""Admission by hand; tests/orchestration/test_ledger.py shows that it bounds staleness."""
import dataclasses
import random

import pytest

from magistral_jax.batching.admission import Admission, Pace, Traffic

PACE = Pace(group_size=4, prompts_per_batch=2, in_flight=0, backlog_batches=1, max_staleness=0)


def admission(**changed):
  return Admission(dataclasses.replace(PACE, **changed))


def issued(book, number=100, **load):
  """What may be issued, one after the other, and is."""
  found = []
  while len(found) < number and book.may_issue(Traffic(**load)):
    found.append(book.issue(load.get('lag', 0)))
  return found


def test_without_limits_samplers_are_never_held():
  assert len(issued(Admission(None))) == len(issued(admission())) == 100


def test_sequences_in_flight_are_limited_over_all_samplers():
  book = admission(in_flight=16)
  assert book.may_issue(Traffic(own=0, total=12, samplers=2))
  assert not book.may_issue(Traffic(own=0, total=13, samplers=2))     # Another group would be 17.
  assert admission().may_issue(Traffic(own=1000, total=1000))         # 0: the slots are the limit.


def test_a_sampler_that_has_its_share_leaves_the_rest_to_the_others():
  book = admission(in_flight=16)
  assert book.may_issue(Traffic(own=7, total=7, samplers=2))
  assert not book.may_issue(Traffic(own=8, total=8, samplers=2))
  assert book.may_issue(Traffic(own=8, total=8, samplers=1))          # The other one is down.


@pytest.mark.parametrize('in_flight, samplers', [(16, 3), (20, 7), (64, 5)])
def test_shares_fill_everything_that_may_be_in_flight(in_flight, samplers):
  book, own, going = admission(in_flight=in_flight), [0] * samplers, True
  while going:
    going = False
    for i in range(samplers):
      if book.may_issue(Traffic(own=own[i], total=sum(own), samplers=samplers)):
        own[i] += PACE.group_size
        going = True
  assert sum(own) == in_flight // 4 * 4
  assert max(own) - min(own) <= PACE.group_size


def test_a_backlog_of_so_many_batches_holds_the_samplers():
  for batches in (1, 3):
    book = admission(backlog_batches=batches)
    groups = issued(book, 2 * (batches + 1))         # The batch of the trainer, and those behind.
    for group in groups[1:]:
      book.land(group)
      book.land(group)                               # Told twice, counted once.
    assert book.may_issue(Traffic())
    book.land(groups[0])
    assert not book.may_issue(Traffic())
    book.train(groups[0])
    assert book.may_issue(Traffic())
    book.issue()                                     # What flies is no backlog.
    assert book.may_issue(Traffic())
    book.drop(groups[1])
    assert book.may_issue(Traffic(unjudged=0.9))
    assert not book.may_issue(Traffic(unjudged=2))


def test_what_no_verifier_has_begun_is_backlog_too():
  book = admission()                                 # Two batches of 2 groups.
  assert book.may_issue(Traffic(unjudged=3.75)) and not book.may_issue(Traffic(unjudged=4.0))
  book.land(book.issue())
  assert book.may_issue(Traffic(unjudged=2.75)) and not book.may_issue(Traffic(unjudged=3.0))


def test_the_guarantee_by_hand():
  """P = 2, S = 1: 3 others may be trained before a group or with it."""
  book = admission(max_staleness=1)
  first, second, third, fourth = issued(book)        # Three are issued while the first flies.
  book.drop(second)                                  # Filtered: as if it had never been.
  fifth, = issued(book)
  book.train(third)                                  # What was trained has taken its place.
  assert not issued(book)
  book.land(first)
  assert not issued(book)                            # Before the fourth: 1st, 3rd and 5th.
  book.land(fourth)
  assert not issued(book)                            # Before the fifth: 1st, 3rd and 4th.
  book.land(fifth)
  assert len(issued(book)) == 1                      # Nothing flies; three wait.


def test_late_weights_make_the_limit_tighter():
  assert len(issued(admission(max_staleness=2), lag=0)) == 6
  assert len(issued(admission(max_staleness=2), lag=1)) == 4
  assert len(issued(admission(max_staleness=2), lag=2)) == 2       # A batch always has room.
  assert len(issued(admission(max_staleness=2), lag=3)) == 0       # It waits for its weights.
  assert len(issued(admission(max_staleness=2), lag=-5)) == 6      # Of a trainer that was set back.


def test_ninety_per_cent_filtered_takes_no_room():
  """Thousands of groups come to nothing while one straggler flies, and work goes on."""
  book = admission(max_staleness=2)
  book.issue()                                       # Never comes back.
  for _ in range(5000):
    assert book.may_issue(Traffic())
    book.drop(book.issue())
  assert len(issued(book)) == 5


@pytest.mark.parametrize('seed', range(10))
def test_it_is_as_its_definition_says_in_any_history(seed):
  """Whoever counts the groups before each one, at every question, comes to the same answer."""
  rng, size, limit = random.Random(seed), 3, 3
  book = admission(max_staleness=limit, prompts_per_batch=size, backlog_batches=10**6)
  before, lags, state = {}, {}, {}                   # C_s as a set, its lag, and what it is.
  for _ in range(3000):
    what, lag = rng.random(), rng.choice([0, 0, 1, 2, 3, 4])
    unsettled = {s for s in state if state[s] in ('flying', 'complete')}
    flying = {s for s in state if state[s] == 'flying'}
    allowed = lambda lag: (limit - lag + 1) * size - 1
    if what < 0.5:
      may = len(unsettled) <= allowed(lag) and all(
          len(before[s]) + 1 <= allowed(lags[s]) for s in flying)
      assert book.may_issue(Traffic(lag=lag)) == may
      if may:
        one = book.issue(lag)
        for s in flying:
          before[s].add(one)
        before[one], lags[one], state[one] = set(unsettled), lag, 'flying'
    elif what < 0.7 and flying:
      one = rng.choice(sorted(flying, key=lambda s: s.position))
      book.land(one)
      state[one] = 'complete'
    elif unsettled:
      one = rng.choice(sorted(unsettled, key=lambda s: s.position))
      state[one] = rng.choice(['trained', 'dropped'])
      (book.train if state[one] == 'trained' else book.drop)(one)
      if state[one] == 'dropped':
        for others in before.values():
          others.discard(one)
    assert book.unsettled == sum(s in ('flying', 'complete') for s in state.values())


def test_expected_staleness_is_what_is_in_flight_over_a_batch():
  assert PACE.expected_staleness(slots=32) == 4.0
  assert dataclasses.replace(PACE, in_flight=16).expected_staleness(slots=32) == 2.0
