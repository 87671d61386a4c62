"""The paged key-value cache: a pool of pages, and tables that say which page holds what.

Axes: L layers, P pages, S tokens of a page, K kv heads, H head size.

  sequence a of 6 tokens, pages of 4:   table [3 7 0 0]   page 3: a0 a1 a2 a3   page 7: a4 a5 - -
Page 0 belongs to no sequence: idle slots and padding write to it, and it is never read.
A page holds its keys as the second factor of queries times keys, and its values as that of weights
times values, so that CPUs multiply with what they read. The TPU kernel needs keys and values in one
pool, head by head, which is JoinedPages.

Keys and values may be held in eight bits, so that the same memory has room for about twice the
tokens of bfloat16 (config.KV_DTYPES):
  int8   round(x / s) with s = max |x| / 127 of one token and head, which lies beside it in float32
  fp8    x with 4 bits of exponent and 3 of mantissa (float8_e4m3fn), cut to 448 in size
A prompt reads the rounded ones, too, as the tokens after it do: what lies in the pages of a
sequence does not depend on whether its tokens were prefilled or drawn.
"""

import dataclasses

import jax
import jax.numpy as jnp

from magistral_jax.models.config import ModelConfig

# The largest key or value of a token falls on this integer.
LARGEST = 127
_EIGHT_BITS = dict(int8=jnp.int8, fp8=jnp.float8_e4m3fn)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pages:
  """Keys [L, P, K, H, S] and values [L, P, K, S, H] of every page; scales [L, P, K, S] of int8."""
  keys: jax.Array
  values: jax.Array
  key_scales: jax.Array | None = None
  value_scales: jax.Array | None = None

  axes = ('layers', None, 'kv_heads', None, None)   # Of each; scales have no last one.

  @property
  def dtype(self):
    """How keys and values are held."""
    return self.values.dtype

  @property
  def page_tokens(self) -> int:
    """Tokens of a page, S."""
    return self.values.shape[3]

  def write(self, layer, page, offset, keys, values):
    """Writes tokens [n, K, H] at (page [n], offset [n]) of one layer."""
    keys, key_scales = rounded(keys, self.keys.dtype)
    values, value_scales = rounded(values, self.values.dtype)
    put = lambda pool, new: None if pool is None else pool.at[layer, page, :, offset].set(new)
    return Pages(self.keys.at[layer, page, :, :, offset].set(keys), put(self.values, values),
                 put(self.key_scales, key_scales), put(self.value_scales, value_scales))

  def read(self, layer, page, dtype):
    """Keys and values [n S, K, H] in `dtype`, of whole pages [n] of one layer, one after another.
    """
    def joined(held, scales):
      held = held.astype(dtype)
      if scales is not None:
        held = (held * scales[layer, page][..., None]).astype(dtype)
      return held.swapaxes(1, 2).reshape(-1, held.shape[1], held.shape[3])
    return (joined(self.keys[layer, page].swapaxes(2, 3), self.key_scales),
            joined(self.values[layer, page], self.value_scales))

  def copy_page(self, source, target):
    """Copies whole pages, source [n] to target [n], in all layers."""
    return jax.tree.map(lambda pool: pool.at[:, target].set(pool[:, source]), self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JoinedPages:
  """Keys and values of every page in one array [L, P, S, 2 K, H], heads as k0 v0 k1 v1 ..."""
  heads: jax.Array

  axes = ('layers', None, None, 'kv_heads', None)

  @property
  def dtype(self):
    """How keys and values are held."""
    return self.heads.dtype

  @property
  def page_tokens(self) -> int:
    """Tokens of a page, S."""
    return self.heads.shape[2]

  def write(self, layer, page, offset, keys, values):
    """Writes tokens as Pages.write does."""
    new = jnp.stack([keys, values], axis=2).reshape(keys.shape[0], -1, keys.shape[2])
    new, _ = rounded(new, self.heads.dtype)
    return JoinedPages(self.heads.at[layer, page, offset].set(new))

  def read(self, layer, page, dtype):
    """Keys and values as Pages.read has them."""
    held = self.heads[layer, page].astype(dtype)
    held = held.reshape(-1, *held.shape[2:])
    return held[:, ::2], held[:, 1::2]

  def copy_page(self, source, target):
    """Copies whole pages as Pages.copy_page does."""
    return JoinedPages(self.heads.at[:, target].set(self.heads[:, source]))


def rounded(x, dtype):
  """Keys or values [..., H] as pages of `dtype` hold them, and their scales [...] or None."""
  if dtype == jnp.int8:
    x = x.astype(jnp.float32)
    # A token of zeros has a scale, too: nothing is divided by zero.
    scales = jnp.maximum(jnp.abs(x).max(-1), 1e-30) / LARGEST
    return jnp.round(x / scales[..., None]).astype(dtype), scales
  if dtype == jnp.float8_e4m3fn:
    # It has no infinity: what is larger would become no number.
    largest = float(jnp.finfo(dtype).max)
    x = jnp.clip(x, -largest, largest)
  return x.astype(dtype), None


def held_dtype(config: ModelConfig, kv_dtype: str):
  """The dtype of pages; kv_dtype: a word of config.KV_DTYPES."""
  return jnp.dtype(_EIGHT_BITS.get(kv_dtype, config.dtype))


def token_bytes(config: ModelConfig, kv_dtype: str) -> int:
  """Bytes of one token in the cache, over all layers, scales included."""
  held = held_dtype(config, kv_dtype)
  scale = 4 if held == jnp.int8 else 0
  return 2 * config.layers * config.kv_heads * (config.head_dim * held.itemsize + scale)


def empty_pages(config: ModelConfig, pages: int, page_tokens: int, *, joined: bool = False,
                kv_dtype: str = 'model'):
  """A pool of `pages` empty pages of `page_tokens` tokens, page 0 included.

  Args:
    joined: JoinedPages, which the TPU kernel reads, instead of Pages; not of int8.
    kv_dtype: a word of config.KV_DTYPES.
  """
  dtype = held_dtype(config, kv_dtype)
  if joined:
    assert dtype != jnp.int8
    shape = (config.layers, pages, page_tokens, 2 * config.kv_heads, config.head_dim)
    return JoinedPages(jnp.zeros(shape, dtype))
  lead, h = (config.layers, pages, config.kv_heads), config.head_dim
  # Separate buffers, since a donated state must not hold one buffer twice.
  scales = [jnp.zeros((*lead, page_tokens), jnp.float32) if dtype == jnp.int8 else None
            for _ in range(2)]
  return Pages(jnp.zeros((*lead, h, page_tokens), dtype), jnp.zeros((*lead, page_tokens, h), dtype),
               *scales)
