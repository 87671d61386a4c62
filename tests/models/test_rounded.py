"""Weights in eight bits: what is rounded, to what, and products with it."""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import decoder, rounded
from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.layers import Attention, FeedForward
from magistral_jax.models.projection import Rounded, project
from tests.models import drawn

CONFIG = ModelConfig(family='mistral', layers=2, dim=32, heads=4, kv_heads=2, head_dim=8,
                     ffn_dim=48, vocab=24, rope_theta=1e4, norm_eps=1e-5, tied=False,
                     dtype='float32')
TOWER = VisionConfig(layers=1, dim=16, heads=2, head_dim=8, ffn_dim=24, patch=2, side=8,
                     rope_theta=1e4, norm_eps=1e-5, merge=1, biases=True, image_token=10)
MATRICES = dict(q=Attention.Q, k=Attention.KV, v=Attention.KV, o=Attention.O, w1=FeedForward.INNER,
                w3=FeedForward.INNER, w2=FeedForward.OUTER)


def worth(matrix: Rounded, inputs: int):
  """The numbers that a rounded matrix stands for."""
  scales = np.asarray(matrix.scales, np.float64)
  return np.asarray(matrix.values, np.float64) * np.expand_dims(scales, tuple(range(1, 1 + inputs)))


def test_a_matrix_by_hand():
  w = np.array([[[12.7, 0.0, -3.0], [-6.4, 0.0, 1.0]]], np.float32)     # One layer, 2 in, 3 out.
  found = rounded.matrix(w, inputs=1)
  np.testing.assert_array_equal(found.values, [[[127, 0, -127], [-64, 0, 42]]])
  np.testing.assert_allclose(found.scales[:, [0, 2]], [[0.1, 3 / 127]], rtol=1e-6)
  assert found.values.dtype == jnp.int8 and found.scales.dtype == jnp.float32
  # Two axes of inputs: the largest of all four.
  found = rounded.matrix(np.array([[[[1.0], [2.0]], [[4.0], [-8.0]]]], np.float32), inputs=2)
  np.testing.assert_array_equal(found.values[0, ..., 0], [[16, 32], [64, -127]])
  assert found.scales.shape == (1, 1)


@pytest.mark.parametrize('inputs', [1, 2])
def test_no_weight_is_off_by_more_than_half_a_step(inputs):
  w = np.random.default_rng(0).standard_normal((3, 20, 6, 10)).astype(np.float32)
  w[0] *= 1e-20
  w[1] *= 1e20
  w[2, ..., 0] = 0.0
  w[2, 3, 3, 1] = 1e4                          # One that leaves its neighbours little.
  found = rounded.matrix(w, inputs)
  step = np.expand_dims(np.asarray(found.scales, np.float64), tuple(range(1, 1 + inputs)))
  assert (np.abs(w - worth(found, inputs)) <= 0.5001 * step).all() and (step > 0).all()
  largest = np.abs(np.asarray(found.values, int)).max(tuple(range(1, 1 + inputs)))
  assert (largest == np.where(np.abs(w).max(tuple(range(1, 1 + inputs))) > 0, 127, 0)).all()


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_leaves_a_scale_that_is_not(wrong):
  w = np.ones((1, 4, 3), np.float32)
  w[0, 2, 1] = wrong
  np.testing.assert_array_equal(np.isfinite(rounded.matrix(w, 1).scales), [[True, False, True]])


@pytest.mark.parametrize('name', MATRICES)
def test_a_product_is_that_of_the_numbers_which_the_integers_stand_for(name):
  params = drawn.parameters(CONFIG)['layers']
  w = {**params['attention'], **params['ffn']}[name]
  inputs = rounded.INPUTS[f'layers.{"ffn" if name in params["ffn"] else "attention"}.{name}']
  found = rounded.matrix(w, inputs)
  own = jax.tree.map(lambda x: x[1], found)
  x = np.random.default_rng(1).standard_normal((3, 5, *own.values.shape[:inputs]))
  got = project(jnp.asarray(x, jnp.float32), own, MATRICES[name])
  wanted = np.tensordot(x, worth(found, inputs)[1], inputs)
  np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
  got = project(jnp.asarray(x, jnp.bfloat16), own, MATRICES[name])
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.float32(got), wanted, atol=0.02 * np.abs(wanted).max())


