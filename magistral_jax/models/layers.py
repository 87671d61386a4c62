"""The parts of a decoder layer: norm, rotary positions, attention, feed-forward.

Axes: L layers, B rows, T tokens, D width, N query heads, K kv heads, H head size, F ffn.
Weights of all layers are stacked: every array starts with L. A weight is declared once
(parameters.py), and sharding, checkpoints and conversion are derived from the declaration.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from magistral_jax.models.config import ModelConfig
from magistral_jax.models.moe import Experts
from magistral_jax.models.parameters import weight
from magistral_jax.models.projection import project


def rms_norm(x, scale, eps):
  """Root-mean-square norm, x / rms(x) * scale over the last axis, computed in float32."""
  x32 = x.astype(jnp.float32)
  x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
  return x32.astype(x.dtype) * scale.astype(x.dtype)


def rotary(positions, head_dim, theta):
  """Cosine and sine, both [B, T, 1, H/2] float32, of the angles position * theta^(-2i/H)."""
  frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
  angle = positions[..., None, None].astype(jnp.float32) * frequency
  return jnp.cos(angle), jnp.sin(angle)


def rotate(x, cos_sin):
  """Rotates the pairs (i, i + H/2) of x [B, T, heads, H], as Hugging Face checkpoints have them."""
  cos, sin = cos_sin
  left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], -1).astype(x.dtype)


class Attention(nnx.Module):
  """Grouped-query attention with rotary positions; no biases."""

  # Names of the axes of the matrices.
  Q, KV, O = ('embed', 'heads', None), ('embed', 'kv_heads', None), ('heads', None, 'embed')

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    c = config
    queries, keys = (c.layers, c.dim, c.heads, c.head_dim), (c.layers, c.dim, c.kv_heads,
                                                             c.head_dim)
    self.q = weight(rngs, queries, ('layers', *self.Q), fan_in=c.dim)
    self.k = weight(rngs, keys, ('layers', *self.KV), fan_in=c.dim)
    self.v = weight(rngs, keys, ('layers', *self.KV), fan_in=c.dim)
    self.o = weight(rngs, (c.layers, c.heads, c.head_dim, c.dim), ('layers', *self.O),
                    fan_in=2 * c.layers * c.heads * c.head_dim)

  @jax.named_scope('Attention')
  def __call__(self, x, cos_sin, attend, layer, cache, layout=None):
    """The output [B, T, D] for x [B, T, D], and the cache; the weights are one layer's slices."""
    # Named, so that rematerialisation can keep them (decoder.py).
    q, k, v = (checkpoint_name(project(x, w.get_value(), axes, layout), 'qkv')
               for w, axes in ((self.q, self.Q), (self.k, self.KV), (self.v, self.KV)))
    out, cache = attend(layer, rotate(q, cos_sin), rotate(k, cos_sin), v, cache)
    return project(out, self.o.get_value(), self.O, layout), cache


class FeedForward(nnx.Module):
  """Gated feed-forward w2(silu(w1 x) * w3 x), with Mistral's names for the three matrices."""

  # Names of the axes of the matrices.
  INNER, OUTER = ('embed', 'ffn'), ('ffn', 'embed')

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    c = config
    inner = (c.layers, c.dim, c.ffn_dim)
    self.w1 = weight(rngs, inner, ('layers', *self.INNER), fan_in=c.dim)
    self.w3 = weight(rngs, inner, ('layers', *self.INNER), fan_in=c.dim)
    self.w2 = weight(rngs, (c.layers, c.ffn_dim, c.dim), ('layers', *self.OUTER),
                     fan_in=2 * c.layers * c.ffn_dim)

  @jax.named_scope('FeedForward')
  def __call__(self, x, layout=None):
    """The output [B, T, D] for x [B, T, D]; the weights are one layer's slices."""
    # Named, so that rematerialisation can keep them (decoder.py).
    gate, up = (checkpoint_name(project(x, w.get_value(), self.INNER, layout), 'ffn')
                for w in (self.w1, self.w3))
    return project(jax.nn.silu(gate) * up, self.w2.get_value(), self.OUTER, layout)


class Layers(nnx.Module):
  """All layers of a decoder, stacked; `__call__` computes one layer from that layer's slices."""

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    self.eps = config.norm_eps
    self.attention_norm = weight(rngs, (config.layers, config.dim), ('layers', None))
    self.attention = Attention(config, rngs=rngs)
    self.ffn_norm = weight(rngs, (config.layers, config.dim), ('layers', None))
    if config.experts:
      self.moe = Experts(config, rngs=rngs)
    else:
      self.ffn = FeedForward(config, rngs=rngs)

  def __call__(self, x, cos_sin, attend, layer, cache, real=None, layout=None,
               routes=None):
    """The output [B, T, D], the cache, and router logits [B, T, E], None without experts.

    Args:
      x: [B, T, D].
      cos_sin: as `rotary` returns them.
      attend, cache: one of the forms in attention.py, and what it carries.
      layer: [] int32, number of the layer.
      real: [B, T] bool, False for tokens that experts skip; only experts read it.
      layout: mesh and table by which weights and activations are cut.
      routes: [B, T, k] experts to take instead of the router's own choice.
    """
    out, cache = self.attention(rms_norm(x, self.attention_norm[...], self.eps), cos_sin, attend,
                                layer, cache, layout)
    x = x + out
    normed = rms_norm(x, self.ffn_norm[...], self.eps)
    if not hasattr(self, 'moe'):
      return x + self.ffn(normed, layout), cache, None
    out, routing = self.moe(normed, real, layout, layer, routes)
    return x + out, cache, routing
