"""The paged key-value cache: a pool of pages, and tables that say which page holds what.

Axes: L layers, P pages, S tokens of a page, K kv heads, H head size.

  sequence a of 6 tokens, pages of 4:   table [3 7 0 0]   page 3: a0 a1 a2 a3   page 7: a4 a5 - -
Page 0 belongs to nobody: what idle slots and padding write goes there and is never read.
A token's keys are contiguous ([K, H] last), so that writing one is one copy. The TPU kernel wants
keys and values in one pool, head by head: JoinedPages.
"""

import dataclasses

import jax
import jax.numpy as jnp

from magistral_jax.models.config import ModelConfig

AXES = ('layers', None, None, 'kv_heads', None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pages:
  """Keys and values of every page, both [L, P, S, K, H]."""
  keys: jax.Array
  values: jax.Array

  @property
  def page_tokens(self) -> int:
    return self.keys.shape[2]

  def write(self, layer, page, offset, keys, values):
    """Writes tokens [n, K, H] at (page [n], offset [n]) of one layer."""
    at = lambda pool, new: pool.at[layer, page, offset].set(new.astype(pool.dtype))
    return Pages(at(self.keys, keys), at(self.values, values))

  def copy_page(self, source, target):
    """Copies whole pages, source [n] to target [n], in all layers."""
    copy = lambda pool: pool.at[:, target].set(pool[:, source])
    return Pages(copy(self.keys), copy(self.values))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JoinedPages:
  """Keys and values of every page in one array [L, P, S, 2 K, H], heads as k0 v0 k1 v1 ..."""
  heads: jax.Array

  @property
  def page_tokens(self) -> int:
    return self.heads.shape[2]

  def write(self, layer, page, offset, keys, values):
    """As Pages.write."""
    new = jnp.stack([keys, values], axis=2).reshape(keys.shape[0], -1, keys.shape[2])
    return JoinedPages(self.heads.at[layer, page, offset].set(new.astype(self.heads.dtype)))

  def copy_page(self, source, target):
    """As Pages.copy_page."""
    return JoinedPages(self.heads.at[:, target].set(self.heads[:, source]))


def empty_pages(config: ModelConfig, pages: int, page_tokens: int, *, joined: bool = False):
  """A pool of `pages` empty pages of `page_tokens` tokens, page 0 included."""
  if joined:
    shape = (config.layers, pages, page_tokens, 2 * config.kv_heads, config.head_dim)
    return JoinedPages(jnp.zeros(shape, config.dtype))
  shape = (config.layers, pages, page_tokens, config.kv_heads, config.head_dim)
  # Two buffers: a donated state must not hold one buffer twice.
  return Pages(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype))
