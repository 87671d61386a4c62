"""Identities of the decoder: however a token is computed, its log-probabilities are the same."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from magistral_jax import sharding
from magistral_jax.models import attention, decoder
from magistral_jax.models.cache import Pages, empty_pages, token_bytes
from magistral_jax.models.config import ModelConfig
from tests.models import drawn

TINY = dict(family='mistral', layers=2, dim=32, heads=4, kv_heads=2, head_dim=16, ffn_dim=48,
            vocab=64, rope_theta=1e4, norm_eps=1e-5, tied=False, dtype='float32')
CONFIG = ModelConfig(**TINY)
PAGE_TOKENS = 4


@pytest.fixture(scope='module')
def params():
  return drawn.parameters(CONFIG)


def draw_tokens(n, seed=1):
  return np.random.default_rng(seed).integers(0, CONFIG.vocab, n, np.int32)


def logps_of(params, hidden):
  return jax.nn.log_softmax(decoder.logits(params, hidden))


@jax.jit
def row_logps(params, tokens, positions, segments):
  """Log-probabilities [T, V] of one packed row; every argument but the first is [T]."""
  hidden = decoder.forward_rows(
      CONFIG, params, tokens[None], positions[None], segments[None])
  return logps_of(params, hidden)[0]


def full_logps(params, tokens):
  """Log-probabilities [n, V] of one sequence, alone in a row, without a cache."""
  n, positions = len(tokens), np.arange(32)
  segments = (positions < n).astype(np.int32)
  return row_logps(params, np.pad(tokens, (0, 32 - n)), positions, segments)[:n]


@jax.jit
def prefill_bucket(params, tokens, segments, page_ids, cache):
  attend = attention.prefill(segments, page_ids)
  positions = jnp.arange(tokens.shape[1])[None]
  hidden, cache = decoder.bind(CONFIG, params)(tokens, positions, attend, cache)
  return logps_of(params, hidden)[0], cache


def prefill(params, tokens, bucket, page_ids, cache):
  """Log-probabilities [n, V] of a prompt padded to `bucket` positions, and the filled cache."""
  n = len(tokens)
  padded = np.pad(tokens, (0, bucket - n))[None]
  segments = (np.arange(bucket) < n).astype(np.int32)[None]
  logps, cache = prefill_bucket(params, padded, segments, np.array(page_ids), cache)
  return logps[:n], cache


def make_decode(traces=None):
  @jax.jit
  def decode(params, cache, tokens, table, lengths, active):
    if traces is not None:
      traces.append(tokens.shape)
    attend = attention.decode(table, lengths, active)
    hidden, cache = decoder.bind(CONFIG, params)(tokens[:, None], lengths[:, None], attend, cache)
    return logps_of(params, hidden)[:, 0], cache
  return decode


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('prompt, bucket', [(1, 4), (4, 4), (7, 16)])
def test_decode_is_prefill_is_full_forward(params, prompt, bucket):
  """Pages are in no order, and an idle slot lies between two busy ones."""
  n = 23
  tokens, other = draw_tokens(n), draw_tokens(n, seed=2)
  table = np.array([[9, 3, 12, 7, 5, 1], [0] * 6, [2, 4, 6, 8, 10, 11]])
  cache = empty_pages(CONFIG, pages=13, page_tokens=PAGE_TOKENS)
  pages = lambda row, n: [int(page) if i * PAGE_TOKENS < n else 0
                          for i, page in enumerate(table[row][:bucket // PAGE_TOKENS])]
  expected = full_logps(params, tokens)
  first, cache = prefill(params, tokens[:prompt], bucket, pages(0, prompt), cache)
  close(first, expected[:prompt])
  _, cache = prefill(params, other[:prompt], bucket, pages(2, prompt), cache)
  decode = make_decode()
  for t in range(prompt, n):
    now = np.array([tokens[t], 0, other[t]])
    logps, cache = decode(params, cache, now, table, np.array([t, 0, t]),
                          np.array([True, False, True]))
    close(logps[0], expected[t])
  close(logps[2], full_logps(params, other)[-1])


def test_rows_taken_in_parts_are_rows_whole(monkeypatch):
  """Values and gradients agree; the last part is shorter, and segments cross all borders."""
  rng, t = np.random.default_rng(0), 30
  q = rng.standard_normal((2, t, CONFIG.heads, 8), np.float32)
  k, v = rng.standard_normal((2, 2, t, CONFIG.kv_heads, 8), np.float32)
  segments = np.array([[1] * 13 + [2] * 14 + [0] * 3, [1] * 30])
  def run(whole):
    monkeypatch.setattr(attention, 'BLOCK_QUERIES', t if whole else 8)
    attend = attention.rows(jnp.array(segments))
    def total(*qkv):
      out, _ = attend(0, *qkv, None)
      return jnp.sum(jnp.sin(out)), out
    return jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(q, k, v)
  parts, whole = run(False), run(True)
  jax.tree.map(close, parts, whole)
  close(parts[1], attention.masked_attention(q, k, v, attention.causal_mask(segments)))


def test_paged_attention_is_dense_attention():
  """Slots differ in length and have more pages than one block; an idle slot reads nothing."""
  slots, pages, heads, size = 4, 40, CONFIG.heads, CONFIG.head_dim
  rng = np.random.default_rng(0)
  normal = lambda *shape: rng.standard_normal(shape, np.float32)
  lead = (CONFIG.layers, 1 + slots * pages, CONFIG.kv_heads)
  cache = Pages(normal(*lead, size, PAGE_TOKENS), normal(*lead, PAGE_TOKENS, size))
  table = 1 + rng.permutation(slots * pages).reshape(slots, pages)
  lengths = np.array([0, 3, 64, 158])
  active = np.array([True, True, False, True])
  q, new = normal(slots, 1, heads, size), normal(2, slots, 1, CONFIG.kv_heads, size)
  paged = jax.jit(lambda cache: attention.decode(table, lengths, active)(1, q, *new, cache))
  out, after = paged(cache)

  def dense(pool, one):
    """The tokens of a pool [L, P, K, S, H] one after another, the new one at its place."""
    whole = np.moveaxis(pool[1, table], 2, 3).reshape(slots, -1, CONFIG.kv_heads, size)
    whole[np.arange(slots), lengths] = one[:, 0]
    return whole

  mask = (np.arange(pages * PAGE_TOKENS) <= lengths[:, None]) & active[:, None]
  expected = jax.jit(attention.masked_attention)(
      q, dense(cache.keys.swapaxes(3, 4), new[0]), dense(cache.values, new[1]), mask[:, None])
  close(out, expected)
  assert not out[2].any()
  np.testing.assert_array_equal(after.keys[0], cache.keys[0])     # The other layer.
  np.testing.assert_array_equal(after.keys[1, table[2]], cache.keys[1, table[2]])


def test_packed_is_one_by_one(params):
  lengths = (5, 1, 9, 7)
  sequences = [draw_tokens(n, seed=n) for n in lengths]
  row = lambda x: np.pad(x, (0, 32 - sum(lengths)))
  segments = row(np.repeat(np.arange(1, 5), lengths))
  positions = row(np.concatenate([np.arange(n) for n in lengths]))
  packed = row_logps(params, row(np.concatenate(sequences)), positions, segments)
  assert np.isfinite(packed).all()
  start = 0
  for tokens, n in zip(sequences, lengths, strict=True):
    close(packed[start:start + n], full_logps(params, tokens))
    start += n


def test_a_token_does_not_see_later_tokens(params):
  tokens = draw_tokens(12)
  changed = np.where(np.arange(12) < 8, tokens, (tokens + 1) % CONFIG.vocab)
  np.testing.assert_array_equal(full_logps(params, tokens)[:8], full_logps(params, changed)[:8])


def test_a_shift_of_all_positions_changes_nothing(params):
  """Rotary positions are relative."""
  tokens, positions = draw_tokens(32), np.arange(32)
  run = lambda shift: row_logps(params, tokens, positions + shift, np.ones_like(positions))
  close(run(100), run(0))


def test_remat_changes_no_gradient(params):
  tokens, positions = draw_tokens(12)[None], jnp.arange(12)[None]
  def loss(params, remat):
    hidden = decoder.forward_rows(
        CONFIG, params, tokens, positions, positions * 0 + 1, remat=remat)
    return jnp.sum(logps_of(params, hidden)[0, jnp.arange(11), tokens[0, 1:]])
  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  expected = gradient(params, 'none')
  for remat in ('full', 'dots', 'ffn'):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                 gradient(params, remat), expected)


def test_what_remat_keeps_is_not_computed_again(params):
  """Of a layer's seven products 'ffn' computes one again, that of w_o; w_2's is never needed."""
  tokens, positions = draw_tokens(12)[None], jnp.arange(12)[None]
  def products(remat):
    loss = lambda params: jnp.sum(decoder.forward_rows(
        CONFIG, params, tokens, positions, positions * 0 + 1, remat=remat))
    return _products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)
  attention = 2           # No name of the kernel's is in what CPUs compute.
  assert products('full') - products('none') == 6 + attention
  assert products('ffn') - products('none') == 1 + attention


def _products(jaxpr) -> int:
  return sum((e.primitive.name == 'dot_general') + sum(map(_products, jaxprs_in_params(e.params)))
             for e in jaxpr.eqns)


@pytest.mark.parametrize('tied', [True, False])
def test_parameters_are_those_of_the_shapes(tied):
  config = ModelConfig(**TINY | dict(tied=tied, head_dim=6, kv_heads=1))
  assert sum(x.size for x in jax.tree.leaves(decoder.abstract(config))) == config.parameters
  assert ('output' in decoder.abstract(config)) is not tied


def test_mistral_small_has_its_published_size():
  """The model of 24B has 32 heads of 128 for a width of 5120; nothing is allocated."""
  config = ModelConfig(
      family='mistral', layers=40, dim=5120, heads=32, kv_heads=8, head_dim=128, ffn_dim=32768,
      vocab=131072, rope_theta=1e8, norm_eps=1e-5, tied=False, dtype='bfloat16')
  shapes = decoder.abstract(config)
  assert sum(x.size for x in jax.tree.leaves(shapes)) == config.parameters == 23_572_403_200
  assert shapes['layers']['attention']['q'].shape == (40, 5120, 32, 128)
  assert token_bytes(config, 'model') == 163_840


@pytest.mark.parametrize('sizes, shard', [
    (dict(fsdp=4, tensor=2), (2, 8, 24)),
    (dict(fsdp=2, expert=2, sequence=2, tensor=1), (2, 4, 48))])
def test_eight_devices_are_one_device(params, sizes, shard):
  tokens = jax.random.randint(jax.random.key(5), (8, 16), 0, CONFIG.vocab)
  positions = jnp.broadcast_to(jnp.arange(16), (8, 16))
  segments = (positions < 13).astype(jnp.int32)
  def run(params, *rows):
    return logps_of(params, decoder.forward_rows(CONFIG, params, *rows))
  alone = jax.jit(run)(params, tokens, positions, segments)

  mesh = sharding.make_mesh(jax.devices(), **sizes)
  cut = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(CONFIG)[1])
  rows = sharding.named(mesh, sharding.TRAINER, ('row', None))
  shared = jax.device_put(params, cut)
  assert shared['layers']['ffn']['w1'].addressable_shards[0].data.shape == shard
  together = jax.jit(run)(shared, *jax.device_put((tokens, positions, segments), rows))
  close(together[:, :13], alone[:, :13])


def test_decode_on_two_devices_is_decode_on_one(params):
  mesh = sharding.make_mesh(jax.devices()[:2], tensor=2)
  cut = sharding.tree_named(mesh, sharding.SAMPLER, decoder.definition(CONFIG)[1])
  tokens = draw_tokens(9)
  table = np.array([[3, 1, 2]])
  cache, decode = empty_pages(CONFIG, 4, PAGE_TOKENS), make_decode()
  shared = jax.device_put(params, cut)
  cache = jax.device_put(cache, sharding.named(mesh, sharding.SAMPLER,
                                               ('layers', None, None, 'kv_heads', None)))
  expected = full_logps(params, tokens)
  for t in range(9):
    logps, cache = decode(shared, cache, tokens[t:t + 1], table, np.array([t]), np.array([True]))
    close(logps[0], expected[t])


def test_lengths_never_recompile(params):
  traces = []
  decode = make_decode(traces)
  cache = empty_pages(CONFIG, 61, PAGE_TOKENS)
  table = 1 + np.arange(60).reshape(3, 20)
  for lengths in ([0, 1, 2], [79, 5, 63], [64, 64, 64]):
    _, cache = decode(params, cache, np.array([1, 2, 3]), table, np.array(lengths),
                      np.array([True, lengths[1] > 1, True]))
  assert traces == [(3,)]

  @jax.jit
  def rows(tokens, positions, segments):
    traces.append(tokens.shape)
    return decoder.forward_rows(CONFIG, params, tokens, positions, segments)
  for n in (3, 11, 16):
    positions = np.arange(16)[None]
    rows(positions, np.where(positions < n, positions, 0), (positions < n).astype(np.int32))
  assert traces[1:] == [(1, 16)]


def test_bfloat16_is_computed_in_bfloat16_and_stays_near(params):
  config = ModelConfig(**TINY | dict(dtype='bfloat16'))
  tokens, positions = draw_tokens(12)[None], jnp.arange(12)[None]
  hidden = decoder.forward_rows(config, params, tokens, positions, positions * 0 + 1)
  assert hidden.dtype == jnp.bfloat16
  assert decoder.logits(params, hidden).dtype == jnp.float32
  np.testing.assert_allclose(logps_of(params, hidden)[0], full_logps(params, tokens[0]), atol=0.15)


@pytest.mark.parametrize('change, words', [
    (dict(family='gpt'), "model.family='gpt' is unknown"),
    (dict(dtype='float16'), "model.dtype='float16' is unknown"),
    (dict(layers=0), 'model.layers=0 must be at least 1'),
    (dict(kv_heads=3), 'model.heads=4 is no multiple of model.kv_heads=3'),
    (dict(head_dim=7), 'model.head_dim=7 must be even'),
])
def test_an_impossible_config_is_refused_by_its_key(change, words):
  with pytest.raises(ValueError, match=words):
    ModelConfig(**TINY | change)
