"""The policy: one decoder, one forward pass, for packed rows and for a paged cache.

Axes: L layers, B rows or slots, T tokens, D width, E experts, k experts of a token, V vocabulary.
The flax module is split once. Everything else is a function of a plain parameter tree, nested
dicts:

    {'embed': [V, D], 'layers': {'attention': {'q': [L, D, N, H], ...}, 'ffn': {...}, ...},
     'norm': [D], 'output': [D, V] unless tied, 'vision' and 'adapter' (vision.py) for images}

With experts, 'layers' has 'moe' (moe.py) in place of 'ffn'.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from magistral_jax.models import attention, moe, vision
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.layers import Layers, rms_norm, rotary
from magistral_jax.models.parameters import weight
from magistral_jax.sharding import Layout

REMAT = {
    'none': None,
    'full': jax.checkpoint_policies.nothing_saveable,
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    # The attention kernel's output and what its gradient needs; all else as in 'full'.
    'attention': jax.checkpoint_policies.save_only_these_names('attention'),
    # And most of the products: queries, keys, values, and the two that go into the feed-forward's
    # gate.
    'ffn': jax.checkpoint_policies.save_only_these_names('attention', 'qkv', 'ffn'),
}


class Decoder(nnx.Module):
  """Embedding, stacked layers run by a scan, final norm; the head is applied by the caller."""

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    self.config = config
    self.embed = weight(rngs, (config.vocab, config.dim), ('vocab', 'embed'), fan_in=config.dim)
    self.layers = Layers(config, rngs=rngs)
    self.norm = weight(rngs, (config.dim,), (None,))
    if not config.tied:
      self.output = weight(rngs, (config.dim, config.vocab), ('embed', 'vocab'), fan_in=config.dim)
    if config.vision:
      self.vision = vision.Tower(config.vision, rngs=rngs)
      self.adapter = vision.Adapter(config, rngs=rngs)

  def __call__(self, tokens, positions, attend, cache=None, **how):
    """Hidden states [B, T, D] and the cache; `routed` documents the arguments."""
    return self.routed(tokens, positions, attend, cache, **how)[:2]

  def routed(self, tokens, positions, attend, cache=None, *, real=None,
             layout: Layout | None = None, remat='none', unroll=1, images=None, routes=None):
    """Hidden states after the final norm.

    Args:
      tokens, positions: [B, T] int32.
      attend: one of the forms in attention.py.
      cache: pages that `attend` carries from layer to layer and updates in place; None in training.
      real: [B, T] bool, False for padding and idle slots, which experts then skip; None: all real.
      remat: a key of REMAT, which names the intermediate results that the backward pass keeps.
      unroll: layers compiled one after another in one turn of the scan; more take longer to compile
        and, on CPUs, run faster.
      images: the images among the tokens: the arguments of `encode`, and `index` [B, T] int32, i
        where a token takes the i-th embedding of its row, counted from 1, else 0. None: text alone.
      layout: mesh and table by which rows and positions are cut; None leaves it to the compiler.
      routes: [B, T, L k] integers, the experts that every token takes, layer by layer; None: those
        that the routers choose.
    Returns:
      [B, T, D] in the compute dtype; the cache; router logits [L, B, T, E] float32, None where
      there are no experts.
    """
    c = self.config
    x = self.embed[...].astype(c.dtype)[tokens]
    if images is not None:
      images = dict(images)
      index = images.pop('index')
      x = vision.mix(x, self.encode(**images, remat=remat, unroll=unroll, layout=layout), index)
    # Pinned between all layers: else the compiler may gather tokens where weights are smaller.
    pin = lambda x: layout.pin(x, 'row', 'position', None) if layout else x
    x = pin(x)
    cos_sin = rotary(positions, c.head_dim, c.rope_theta)
    real = jnp.ones(tokens.shape, bool) if real is None else real
    # A kernel cannot read a slice in place. Experts therefore stay in their stacks while sampling,
    # where a copy would be three quarters of the bytes of a step. In training they are sliced,
    # because gradients are added up slice by slice.
    whole = lambda path, _: cache is not None and 'moe' in path and 'gate' not in path
    graphdef, held, stacked = nnx.split(self.layers, whole, ...)

    def layer(carry, xs):
      x, cache = carry
      index, weights, chosen = xs
      x, cache, routing = nnx.merge(graphdef, held, weights)(
          x, cos_sin, attend, index, cache, real, layout, chosen)
      return (pin(x), cache), routing

    if REMAT[remat] is not None:
      layer = jax.checkpoint(layer, policy=REMAT[remat], prevent_cse=False)
    if isinstance(self.layers.attention_norm.get_value(), tuple):   # apart.py
      for index in range(c.layers):
        own = jax.tree.map(lambda arrays, i=index: arrays[i], stacked,
                           is_leaf=lambda x: isinstance(x, tuple))
        (x, cache), _ = layer((x, cache), (index, own, None))
      return rms_norm(x, self.norm[...], c.norm_eps), cache, None
    # The cache is carried, not scanned over: a scanned cache is copied whole at every step.
    (x, cache), routing = jax.lax.scan(
        layer, (x, cache), (jnp.arange(c.layers), stacked, by_layer(routes, c.layers)),
        unroll=unroll)
    return rms_norm(x, self.norm[...], c.norm_eps), cache, routing

  def encode(self, pixels, segments, coordinates, remat='none', unroll=1,
             layout: Layout | None = None):
    """The embeddings of packed images.

    Args:
      pixels: [B, S, C P P] uint8, patches of a row's images one after another. Where patches are
        merged, the patches of one token are neighbours, row by row.
      segments: [B, S] int32, the number of the image in its row, counted from 1; 0 is padding.
      coordinates: [B, S, 2] int32, row and column of the patch in its image.
      remat, unroll, layout: as in `routed`; only rows are cut by the layout.
    Returns:
      [B, S / M, D] in the compute dtype; the embeddings of padding mean nothing.
    """
    pin = lambda x: layout.pin(x, 'row', None, None) if layout else x
    x = pin(vision.normalise(pixels, self.config.dtype))
    x = self.vision(x, segments, coordinates, remat=REMAT[remat], unroll=unroll, pin=pin)
    return pin(self.adapter(x))


@functools.cache
def definition(config: ModelConfig):
  """The decoder without its arrays (graphdef), and the parameter tree of axis names."""
  model = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
  graphdef, state = nnx.split(model)
  axes = jax.tree.map(lambda v: v.axes, state, is_leaf=lambda v: isinstance(v, nnx.Variable))
  return graphdef, nnx.to_pure_dict(axes)


def abstract(config: ModelConfig):
  """The parameter tree as shapes, nothing allocated."""
  model = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
  return nnx.to_pure_dict(nnx.state(model))


def init(config: ModelConfig, seed: int):
  """A freshly drawn parameter tree."""
  return nnx.to_pure_dict(nnx.state(Decoder(config, rngs=nnx.Rngs(seed))))


def bind(config: ModelConfig, params) -> Decoder:
  """The decoder with `params` as its weights."""
  return nnx.merge(definition(config)[0], nnx.State(params))


def by_layer(routes, layers: int):
  """Routes [..., L k], layer by layer, as [L, ..., k]; None stays None."""
  if routes is None:
    return None
  return jnp.moveaxis(routes.reshape(*routes.shape[:-1], layers, -1), -2, 0)


def chosen(routing, k: int):
  """Routes [..., L k] uint8: the k experts that routers with logits [L, ..., E] choose."""
  experts = jnp.moveaxis(moe.route(routing, k)[0], 0, -2)
  return experts.reshape(*experts.shape[:-2], -1).astype(jnp.uint8)


def forward_rows(config: ModelConfig, params, tokens, positions, segments, images=None, **how):
  """Hidden states [B, T, D] of packed rows; tokens, positions, segments: [B, T].

  Args:
    images: images of the rows, as in `Decoder.routed`.
    how: layout, remat, unroll and routes of `Decoder.routed`; continues as for `attention.rows`.
  """
  return routed_rows(config, params, tokens, positions, segments, images, **how)[0]


def routed_rows(config: ModelConfig, params, tokens, positions, segments, images=None, *,
                layout: Layout | None = None, continues=None, **how):
  """Hidden states of `forward_rows`, and router logits [L, B, T, E] float32 or None without any."""
  hidden, _, routing = bind(config, params).routed(
      tokens, positions, attention.rows(segments, layout, continues), images=images,
      real=segments > 0, layout=layout, **how)
  return hidden, routing


def head(params):
  """The output matrix [D, V]: the embedding's transpose in a tied model."""
  return params['output'] if 'output' in params else params['embed'].T


@jax.named_scope('logits')
def logits(params, hidden):
  """Logits [..., V] float32 of hidden states [..., D]."""
  return jnp.einsum('...d,dv->...v', hidden, head(params).astype(hidden.dtype),
                    preferred_element_type=jnp.float32)
