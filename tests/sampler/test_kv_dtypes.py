"""Samplers whose pages hold keys and values in eight bits.

Log-probabilities are held against a full forward pass that rounds keys and values by itself. The
sampler computes them in another order, so now and then a number falls to the other side of a
border between two rounded ones; figures are compared on average.
"""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.models import attention, cache, decoder
from magistral_jax.sampler import engine as engines


def int8(x):
  scale = jnp.max(jnp.abs(x), -1, keepdims=True) / 127
  return scale * jnp.floor(x / scale + 0.5)


def fp8(x):
  """Numbers of 4 significant bits with exponents from -6 to 8."""
  exponent = jnp.clip(jnp.floor(jnp.log2(jnp.maximum(jnp.abs(x), 1e-30))), -6, 8)
  step = 2.0 ** (exponent - 3)
  return step * jnp.round(x / step)


ROUNDED = dict(int8=int8, fp8=fp8)


@functools.cache
def full_pass(config, length, kv_dtype):
  """Log-probabilities [T, V] of T tokens all at once, every key and value rounded."""
  mask = jnp.tril(jnp.ones((1, length, length), bool))
  def attend(layer, q, k, v, cache):
    del layer
    return attention.masked_attention(q, ROUNDED[kv_dtype](k), ROUNDED[kv_dtype](v), mask), cache

  @jax.jit
  def run(params, tokens):
    hidden, _ = decoder.bind(config, params)(
        tokens[None], jnp.arange(length)[None], attend, None)
    return jax.nn.log_softmax(decoder.logits(params, hidden))[0]
  return run


def gaps(tiny, params, prompts, done, kv_dtype):
  """|differences| of sampled log-probabilities: from that pass, and from one without rounding."""
  near, far = [], []
  for (ordinal, _), completion in done.items():
    tokens, n = np.concatenate([prompts[ordinal].tokens, completion.tokens]), len(completion.tokens)
    padded = np.pad(tokens, (0, tiny.LONGEST - len(tokens)))
    full = full_pass(tiny.CONFIG, tiny.LONGEST, kv_dtype)(params, padded)[:len(tokens)]
    for found, logps in ((near, full[-n - 1:-1]),
                         (far, tiny.completion_logps(params, prompts[ordinal], completion))):
      expected = np.asarray(logps)[np.arange(n), completion.tokens]
      found.append(np.abs(completion.sampler_logp - expected))
  return np.concatenate(near), np.concatenate(far)


@pytest.mark.parametrize('values, samples', [
    (dict(kv_dtype='int8'), 3),
    pytest.param(dict(kv_dtype='fp8'), 3, marks=pytest.mark.long),
    # Few pages: sequences are preempted and prefilled again.
    pytest.param(dict(kv_dtype='int8', slots=7, decode_steps=1, pages=26), 4,
                 marks=pytest.mark.long),
    pytest.param(dict(kv_dtype='int8', draft_tokens=3, draft_slots=4), 3,
                 marks=pytest.mark.long)], ids=str)
def test_decode_is_prefill_is_the_full_pass_over_rounded_keys(tiny, scarce, values, samples):
  """Groups share prompt pages, whole ones and one that is copied before it is written into."""
  prompts = [tiny.prompt(i, length) for i, length in enumerate((5, 7, 8))]
  engine = tiny.engine(**values)
  sampler = tiny.sampler(on=engine)
  done = tiny.run(sampler, prompts, tiny.how(samples, max_new_tokens=24))
  near, far = gaps(tiny, tiny.snapshot(0).params, prompts, done, values['kv_dtype'])
  assert near.size > 60 and near.mean() < far.mean() / 10 and far.mean() < 0.1
  if 'pages' in values:
    assert sampler.counts['preemptions']
  tiny.assert_all_returned(sampler, engine)


