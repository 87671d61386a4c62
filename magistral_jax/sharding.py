"""Meshes, and two tables that map the named axes of arrays to mesh axes.

A weight or an activation names its axes where it is declared ('embed', 'heads', ...). The
trainer's table cuts them for training, the sampler's for decoding; the parameter tree is the
same, so taking new weights is a reshard of that tree. Only this file and configs name mesh axes.
"""

import dataclasses
import glob
import importlib.util
import math
import os

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Axes of a mesh, outermost first: neighbours along the last lie closest together.
AXES = ('fsdp', 'expert', 'sequence', 'tensor')
# A rule names one mesh axis, several (the first is the outermost cut), or None for no cut.
# Trainer mesh: fsdp x expert x sequence x tensor. Rows of tokens are cut over fsdp and expert,
# which outside the experts is one more axis of data; the positions of a row over sequence. A
# parameter lies over all four, so that optimizer state uses every device.
TRAINER = dict(row=('fsdp', 'expert'), position='sequence', embed=('fsdp', 'expert', 'sequence'),
               heads='tensor', kv_heads='tensor', ffn='tensor', vocab='tensor', layers=None,
               expert='expert', expert_embed=('fsdp', 'sequence'), expert_ffn='tensor',
               expert_out='tensor')
# Sampler mesh: expert x tensor; outside the experts both cut heads, ffn and vocabulary. There is no
# data axis: more devices make more samplers, each with its own pages.
_BOTH = ('expert', 'tensor')
SAMPLER = dict(row=None, position=None, embed=None, heads=_BOTH, kv_heads=_BOTH, ffn=_BOTH,
               vocab=_BOTH, layers=None, expert='expert', expert_embed=None, expert_ffn='tensor',
               expert_out=_BOTH)


def leave_missing_tpu() -> None:
  """Keeps JAX from looking for a TPU where there is libtpu but neither a TPU nor other plugins.

  libtpu, which `plan` compiles with, fills a screen with alarms where it is asked for a TPU that
  the machine does not have. It has an effect only before JAX has been asked for any device.
  """
  if jax.config.jax_platforms or importlib.util.find_spec('libtpu') is None:
    return
  other = importlib.util.find_spec('jax_plugins') or any(
      name.startswith(('TPU_', 'COLAB_TPU')) for name in os.environ)
  if not other and not glob.glob('/dev/accel*') and not glob.glob('/dev/vfio/*'):
    jax.config.update('jax_platforms', 'cpu')


