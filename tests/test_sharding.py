"""Axis tables: mesh axes of a named axis, number of pieces, and what cannot be cut."""
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from magistral_jax import sharding
from magistral_jax.sharding import SAMPLER, TRAINER, named, pieces


def mesh(**sizes):
  return sharding.make_mesh(jax.devices(), **sizes)


def test_a_rule_of_several_mesh_axes_cuts_by_all_of_them():
  full = mesh(fsdp=2, expert=2, sequence=1, tensor=2)
  assert named(full, TRAINER, ('row', None)).spec == P(('fsdp', 'expert'), None)
  embed = named(full, TRAINER, ('embed', 'heads'))
  assert embed.spec == P(('fsdp', 'expert', 'sequence'), 'tensor')
  assert pieces(full, TRAINER, 'row') == pieces(full, TRAINER, 'embed') == 4
  assert pieces(full, TRAINER, 'layers') == 1
  assert embed.shard_shape((8, 6)) == (2, 3)


def test_a_mesh_axis_that_the_mesh_lacks_cuts_nothing():
  small = mesh(fsdp=4, tensor=2)
  assert named(small, TRAINER, ('row', 'position')).spec == P('fsdp', None)
  assert pieces(small, TRAINER, 'row') == 4 and pieces(small, TRAINER, 'position') == 1


@pytest.mark.parametrize('rules, sizes', [
    (TRAINER, dict(fsdp=2, expert=2, sequence=2, tensor=1)), (SAMPLER, dict(expert=4, tensor=2))])
def test_no_parameter_is_held_twice(rules, sizes):
  """Covers dense parameters and those of experts, in training and sampling."""
  dense = named(mesh(**sizes), rules, ('embed', 'ffn')).shard_shape((16, 16))
  experts = named(mesh(**sizes), rules, ('expert', 'expert_embed', 'expert_ffn'))
  assert math.prod(dense) == 16 * 16 / 8
  assert math.prod(experts.shard_shape((4, 16, 16))) == 4 * 16 * 16 / 8


def test_two_dimensions_on_one_mesh_axis_are_refused():
  with pytest.raises(ValueError, match='put two dimensions on one mesh axis'):
    named(mesh(fsdp=4, tensor=2), TRAINER, ('row', 'embed'))
  with pytest.raises(KeyError):
    named(mesh(fsdp=4, tensor=2), TRAINER, ('rows',))


def test_the_array_that_cannot_be_cut_is_named():
  on = mesh(fsdp=2, expert=2, sequence=1, tensor=2)
  tree = dict(w=jax.ShapeDtypeStruct((6, 8), 'float32'))
  cut = dict(w=named(on, TRAINER, ('embed', 'ffn')))
  with pytest.raises(ValueError, match=r"model: \['w'\] .* dimension of 6 .*fsdp=2 x expert=2"):
    sharding.check_divisible(tree, cut, 'model')
  sharding.check_divisible(dict(w=jax.ShapeDtypeStruct((4, 8), 'float32')), cut, 'model')


def test_a_mesh_needs_exactly_its_devices():
  with pytest.raises(ValueError, match='needs 16 devices and got 8: change mesh.trainer'):
    mesh(fsdp=8, tensor=2)


def test_axes_have_one_order_however_they_are_given():
  """Covers the order of a ConfigDict: rows must still be cut over fsdp first."""
  assert mesh(tensor=2, expert=2, fsdp=2).axis_names == ('fsdp', 'expert', 'tensor')
  with pytest.raises(ValueError, match='none of'):
    mesh(data=8)


def test_the_rows_of_a_process_are_contiguous():
  # As on v5p:2x2x4 with fsdp=8 x tensor=2: four processes, whose rows alternate along the torus.
  grid = np.array([[SimpleNamespace(process_index=i % 4, id=(i, j)) for j in range(2)]
                   for i in range(8)])
  found = sharding.beside(grid)
  assert [device.process_index for device in found[:, 0]] == [0, 0, 1, 1, 2, 2, 3, 3]
  assert [device.id for device in found[:3, 1]] == [(0, 1), (4, 1), (1, 1)]
