"""Completions are the same with and without drafts, however many of these hold."""
import collections
import dataclasses

import jax
import numpy as np
import pytest

from magistral_jax.records import WeightSnapshot
from magistral_jax.sampler import drafts, slots

NOBODY = np.iinfo(np.int32).max
DRAFTED = dict(nucleus=True, alternatives=5, draft_tokens=3, draft_slots=4)


def sequence(tiny, prompt, tokens=(), *, sample=0, ordinal=0, limit=20):
  """Sequence that has drawn `tokens` after the prompt."""
  known = dataclasses.replace(tiny.prompt(ordinal), tokens=np.array(prompt, np.int32))
  return slots.Sequence(known, sample, tiny.how(max_new_tokens=limit), tokens=list(tokens))


@pytest.mark.parametrize('others, own, expected, why', [
    ([], [1, 2], [3, 4, 5], 'what followed in the prompt'),
    ([[1, 2, 9, 8, 7]], [1, 2], [9, 8, 7], 'and later in a completion of the group'),
    ([[4, 1, 2, 9], [1, 2, 3]], [5, 4, 1, 2], [9], 'no more than is known; four tokens say more'),
    ([], [6, 7, 6, 7], [6, 7, 6], 'a loop goes on beyond what is there'),
    ([], [8, 9], [], 'never seen'),
    ([], [], [], 'nothing follows the end of the prompt'),
])
def test_a_draft_is_what_followed_the_last_tokens(tiny, others, own, expected, why):
  prompt = [1, 2, 3, 4, 5]
  group = [sequence(tiny, prompt, tokens, sample=i) for i, tokens in enumerate([*others, own])]
  found = drafts.Drafts(tokens=3, slots=2)
  found.follow(group)
  drafted = found.of({1: group[-1]})
  if not expected:
    assert drafted is None, why
    return
  of, tokens = drafted
  assert of.tolist() == [1, NOBODY] and tokens[1].tolist() == [-1] * 3
  assert tokens[0].tolist() == (expected + [-1] * 3)[:3], why


def test_a_draft_follows_what_is_drawn_and_ends_before_the_limit(tiny):
  found = drafts.Drafts(tokens=3, slots=2)
  grows = sequence(tiny, [1, 2, 3, 4, 5, 6], [1], limit=4)
  found.follow([grows])
  for drawn, expected in [([2], [3]), ([5], None), ([6], None)]:
    grows.tokens += drawn
    drafted = found.of({0: grows})
    assert (None if drafted is None else drafted[1][0][:len(expected)].tolist()) == expected
    assert drafted is None or (drafted[1][0][len(expected):] == -1).all()


def test_nothing_is_drafted_where_it_does_not_pay(tiny):
  """With too many active slots, or if fewer than half of them have a draft."""
  found = drafts.Drafts(tokens=3, slots=3)
  known = sequence(tiny, [1, 2, 3, 4], [1, 2])
  others = [sequence(tiny, [7, 8], [9, 10], ordinal=i) for i in (1, 2, 3)]
  found.follow([known, *others])
  active = dict(enumerate([known, *others]))
  assert found.of(active) is None
  assert found.of({0: known, 1: others[0], 2: others[1]}) is None
  assert found.of({0: known, 1: others[0]}) is not None
  assert drafts.Drafts(tokens=0, slots=3).of({0: known}) is None


