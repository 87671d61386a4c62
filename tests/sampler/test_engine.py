"""Sampled log-probabilities are those of the trainer's forward pass; programs compile once."""
import dataclasses

import jax
import numpy as np
import pytest

from magistral_jax.sampler.engine import Insertions, unpack

CHI_SQUARE_23 = 49.73     # Quantile at 0.999.


def test_decode_is_prefill_is_full_forward(tiny):
  """Covers prompts that fill their last page of 4 tokens, do not, or are one token."""
  sampler = tiny.sampler()
  prompts = [tiny.prompt(i, length) for i, length in enumerate((1, 2, 4, 5, 8, 9, 13))]
  done = tiny.run(sampler, prompts, tiny.how(samples=3, max_new_tokens=24))
  for (ordinal, _), completion in done.items():
    full = tiny.completion_logps(tiny.snapshot(0).params, prompts[ordinal], completion)
    expected = full[np.arange(len(full)), completion.tokens]
    np.testing.assert_allclose(completion.sampler_logp, expected, atol=1e-5, rtol=0)
  assert max(len(c.tokens) for c in done.values()) == 24
  tiny.assert_all_returned(sampler, tiny.engine())


@pytest.mark.parametrize('temperature, top_p', [(0.7, 1.0), (1.3, 0.8), (0.0, 0.5)])
def test_log_probabilities_are_of_the_tempered_and_cut_distribution(tiny, temperature, top_p):
  prompts = [tiny.prompt(i) for i in range(4)]
  how = tiny.how(samples=2, temperature=temperature, top_p=top_p, max_new_tokens=12)
  done = tiny.run(tiny.sampler(nucleus=True), prompts, how)
  for (ordinal, _), completion in done.items():
    full = tiny.completion_logps(tiny.snapshot(0).params, prompts[ordinal], completion)
    for row, token, logp in zip(full, completion.tokens, completion.sampler_logp, strict=True):
      if not temperature:
        assert token == row.argmax()
        np.testing.assert_allclose(logp, row.max(), atol=1e-5)
        continue
      p = np.exp(np.float64(row) / temperature)
      p /= p.sum()
      order = np.argsort(-p)
      kept = order[:1 + np.searchsorted(np.cumsum(p[order]), top_p - 1e-9)]
      assert token in kept
      np.testing.assert_allclose(logp, np.log(p[token] / p[kept].sum()), atol=1e-5)


@pytest.mark.parametrize('temperature, top_p', [(0.0, 1.0), (0.7, 0.6)])
def test_the_likeliest_tokens_are_those_of_the_decoder_s_own_log_softmax(tiny, temperature, top_p):
  """Of those who ask for them, and of whole pages that are written again, too."""
  prompts = [tiny.prompt(i, length) for i, length in enumerate((3, 9))]
  how = tiny.how(samples=2, temperature=temperature, top_p=top_p, max_new_tokens=9)
  asked = dataclasses.replace(how, alternatives=3)
  sampler = tiny.sampler(nucleus=True, alternatives=5)
  one, two = sampler.submit(prompts[0], asked), sampler.submit(prompts[1], how)
  done = {(c.ordinal, c.sample): c for c in sampler.step()}
  sampler.evict()
  done |= tiny.finish(sampler)
  assert not any(sequence.likeliest for sequence in two)
  for sequence in one:
    completion = done[sequence.name]
    full = tiny.completion_logps(tiny.snapshot(0).params, prompts[0], completion)
    assert len(sequence.likeliest) == len(completion.tokens)
    for row, found in zip(full, sequence.likeliest, strict=True):
      order = np.argsort(-row)
      logps = np.float64(row[order]) / (temperature or 1.0)
      p = np.exp(logps - logps.max())
      # Of the tokens that are kept: all of greedy choices, where the distribution is not cut.
      kept = 1 + np.searchsorted(np.cumsum(p / p.sum()), top_p - 1e-9) if temperature else len(p)
      assert [token for token, _ in found] == order[:min(kept, 3)].tolist()
      expected = np.log(p / p[:kept].sum())[:len(found)]
      np.testing.assert_allclose([logp for _, logp in found], expected, atol=1e-5)


