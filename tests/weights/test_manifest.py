"""Weights that arrive are those that were sent; damaged ones are refused."""
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import decoder, rounded
from magistral_jax.models.config import ModelConfig
from magistral_jax.weights import cpu, manifest
from magistral_jax.weights.checksum import checksum
from magistral_jax.weights.role import WeightReceiver, WeightSender

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
  rng = np.random.default_rng(3)
  draw = lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype)
  return jax.device_put(jax.tree.map(draw, ABSTRACT), laid_out(mesh, sharding.TRAINER))


@pytest.fixture(scope='module')
def sent(params):
  """Manifest and bytes of the pieces, each of at most two layers."""
  sender = WeightSender('bfloat16', dict(host=cpu.CpuLender(lambda array: array)), process=0,
                        processes=1, piece_bytes=2 * 16 * 24 * 2)
  announced = sender.stage(params, 0, 7)
  return announced, sender.lend(0, 7, 'host')


def receive(announced, arrays, dtype='bfloat16', weight_dtype='model'):
  mesh = sharding.make_mesh(jax.devices()[:2], expert=1, tensor=2)
  fetcher = cpu.CpuFetcher(lambda references: references, jax.devices()[:2])
  wanted = sharding.tree_named(mesh, sharding.SAMPLER, rounded.axes(CONFIG, weight_dtype))
  receiver = WeightReceiver(ABSTRACT, wanted, dtype, dict(host=fetcher))
  return receiver.take(announced, lambda transport: [arrays])[0]


def test_the_tree_arrives_bit_for_bit_in_the_samplers_layout(params, sent):
  received = receive(*sent)
  assert jax.tree.structure(received) == jax.tree.structure(params)
  for mine, theirs in zip(jax.tree.leaves(received), jax.tree.leaves(params), strict=True):
    np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs.astype(jnp.bfloat16)))
  assert received['embed'].sharding.mesh.shape == {'expert': 1, 'tensor': 2}


def test_pieces_are_rounded_as_whole_matrices_are(params, sent):
  received = receive(*sent, weight_dtype='int8')
  wanted = rounded.held(CONFIG, jax.device_get(params), 'int8')
  assert jax.tree.structure(received) == jax.tree.structure(wanted)
  for mine, theirs in zip(jax.tree.leaves(received), jax.tree.leaves(wanted), strict=True):
    assert mine.dtype == theirs.dtype
    np.testing.assert_allclose(np.float32(mine), np.float32(theirs), rtol=1e-6, atol=0)
  q = received['layers']['attention']['q']
  assert q.values.sharding.shard_shape(q.values.shape) == (5, 16, 2, 8)
  assert q.scales.sharding.shard_shape(q.scales.shape) == (5, 2, 8)


def test_a_damaged_piece_of_a_rounded_matrix_is_refused(sent):
  announced, arrays = sent
  at = next(i for i, piece in enumerate(announced.pieces) if piece.leaf == 'layers.ffn.w2')
  spoilt = np.asarray(arrays[at]).copy()
  spoilt.reshape(-1).view(np.uint8)[5] ^= 1
  with pytest.raises(manifest.WeightError, match="'layers.ffn.w2' from 0 on arrived damaged"):
    receive(announced, [*arrays[:at], spoilt, *arrays[at + 1:]], weight_dtype='int8')


def test_no_piece_is_larger_than_asked_unless_it_is_one_row(sent):
  announced, _ = sent
  w1 = [piece for piece in announced.pieces if piece.leaf == 'layers.ffn.w1']
  assert [(piece.start, piece.stop) for piece in w1] == [(0, 2), (2, 4), (4, 5)]
  assert announced.bytes == 2 * CONFIG.parameters


def test_what_arrives_outlives_what_was_sent(sent):
  announced, arrays = sent
  arrays = [array.copy() for array in arrays]
  received = receive(announced, arrays)
  before = np.asarray(received['embed']).copy()
  for array in arrays:
    array[:] = 0
  np.testing.assert_array_equal(np.asarray(received['embed']), before)


def flip_a_bit(announced, arrays):
  arrays[3] = arrays[3].copy()
  arrays[3][5] ^= 1
  return announced, arrays


def cut_short(announced, arrays):
  return announced, [*arrays[:2], arrays[2][:-2], *arrays[3:]]


def lose_one(announced, arrays):
  return announced, arrays[:-1]


def lose_one_and_its_entry(announced, arrays):
  return dataclasses.replace(announced, pieces=announced.pieces[:-1]), arrays[:-1]


def swap_two(announced, arrays):
  first, second, *rest = announced.pieces
  return dataclasses.replace(announced, pieces=(second, first, *rest)), arrays


def other_dtype(announced, arrays):
  # One of the same size: the device transfer would pass it on unchecked.
  pieces = tuple(dataclasses.replace(p, dtype='float16') for p in announced.pieces)
  return dataclasses.replace(announced, pieces=pieces), arrays


def other_shape(announced, arrays):
  pieces = tuple(dataclasses.replace(p, shape=p.shape[::-1]) for p in announced.pieces)
  return dataclasses.replace(announced, pieces=pieces), arrays


def of_another_model(announced, arrays):
  pieces = tuple(dataclasses.replace(p, leaf=f'vision.{p.leaf}') for p in announced.pieces)
  return dataclasses.replace(announced, pieces=pieces), arrays


@pytest.mark.parametrize('spoil, words', [
    (flip_a_bit, 'arrived damaged'), (cut_short, 'bytes instead of'),
    (lose_one, 'pieces of version 7 were lent'), (lose_one_and_its_entry, 'Version 7 lacks'),
    (swap_two, 'arrived'), (other_dtype, 'float16 and the sampler computes in bfloat16'),
    (other_shape, 'was expected'), (of_another_model, 'which this model does not have')])
def test_what_is_not_as_announced_is_refused(sent, spoil, words):
  announced, arrays = sent
  with pytest.raises(manifest.WeightError, match=words):
    receive(*spoil(announced, list(arrays)))


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.int8])
def test_a_checksum_covers_every_bit_and_its_position(dtype):
  rng = np.random.default_rng(0)
  array = jnp.asarray(rng.integers(1, 9, (3, 4, 5)), dtype)
  mark = jax.jit(checksum)
  marks = [int(mark(array))]
  for bit in range(8 * array.nbytes):
    changed = np.asarray(array).copy()
    changed.reshape(-1).view(np.uint8)[bit // 8] ^= 1 << bit % 8
    marks.append(int(mark(changed)))
  # Signs of two elements, exchanged rows.
  for i in range(1, array.size):
    changed = np.asarray(array).copy()
    changed.reshape(-1)[[0, i]] *= -1
    marks.append(int(mark(changed)))
  marks += [int(mark(array[:, ::-1])), int(mark(array[::-1]))]
  assert len(set(marks)) == len(marks)
  assert int(mark(array)) == marks[0]


def test_a_checksum_does_not_depend_on_the_sharding():
  mesh = sharding.make_mesh(jax.devices(), fsdp=4, tensor=2)
  array = jnp.arange(3 * 8 * 6, dtype=jnp.float32).reshape(3, 8, 6)
  cut = jax.device_put(array, jax.NamedSharding(mesh, jax.P(None, 'fsdp', 'tensor')))
  assert int(jax.jit(checksum)(cut)) == int(jax.jit(checksum)(array))
