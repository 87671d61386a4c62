"""A plan for trainer and sampler: does each fit, how fast can it be, and which limit binds."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

from magistral_jax.experiment import checks, model_checks
from magistral_jax.models.config import ModelConfig
from magistral_jax.planning import chips, programs
from magistral_jax.planning.chips import Chip
from magistral_jax.planning.programs import Program


@dataclasses.dataclass(frozen=True)
class SidePlan:
  """One side of a run on one kind of chip; sizes are bytes per device, times are seconds."""
  side: str                 # 'trainer' or 'sampler'.
  topology: str
  chip: Chip
  devices: int
  resident: dict[str, int]
  programs: list[Program]
  margin: float             # Share of HBM that must stay free.
  sequence_tokens: int = 0  # Of the sequences in a row of the trainer; 0: as long as the row.
  attention: float = 0.0    # As programs.Side has them.
  saved: int = 0

  @property
  def peak(self) -> int:
    """HBM in use while the largest program runs."""
    return max(self.in_use(program) for program in self.programs)

  @property
  def left(self) -> float:
    """Share of HBM that is never in use; below 0 if the programs do not fit."""
    return 1 - self.peak / self.chip.hbm_bytes

  @property
  def refused(self) -> list[Program]:
    """Programs that the compiler could not place."""
    return [program for program in self.programs if program.refused]

  @property
  def fits(self) -> bool:
    """Whether every program compiles and the margin of HBM stays free."""
    return not self.refused and self.left >= self.margin

  def in_use(self, program: Program) -> int:
    """HBM in use while a program runs: the parts that are resident then, and what it adds."""
    return (sum(self.resident.values()) - self.resident.get(program.without, 0)
            + program.brought + program.results + program.temporary)

  def times(self, program: Program) -> dict[str, float]:
    """Least seconds of one run by each limit; the slowest limit binds."""
    chip, cost = self.chip, program.cost
    return dict(compute=cost.flops * chip.devices / chip.flops,
                hbm=cost.bytes * chip.devices / chip.hbm_bytes_per_s,
                ici=cost.sent * chip.devices / chip.ici_bytes_per_s)

  def bound(self, program: Program) -> tuple[str, float]:
    """The limit that binds, and the least seconds of one run if all else overlaps with it."""
    times = self.times(program)
    return max(times.items(), key=lambda item: item[1])

  def mfu(self, program: Program) -> float:
    """Model FLOPs utilization at that limit: the share of the published peak that it allows."""
    seconds = self.bound(program)[1]
    peak = self.chip.flops / self.chip.devices * self.devices
    return program.model_flops / (seconds * peak) if seconds else 0.0

  def repeated(self, program: Program) -> float:
    """FLOPs done per FLOP that the mathematics asks for; above 1 where some are recomputed."""
    done = program.cost.flops * self.devices
    return done / program.model_flops if program.model_flops else 0.0


def plan(c, *, topology: str | None, sampler_topology: str | None, margin: float,
         note: Callable[[str], None], side: str = 'both',
         sequence_tokens: int = 0) -> tuple[ModelConfig, list[SidePlan]]:
  """The model's shape, and the plans of trainer and sampler.

  Args:
    topology, sampler_topology: such as 'v5p:4x4x4'; None for those of the config.
    margin: share of HBM that must stay free.
    note: called with the name of each program before it is compiled.
    side: 'trainer' or 'sampler' to compile only that one.
    sequence_tokens: of the sequences in the trainer's rows; 0 for one as long as the row.
  Raises:
    ValueError: a topology or the config cannot work; nothing has been compiled.
  """
  checks.check_values(c)
  config = programs.model_config(c)
  model_checks.check_rows(c, config)
  model_checks.check_rounding(c, config)
  topology = topology or c.mesh.trainer_topology
  if not topology:
    raise ValueError('--topology is missing and mesh.trainer_topology is empty: name the '
                     'TPUs of the trainer, such as v5p:4x4x4.')
  chip, devices = _devices(c, 'trainer', 'topology', topology)
  count = math.prod(c.mesh.sampler.values())
  sampler_topology = (sampler_topology or c.mesh.sampler_topology
                      or chips.smallest(chip, count))
  sampler_chip, sampler_devices = _devices(c, 'sampler', 'sampler_topology', sampler_topology)
  sides = (('trainer', topology, chip, devices,
            functools.partial(programs.trainer, sequence_tokens=sequence_tokens)),
           ('sampler', sampler_topology, sampler_chip, sampler_devices, programs.sampler))
  plans = []
  for name, shape, chip, devices, build in sides:
    if side in ('both', name):
      compiled = build(c, config, devices, note)
      plans.append(SidePlan(name, shape, chip, len(devices), compiled.resident, compiled.programs,
                            margin, sequence_tokens, compiled.attention, compiled.saved))
  return config, plans


def _devices(c, side: str, flag: str, topology: str):
  chip, devices = chips.describe(flag, topology)
  sizes = dict(c.mesh[side])
  if math.prod(sizes.values()) != len(devices):
    raise ValueError(f'--{flag}={topology} has {len(devices)} devices and mesh.{side}={sizes} '
                     f'takes {math.prod(sizes.values())}: make them the same.')
  return chip, devices
