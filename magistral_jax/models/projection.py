"""Products of activations and one layer's matrix, on one device or with weights cut over many.

Axes: B rows, T tokens; those of a weight by their names (sharding.py).

In training a matrix lies in pieces over the devices of 'embed', which cut the activations, too.
Left to itself, the compiler for TPUs gathers such a matrix and adds up its gradient by all-reduces
of the whole of it, which send twice the bytes; it does so with any gather that runs over two axes
of a mesh (described v5p:4x4x4, libtpu 0.0.42). So each device gathers the pieces itself, one axis
of the mesh after another, and the gradient of that scatters its sums back in the same way.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from magistral_jax.sharding import Layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rounded:
  """Matrices of a sampler in eight bits, values times scales; rounded.py makes them."""
  values: jax.Array         # [..., *in, *out] int8.
  scales: jax.Array         # [..., *out] float32.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Turned:
  """A matrix whose inputs come last; apart.py makes them."""
  values: jax.Array         # [*out, *in].


def project(x, w, axes=(), layout: Layout | None = None):
  """Product of x [B, T, *in] and w [*in, *out], in the dtype of x.

  Args:
    w: an array, Rounded or Turned.
    axes: names of the axes of w, None for no cut, of which those of `in` are the axes of x behind
      the first two; 'embed' is whole in activations.
    layout: where rows, positions and w lie; None, or fewer than two mesh axes that cut 'embed',
      leaves it to the compiler.
  """
  inputs = x.ndim - 2
  if isinstance(w, Rounded):
    # Scales are float32: in bfloat16 they would be off by a share of their own.
    return (product(x, w.values.astype(x.dtype), inputs) * w.scales).astype(x.dtype)
  if isinstance(w, Turned):
    out = w.values.shape[:-inputs]
    lead, values = x.shape[:2], w.values.astype(x.dtype).reshape(math.prod(out), -1)
    return jnp.einsum('ni,oi->no', x.reshape(-1, values.shape[1]), values).reshape(*lead, *out)
  w = w.astype(x.dtype)
  # A gather over one axis the compiler makes well, and adds up what tensor axes share only once.
  if layout is None or len(layout.cuts('embed')) < 2:
    return product(x, w, inputs)
  whole = tuple(None if axis == 'embed' else axis for axis in axes)
  summed = tuple(a for axis in whole[:inputs] if axis for a in layout.cuts(axis))
  tokens = ('row', 'position')
  out = layout.spec(*tokens, *whole[inputs:])
  body = functools.partial(_gathered, inputs=inputs, axis=axes.index('embed'),
                           names=layout.cuts('embed'), partial=bool(summed))
  found = jax.shard_map(
      body, mesh=layout.mesh, in_specs=(layout.spec(*tokens, *whole[:inputs]), layout.spec(*axes)),
      out_specs=P(summed, *out) if summed else out, check_vma=False)(x, w)
  # Added up out here, so that the gradient of the sum is no sum again.
  return found.sum(0) if summed else found


def product(x, w, inputs=1):
  """Product of x [..., *in] and w [*in, *out], where `in` are the first `inputs` axes of w.

  The product is taken of flat matrices: with x of three axes, XLA's gradient on CPUs is three times
  slower.
  """
  lead, out = x.shape[:x.ndim - inputs], w.shape[inputs:]
  size = math.prod(w.shape[:inputs])
  flat = x.reshape(-1, size) @ w.reshape(size, -1)
  return flat.reshape(*lead, *out)


def gather(x, names: tuple[str, ...], axis: int):
  """x whole along an axis that the mesh axes `names`, the outermost first, cut; in a shard_map."""
  for name in reversed(names):
    x = jax.lax.all_gather(x, name, axis=axis, tiled=True)
  return x


def scatter(x, names: tuple[str, ...], axis: int):
  """The sums over mesh axes, each device's piece of an axis, which they cut as for `gather`."""
  for name in names:
    x = jax.lax.psum_scatter(x, name, scatter_dimension=axis, tiled=True)
  return x


def _gathered(x, w, *, inputs, axis, names, partial):
  out = product(x, gather(w, names, axis), inputs)
  return out[None] if partial else out
