"""New weights are taken in flight; keys and values written by the old ones stay."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.models import attention, cache, decoder
from magistral_jax.records import WeightSnapshot

PAGES, PAGE_TOKENS = 7, 8


@functools.cache
def programs(config):
  """Compiled prefill and decode of one sequence."""
  table = jnp.arange(1, PAGES)

  @jax.jit
  def prefill(params, tokens, pages):
    n = tokens.shape[1]
    attend = attention.prefill(jnp.ones((1, n), jnp.int32), table[:n // PAGE_TOKENS])
    return decoder.bind(config, params)(tokens, jnp.arange(n)[None], attend, pages)[1]

  @jax.jit
  def decode(params, pages, token, length):
    attend = attention.decode(table[None], length[None], jnp.array([True]))
    hidden, pages = decoder.bind(config, params)(
        token[None, None], length[None, None], attend, pages)
    return jax.nn.log_softmax(decoder.logits(params, hidden[0, 0])), pages

  return prefill, decode


def greedy_by_hand(tiny, prompt, swap_at, old, new, number):
  """Draws `number` tokens greedily; the weights change before token `swap_at`."""
  prefill, decode = programs(tiny.CONFIG)
  context = prompt.tokens.tolist()
  pages = cache.empty_pages(tiny.CONFIG, PAGES, PAGE_TOKENS)
  pages = prefill(old, np.array(context[:-1])[None], pages)
  logps = []
  for i in range(number):
    params = old if i < swap_at else new
    row, pages = decode(params, pages, np.int32(context[-1]), np.int32(len(context) - 1))
    context.append(int(row.argmax()))
    logps.append(float(row.max()))
  return context[len(prompt.tokens):], logps


def until_end(tiny, tokens):
  return tokens[:tokens.index(tiny.EOS) + 1] if tiny.EOS in tokens else tokens


@pytest.mark.parametrize('ordinal, dispatches', [(1, 1), (2, 1), (1, 2), (2, 2), (3, 3)])
def test_a_swap_in_flight_is_a_run_by_hand_that_keeps_the_cache(tiny, ordinal, dispatches):
  swap_at, number = tiny.engine().decode_steps * dispatches, 20
  prompt = tiny.prompt(ordinal, length=9)
  sampler = tiny.sampler()
  sampler.submit(prompt, tiny.how(samples=1, temperature=0.0, max_new_tokens=number))
  for i in range(dispatches):
    sampler.step()
    # Other sequences, which start a dispatch later.
    sampler.submit(tiny.prompt(8 + i), tiny.how(samples=2, max_new_tokens=30))
  sampler.offer(tiny.snapshot(1))
  done = tiny.finish(sampler)[ordinal, 0]
  old, new = tiny.snapshot(0).params, tiny.snapshot(1).params
  tokens, logps = greedy_by_hand(tiny, prompt, swap_at, old, new, number)
  tokens = until_end(tiny, tokens)
  assert done.tokens.tolist() == tokens
  np.testing.assert_allclose(done.sampler_logp, logps[:len(tokens)], atol=1e-5)
  assert done.versions == ((0, 0), (swap_at, 1)), 'It ended before the swap.'
  # The old keys matter: with a recomputed cache the log-probabilities differ.
  anew = tiny.completion_logps(new, prompt, done).max(1)
  assert np.abs(anew - done.sampler_logp)[swap_at:].max() > 1e-3


def test_the_recorded_versions_are_the_true_ones(tiny):
  """Checks that every token's log-probability is that of the weights its version names.

  The versions differ only in the output matrix, so that keys and values are the same in all.
  """
  base, heads = tiny.snapshot(0).params, [tiny.snapshot(v).params['output'] for v in range(6)]
  weights = [WeightSnapshot(v, base | dict(output=head)) for v, head in enumerate(heads)]
  sampler, done = tiny.sampler(start=weights[0]), []
  prompts = [tiny.prompt(i) for i in range(5)]
  for prompt in prompts:
    sampler.submit(prompt, tiny.how(samples=2, max_new_tokens=18))
  for snapshot in weights[1:]:
    done += sampler.step()
    sampler.offer(snapshot)
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  assert any(len(c.versions) > 2 for c in done.values())
  for (ordinal, _), completion in done.items():
    starts, versions = zip(*completion.versions, strict=True)
    assert starts[0] == 0 and sorted(set(starts)) == list(starts)
    assert sorted(set(versions)) == list(versions)
    by = np.array(versions)[np.searchsorted(starts, np.arange(len(completion.tokens)), 'right') - 1]
    full = np.stack([tiny.completion_logps(w.params, prompts[ordinal], completion)
                     for w in weights])
    expected = full[by, np.arange(len(by)), completion.tokens]
    np.testing.assert_allclose(completion.sampler_logp, expected, atol=1e-5)


def test_samples_started_after_a_swap_do_not_read_the_old_prompt(tiny):
  """Uses one slot, so that the second sample starts after the swap, on new weights only."""
  prompt, how = tiny.prompt(5, length=11), tiny.how(samples=2, max_new_tokens=10)
  sampler = tiny.sampler(slots=1)
  sampler.submit(prompt, how)
  done = sampler.step()
  sampler.offer(tiny.snapshot(1))
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  assert done[5, 1].versions == ((0, 1),)
  fresh = tiny.run(tiny.sampler(version=1, slots=1), [prompt], how)
  tiny.assert_same({(5, 1): done[5, 1]}, {(5, 1): fresh[5, 1]})
  tiny.assert_all_returned(sampler, tiny.engine(slots=1))


def test_an_evaluation_is_of_one_version_and_training_goes_on_after_it(tiny):
  sampler, how = tiny.sampler(), tiny.how(samples=2, max_new_tokens=16)
  for ordinal in range(4):
    sampler.submit(tiny.prompt(ordinal), how)
  sampler.step()
  sampler.offer(tiny.snapshot(1))
  sampler.pin()
  for ordinal in (-1, -2, -3):
    sampler.submit(tiny.prompt(ordinal), tiny.how(samples=1, temperature=0.0))
  done = []
  for version in range(2, 20):
    sampler.offer(tiny.snapshot(min(version, 3)))
    done += sampler.step()
    if {-1, -2, -3} <= {c.ordinal for c in done}:
      sampler.unpin()
  done = {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)
  evaluation = {key: c for key, c in done.items() if key[0] < 0}
  assert len(evaluation) == 3 and all(c.versions == ((0, 1),) for c in evaluation.values())
  alone = tiny.sampler(version=1)
  fresh = tiny.run(alone, [tiny.prompt(o) for o in (-1, -2, -3)],
                   tiny.how(samples=1, temperature=0.0))
  tiny.assert_same(evaluation, fresh)
  assert sampler.version == 3 and not sampler.pinned
