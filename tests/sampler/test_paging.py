"""Completions are those of a plain loop when pages run out, arrivals are random, weights change.

The engine is a fake whose tokens are a hash of what it reads through the pages, see conftest.py.
"""
import dataclasses

import numpy as np
import pytest

from magistral_jax.records import WeightSnapshot
from magistral_jax.sampler import slots


def least_pages(slot_pages):
  """Smallest number of pages that a config may give (experiment/checks.py)."""
  return 2 * slot_pages + 2


def make(tiny, *, slots=4, pages=None, page_tokens=4, decode_steps=4):
  slot_pages = -(-tiny.LONGEST // page_tokens)
  engine = tiny.FakeEngine(slots=slots, pages=pages or least_pages(slot_pages),
                           page_tokens=page_tokens, slot_pages=slot_pages,
                           decode_steps=decode_steps)
  return tiny.sampler(on=engine, start=WeightSnapshot(0, 0)), engine


@pytest.mark.parametrize('seed', range(80))
def test_completions_do_not_depend_on_pages_slots_or_arrivals(tiny, seed, monkeypatch):
  rng = np.random.default_rng(seed)
  monkeypatch.setattr(slots, 'RESERVED_DISPATCHES', 1 + seed % 3)
  page_tokens = int(rng.integers(1, 9))
  least = least_pages(-(-tiny.LONGEST // page_tokens))
  sampler, engine = make(tiny, slots=int(rng.integers(1, 9)), page_tokens=page_tokens,
                         pages=least + int(rng.integers(0, least)),
                         decode_steps=int(rng.integers(1, 9)))
  submitted, done, version = [], [], 0
  for _ in range(150):
    event = rng.random()
    if event < 0.3 and len(submitted) < 25:
      how = tiny.how(samples=int(rng.integers(1, 7)), max_new_tokens=int(rng.integers(1, 25)))
      length = int(rng.integers(1, tiny.LONGEST - how.max_new_tokens + 1))
      prompt = tiny.prompt(len(submitted), length=length)
      sampler.submit(prompt, how)
      submitted.append((prompt, how))
    elif event < 0.35:
      (sampler.unpin if sampler.pinned else sampler.pin)()
    elif event < 0.4:
      version += 1
      sampler.offer(WeightSnapshot(version, version))
    else:
      done += sampler.step()
  sampler.unpin()
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  tiny.assert_hashed(done, submitted)
  tiny.assert_all_returned(sampler, engine)


def test_short_pages_make_requests_wait_and_preempt_the_youngest(tiny, scarce):
  sampler, engine = make(tiny, slots=8)
  how = tiny.how(samples=4, max_new_tokens=36)
  submitted = [(tiny.prompt(i, length=12), how) for i in range(10)]
  for prompt, _ in submitted:
    sampler.submit(prompt, how)
  tiny.assert_hashed(tiny.finish(sampler), submitted)
  tiny.assert_all_returned(sampler, engine)
  assert sampler.counts['waits_for_pages'] and sampler.counts['preemptions']
  assert sampler.counts['tokens'] == sum(
      len(tiny.hashed_completion(p, i, how)[0]) for p, _ in submitted for i in range(4))


class VersionEngine:
  """Makes a fake engine whose log-probabilities are minus the version that drew the token."""

  def __init__(self, engine):
    self._engine = engine

  def __getattr__(self, name):
    return getattr(self._engine, name)

  def generate(self, version, state, table, **how):
    state, (drawn, routes) = self._engine.generate(version, state, table, **how)
    drawn[1] = np.float32(-version).view(np.int32)
    return state, (drawn, routes)


@pytest.mark.parametrize('page_tokens, decode_steps', [(4, 4), (8, 2), (2, 7)])
def test_a_preempted_sequence_keeps_its_tokens_log_probs_and_versions(
    tiny, scarce, page_tokens, decode_steps):
  _, engine = make(tiny, slots=8, page_tokens=page_tokens, decode_steps=decode_steps)
  sampler = tiny.sampler(on=VersionEngine(engine), start=WeightSnapshot(0, 0))
  how, done, version = tiny.how(samples=4, max_new_tokens=36), [], 0
  submitted = [(tiny.prompt(i, length=12), how) for i in range(10)]
  for prompt, _ in submitted:
    sampler.submit(prompt, how)
  while sampler.open:
    version += 1
    sampler.offer(WeightSnapshot(version, version))
    done += sampler.step()
    assert version < 1000
  assert sampler.counts['preemptions'] and len(done) == 40
  for completion in done:
    starts, versions = zip(*completion.versions, strict=True)
    lengths = np.diff([*starts, len(completion.tokens)])
    np.testing.assert_array_equal(-completion.sampler_logp, np.repeat(versions, lengths))
    prompt, _ = submitted[completion.ordinal]
    assert completion.tokens.tolist() == tiny.hashed_completion(prompt, completion.sample, how)[0]


@pytest.mark.parametrize('page_tokens, decode_steps', [(4, 4), (8, 2), (2, 7)])
def test_no_slot_waits_with_pages_and_no_prefill_is_in_vain(
    tiny, scarce, page_tokens, decode_steps, monkeypatch):
  """Every active sequence draws in every dispatch, so whoever was started has drawn something."""
  sampler, engine = make(tiny, slots=8, page_tokens=page_tokens, decode_steps=decode_steps)
  how = tiny.how(samples=4, max_new_tokens=36)
  preempted, preempt = [], sampler._preempt
  monkeypatch.setattr(sampler, '_preempt', lambda slot: (
      preempted.append((max(s.age for s in sampler._active.values()), sampler._active[slot])),
      preempt(slot)))
  for i in range(10):
    sampler.submit(tiny.prompt(i, length=12), how)
  while sampler.open:
    before = {id(s): len(s.tokens) for s in sampler._active.values()}
    waited = {id(s) for s in sampler._waiting}
    finished = len(sampler.step())
    drew = [s for s in sampler._active.values() if len(s.tokens) > before.get(id(s), 0)]
    assert drew == list(sampler._active.values()) and (drew or finished)
    for youngest, sequence in preempted:
      # The youngest, and not one that this very step has started.
      assert sequence.age == youngest and id(sequence) not in waited
    preempted.clear()
  assert sampler.counts['preemptions']


def test_no_group_is_taken_while_the_first_in_the_queue_waits_for_pages(tiny):
  sampler, _ = make(tiny, slots=8)
  how = tiny.how(samples=4, max_new_tokens=36)
  sampler.submit(tiny.prompt(0, length=12), how)
  assert sampler.has_capacity
  sampler.submit(tiny.prompt(1, length=12), how)
  sampler.step()
  assert len(sampler._waiting) < len(sampler._free) and not sampler.has_capacity
  tiny.finish(sampler)
  assert sampler.has_capacity


def test_sequences_that_start_find_pages_for_a_while(tiny):
  """With pages for 16 dispatches in reserve nothing so short is preempted, only waits."""
  sampler, _ = make(tiny, slots=8)
  how = tiny.how(samples=4, max_new_tokens=36)
  submitted = [(tiny.prompt(i, length=12), how) for i in range(10)]
  for prompt, _ in submitted:
    sampler.submit(prompt, how)
  tiny.assert_hashed(tiny.finish(sampler), submitted)
  assert sampler.counts['waits_for_pages'] and not sampler.counts['preemptions']


@pytest.mark.parametrize('spare', [2, 14])
def test_prompt_pages_are_released_before_a_sequence_runs_out_of_pages(tiny, spare):
  """Serves long prompts of half-started groups, with evaluations between and few pages."""
  for seed in range(30):
    rng = np.random.default_rng(seed)
    sampler, engine = make(tiny, slots=int(rng.integers(2, 9)), pages=12 + spare,
                           decode_steps=int(rng.integers(1, 5)))
    submitted, done = [], []
    for ordinal in (0, -1, -2, 1, 2, 3):
      new = int(rng.integers(4, 28))
      how = tiny.how(samples=int(rng.integers(2, 7)), max_new_tokens=new)
      submitted.append((tiny.prompt(ordinal, length=tiny.LONGEST - new), how))
      sampler.submit(*submitted[-1])
      done += sampler.step()
    done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
    tiny.assert_hashed(done, submitted)
    tiny.assert_all_returned(sampler, engine)


def test_what_can_never_fit_is_refused_at_once(tiny):
  with pytest.raises(ValueError, match='sampler.pages=13 must be at least 14'):
    make(tiny, pages=13)
  sampler, _ = make(tiny)
  with pytest.raises(ValueError, match='prompt of 30 tokens and 19 new ones .* 12 pages of 4'):
    sampler.submit(tiny.prompt(0, length=30), tiny.how(max_new_tokens=19))
  assert not sampler.open


def test_with_enough_pages_nothing_is_preempted_and_a_group_is_prefilled_once(tiny):
  sampler, _ = make(tiny, slots=6, pages=6 * 12 + 2 * 12 + 1)
  how = tiny.how(samples=3)
  submitted = [(tiny.prompt(i, length=14), how) for i in range(6)]
  for prompt, _ in submitted:
    sampler.submit(prompt, how)
  tiny.assert_hashed(tiny.finish(sampler), submitted)
  counts = sampler.counts
  assert not (counts['preemptions'] or counts['waits_for_pages'])
  assert counts['prefilled_tokens'] == 6 * 13


def test_abandon_returns_everything_and_the_same_ordinals_may_come_again(tiny):
  sampler, engine = make(tiny, slots=4)
  how = tiny.how(samples=3)
  submitted = [(tiny.prompt(i), how) for i in (0, 1, 2, 3, -1)]
  for prompt, _ in submitted:
    sampler.submit(prompt, how)
  sampler.pin()
  for _ in range(3):
    sampler.step()
  assert sampler.open and sampler.pinned
  sampler.abandon()
  tiny.assert_all_returned(sampler, engine)
  for prompt, _ in submitted:
    sampler.submit(prompt, how)
  tiny.assert_hashed(tiny.finish(sampler), submitted)


def test_a_pinned_sampler_keeps_the_newest_weights_of_then_until_it_is_unpinned(tiny):
  sampler, _ = make(tiny, slots=2, decode_steps=2)
  how = tiny.how(samples=2, max_new_tokens=12)
  sampler.offer(WeightSnapshot(1, 1))
  sampler.pin()
  assert sampler.pinned and sampler.pinned_version == 1
  sampler.submit(tiny.prompt(0), how)
  sampler.offer(WeightSnapshot(2, 2))
  assert {c.versions for c in tiny.finish(sampler).values()} == {((0, 1),)}
  assert sampler.pinned_version == 1
  sampler.unpin()
  assert not sampler.pinned and sampler.pinned_version is None
  sampler.step()
  assert sampler.version == 2
  # Weights that are in use are pinned as they are.
  sampler.pin()
  assert sampler.pinned_version == 2


def test_what_was_withdrawn_is_never_taken_unless_it_is_pinned(tiny):
  sampler, _ = make(tiny)
  sampler.offer(WeightSnapshot(1, 1))
  sampler.withdraw()
  sampler.step()
  assert sampler.version == 0
  sampler.offer(WeightSnapshot(2, 2))
  sampler.pin()
  sampler.withdraw()
  sampler.step()
  assert sampler.version == 2


def test_tokens_of_evaluations_are_counted_alone(tiny):
  sampler, _ = make(tiny)
  sampler.submit(tiny.prompt(0), tiny.how())
  sampler.submit(dataclasses.replace(tiny.prompt(-1), purpose='evaluation'), tiny.how())
  done = tiny.finish(sampler)
  tokens = {purpose: sum(len(c.tokens) for c in done.values() if c.purpose == purpose)
            for purpose in ('training', 'evaluation')}
  assert sampler.counts['evaluation_tokens'] == tokens['evaluation'] > 0
  assert sampler.counts['tokens'] == sum(tokens.values())


def test_the_newest_offer_wins_and_an_older_one_changes_nothing(tiny):
  sampler, _ = make(tiny)
  for version in (1, 3):
    sampler.offer(WeightSnapshot(version, version))
  sampler.step()
  assert sampler.version == 3
  sampler.offer(WeightSnapshot(2, 2))
  sampler.step()
  assert sampler.version == 3 and sampler.counts['swaps'] == 1


def test_an_offer_that_arrives_while_another_is_taken_up_is_not_lost(tiny):
  sampler, _ = make(tiny)

  class Slow:
    params, lineage = 1, 0

    @property
    def version(self):
      """The trainer's thread offers again at just this moment."""
      sampler.offer(WeightSnapshot(2, 2))
      return 1

  sampler.offer(Slow())
  sampler.step()
  sampler.step()
  assert sampler.version == 2


def test_prompt_pages_of_lost_weights_are_not_read_by_others_of_their_number(tiny):
  sampler, _ = make(tiny, slots=1)
  sampler.offer(WeightSnapshot(1, 1))
  sampler.submit(tiny.prompt(0), tiny.how(samples=3))
  done = []
  while not done:
    done = sampler.step()
  once = sampler.counts['prefilled_tokens']
  sampler.offer(WeightSnapshot(1, 1, lineage=1))
  tiny.finish(sampler)
  assert sampler.counts['prefilled_tokens'] == 2 * once > 0


def test_has_capacity_while_another_group_could_start(tiny):
  sampler, _ = make(tiny, slots=4)
  assert sampler.has_capacity
  sampler.submit(tiny.prompt(0), tiny.how(samples=3))
  assert sampler.has_capacity
  sampler.submit(tiny.prompt(1), tiny.how(samples=3))
  assert not sampler.has_capacity and sampler.open == 6
  tiny.finish(sampler)
  assert sampler.has_capacity and sampler.step() == []