def test_the_matrices_of_the_layers_alone_are_rounded():
  config = dataclasses.replace(CONFIG, vision=TOWER, dtype='bfloat16')
  params = drawn.parameters(config)
  held = rounded.held(config, params, 'int8')
  attention, ffn = held['layers'].pop('attention'), held['layers'].pop('ffn')
  assert attention.keys() | ffn.keys() == MATRICES.keys()
  for part, given in ((attention, params['layers']['attention']), (ffn, params['layers']['ffn'])):
    for name, found in part.items():
      assert found.values.shape == given[name].shape and found.values.dtype == jnp.int8
  rest = jax.tree.leaves_with_path(held)
  assert len(rest) == len(jax.tree.leaves(params)) - 7 and any('vision' in str(p) for p, _ in rest)
  assert all(x.dtype == jnp.bfloat16 for _, x in rest)
  assert {x.dtype.name for x in jax.tree.leaves(rounded.held(config, params, 'model'))} == {
      'bfloat16'}


@pytest.mark.parametrize('weight_dtype', ['model', 'int8'])
def test_every_axis_has_its_name(weight_dtype):
  """Whatever has one name in the whole tree has one size, scales included."""
  shapes = rounded.abstract(CONFIG, weight_dtype)
  axes = rounded.axes(CONFIG, weight_dtype)
  sizes = dict(layers=2, embed=32, heads=4, kv_heads=2, ffn=48, vocab=24)
  leaves = jax.tree.leaves_with_path(axes, is_leaf=lambda x: isinstance(x, tuple))
  assert len(leaves) == 12 + 7 * (weight_dtype == 'int8')
  for (path, names), leaf in zip(leaves, jax.tree.leaves(shapes), strict=True):
    assert [sizes.get(name, size) for name, size in zip(names, leaf.shape, strict=True)] == [
        *leaf.shape], path
  on = sharding.make_mesh(jax.devices()[:2], tensor=2)
  found = sharding.tree_named(on, sharding.SAMPLER, axes)
  assert jax.tree.structure(found) == jax.tree.structure(shapes)
  if weight_dtype == 'int8':
    cut = found['layers']['attention']['o']
    # Heads are summed over, so every device has the scales of all outputs.
    assert cut.values.spec[1] and cut.scales.is_fully_replicated
    assert found['layers']['ffn']['w1'].scales.shard_shape((2, 48)) == (2, 24)


def test_arrays_on_devices_are_rounded_where_they_are_cut():
  mesh = sharding.make_mesh(jax.devices()[:4], expert=2, tensor=2)
  laid = lambda tree: sharding.tree_named(mesh, sharding.SAMPLER, tree)
  config = dataclasses.replace(CONFIG, kv_heads=4)
  params = drawn.parameters(config)
  cut = jax.device_put(params, laid(decoder.definition(config)[1]))
  wanted = laid(rounded.axes(config, 'int8'))['layers']['attention']
  for name in ('q', 'o'):
    found = rounded.on_devices(f'layers.attention.{name}', cut['layers']['attention'][name],
                               weight_dtype='int8')
    alone = rounded.matrix(params['layers']['attention'][name], 2 if name == 'o' else 1)
    for part in ('values', 'scales'):
      np.testing.assert_array_equal(getattr(found, part), getattr(alone, part))
      assert getattr(found, part).sharding == getattr(wanted[name], part)
  assert rounded.on_devices('embed', cut['embed'], weight_dtype='int8') is cut['embed']
