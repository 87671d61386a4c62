"""Weights that arrive are those that were sent, or nobody gets them."""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.weights import manifest as manifests
from magistral_jax.weights import staging

CONFIG = ModelConfig(
    family='mistral', layers=5, dim=16, heads=4, kv_heads=2, head_dim=8, ffn_dim=24, vocab=32,
    rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='bfloat16')
ABSTRACT = decoder.abstract(CONFIG)


def laid_out(mesh, rules):
  _, axes = decoder.definition(CONFIG)
  return sharding.tree_named(mesh, rules, axes)


@pytest.fixture(scope='module')
def params():
  mesh = sharding.make_mesh(jax.devices(), fsdp=2, expert=1, sequence=2, tensor=2)
  return jax.jit(lambda: decoder.init(CONFIG, 3),
                 out_shardings=laid_out(mesh, sharding.TRAINER))()


@pytest.fixture(scope='module')
def sent(params):
  """(manifest, bytes of the pieces), in pieces of two layers at most."""
  pieces = list(staging.pieces(params, 'bfloat16', piece_bytes=2 * 16 * 24 * 2))
  return (manifests.Manifest(0, 7, tuple(manifests.piece(*p) for p in pieces)),
          [manifests.to_bytes(p[3]) for p in pieces])


def receive(manifest, arrays, dtype='bfloat16'):
  mesh = sharding.make_mesh(jax.devices()[:2], expert=1, tensor=2)
  return manifests.assemble(manifest, arrays, ABSTRACT, laid_out(mesh, sharding.SAMPLER), dtype)


def test_the_tree_arrives_bit_for_bit_in_the_samplers_layout(params, sent):
  received = receive(*sent)
  assert jax.tree.structure(received) == jax.tree.structure(params)
  for mine, theirs in zip(jax.tree.leaves(received), jax.tree.leaves(params), strict=True):
    np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs.astype(jnp.bfloat16)))
  assert received['embed'].sharding.mesh.shape == {'expert': 1, 'tensor': 2}


def test_no_piece_is_larger_than_asked_unless_it_is_one_row(sent):
  manifest, _ = sent
  w1 = [piece for piece in manifest.pieces if piece.leaf == 'layers.ffn.w1']
  assert [(piece.start, piece.stop) for piece in w1] == [(0, 2), (2, 4), (4, 5)]
  assert manifest.bytes == 2 * CONFIG.parameters


def test_what_arrives_outlives_what_was_sent(sent):
  manifest, arrays = sent
  arrays = [array.copy() for array in arrays]
  received = receive(manifest, arrays)
  before = np.asarray(received['embed']).copy()
  for array in arrays:
    array[:] = 0
  np.testing.assert_array_equal(np.asarray(received['embed']), before)


def flip_a_bit(manifest, arrays):
  arrays[3] = arrays[3].copy()
  arrays[3][5] ^= 1
  return manifest, arrays


def cut_short(manifest, arrays):
  return manifest, [*arrays[:2], arrays[2][:-2], *arrays[3:]]


def lose_one(manifest, arrays):
  return manifest, arrays[:-1]


def lose_one_and_its_word(manifest, arrays):
  return dataclasses.replace(manifest, pieces=manifest.pieces[:-1]), arrays[:-1]


def swap_two(manifest, arrays):
  first, second, *rest = manifest.pieces
  return dataclasses.replace(manifest, pieces=(second, first, *rest)), arrays


def other_dtype(manifest, arrays):
  # Of the same size, which the device transfer would hand on as it is.
  pieces = tuple(dataclasses.replace(p, dtype='float16') for p in manifest.pieces)
  return dataclasses.replace(manifest, pieces=pieces), arrays


def other_shape(manifest, arrays):
  pieces = tuple(dataclasses.replace(p, shape=p.shape[::-1]) for p in manifest.pieces)
  return dataclasses.replace(manifest, pieces=pieces), arrays


def of_another_model(manifest, arrays):
  pieces = tuple(dataclasses.replace(p, leaf=f'vision.{p.leaf}') for p in manifest.pieces)
  return dataclasses.replace(manifest, pieces=pieces), arrays


@pytest.mark.parametrize('spoil, words', [
    (flip_a_bit, 'arrived damaged'), (cut_short, 'bytes instead of'),
    (lose_one, 'pieces of version 7 arrived'), (lose_one_and_its_word, 'Version 7 lacks'),
    (swap_two, 'arrived'), (other_dtype, 'float16 and the sampler computes in bfloat16'),
    (other_shape, 'was due'), (of_another_model, 'which this model has not')])
def test_what_is_not_as_announced_is_refused(sent, spoil, words):
  manifest, arrays = sent
  with pytest.raises(manifests.WeightError, match=words):
    receive(*spoil(manifest, list(arrays)))
