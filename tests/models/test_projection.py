"""Products with matrices that lie in pieces on the devices of the trainer."""
import functools
import re

import jax
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models.layers import Attention, FeedForward
from magistral_jax.models.projection import project

B, T = 8, 8
SIZES = dict(embed=16, heads=4, ffn=24)
MESHES = (dict(fsdp=2, sequence=2, tensor=2), dict(fsdp=2, expert=2, sequence=2), dict(fsdp=8))
MATRICES = (Attention.Q, Attention.O, FeedForward.INNER, FeedForward.OUTER)


def made(axes, layout, seed=0):
  """A matrix, activations for it and what its gradient is asked with, where training has them."""
  whole = [SIZES.get(axis, 3) for axis in axes]
  inputs = 2 if axes == Attention.O else 1
  numbers = np.random.default_rng(seed)
  w, x, ask = (numbers.standard_normal(shape).astype(np.float32)
               for shape in (whole, (B, T, *whole[:inputs]), (B, T, *whole[inputs:])))
  uncut = [None if axis == 'embed' else axis for axis in axes]
  names = (axes, ('row', 'position', *uncut[:inputs]), ('row', 'position', *uncut[inputs:]))
  return [jax.device_put(a, sharding.named(layout.mesh, layout.rules, tuple(n)))
          for a, n in zip((w, x, ask), names, strict=True)]


@functools.cache
def layout_of(sizes):
  devices = jax.devices()[:np.prod([n for _, n in sizes])]
  return sharding.Layout(sharding.make_mesh(devices, **dict(sizes)), sharding.TRAINER)


@pytest.mark.parametrize('sizes', MESHES, ids=str)
@pytest.mark.parametrize('axes', MATRICES, ids=str)
def test_pieces_give_the_product_and_its_gradients(axes, sizes):
  layout = layout_of(tuple(sizes.items()))
  w, x, ask = made(axes, layout)
  inputs = x.ndim - 2
  out, back = jax.jit(lambda x, w, ask: (
      (found := jax.vjp(lambda x, w: project(x, w, axes, layout), x, w))[0], found[1](ask)))(
          x, w, ask)
  each = 'xyz'[:inputs], 'abc'[:w.ndim - inputs]
  product = lambda spec, *arrays: np.einsum(spec, *map(np.float64, arrays))
  np.testing.assert_allclose(
      out, product(f'ij{each[0]},{each[0]}{each[1]}->ij{each[1]}', x, w), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      back[0], product(f'ij{each[1]},{each[0]}{each[1]}->ij{each[0]}', ask, w), rtol=1e-4,
      atol=1e-5)
  np.testing.assert_allclose(
      back[1], product(f'ij{each[0]},ij{each[1]}->{each[0]}{each[1]}', x, ask), rtol=1e-4,
      atol=1e-5)


@pytest.mark.parametrize('axes', MATRICES, ids=str)
def test_matrices_travel_in_pieces(axes):
  """No device sends the whole of a matrix or of its gradient, as all-reduces would."""
  layout = layout_of((('fsdp', 4), ('sequence', 2)))
  w, x, ask = made(axes, layout)
  back = lambda w, x, ask: jax.vjp(lambda w: project(x, w, axes, layout), w)[1](ask)
  text = jax.jit(back, out_shardings=(w.sharding,)).lower(w, x, ask).compile().as_text()
  sent = re.findall(r'= \(?\w+\[([\d,]*)\]\S* (all-reduce|all-gather|reduce-scatter)', text)
  size = lambda shape: np.prod([int(n) for n in shape.split(',') if n])
  # The product with x does not need w, and so nothing is gathered for the gradient of w.
  large = [(kind, size(shape)) for shape, kind in sent if size(shape) > 1]
  assert sorted(large) == [('reduce-scatter', w.size // 8), ('reduce-scatter', w.size // 4)]
