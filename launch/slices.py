"""The TPU slices that a config asks for: one for the trainer, one for each sampler.

    mesh.trainer_topology='v5p:4x4x4'   64 chips, 16 machines of 4 chips, 64 JAX devices
    mesh.sampler_topology='v5p:2x2x1'    4 chips,  1 machine,              4 JAX devices

Sizes are in chips; cores, which a name such as v5p-128 counts, are not used anywhere here.
"""
from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Generation:
  """A generation of TPUs, such as the v5p of topology 'v5p:4x4x4'."""
  machine_chips: int        # Chips of each machine in a slice of several machines.
  most_machine_chips: int   # The most chips of a slice of one machine.
  chip_devices: int         # JAX devices of one chip.
  runtime: str              # Software version of its TPU VMs; '' where the TPU API has none.
  api_type: str             # Its name in the TPU API; '' if it is not served there.
  gke: str                  # Value of the node label cloud.google.com/gke-tpu-accelerator.


GENERATIONS = {
    'v4': Generation(4, 4, 1, 'tpu-ubuntu2204-base', 'v4', 'tpu-v4-podslice'),
    'v5e': Generation(4, 8, 1, 'v2-alpha-tpuv5-lite', 'v5litepod', 'tpu-v5-lite-podslice'),
    'v5p': Generation(4, 4, 1, 'v2-alpha-tpuv5', 'v5p', 'tpu-v5p-slice'),
    'v6e': Generation(4, 8, 1, 'v2-alpha-tpuv6e', 'v6e', 'tpu-v6e-slice'),
    'tpu7x': Generation(4, 4, 2, '', '', 'tpu7x'),
}


@dataclasses.dataclass(frozen=True)
class Slice:
  """One TPU slice. Slice('small-trainer', 'trainer', 'v5p', '4x4x4')"""
  name: str                 # Of the cloud resource; unique in project and zone.
  role: str                 # 'trainer' or 'sampler': the Ray resource of its machines.
  generation: str
  topology: str

  @property
  def chips(self) -> int:
    """Number of chips."""
    return math.prod(map(int, self.topology.split('x')))

  @property
  def machines(self) -> int:
    """Number of machines."""
    kind = GENERATIONS[self.generation]
    return 1 if self.chips <= kind.most_machine_chips else self.chips // kind.machine_chips

  @property
  def machine_chips(self) -> int:
    """Chips of each machine."""
    return self.chips // self.machines

  @property
  def devices(self) -> int:
    """Number of JAX devices."""
    return self.chips * GENERATIONS[self.generation].chip_devices


def from_config(c, name: str) -> list[Slice]:
  """The trainer's slice, then those of runtime.samplers samplers.

  Raises:
    ValueError: a topology is missing, has another number of devices than its mesh, has several
      machines where it must have one, or is no whole number of machines; or there are more
      verifiers than machines for them.
  """
  slices = [_slice(c, 'trainer', f'{name}-trainer')]
  slices += [_slice(c, 'sampler', f'{name}-sampler-{i}') for i in range(c.runtime.samplers)]
  one = slices[-1]
  if one.machines > 1:
    raise ValueError(f'mesh.sampler_topology={one.generation + ":" + one.topology!r} has '
                     f'{one.machines} machines, but a sampler is one process: choose a slice of '
                     f'one machine and raise runtime.samplers.')
  if c.runtime.verifiers > c.runtime.samplers:
    raise ValueError(f'runtime.verifiers={c.runtime.verifiers} must be at most '
                     f'runtime.samplers={c.runtime.samplers}: verifiers use the CPUs of the '
                     f"samplers' machines, one of them on each.")
  return slices


def _slice(c, role: str, name: str) -> Slice:
  key = f'mesh.{role}_topology'
  text = c.mesh[f'{role}_topology']
  if not text:
    raise ValueError(f"{key} is '', which is this machine: name a slice, such as "
                     f'--config.{key}=v5p:2x2x1.')
  made = Slice(name, role, *text.split(':'))
  if made.machines * GENERATIONS[made.generation].machine_chips != made.chips and (
      made.machines > 1):
    raise ValueError(f'{key}={text!r} has {made.chips} chips, which are no whole number of '
                     f'machines: choose a published topology of {made.generation}.')
  axes = dict(c.mesh[role])
  if math.prod(axes.values()) != made.devices:
    raise ValueError(f'{key}={text!r} has {made.devices} devices and mesh.{role}={axes} takes '
                     f'{math.prod(axes.values())}: make them equal.')
  return made