def test_completions_do_not_depend_on_drafts_pages_or_arrivals(tiny, monkeypatch):
  total = collections.Counter()
  for seed in range(20):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(slots, 'RESERVED_DISPATCHES', 1 + seed % 3)
    page_tokens, number = int(rng.integers(1, 9)), int(rng.integers(1, 7))
    slot_pages = -(-tiny.LONGEST // page_tokens)
    engine = tiny.FakeEngine(
        slots=number, pages=2 * slot_pages + 2 + int(rng.integers(0, slot_pages)),
        page_tokens=page_tokens, slot_pages=slot_pages, decode_steps=int(rng.integers(1, 5)),
        draft_tokens=int(rng.integers(1, 7)), draft_slots=max(1, number - seed % 2))
    sampler = tiny.sampler(on=engine, start=WeightSnapshot(0, 0))
    tiny.assert_hashed(*random_arrivals(tiny, rng, sampler))
    tiny.assert_all_returned(sampler, engine)
    assert not sampler._drafts._groups
    total += sampler.counts
  assert total['drafted'] > total['drafts_kept'] > total['tokens'] / 20 and total['preemptions']


def random_arrivals(tiny, rng, sampler):
  """Samples prompts that arrive at random; returns completions, and what was submitted."""
  submitted, done = [], []
  for ordinal in range(tiny.PREDICTABLE, tiny.PREDICTABLE + 8):
    how = tiny.how(samples=int(rng.integers(1, 6)), max_new_tokens=int(rng.integers(1, 40)))
    length = int(rng.integers(1, tiny.LONGEST - how.max_new_tokens + 1))
    submitted.append((tiny.prompt(ordinal, length=length), how))
    sampler.submit(*submitted[-1])
    done += [c for _ in range(int(rng.integers(0, 12))) for c in sampler.step()]
  return {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler), submitted


@pytest.mark.parametrize('temperature, top_p', [(1.0, 1.0), (0.4, 0.8), (0.0, 1.0)])
def test_tokens_and_log_probabilities_are_those_without_drafts(
    tiny, temperature, top_p, monkeypatch):
  """Of sequences that end, reach their limit or the end of their pages, or are preempted."""
  # At high temperatures nothing longer comes twice in so few tokens.
  monkeypatch.setattr(drafts, 'GRAMS', (1,))
  prompts = [tiny.prompt(i, length) for i, length in enumerate((1, 5, 8, 13))]
  how = dataclasses.replace(
      tiny.how(3, temperature=temperature, top_p=top_p, max_new_tokens=35), alternatives=2)
  def run(**values):
    sampler = tiny.sampler(**DRAFTED | values)
    sequences = [s for prompt in prompts for s in sampler.submit(prompt, how)]
    done = {(c.ordinal, c.sample): c for c in sampler.step()}
    sampler.evict()
    return sampler, done | tiny.finish(sampler), sequences
  plain, expected, likeliest = run(draft_tokens=0, draft_slots=0)
  sampler, done, found = run()
  tiny.assert_same(done, expected)
  for one, other in zip(found, likeliest, strict=True):
    assert [[token for token, _ in place] for place in one.likeliest] == [
        [token for token, _ in place] for place in other.likeliest]
  assert sampler.counts['drafted'] > sampler.counts['drafts_kept'] > 0
  assert not plain.counts['drafted'] and max(len(c.tokens) for c in done.values()) == 35
  tiny.assert_all_returned(sampler, tiny.engine(**DRAFTED))


def test_the_versions_of_drafted_tokens_are_the_true_ones(tiny):
  """The versions differ only in the output matrix, so that keys and values are the same in all."""
  base = tiny.snapshot(0).params
  weights = [WeightSnapshot(v, base | dict(output=tiny.snapshot(v).params['output']))
             for v in range(4)]
  sampler, done = tiny.sampler(start=weights[0], **DRAFTED), []
  prompts = [tiny.prompt(i) for i in range(3)]
  for prompt in prompts:
    sampler.submit(prompt, tiny.how(samples=1, temperature=0.3, max_new_tokens=30))
  for snapshot in weights[1:]:
    for _ in range(2):
      done += sampler.step()
    sampler.offer(snapshot)
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  assert any(len(c.versions) > 2 for c in done.values()) and sampler.counts['drafts_kept']
  for (ordinal, _), completion in done.items():
    starts, versions = zip(*completion.versions, strict=True)
    by = np.array(versions)[np.searchsorted(starts, np.arange(len(completion.tokens)), 'right') - 1]
    full = np.stack([tiny.completion_logps(w.params, prompts[ordinal], completion)
                     for w in weights]) / 0.3
    full -= np.log(np.exp(full).sum(-1, keepdims=True))
    expected = full[by, np.arange(len(by)), completion.tokens]
    np.testing.assert_allclose(completion.sampler_logp, expected, atol=1e-5)


def test_verifying_compiles_once(tiny):
  engine = tiny.engine(**DRAFTED)
  how = tiny.how(samples=2, temperature=0.0, max_new_tokens=30)
  runs = [tiny.sampler(**DRAFTED) for _ in range(2)]
  tiny.run(runs[0], [tiny.prompt(0, 5)], how)
  before = engine.compilations()
  tiny.run(runs[1], [tiny.prompt(0, 5), tiny.prompt(1, 6)], tiny.how(3, max_new_tokens=20))
  assert engine.compilations() == before and runs[0].counts['drafts_kept']
  lowered = engine.lower_steps(tiny.snapshot(0).params)['verify']()
  assert 'verify' in lowered.as_text() and 'verify' not in tiny.engine().lower_steps(None)


@pytest.mark.long
def test_two_devices_verify_as_one_does(tiny):
  prompts, how = [tiny.prompt(i) for i in range(3)], tiny.how(samples=2, temperature=0.3)
  devices = (4, 5)
  two = tiny.sampler(on=tiny.engine(devices=devices, **DRAFTED),
                     start=tiny.snapshot(0, devices=devices))
  tiny.assert_same(tiny.run(two, prompts, how), tiny.run(tiny.sampler(**DRAFTED), prompts, how))
  assert two.counts['drafts_kept'] and len(two._state.pages.keys.devices()) == 2
  assert jax.device_count() > 5
