"""Pages in eight bits: what rounding costs, and that attention reads what the pages hold."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.models import attention, cache, kernels
from magistral_jax.models.config import ModelConfig

EIGHT_BITS = ('int8', 'fp8')
HEADS, KV_HEADS, HEAD, PAGE = 4, 2, 8, 4


def config(**changed):
  return ModelConfig(**dict(
      family='mistral', layers=2, dim=8, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD, ffn_dim=8,
      vocab=8, rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32') | changed)


def normal(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def sizes(seed, count):
  """Rows [count, H] of very different sizes: zeros, and up to what bfloat16 can hold, among them.
  """
  rows = normal(seed, count, HEAD) * 10.0 ** np.linspace(-38, 37, count, dtype=np.float32)[:, None]
  rows[count // 2] = 0.0
  return rows


def by_hand(pages, layer, table):
  """Keys and values [slots, tokens, K, H] float64 that pages hold, from their arrays."""
  keys, values = (np.asarray(x, np.float64) for x in (pages.keys, pages.values))
  held = [np.swapaxes(keys, 3, 4), values]
  scales = [pages.key_scales, pages.value_scales]
  found = []
  for numbers, scale in zip(held, scales, strict=True):
    whole = numbers if scale is None else numbers * np.asarray(scale, np.float64)[..., None]
    chosen = np.moveaxis(whole[layer][np.asarray(table)], 2, 3)
    found.append(chosen.reshape(len(table), -1, KV_HEADS, HEAD))
  return found


def dense(q, keys, values, seen):
  """Softmax attention of q [N, H] over the first `seen` tokens [S, K, H], in float64."""
  out = np.zeros(q.shape)
  for head in range(HEADS):
    group = head // (HEADS // KV_HEADS)
    scores = keys[:seen, group] @ q[head].astype(np.float64) / np.sqrt(HEAD)
    weights = np.exp(scores - scores.max())
    out[head] = weights @ values[:seen, group] / weights.sum()
  return out


def test_integers_are_off_by_half_a_scale_at_most():
  x = sizes(0, 400)
  held, scales = (np.asarray(a) for a in jax.jit(lambda x: cache.rounded(x, jnp.int8))(x))
  assert held.dtype == np.int8 and scales.dtype == np.float32 and scales.shape == x.shape[:-1]
  assert np.isfinite(scales).all() and not held[200].any()
  off = np.abs(x - held * np.float64(scales)[:, None])
  assert (off <= scales[:, None] * (0.5 + 1e-4)).all()
  # The largest number of a row falls on 127, so that no bit is left unused.
  large = np.abs(x).max(1) > 1e-29
  assert (np.abs(held[large]).max(1) == cache.LARGEST).all()
  np.testing.assert_allclose(scales[large], np.abs(x[large]).max(1) / 127, rtol=1e-6)


def test_floats_of_eight_bits_are_off_by_a_sixteenth_at_most_and_never_no_number():
  x = np.concatenate([sizes(1, 400), np.array([[448, -448, 460, -1e30, 2.0 ** -6, 0, -0.0, 1]])])
  held, scales = jax.jit(lambda x: cache.rounded(x, jnp.float8_e4m3fn))(x.astype(np.float32))
  assert held.dtype == jnp.float8_e4m3fn and scales is None
  held = np.asarray(held.astype(jnp.float32))
  assert np.isfinite(held).all() and (np.sign(held) * np.sign(x) >= 0).all()
  size = np.abs(x)
  common = (size >= 2.0 ** -6) & (size <= 448)
  assert (np.abs(held - x)[common] <= size[common] / 16).all()
  assert (np.abs(held - x)[size < 2.0 ** -6] <= 2.0 ** -10).all()
  assert (np.abs(held[size > 448]) == 448).all() and (held[x == 0] == 0).all()


@pytest.mark.parametrize('kv_dtype', ['model', *EIGHT_BITS])
@pytest.mark.parametrize('joined', [False, True])
def test_pages_give_back_what_was_written_rounded(kv_dtype, joined):
  if joined and kv_dtype == 'int8':
    pytest.skip('The kernel of TPUs, whose pages these are, reads no scales of tokens.')
  pages = cache.empty_pages(config(), 5, PAGE, joined=joined, kv_dtype=kv_dtype)
  keys, values = normal(2, 2, 6, KV_HEADS, HEAD)
  at = jnp.array([3, 3, 3, 3, 1, 1]), jnp.array([0, 1, 2, 3, 0, 1])
  pages = pages.write(1, *at, keys, values)
  got = pages.read(1, jnp.array([3, 1]), jnp.float32)
  for found, given in zip(got, (keys, values), strict=True):
    assert found.shape == (2 * PAGE, KV_HEADS, HEAD) and not found[6:].any()
    step = dict(model=0.0, int8=np.abs(given).max(-1, keepdims=True) / 254, fp8=np.abs(
        given) / 16 + 2.0 ** -10)[kv_dtype]
    assert (np.abs(found[:6] - given) <= step * 1.001).all()
    assert (kv_dtype == 'model') == (np.asarray(found[:6]) == given).all()
  # All other pages, and the other layer, are as empty as they were; a copied page is the same one.
  assert not any(x.any() for x in pages.read(0, jnp.arange(5), jnp.float32))
  assert not any(x.any() for x in pages.read(1, jnp.array([0, 2, 4]), jnp.float32))
  moved = pages.copy_page(jnp.array([3, 0]), jnp.array([4, 0])).read(1, jnp.array([4]), jnp.float32)
  for copied, found in zip(moved, got, strict=True):
    np.testing.assert_array_equal(copied, found[:PAGE])


@pytest.mark.parametrize('new_tokens', [1, 3])
@pytest.mark.parametrize('kv_dtype', EIGHT_BITS)
def test_paged_attention_is_that_over_what_the_pages_hold(kv_dtype, new_tokens):
  """Slots of different lengths, an idle one among them, one token or several drafts at a time."""
  table = np.array([[3, 7, 2], [1, 5, 4], [6, 8, 0]])
  lengths, active = np.array([6, 0, 3]), np.array([True, True, False])
  q = normal(3, 3, new_tokens, HEADS, HEAD)
  k, v = normal(4, 2, 3, new_tokens, KV_HEADS, HEAD)

  @jax.jit
  def run(old, q, k, v):
    pages = cache.empty_pages(config(), 9, PAGE, kv_dtype=kv_dtype)
    ids = jnp.repeat(jnp.arange(9), PAGE), jnp.tile(jnp.arange(PAGE), 9)
    pages = pages.write(1, *ids, *old)
    return attention.decode(table, lengths, active)(1, q, k, v, pages)

  out, pages = run(normal(5, 2, 9 * PAGE, KV_HEADS, HEAD), q, k, v)
  keys, values = by_hand(pages, 1, table)
  for slot in np.flatnonzero(active):
    for t in range(new_tokens):
      expected = dense(q[slot, t], keys[slot], values[slot], lengths[slot] + t + 1)
      np.testing.assert_allclose(out[slot, t], expected, atol=2e-6)
  assert not out[2].any()


@pytest.mark.parametrize('kv_dtype', EIGHT_BITS)
def test_a_prompt_reads_its_own_keys_as_later_tokens_do(kv_dtype):
  """Prefill is decoding token by token; pages in no order, the last one partly filled."""
  number, ids, table = 6, jnp.array([4, 2]), np.array([[4, 2, 0]])
  q, (k, v) = normal(6, 1, 8, HEADS, HEAD), normal(7, 2, 1, 8, KV_HEADS, HEAD)
  empty = cache.empty_pages(config(), 5, PAGE, kv_dtype=kv_dtype)
  segments = (np.arange(8) < number).astype(np.int32)[None]
  out, whole = jax.jit(lambda: attention.prefill(segments, ids)(0, q, k, v, empty))()
  keys, values = by_hand(whole, 0, table)
  expected = [dense(q[0, t], keys[0], values[0], t + 1) for t in range(number)]
  np.testing.assert_allclose(out[0, :number], expected, atol=2e-6)
  assert np.abs(keys[0, :number] - k[0, :number]).max() > 1e-3
  step = jax.jit(lambda pages, t, q, k, v: attention.decode(table, t[None], np.array([True]))(
      0, q, k, v, pages))
  pages = empty
  for t in range(number):
    one, pages = step(pages, t, *(x[:, t:t + 1] for x in (q, k, v)))
    np.testing.assert_allclose(one[0, 0], expected[t], atol=2e-6)
  for a, b in zip(pages.read(0, ids, jnp.float32), whole.read(0, ids, jnp.float32), strict=True):
    np.testing.assert_array_equal(a[:number], b[:number])


@pytest.mark.parametrize('dtype, kv_dtype, expected', [
    ('bfloat16', 'model', 163_840), ('bfloat16', 'fp8', 81_920),
    ('bfloat16', 'int8', 81_920 * 33 // 32), ('float32', 'model', 327_680),
    ('float32', 'int8', 81_920 * 33 // 32)])
def test_bytes_of_a_token_are_those_of_the_pages(dtype, kv_dtype, expected):
  """The model of 24B; nothing is allocated."""
  small = config(layers=40, kv_heads=8, heads=32, head_dim=128, dtype=dtype)
  assert cache.token_bytes(small, kv_dtype) == expected
  pages = jax.eval_shape(lambda: cache.empty_pages(small, 3, 16, kv_dtype=kv_dtype))
  taken = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pages))
  assert taken == 3 * 16 * expected


@pytest.mark.parametrize('kv_dtype, kv_heads, words', [
    ('int8', 2, "set it to 'fp8' or 'model'"),
    ('fp8', 1, 'needs an even number of kv heads on every TPU')])
def test_what_the_kernel_of_tpus_cannot_read_is_refused(kv_dtype, kv_heads, words):
  with pytest.raises(ValueError, match=f"^sampler.kv_dtype='{kv_dtype}' .*{words}"):
    kernels.check_pages(kv_dtype, kv_heads)
  kernels.check_pages('model', kv_heads)
  kernels.check_pages('fp8', 2 * kv_heads)
