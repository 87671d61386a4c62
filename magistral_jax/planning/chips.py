"""Published figures of TPUs, and devices that are only described, as targets of the compiler."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies


@dataclasses.dataclass(frozen=True)
class Chip:
  """Published figures of one chip.

  Chip('v5p', hbm_gib=95, flops=459e12, hbm_bytes_per_s=2765e9, ici_bytes_per_s=600e9,
       machine_chips=4)
  """
  name: str
  hbm_gib: float
  flops: float              # Per second, in bfloat16.
  hbm_bytes_per_s: float
  ici_bytes_per_s: float    # Sent by all links together, half of the "bidirectional" figure.
  machine_chips: int        # Chips of one machine.
  devices: int = 1          # JAX devices of one chip.
  options: tuple = ()       # For get_topology_desc.

  @property
  def hbm_bytes(self) -> int:
    """HBM of one device, in bytes."""
    return int(self.hbm_gib * 2**30) // self.devices


# As published on docs.cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e, /tpu7x (tables of
# specifications, read on 2026-11-22). ICI is given there both ways together (v5e 400, v5p 1200,
# v6e 800, tpu7x 1200 GB/s), of which a collective has half. For v4 it is not given: its 1.1 PB/s
# of all-reduce over a pod of 4096 chips are 268 GB/s per chip; the same division gives exactly that
# half for v5e (51.2 TB/s over 256) and v6e (102.4).
CHIPS = {chip.name: chip for chip in (
    Chip('v4', 32, 275e12, 1200e9, 268e9, 4, options=(('chip_config_name', 'megacore'),)),
    Chip('v5e', 16, 197e12, 819e9, 200e9, 4),
    Chip('v5p', 95, 459e12, 2765e9, 600e9, 4),
    Chip('v6e', 32, 918e12, 1638e9, 400e9, 4),
    Chip('tpu7x', 192, 2307e12, 7380e9, 600e9, 4, devices=2),
)}
# Tells libtpu that there is no TPU and no metadata server, and that another libtpu may be loaded.
ENVIRONMENT = dict(
    TPU_SKIP_MDS_QUERY='1', ALLOW_MULTIPLE_LIBTPU_LOAD='1', TPU_ACCELERATOR_TYPE='v5p-8',
    TPU_WORKER_HOSTNAMES='localhost', TPU_WORKER_ID='0', TPU_MIN_LOG_LEVEL='3')


def prepare_environment() -> None:
  """Keeps JAX on the CPU and lets libtpu compile without a TPU.

  It has an effect only before JAX has been asked for any device.

  Raises:
    ValueError: libtpu is not installed.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError('libtpu, the TPU compiler, is not installed: pip install -e ".[plan]" in the '
                     'clone. It needs no TPU.')
  os.environ.update(ENVIRONMENT)
  jax.config.update('jax_platforms', 'cpu')


def parse(flag: str, name: str) -> tuple[Chip, tuple[int, ...]]:
  """The chip and the shape, in chips, that a topology such as 'v5p:4x4x4' names.

  Args:
    flag: name of the flag that the topology came from, for messages.
  Raises:
    ValueError: the topology names no chip, or its shape has the wrong number of sides.
  """
  match = re.fullmatch(r'(\w+):(\d+(?:x\d+)*)', name)
  if not match or match[1] not in CHIPS:
    raise ValueError(f'--{flag}={name!r} is no topology: write chip:AxB or chip:AxBxC, such as '
                     f'v5p:4x4x4, with a chip of {", ".join(CHIPS)}.')
  shape = tuple(int(side) for side in match[2].split('x'))
  flat = match[1] in ('v5e', 'v6e')
  if len(shape) != (2 if flat else 3):
    raise ValueError(f'--{flag}={name!r} must have {"two" if flat else "three"} sides: {match[1]} '
                     f'is a {"2D" if flat else "3D"} torus.')
  return CHIPS[match[1]], shape


def describe(flag: str, name: str) -> tuple[Chip, list]:
  """The chip of a topology and its JAX devices, which are only described.

  Raises:
    ValueError: as `parse`, or libtpu does not know the shape.
  """
  chip, shape = parse(flag, name)
  options = dict(chip.options)
  if math.prod(shape) < chip.machine_chips:
    options['chips_per_host_bounds'] = shape + (1,) * (3 - len(shape))
  try:
    devices = topologies.get_topology_desc(
        platform='tpu', topology_name=name, **options).devices
  except Exception as error:  # libtpu documents no type; its first line names the shape.
    raise ValueError(f'--{flag}={name!r} is refused by libtpu: '
                     f'{str(error).splitlines()[0][:200]}') from None
  return chip, list(devices)


def smallest(chip: Chip, devices: int) -> str:
  """The usual topology of so many devices, for a sampler whose topology no config names.

  Raises:
    ValueError: no usual shape has so many devices.
  """
  flat = {1: '1x1', 4: '2x2', 8: '2x4', 16: '4x4', 32: '4x8', 64: '8x8'}
  cube = {1: '1x1x1', 4: '2x2x1', 8: '2x2x2', 16: '2x2x4', 32: '2x4x4', 64: '4x4x4'}
  shapes = flat if chip.name in ('v5e', 'v6e') else cube
  chips = devices // chip.devices
  if chips not in shapes or devices % chip.devices:
    raise ValueError(f'mesh.sampler takes {devices} devices and {chip.name} has no usual shape of '
                     f'{devices / chip.devices:g} chips: name one with --sampler_topology.')
  return f'{chip.name}:{shapes[chips]}'
