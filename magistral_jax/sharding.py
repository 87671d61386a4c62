"""Meshes, and the two tables that say on which mesh axis each named axis lies.

A weight or an activation names its axes where it is declared ('embed', 'heads', ...). The
trainer's table cuts them for training, the sampler's for decoding; the parameter tree is the
same, so taking up new weights is a reshard of that tree. Only this file and configs name mesh axes.
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Trainer mesh: fsdp x tensor. Parameters are cut over both, rows of tokens over fsdp.
TRAINER = dict(embed='fsdp', heads='tensor', kv_heads='tensor', ffn='tensor', vocab='tensor',
               row='fsdp', layers=None)
# Sampler mesh: tensor. More samplers, not a data axis, take more devices: each keeps its own pages.
SAMPLER = dict(embed=None, heads='tensor', kv_heads='tensor', ffn='tensor', vocab='tensor',
               layers=None)


def make_mesh(devices, **sizes: int) -> Mesh:
  """A mesh of named axes over exactly `devices`, e.g. make_mesh(jax.devices(), fsdp=4, tensor=2).

  Raises:
    ValueError: the sizes do not multiply to the number of devices.
  """
  wanted = 1
  for size in sizes.values():
    wanted *= size
  if wanted != len(devices):
    raise ValueError(f'A mesh of {sizes} needs {wanted} devices and got {len(devices)}: change '
                     f'mesh.trainer or mesh.sampler.')
  # Auto axes: the compiler propagates shardings from the arrays' own; no annotation per operation.
  return jax.make_mesh(tuple(sizes.values()), tuple(sizes), devices=devices,
                       axis_types=(AxisType.Auto,) * len(sizes))


def named(mesh: Mesh, rules: dict, axes: tuple) -> NamedSharding:
  """Sharding of an array whose dimensions are named `axes` (None: kept whole).

  Raises:
    ValueError: two dimensions of the array fall on one mesh axis.
    KeyError: an axis that the table does not know.
  """
  spec = tuple(None if axis is None else rules[axis] for axis in axes)
  used = [name for name in spec if name]
  if len(used) != len(set(used)):
    raise ValueError(f'Axes {axes} put two dimensions on one mesh axis: {spec}. Change a rule in '
                     f'magistral_jax/sharding.py.')
  return NamedSharding(mesh, P(*spec))


def tree_named(mesh: Mesh, rules: dict, axes):
  """The same tree as `axes` (tuples of axis names at its leaves) with shardings."""
  return jax.tree.map(lambda a: named(mesh, rules, a), axes, is_leaf=lambda a: isinstance(a, tuple))


def check_divisible(abstract, shardings, what: str) -> None:
  """Raises ValueError naming the first array that a mesh axis does not divide evenly."""
  for (path, leaf), sharding in zip(jax.tree.leaves_with_path(abstract),
                                    jax.tree.leaves(shardings), strict=True):
    for size, axis in zip(leaf.shape, sharding.spec, strict=False):
      if axis and size % sharding.mesh.shape[axis]:
        raise ValueError(f'{what}: {jax.tree_util.keystr(path)} of shape {leaf.shape} has a '
                         f'dimension of {size} that mesh axis {axis}={sharding.mesh.shape[axis]} '
                         f'does not divide: change the mesh section of the config.')