def test_every_end_token_ends_a_completion(tiny):
  """Draws have addresses, so a completion is the one without an end, cut after its first end."""
  prompts, how = [tiny.prompt(i) for i in range(6)], tiny.how(samples=4, max_new_tokens=24)
  ends = (tiny.EOS, 7, 11)
  longest = tiny.run(tiny.sampler(end_ids=()), prompts, how)
  done = tiny.run(tiny.sampler(end_ids=ends), prompts, how)
  last = set()
  for key, completion in done.items():
    whole, tokens = longest[key].tokens.tolist(), completion.tokens.tolist()
    cut = next((i for i, token in enumerate(whole) if token in ends), len(whole) - 1)
    assert tokens == whole[:cut + 1] and longest[key].finish == 'length'
    assert completion.finish == ('stop' if tokens[-1] in ends else 'length')
    # The text is without the end, whichever it was.
    assert completion.text == ' '.join(map(str, tokens[:-1] if tokens[-1] in ends else tokens))
    last.add(tokens[-1])
  assert last >= set(ends)


def test_first_tokens_come_as_often_as_the_model_says(tiny):
  prompt, number = tiny.prompt(3, length=6), 2000
  how = tiny.how(samples=number, max_new_tokens=1)
  done = tiny.run(tiny.sampler(slots=64, decode_steps=1), [prompt], how)
  counts = np.bincount([c.tokens[0] for c in done.values()], minlength=tiny.CONFIG.vocab)
  expected = number * np.exp(tiny.full_logps(tiny.snapshot(0).params, prompt.tokens)[-1])
  assert np.sum((counts - expected) ** 2 / expected) < CHI_SQUARE_23


def test_nothing_recompiles_in_steady_state_or_across_a_swap(tiny):
  engine = tiny.engine()
  sampler = tiny.sampler()
  # One prompt of every bucket that there is.
  tiny.run(sampler, [tiny.prompt(i, length) for i, length in enumerate((1, 3, 7, 14, 30))],
           tiny.how(max_new_tokens=18))
  before = engine.compilations()
  for version in range(1, 5):
    for ordinal in range(version * 4, version * 4 + 4):
      sampler.submit(tiny.prompt(ordinal), tiny.how(samples=version, temperature=version / 4))
    for _ in range(3):
      sampler.step()
    sampler.offer(tiny.snapshot(version))
  tiny.finish(sampler)
  assert sampler.counts['swapped_in_flight'] and sampler.version == 4
  assert engine.compilations() == before


@pytest.mark.parametrize('tokens, bucket', [(1, 4), (4, 4), (5, 8), (8, 8), (9, 16), (33, 64)])
def test_prompts_are_padded_to_powers_of_two_of_pages(tiny, tokens, bucket):
  assert tiny.engine().bucket(tokens) == bucket


def test_inactive_slots_do_not_change(tiny):
  """Calls prefill, insert, generate and release by hand, without the role."""
  engine, params = tiny.engine(), tiny.snapshot(0).params
  prompt = tiny.prompt(0, length=5).tokens
  new = Insertions.empty(4)
  for row, slot in enumerate((2, 0, 3)):
    for name, value in dict(slot=slot, lengths=4, token=prompt[-1], limit=20, temperature=1.0,
                            top_p=1.0, sample=slot).items():
      getattr(new, name)[row] = value
  table = np.zeros((4, engine.slot_pages), np.int32)
  table[[2, 0, 3], :3] = [[1, 5, 6], [1, 7, 8], [1, 9, 10]]
  state, _ = engine.prefill(params, engine.init_state(), prompt[:-1], [1])
  state = engine.insert(state, new)
  state = engine.release(state, np.array([False, False, False, True]))
  state, out = engine.generate(params, state, table)
  found = unpack(out)
  tokens, logps = found.tokens, found.logps
  drawn = (tokens >= 0).sum(1)
  assert not drawn[[1, 3]].any() and drawn[[0, 2]].all() and not found.active[[1, 3]].any()
  assert np.isfinite(logps[[0, 2]]).all()
  assert jax.device_get(state.lengths).tolist() == [4 + drawn[0], 0, 4 + drawn[2], 4]
  alone = tiny.run(tiny.sampler(), [tiny.prompt(0, length=5)], tiny.how(samples=3))
  for slot in (0, 2):
    np.testing.assert_array_equal(tokens[slot, :drawn[slot]], alone[0, slot].tokens[:4])


def test_what_the_device_runs_is_named_as_in_the_code(tiny):
  """A profile of an accelerator shows these names."""
  engine = tiny.engine()
  text = engine.lower_steps(tiny.snapshot(0).params)['generate']().as_text(debug_info=True)
  assert all(name in text for name in ('_decode', 'Attention', 'FeedForward', 'logits', 'draw'))
