"""The paged key-value cache: a pool of pages, and tables that say which page holds what.

Axes: L layers, P pages, S tokens of a page, K kv heads, H head size.

  sequence a of 6 tokens, pages of 4:   table [3 7 0 0]   page 3: a0 a1 a2 a3   page 7: a4 a5 - -
Page 0 belongs to no sequence: idle slots and padding write to it, and it is never read.
A page holds its keys as the second factor of queries times keys, and its values as that of weights
times values, so that CPUs multiply with what they read. The TPU kernel needs keys and values in one
pool, head by head, which is JoinedPages.
"""

import dataclasses

import jax
import jax.numpy as jnp

from magistral_jax.models.config import ModelConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pages:
  """Keys [L, P, K, H, S] and values [L, P, K, S, H] of every page."""
  keys: jax.Array
  values: jax.Array

  axes = ('layers', None, 'kv_heads', None, None)   # Of each.

  @property
  def page_tokens(self) -> int:
    """Tokens of a page, S."""
    return self.values.shape[3]

  def write(self, layer, page, offset, keys, values):
    """Writes tokens [n, K, H] at (page [n], offset [n]) of one layer."""
    return Pages(
        self.keys.at[layer, page, :, :, offset].set(keys.astype(self.keys.dtype)),
        self.values.at[layer, page, :, offset].set(values.astype(self.values.dtype)))

  def copy_page(self, source, target):
    """Copies whole pages, source [n] to target [n], in all layers."""
    copy = lambda pool: pool.at[:, target].set(pool[:, source])
    return Pages(copy(self.keys), copy(self.values))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JoinedPages:
  """Keys and values of every page in one array [L, P, S, 2 K, H], heads as k0 v0 k1 v1 ..."""
  heads: jax.Array

  axes = ('layers', None, None, 'kv_heads', None)

  @property
  def page_tokens(self) -> int:
    """Tokens of a page, S."""
    return self.heads.shape[2]

  def write(self, layer, page, offset, keys, values):
    """Writes tokens as Pages.write does."""
    new = jnp.stack([keys, values], axis=2).reshape(keys.shape[0], -1, keys.shape[2])
    return JoinedPages(self.heads.at[layer, page, offset].set(new.astype(self.heads.dtype)))

  def copy_page(self, source, target):
    """Copies whole pages as Pages.copy_page does."""
    return JoinedPages(self.heads.at[:, target].set(self.heads[:, source]))


def empty_pages(config: ModelConfig, pages: int, page_tokens: int, *, joined: bool = False):
  """A pool of `pages` empty pages of `page_tokens` tokens, page 0 included.

  Args:
    joined: JoinedPages, which the TPU kernel reads, instead of Pages.
  """
  if joined:
    shape = (config.layers, pages, page_tokens, 2 * config.kv_heads, config.head_dim)
    return JoinedPages(jnp.zeros(shape, config.dtype))
  lead, h = (config.layers, pages, config.kv_heads), config.head_dim
  # Two separate buffers, since a donated state must not hold one buffer twice.
  return Pages(jnp.zeros((*lead, h, page_tokens), config.dtype),
               jnp.zeros((*lead, page_tokens, h), config.dtype))
