"""A mixture of experts: a router chooses a few feed-forwards for every token.

Axes: B rows, T tokens, n = B T, D width, E experts, F ffn, k experts of a token.

With g = x gate [E] and C the k largest entries of g:
    y = sum over e in C of softmax(g over C)_e  w2_e (silu(w1_e x) * w3_e x)
C can also be given (`routes`): those that another program chose for the same tokens.
Tokens are sorted by expert, so that one grouped product serves all experts. No token is ever
dropped. Padding and idle slots choose no expert: they have no row in any product and give zeros.

The rows of a device's experts are as many as the routers say, at most n min(k, experts at hand).
Products skip what is empty, but moving rows and gating them would touch all of it, four times what
an even routing of Mixtral over 4 devices fills. So there are two programs: one with room for ROOM
times the rows of an even routing, and the other, which a device takes where its experts get more.

Over several devices (sharding.py) each device holds some of the experts, and a slice of F of each:

    trainer   tokens are cut over the expert axis, too: the devices of the axis gather their tokens,
              compute the part of their own experts for all of them, and reduce while scattering
    sampler   every device has all tokens: as above, with nothing to gather

A gather moves (p - 1) n D numbers for p devices of the expert axis where an exchange of single
tokens would move about k n D (p - 1) / p: the same for p = 2, and 2 times as much for p = 4, k = 2,
but without buffers for the worst routing and without waiting for the busiest device twice. For
Mixtral on v5p (about 180 GB/s along one ring, 459 TFLOP/s) and p = 4, that is 0.14 us per token and
layer in each direction against 1.5 us of its products; cutting only the experts' weights instead
would gather 2.8 GB per layer, 16 ms, whatever the number of tokens.
Reference: arXiv:2401.04088 section 2.1.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from magistral_jax.models import grouped
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.parameters import weight
from magistral_jax.models.projection import gather, scatter
from magistral_jax.sharding import Layout

# Rows of the usual program, of those of an even routing, and rows that a program of its own must
# spare to be worth compiling.
ROOM, WORTH = 1.5, 4096
# Rows that kernels take at once: rows of a program are a multiple of them.
_WHOLE = 512


def route(logits, k, chosen=None):
  """Indices [..., k] int32 of the k largest router logits [..., E], and their softmax [..., k].

  The softmax is taken in float32. It equals the softmax over all E, restricted to the k largest and
  divided by their sum.

  Args:
    chosen: [..., k] integers, the experts to take instead of those of the largest logits.
  """
  logits = logits.astype(jnp.float32)
  if chosen is None:
    top, chosen = jax.lax.top_k(logits, k)
  else:
    chosen = chosen.astype(jnp.int32)
    # A sum over a comparison: the gradient of a gather would add into scattered numbers.
    taken = chosen[..., None] == jnp.arange(logits.shape[-1])
    top = jnp.sum(jnp.where(taken, logits[..., None, :], 0.0), axis=-1)
  return chosen, jax.nn.softmax(top, axis=-1)


def only_real(chosen, real, experts):
  """The choices [B, T, k] of real tokens; others get the number `experts`, which no device holds.

  Args:
    real: [B, T] bool, False for padding and idle slots.
    experts: E.
  """
  return jnp.where(real[..., None], chosen, experts)


def mixture(x, chosen, share, w1, w3, w2, layout: Layout | None, layer=None):
  """Outputs [B, T, D] of the chosen experts, weighted and added up.

  Args:
    x: [B, T, D].
    chosen: [B, T, k] int32, E for no expert.
    share: [B, T, k] float32, weight of each chosen expert.
    w1, w3: [E, D, F]; w2: [E, F, D]; or stacks of all layers, [L, E, ...], which are not copied.
    layout: the mesh that the arrays lie on; None for a single device.
    layer: [] int32 index into L; None without a stack.
  """
  if layer is None:
    w1, w3, w2, layer = w1[None], w3[None], w2[None], 0
  if layout is None:
    return _local(x, chosen, share, w1, w3, w2, layer, experts=w1.shape[1],
                  kernel=grouped.best_kernel(jax.default_backend()))
  tokens = layout.spec('row', 'position', None)
  inner = layout.spec(None, 'expert', 'expert_embed', 'expert_ffn')
  outer = layout.spec(None, 'expert', 'expert_ffn', 'expert_embed')
  body = functools.partial(_shared, layout=layout, kernel=grouped.best_kernel(layout.platform))
  # Sums are scattered, never replicated, so that the transpose of each is a plain gather and
  # shard_map need not know which values are equal on which devices (kernels cannot declare it).
  return jax.shard_map(
      body, mesh=layout.mesh, in_specs=(tokens, tokens, tokens, inner, inner, outer, layout.spec()),
      out_specs=layout.spec('row', 'position', 'expert_out'),
      check_vma=False)(x, chosen, share, w1, w3, w2, layer)


def _shared(x, chosen, share, w1, w3, w2, layer, *, layout, kernel):
  """The part of one device: its own experts, for its own tokens and those of its expert axis."""
  together = [axis for axis in layout.cuts('expert') if axis in layout.cuts('row')]
  x, chosen, share = (gather(a, together, 0) for a in (x, chosen, share))
  embed = layout.cuts('expert_embed')
  w1, w3, w2 = gather(w1, embed, 2), gather(w3, embed, 2), gather(w2, embed, 3)
  experts = w1.shape[1]
  if layout.cuts('expert'):
    chosen = chosen - experts * jax.lax.axis_index(layout.cuts('expert'))
    experts *= jax.lax.axis_size(layout.cuts('expert'))
  out = _local(x, chosen, share, w1, w3, w2, layer, experts=experts, kernel=kernel)
  # The first scatter sends sums to the devices that own the tokens; the second adds up, for the
  # same tokens, what devices with other slices of F or other experts computed.
  return scatter(scatter(out, together, 0), layout.cuts('expert_out'), 2)


def _local(x, chosen, share, w1, w3, w2, layer, *, experts, kernel):
  """Contribution [B, T, D] of the experts at hand, w1 [L, E', D, F] at `layer`.

  Args:
    chosen: [B, T, k], counted from the first expert at hand; other experts lie outside 0 .. E' - 1.
    experts: E, those of all devices.
  """
  k, (layers, here) = chosen.shape[-1], w1.shape[:2]
  expert = jnp.where((chosen >= 0) & (chosen < here), chosen, here).reshape(-1)
  order = jnp.argsort(expert, stable=True)
  row_of = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)), unique_indices=True)
  sizes = jnp.sum(expert[:, None] == jnp.arange(here), axis=0, dtype=jnp.int32)
  # The experts of other layers have no rows, and so cost nothing.
  of_all = jax.lax.dynamic_update_slice(jnp.zeros(layers * here, jnp.int32), sizes, [layer * here])
  weights = (w.reshape(-1, *w.shape[2:]) for w in (w1, w3, w2))
  operands = x, share, order, row_of, of_all, *weights
  usual, most = buffers(len(order) // k, k, here, experts)
  ordinary = functools.partial(_feed_forward, rows=usual, kernel=kernel)
  if usual == most:
    return ordinary(*operands)
  # Nothing of the second is kept for the backward pass: memory would have to hold it, taken or not.
  crowded = jax.checkpoint(functools.partial(_crowded, rows=most, kernel=kernel))
  return jax.lax.cond(jnp.sum(sizes) <= usual, ordinary, crowded, *operands)


def buffers(tokens, k, here, experts) -> tuple[int, int]:
  """Rows of the usual program and of the one that any routing fits; equal where one is enough.

  Args:
    tokens: n, of the devices that share the experts.
    here: experts of a device, of all `experts`.
  """
  # The experts of a token differ, so there are at most this many rows, whatever the router chooses.
  most = tokens * min(k, here)
  usual = -(-int(ROOM * tokens * k * here / experts) // _WHOLE) * _WHOLE
  return (usual, most) if most - usual >= WORTH else (most, most)


def _feed_forward(x, share, order, row_of, sizes, w1, w3, w2, *, rows, kernel, named='ffn'):
  """The output [B, T, D] of rows in the order of their experts, in a buffer of `rows`.

  Args:
    order: [n k] which choices of a token stand in the rows; row_of: [n k] its inverse.
    sizes: [L E'] rows of every expert.
    named: of the two products before the gate, so that rematerialisation can keep them
      (decoder.py).
  """
  (b, t, d), k = x.shape, share.shape[-1]
  order = order[:rows]
  product = functools.partial(grouped.product, sizes=sizes, kernel=kernel)
  h = _move(x.reshape(-1, d), order // k, row_of, k)
  gate, up = (checkpoint_name(product(h, w), named) for w in (w1, w3))
  # Weighed before the last product, so that its result is not needed for the weights' gradient.
  weighed = jax.nn.silu(gate) * up * _move(share.reshape(-1, 1), order, row_of, 1)
  # Rows past the last group give zeros here; rows past the buffer are read as zeros.
  y = _move(product(weighed.astype(x.dtype), w2), row_of, order, 1).reshape(b, t, k, d)
  return jnp.sum(y, axis=2, dtype=jnp.float32).astype(x.dtype)


@jax.named_scope('crowded')       # planning/cost.py leaves it out.
def _crowded(*operands, rows, kernel):
  return _feed_forward(*operands, rows=rows, kernel=kernel, named='crowded')


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _move(x, source, target, copies):
  """Rows x[source]; row i of x goes to rows target[i copies : (i + 1) copies] of the result.

  The gradient gathers by `target`, where the gradient of a plain x[source] would add up into
  scattered rows. An index beyond the end reads zeros.
  """
  del target, copies
  return x.at[source].get(mode='fill', fill_value=0)


def _move_forward(x, source, target, copies):
  return _move(x, source, target, copies), target


def _move_backward(copies, target, gradient):
  back = gradient.at[target].get(mode='fill', fill_value=0)
  return jnp.sum(back.reshape(-1, copies, back.shape[-1]), axis=1), None, None


_move.defvjp(_move_forward, _move_backward)


class Experts(nnx.Module):
  """A router and the feed-forwards that it chooses from; replaces layers.FeedForward."""

  def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
    c = config
    self.k = c.experts_per_token
    inner = (c.layers, c.experts, c.dim, c.ffn_dim)
    inner_axes = ('layers', 'expert', 'expert_embed', 'expert_ffn')
    self.gate = weight(rngs, (c.layers, c.dim, c.experts), ('layers', 'embed', None), fan_in=c.dim)
    self.w1 = weight(rngs, inner, inner_axes, fan_in=c.dim)
    self.w3 = weight(rngs, inner, inner_axes, fan_in=c.dim)
    self.w2 = weight(rngs, (c.layers, c.experts, c.ffn_dim, c.dim),
                     ('layers', 'expert', 'expert_ffn', 'expert_embed'),
                     fan_in=2 * c.layers * c.ffn_dim)

  @jax.named_scope('Experts')
  def __call__(self, x, real, layout: Layout | None, layer, routes=None):
    """The output [B, T, D] of layer `layer` for x [B, T, D], and router logits [B, T, E] float32.

    The output is zero where `real` [B, T] is False. The weights are the layer's slices; the three
    matrices may also be the stacks of all layers. `routes` [B, T, k] are experts to take instead of
    the router's own choice; the router still weighs them.
    """
    logits = jnp.matmul(x.reshape(-1, x.shape[-1]), self.gate[...].astype(x.dtype),
                        preferred_element_type=jnp.float32).reshape(*x.shape[:2], -1)
    chosen, share = route(logits, self.k, routes)
    chosen = only_real(chosen, real, logits.shape[-1])
    w1, w3, w2 = (w[...].astype(x.dtype) for w in (self.w1, self.w3, self.w2))
    return mixture(x, chosen, share, w1, w3, w2, layout, layer if w1.ndim == 4 else None), logits
