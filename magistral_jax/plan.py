"""Does a config fit its TPU pod, and how fast can it be? Compiles it for one, without having one.

    python -m magistral_jax.plan --config=configs/magistral_small_rl.py [--topology=v5p:4x4x4] \
        [--sampler_topology=v5p:2x2x1] [--side=trainer] [--json] [--margin=0.1]

The real TPU compiler (libtpu, `pip install "magistral_jax[plan]"`) compiles the programs that a run
would run; the figures are its own for memory, and counted from its output for FLOPs, bytes and
collectives. Nothing is executed and no weight is allocated. Exit status: 0 all fits, 3 not, 2 the
command line or the config cannot work.
"""

import datetime
import json
import math
import sys
from importlib import metadata

from absl import flags, logging
from rich.console import Console

from magistral_jax.experiment import checks, cli
from magistral_jax.planning import chips, programs, report

_CONFIG = cli.define_config()
_TOPOLOGY = flags.DEFINE_string('topology', None, 'Of the trainer; by default '
                                'mesh.trainer_topology.')
_SAMPLER = flags.DEFINE_string('sampler_topology', None, 'Of one sampler; by default '
                               'mesh.sampler_topology, or the usual shape of so many devices.')
_SIDE = flags.DEFINE_enum('side', 'both', ['both', 'trainer', 'sampler'], 'What to compile.')
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead of tables.')
_MARGIN = flags.DEFINE_float('margin', 0.1, 'Share of HBM that must be left.')
DOES_NOT_FIT = 3


def plan(c, topology: str | None, sampler_topology: str | None, margin: float, note,
         side: str = 'both'):
  """(model's shape, the verdicts of trainer and sampler) of a config.

  Args:
    topology, sampler_topology: None for what the config says.
    side: 'trainer' or 'sampler' to compile only that.
    note: called with the name of each program before it is compiled.
  Raises:
    ValueError: a topology or a config that cannot work, before anything is compiled.
  """
  checks.check_values(c)
  config = programs.model_config(c)
  topology = topology or c.mesh.trainer_topology
  if not topology:
    raise ValueError('--topology is missing and mesh.trainer_topology is empty: name the '
                     'TPUs of the trainer, such as v5p:4x4x4.')
  chip, devices = _devices(c, 'trainer', 'topology', topology)
  count = math.prod(c.mesh.sampler.values())
  sampler_topology = (sampler_topology or c.mesh.sampler_topology
                      or chips.smallest(chip, count))
  sampler_chip, sampler_devices = _devices(c, 'sampler', 'sampler_topology', sampler_topology)
  sides = (('trainer', topology, chip, devices, programs.trainer),
           ('sampler', sampler_topology, sampler_chip, sampler_devices, programs.sampler))
  return config, [
      report.verdict(name, shape, chip, len(devices), build(c, config, devices, note), margin)
      for name, shape, chip, devices, build in sides if side in ('both', name)]


def _devices(c, side: str, flag: str, topology: str):
  chip, devices = chips.describe(flag, topology)
  sizes = dict(c.mesh[side])
  if math.prod(sizes.values()) != len(devices):
    raise ValueError(f'--{flag}={topology} has {len(devices)} devices and mesh.{side}={sizes} '
                     f'takes {math.prod(sizes.values())}: make them the same.')
  return chip, devices


def main(_) -> None:
  logging.set_verbosity(logging.ERROR)
  c = _CONFIG.value
  console = Console(width=None if sys.stdout.isatty() else 140)
  note = lambda name: print(f'compiling: {name}', file=sys.stderr, flush=True)
  with cli.one_sentence():
    if not 0 <= _MARGIN.value < 1:
      raise ValueError(f'--margin={_MARGIN.value} must be at least 0 and below 1.')
    chips.prepare_environment()
    config, verdicts = plan(c, _TOPOLOGY.value, _SAMPLER.value, _MARGIN.value, note,
                            _SIDE.value)
  fits = all(v.fits for v in verdicts)
  if _JSON.value:
    versions = {name: metadata.version(name) for name in ('jax', 'libtpu')}
    print(json.dumps(dict(date=str(datetime.date.today()), **versions,
                          parameters=config.parameters, fits=fits,
                          **{v.side: report.as_dict(v, c) for v in verdicts})))
  else:
    report.show(verdicts, c, config, console)
  sys.exit(0 if fits else DOES_NOT_FIT)


if __name__ == '__main__':
  cli.run(main)