def test_drawn_tokens_leave_the_pages_that_prefilling_them_leaves(tiny):
  """In deeper layers, too, for what the tokens of a prompt read of each other is rounded."""
  engine, params, number = tiny.engine(kv_dtype='int8'), tiny.snapshot(0).params, 12
  prompt, new = tiny.prompt(1, 5).tokens, engines.Insertions.empty(4)
  # The prompt fills one page, which four samples share.
  for name, value in dict(slot=range(4), sample=range(4), lengths=4, token=prompt[-1], limit=number,
                          temperature=1.0, top_p=1.0).items():
    getattr(new, name)[:] = value
  table = np.zeros((4, engine.slot_pages), np.int32)
  table[:, :3] = [[9, 1, 3], [9, 2, 4], [9, 8, 5], [9, 6, 7]]
  state, _ = engine.prefill(params, engine.init_state(), prompt[:-1], [9])
  state, drawn = engine.insert(state, new), []
  for _ in range(2):
    state, out = engine.generate(params, state, table)
    drawn.append(engines.unpack(out).tokens)
  drawn = np.concatenate(drawn, 1)
  slot = np.flatnonzero((drawn >= 0).all(1))[0]     # One that did not end.
  tokens, ids = np.concatenate([prompt, drawn[slot]])[:number], table[slot, :3]
  whole, _ = engine.prefill(params, engine.init_state(), tokens, ids)
  for name in ('keys', 'values'):
    a, b = (np.asarray(getattr(s.pages, name)[:, ids]).astype(int) for s in (state, whole))
    if name == 'keys':
      a, b = a.swapaxes(3, 4), b.swapaxes(3, 4)
    assert a.shape == (2, 3, 2, 4, 8) and np.abs(a).max(-1).min() == 127
    assert np.abs(a - b).max() <= 1 and (a != b).mean() < 0.01


@pytest.mark.long
def test_keys_of_older_weights_stay_as_they_were_rounded(tiny):
  sampler = tiny.sampler(kv_dtype='int8')
  sampler.submit(tiny.prompt(2, 9), tiny.how(1, temperature=0.0, max_new_tokens=24))
  sampler.step()
  before = jax.device_get(sampler._state.pages)
  sampler.offer(tiny.snapshot(1))
  done, = tiny.finish(sampler).values()
  after = jax.device_get(sampler._state.pages)
  assert [version for _, version in done.versions] == [0, 1]
  held = before.value_scales > 0
  held[:, 0] = False            # Idle slots write to page 0.
  assert held.sum() == 2 * 2 * (8 + 4)
  for name in ('key_scales', 'value_scales'):
    np.testing.assert_array_equal(getattr(after, name)[held], getattr(before, name)[held])
  np.testing.assert_array_equal(after.values[held], before.values[held])
  np.testing.assert_array_equal(after.keys.swapaxes(3, 4)[held], before.keys.swapaxes(3, 4)[held])


def test_scales_lie_beside_their_heads(tiny):
  """On two devices each has its kv heads with their scales; nothing is compiled."""
  state = tiny.engine(devices=(4, 5), kv_dtype='int8').abstract_state().pages
  shards = [x.sharding.shard_shape(x.shape) for x in jax.tree.leaves(state)]
  assert [x.shape[2] for x in jax.tree.leaves(state)] == [2] * 4
  assert [shard[2] for shard in shards] == [1] * 4 and len(shards[2]) == 4


@pytest.mark.long
def test_two_devices_sample_as_one_does(tiny):
  prompts, devices = [tiny.prompt(i) for i in range(3)], (4, 5)
  two = tiny.sampler(on=tiny.engine(devices=devices, kv_dtype='int8'),
                     start=tiny.snapshot(0, devices=devices))
  done = tiny.run(two, prompts, tiny.how(2))
  near, far = gaps(tiny, tiny.snapshot(0).params, prompts, done, 'int8')
  assert near.mean() < far.mean() / 10 and len(two._state.pages.key_scales.devices()) == 2


def test_pages_that_the_kernel_cannot_read_are_refused_before_anything_compiles(tiny, monkeypatch):
  monkeypatch.setattr(attention, 'takes_kernels', lambda *_, **__: True)
  make = lambda kv_dtype, devices: engines.Engine(
      tiny.CONFIG, tiny.mesh(*devices), slots=1, pages=9, page_tokens=8, slot_pages=3,
      decode_steps=1, nucleus=False, end_ids=(), seed=0, extras=engines.Extras(kv_dtype=kv_dtype))
  with pytest.raises(ValueError, match="sampler.kv_dtype='int8' has a scale for every token"):
    make('int8', (0,))
  with pytest.raises(ValueError, match='and there are 1: lower mesh.sampler.tensor'):
    make('fp8', (4, 5))
  assert isinstance(make('fp8', (0,)).abstract_state().pages, cache.JoinedPages)
