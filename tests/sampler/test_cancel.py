"""Sequences that are dropped or computed anew, and seeds in place of ordinals."""
import dataclasses

import numpy as np
import pytest


def fake(tiny, **changed):
  engine = tiny.FakeEngine(**dict(
      slots=4, pages=73, page_tokens=4, slot_pages=12, decode_steps=2) | changed)
  return engine, tiny.sampler(on=engine, start=tiny.snapshot(0).__class__(0, 0))


def test_cancelled_sequences_leave_no_slot_and_no_page_and_change_no_other(tiny):
  engine, sampler = fake(tiny)
  how = tiny.how(samples=3, max_new_tokens=20)
  prompts = [tiny.prompt(i, length=9) for i in range(4)]
  for prompt in prompts:
    sampler.submit(prompt, how)
  done = sampler.step() + sampler.step()
  assert len(sampler.active) == 4 and len(sampler.sequences) == sampler.open
  # One in a slot, one that waits, a whole prompt, and one that is unknown.
  gone = {(0, 1), (1, 2), (2, 0), (2, 1), (2, 2), (9, 9)}
  sampler.cancel(gone)
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  assert set(done) == {(o, s) for o in range(4) for s in range(3)} - gone
  for (ordinal, sample), completion in done.items():
    tokens, logps = tiny.hashed_completion(prompts[ordinal], sample, how)
    assert completion.tokens.tolist() == tokens
    np.testing.assert_allclose(completion.sampler_logp, logps, rtol=1e-6)
  tiny.assert_all_returned(sampler, engine)


def test_evicted_sequences_go_on_in_their_order_by_keys_of_the_new_weights(tiny):
  engine, sampler = fake(tiny)
  how = tiny.how(samples=2, max_new_tokens=20)
  prompts = [tiny.prompt(i, length=9) for i in range(3)]
  for prompt in prompts:
    sampler.submit(prompt, how)
  sampler.step()
  before = [sequence.name for sequence in sampler.sequences]
  sampler.evict()
  assert not sampler.active and sampler.free_pages == engine.pages - 1
  assert [sequence.name for sequence in sampler.sequences] == before
  sampler.offer(dataclasses.replace(sampler.snapshot, version=1, params=1))
  sampler.take_offer()
  assert sampler.version == 1
  sampler.step()
  writers = sampler._state.writers
  assert {int(version) for s in sampler.active for version in writers[s.pages[:2]].ravel()} == {1}
  done = tiny.finish(sampler)
  for (ordinal, sample), completion in done.items():
    assert completion.tokens.tolist() == tiny.hashed_completion(prompts[ordinal], sample, how)[0]


@pytest.mark.parametrize('real', [False, True])
def test_a_seed_takes_the_place_of_the_ordinal(tiny, real):
  """Two prompts of one seed are drawn as each alone, and share no pages."""
  sampler = tiny.sampler() if real else fake(tiny)[1]
  how = dataclasses.replace(tiny.how(samples=2, max_new_tokens=12), seed=5)
  alone = tiny.sampler() if real else fake(tiny)[1]
  prompts = [tiny.prompt(i, length=9) for i in (3, 4)]
  done = tiny.run(sampler, prompts, how)
  for prompt in prompts:
    renamed = dataclasses.replace(prompt, ordinal=5)
    for (_, sample), c in tiny.run(alone, [renamed], tiny.how(2, max_new_tokens=12)).items():
      assert c.tokens.tolist() == done[prompt.ordinal, sample].tokens.tolist()
