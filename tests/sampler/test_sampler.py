"""Completions are a function of weights, seed, prompt and sample alone."""
import functools

import numpy as np
import pytest

NUMBER, SAMPLES = 7, 3
# Seven slots, and pages for two sequences of full length.
SCARCE = dict(slots=7, decode_steps=1, pages=2 * 12 + 2)


@functools.cache
def prompts(make):
  return tuple(make(i) for i in range(NUMBER))


@pytest.fixture(scope='module')
def reference():
  """Completions on plenty of slots and pages, filled by the first test that needs them."""
  return {}


def expected(tiny, reference):
  if not reference:
    reference.update(tiny.run(tiny.sampler(), prompts(tiny.prompt), tiny.how(SAMPLES)))
  return reference


@pytest.mark.parametrize('changed', [
    dict(slots=1), dict(page_tokens=6, decode_steps=5), SCARCE, dict(nucleus=True),
], ids=str)
def test_slots_steps_pages_and_neighbours_change_nothing(tiny, reference, changed):
  engine = tiny.engine(**changed)
  sampler = tiny.sampler(on=engine)
  done = tiny.run(sampler, prompts(tiny.prompt), tiny.how(SAMPLES))
  tiny.assert_same(done, expected(tiny, reference))
  tiny.assert_all_returned(sampler, engine)


def test_scarce_pages_preempt_and_change_nothing(tiny, scarce):
  how, few = tiny.how(samples=4, max_new_tokens=34), tiny.engine(**SCARCE)
  sampler = tiny.sampler(on=few)
  done = tiny.run(sampler, prompts(tiny.prompt), how)
  assert sampler.counts['preemptions'] and sampler.counts['waits_for_pages']
  tiny.assert_same(done, tiny.run(tiny.sampler(), prompts(tiny.prompt), how))
  tiny.assert_all_returned(sampler, few)


def test_order_of_arrival_changes_nothing(tiny, reference):
  sampler, done = tiny.sampler(), []
  for i, ordinal in enumerate(np.random.default_rng(0).permutation(NUMBER)):
    sampler.submit(prompts(tiny.prompt)[ordinal], tiny.how(SAMPLES))
    for _ in range(i % 3):
      done += sampler.step()
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  tiny.assert_same(done, expected(tiny, reference))


def test_a_prompt_alone_is_the_same_as_among_others(tiny, reference):
  alone = tiny.run(tiny.sampler(), prompts(tiny.prompt)[4:5], tiny.how(SAMPLES))
  tiny.assert_same(alone, {k: v for k, v in expected(tiny, reference).items() if k[0] == 4})


def test_shared_prompt_pages_are_separate_prefills(tiny, reference):
  """Offers the same weights as a new version before every start, so each sample is prefilled."""
  sampler, version, done = tiny.sampler(slots=1), 0, []
  for prompt in prompts(tiny.prompt):
    sampler.submit(prompt, tiny.how(SAMPLES))
  while sampler.open:
    version += 1
    sampler.offer(tiny.snapshot(version, seed=0))
    done += sampler.step()
  tiny.assert_same({(c.ordinal, c.sample): c for c in done}, expected(tiny, reference))
  each = sum(len(p.tokens) - 1 for p in prompts(tiny.prompt))
  assert sampler.counts['prefilled_tokens'] == SAMPLES * each
  shared = tiny.sampler(slots=1)
  tiny.run(shared, prompts(tiny.prompt), tiny.how(SAMPLES))
  assert shared.counts['prefilled_tokens'] == each


def test_the_seed_the_ordinal_and_the_sample_address_the_randomness(tiny, reference):
  same = expected(tiny, reference)
  texts = {key: c.text for key, c in same.items()}
  assert len(set(texts.values())) == len(texts)
  other = tiny.run(tiny.sampler(seed=1), prompts(tiny.prompt)[:1], tiny.how(SAMPLES))
  assert len(other) == SAMPLES and all(c.text != texts[key] for key, c in other.items())


def test_samples_of_a_small_group_are_the_first_of_a_large_one(tiny, reference):
  one = tiny.run(tiny.sampler(), prompts(tiny.prompt), tiny.how(samples=1))
  tiny.assert_same(one, {k: v for k, v in expected(tiny, reference).items() if k[1] == 0})


def test_greedy_samples_are_all_the_same(tiny):
  done = tiny.run(tiny.sampler(), [tiny.prompt(1)], tiny.how(samples=3, temperature=0.0))
  tokens = [c.tokens.tolist() for c in done.values()]
  assert tokens[0] == tokens[1] == tokens[2]


def test_a_completion_ends_at_the_end_token_or_at_its_last_token(tiny, reference):
  seen = set()
  for completion in expected(tiny, reference).values():
    tokens = completion.tokens.tolist()
    stopped = tiny.EOS in tokens
    seen.add(completion.finish)
    assert completion.finish == ('stop' if stopped else 'length')
    if stopped:
      # Once, as the last token, which is trained on like any other but is no text.
      assert tokens.index(tiny.EOS) == len(tokens) - 1
      tokens.pop()
    else:
      assert len(tokens) == 20
    assert completion.text == ' '.join(map(str, tokens))
    assert len(completion.sampler_logp) == len(completion.tokens)
    assert completion.versions == ((0, 0),)
  assert seen == {'stop', 'length'}


@pytest.mark.parametrize('limit', [1, 4, 5])
def test_the_limit_may_fall_anywhere_in_a_dispatch(tiny, reference, limit):
  done = tiny.run(tiny.sampler(), prompts(tiny.prompt), tiny.how(SAMPLES, max_new_tokens=limit))
  for key, completion in expected(tiny, reference).items():
    assert done[key].tokens.tolist() == completion.tokens[:limit].tolist()


def test_after_abandon_the_same_prompts_give_the_same_completions(tiny, reference):
  sampler = tiny.sampler()
  for prompt in prompts(tiny.prompt):
    sampler.submit(prompt, tiny.how(SAMPLES))
  for _ in range(3):
    sampler.step()
  sampler.abandon()
  tiny.assert_all_returned(sampler, tiny.engine())
  assert sampler.step() == []
  tiny.assert_same(tiny.run(sampler, prompts(tiny.prompt), tiny.how(SAMPLES)),
                   expected(tiny, reference))