def make_mesh(devices, **sizes: int) -> Mesh:
  """Makes a mesh over exactly `devices`, e.g. make_mesh(jax.devices(), fsdp=4, tensor=2).

  The axes are in the order of AXES. On TPUs they follow the links of the torus as far as possible;
  along the first, devices of one process are neighbours, so that its rows are contiguous.

  Raises:
    ValueError: an axis is unknown, or the sizes do not multiply to the number of devices, or do not
      divide their torus.
  """
  if not set(sizes) <= set(AXES):
    raise ValueError(f'A mesh of {sizes} has an axis that is none of {AXES}.')
  # A ConfigDict has its keys in another order.
  sizes = {name: sizes[name] for name in AXES if name in sizes}
  wanted = math.prod(sizes.values())
  if wanted != len(devices):
    raise ValueError(f'A mesh of {sizes} needs {wanted} devices and got {len(devices)}: change '
                     f'mesh.trainer or mesh.sampler.')
  if len({getattr(device, 'slice_index', 0) for device in devices}) > 1:
    raise ValueError(f'A mesh of {sizes} got devices of several TPU slices: a trainer and a '
                     f'sampler take one slice each.')
  try:
    # An axis may take a part of a side of the torus: 2 of 4.
    grid = mesh_utils.create_device_mesh(
        tuple(sizes.values()), list(devices), allow_split_physical_axes=True)
  except NotImplementedError as error:
    raise ValueError(f'A mesh of {sizes} cannot be laid over these {len(devices)} devices: '
                     f'change mesh.trainer or mesh.sampler ({error}).') from None
  # Auto axes: the compiler propagates the arrays' shardings, without annotations per operation.
  return Mesh(beside(grid), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def beside(grid: np.ndarray) -> np.ndarray:
  """Orders the first axis of a grid of devices so that each process is contiguous.

  Collectives over a whole axis follow the torus whatever the order of the axis.
  """
  owners = [sorted({device.process_index for device in part})
            for part in grid.reshape(len(grid), -1)]
  return grid[np.array(sorted(range(len(grid)), key=owners.__getitem__))]


def mesh_axes(rules: dict, axis: str) -> tuple[str, ...]:
  """Mesh axes that cut the named axis; () if none does."""
  rule = rules[axis] or ()
  return (rule,) if isinstance(rule, str) else rule


def pieces(mesh: Mesh, rules: dict, axis: str) -> int:
  """Number of pieces of the named axis; a mesh axis that the mesh lacks counts as 1."""
  return math.prod(mesh.shape.get(name, 1) for name in mesh_axes(rules, axis))


def named(mesh: Mesh, rules: dict, axes: tuple) -> NamedSharding:
  """Sharding of an array whose dimensions are named `axes` (None for no cut).

  Raises:
    ValueError: two dimensions of the array fall on one mesh axis.
    KeyError: the table lacks an axis.
  """
  cuts = [mesh_axes(rules, axis) if axis else () for axis in axes]
  used = [name for cut in cuts for name in cut]
  if len(used) != len(set(used)):
    raise ValueError(f'Axes {axes} put two dimensions on one mesh axis: {cuts}. Change a rule in '
                     f'magistral_jax/sharding.py.')
  # A mesh axis that the mesh lacks cuts nothing.
  spec = (tuple(name for name in cut if name in mesh.shape) for cut in cuts)
  return NamedSharding(mesh, P(*(cut[0] if len(cut) == 1 else cut or None for cut in spec)))


@dataclasses.dataclass(frozen=True)
class Layout:
  """Mesh and table, for code that moves data between devices itself.

  Layout(make_mesh(jax.devices(), fsdp=4, tensor=2), TRAINER)
  """
  mesh: Mesh
  rules: dict = dataclasses.field(hash=False)   # One per mesh.

  @property
  def platform(self) -> str:
    """Platform of the devices, 'cpu', 'tpu', ...; also of described ones."""
    return self.mesh.devices.flat[0].platform

  def pieces(self, axis: str) -> int:
    """Number of pieces of the named axis."""
    return pieces(self.mesh, self.rules, axis)

  def cuts(self, axis: str) -> tuple[str, ...]:
    """Mesh axes of more than one device that cut the named axis."""
    return tuple(a for a in mesh_axes(self.rules, axis) if self.mesh.shape.get(a, 1) > 1)

  def spec(self, *axes: str | None) -> P:
    """PartitionSpec of an array with these axes; None for no cut."""
    return named(self.mesh, self.rules, axes).spec

  def pin(self, x, *axes: str | None):
    """Constrains x to the sharding of its axes; does nothing on one device."""
    if self.mesh.size == 1:
      return x
    return jax.lax.with_sharding_constraint(x, named(self.mesh, self.rules, axes))


def tree_named(mesh: Mesh, rules: dict, axes):
  """Tree of shardings from a tree with tuples of axis names at its leaves."""
  return jax.tree.map(lambda a: named(mesh, rules, a), axes, is_leaf=lambda a: isinstance(a, tuple))


def check_divisible(abstract, shardings, what: str) -> None:
  """Raises ValueError naming the first array that a mesh axis does not divide evenly."""
  for (path, leaf), sharding in zip(jax.tree.leaves_with_path(abstract),
                                    jax.tree.leaves(shardings), strict=True):
    for size, cut in zip(leaf.shape, sharding.spec, strict=False):
      names = () if cut is None else (cut,) if isinstance(cut, str) else cut
      if size % math.prod(sharding.mesh.shape[name] for name in names):
        sizes = ' x '.join(f'{name}={sharding.mesh.shape[name]}' for name in names)
        raise ValueError(f'{what}: {jax.tree_util.keystr(path)} of shape {leaf.shape} has a '
                         f'dimension of {size} that mesh axis {sizes} does not divide: change the '
                         f'mesh section of the config.')


def local_span(mesh: Mesh, rows: int, process: int | None = None) -> tuple[int, int]:
  """Rows (start, stop) of an array cut along the trainer's 'row' that a process holds.

  Args:
    process: index of the process; None for this one.
  Raises:
    ValueError: they are not contiguous, since the mesh mixes the devices of processes.
  """
  process = jax.process_index() if process is None else process
  spans = named(mesh, TRAINER, ('row',)).devices_indices_map((rows,))
  held = sorted({i for device, (span,) in spans.items() if device.process_index == process
                 for i in range(*span.indices(rows))})
  if held != list(range(held[0], held[-1] + 1)):
    raise ValueError(f'A process of the trainer holds rows {held} of {rows}, which are not '
                     f'contiguous: make mesh.trainer.fsdp x mesh.trainer.expert a multiple of '
                     f'runtime.trainers, or the other way round.')
  return held[0], held[-1] + 1
