"""The paged key-value cache: a pool of pages, and tables that say which page holds what.

Axes: L layers, P pages, S tokens of a page, K kv heads, H head size.

  sequence a of 6 tokens, pages of 4:   table [3 7 0 0]   page 3: a0 a1 a2 a3   page 7: a4 a5 - -
Page 0 belongs to no sequence: idle slots and padding write to it, and it is never read.
The keys of a token are contiguous ([K, H] last), so that writing one token is one copy. The TPU
kernel needs keys and values in one pool, head by head, which is JoinedPages.
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
    """Tokens of a page, S."""
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
  shape = (config.layers, pages, page_tokens, config.kv_heads, config.head_dim)
  # Two separate buffers, since a donated state must not hold one buffer twice.
  return Pages(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype))
