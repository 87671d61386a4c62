r"""Does a config fit its TPU pod, and how fast can it be? Compiles the config without any TPU.

    python -m magistral_jax.plan --config=configs/magistral_small_rl.py [--topology=v5p:4x4x4] \
        [--sampler_topology=v5p:2x2x1] [--side=trainer] [--sequence_tokens=6500] [--json] \
        [--margin=0.1]

The real TPU compiler (libtpu, `pip install -e ".[plan]"`) compiles the programs of a run.
Figures of memory are the compiler's own; FLOPs, bytes and collectives are counted from its output.
Nothing is executed and no weight is allocated. Exit status: 0 all fits, 3 not, 2 the command line
or the config cannot work.
"""

import datetime
import json
import sys
from importlib import metadata

from absl import flags, logging
from rich.console import Console

from magistral_jax.experiment import cli
from magistral_jax.planning import chips, report, sides

_CONFIG = cli.define_config()
_TOPOLOGY = flags.DEFINE_string('topology', None, 'TPUs of the trainer; by default '
                                'mesh.trainer_topology.')
_SAMPLER = flags.DEFINE_string('sampler_topology', None, 'TPUs of one sampler; by default '
                               'mesh.sampler_topology, or the usual shape of so many devices.')
_SIDE = flags.DEFINE_enum('side', 'both', ['both', 'trainer', 'sampler'], 'The roles to compile.')
_SEQUENCE = flags.DEFINE_integer('sequence_tokens', 0, 'Tokens of the sequences in a row of the '
                                 'trainer; 0 for one as long as the row.', lower_bound=0)
_JSON = flags.DEFINE_bool('json', False, 'Print one JSON object instead of tables.')
_MARGIN = flags.DEFINE_float('margin', 0.1, 'Share of HBM that must stay free.')
DOES_NOT_FIT = 3


def main(_) -> None:
  logging.set_verbosity(logging.ERROR)
  c = _CONFIG.value
  console = Console(width=None if sys.stdout.isatty() else 140)
  note = lambda name: print(f'compiling: {name}', file=sys.stderr, flush=True)
  with cli.one_sentence():
    if not 0 <= _MARGIN.value < 1:
      raise ValueError(f'--margin={_MARGIN.value} must be at least 0 and below 1.')
    chips.prepare_environment()
    config, plans = sides.plan(
        c, topology=_TOPOLOGY.value, sampler_topology=_SAMPLER.value, margin=_MARGIN.value,
        note=note, side=_SIDE.value, sequence_tokens=_SEQUENCE.value)
  fits = all(plan.fits for plan in plans)
  if _JSON.value:
    versions = {name: metadata.version(name) for name in ('jax', 'libtpu')}
    print(json.dumps(dict(date=str(datetime.date.today()), **versions,
                          parameters=config.parameters, fits=fits,
                          **{plan.side: report.as_dict(plan, c) for plan in plans})))
  else:
    report.show(plans, c, config, console)
  sys.exit(0 if fits else DOES_NOT_FIT)


if __name__ == '__main__':
  cli.run(main)
