r"""Simulates the whole loop on so many machines: speed, idle shares, staleness, without a model.

    python -m magistral_jax.simulate --config=configs/magistral_small_rl.py \
        --lengths=lognormal:6000,0.6 --token_s=0.03 --train_s=60 --filtered=0.3 --sweep
    python -m magistral_jax.simulate --run=runs/quickstart

Times come from a run (--run: its config, completion lengths and measured times) or from the command
line, for example from what `plan` says of a pod; --config.KEY=VALUE changes the config. What may
start is decided by the code that paces a run: sampler.in_flight, batching.backlog_batches and
batching.max_staleness. Asynchronous and synchronous operation are shown
side by side on the same chips. --sweep varies sequences in flight, batch and the split of the
chips, and recommends one. --output=FOLDER writes table.json and simulation.png.
"""

import dataclasses
import json
import sys
from pathlib import Path

from rich.console import Console

from magistral_jax import command_line
from magistral_jax.experiment import cli, stage_configs
from magistral_jax.experiment.values import check_limits
from magistral_jax.orchestration import run_stages
from magistral_jax.simulation import inputs, plots, report, staged
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.inputs import TIMES
from magistral_jax.simulation.sweep import recommend, sweep, synchronous
from magistral_jax.simulation.system import lengths_of


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--config', help='the experiment; --config.KEY=VALUE changes one of its keys')
  parser.add_argument('--run', type=Path, help='the workdir of a run to measure by')
  parser.add_argument('--last', type=int, default=40, help='updates of that run to look at')
  parser.add_argument('--lengths', help='uniform:A,B | lognormal:MEDIAN,SIGMA | fixed:N')
  parser.add_argument('--filtered', type=float, default=0.0, help='share of groups dropped')
  for name, words in TIMES.items():
    parser.add_argument(f'--{name}', type=float, help=f'seconds: {words}')
  parser.add_argument('--late_s', type=inputs.late, metavar='A[,B]', help='seconds until the first '
                      'and the last sampler have published weights')
  parser.add_argument('--prompt_tokens', type=int, help='tokens of a prompt, which take pages '
                      '(default: data.max_prompt_tokens of --config, none of a run)')
  parser.add_argument('--updates', type=int, default=40, help='updates to simulate')
  parser.add_argument('--seed', type=int, default=0, help='of the lengths that are drawn')
  parser.add_argument('--growth', type=float, default=0.0, help='of a config with stages: share by '
                      'which lengths grow with an update')
  parser.add_argument('--open', default='', metavar='STAGE:UPDATE,...', help='stages that open by '
                      'then, such as those of reward, which is not simulated')
  parser.add_argument('--sweep', action='store_true', help='also try 27 other systems')
  parser.add_argument('--json', action='store_true', help='one JSON object instead of tables')
  parser.add_argument('--output', type=Path, help='a folder for table.json and simulation.png')
  with command_line.one_sentence():
    config = cli.read_config(argv, optional=True)
  args = parser.parse_args(cli.split_config(argv[1:])[1])
  args.config = config
  return args


def describe(args):
  """(system, distribution of lengths, measured seconds of an update or None) of a command line.

  Raises:
    ValueError: a flag is missing, or the run or the config cannot be simulated.
  """
  given = {name: value for name in (*TIMES, 'late_s', 'prompt_tokens')
           if (value := getattr(args, name)) is not None}
  staged = bool(args.config and stage_configs.names(args.config))
  inputs.check(staged=staged, **{name: getattr(args, name) for name in (*inputs.LIMITS, 'open')})
  most = args.config.sampler.max_new_tokens if args.config else None
  lengths = lengths_of(args.lengths, filtered=args.filtered, most=most) if args.lengths else None
  if args.run:
    if args.config:
      raise ValueError('--run brings its own config: leave --config out.')
    system, measured, step_s = inputs.from_run(args.run, last=args.last)
    # A run measures what is simulated only as long as nothing is said otherwise.
    return (dataclasses.replace(system, **given), lengths or measured,
            None if given or lengths else step_s)
  if not args.config or not lengths or args.token_s is None or args.train_s is None:
    raise ValueError('Without --run give --config, --lengths, --token_s and --train_s.')
  check_limits(args.config)
  stage_configs.check_names(args.config)
  return inputs.from_config(args.config, **dict.fromkeys(TIMES, 0.0) | given), lengths, None


def main(args) -> None:
  with command_line.one_sentence():
    system, lengths, step_s = describe(args)
    run = lambda one: Simulation(one, lengths, seed=args.seed).run(args.updates)
    found = dict(asynchronous=run(system), synchronous=run(synchronous(system)))
    if args.sweep:
      found['sweep'] = sweep(system, run)
      found['recommended'] = recommend(found['sweep'])
    if args.config and stage_configs.names(args.config):
      unlimited = lengths_of(args.lengths, filtered=args.filtered)
      found['stages'] = staged.simulate(
          args.config, run_stages.controller(args.config), system, unlimited, growth=args.growth,
          given=args.open, updates=args.updates, seed=args.seed)
    if step_s is not None:
      mode = 'synchronous' if system.synchronous else 'asynchronous'
      found['measured_step_s'] = step_s
      found['predicted_over_measured'] = found[mode]['step_s_median'] / step_s
    if args.output:
      folder = cli.folder('output', str(args.output))
      (folder / 'table.json').write_text(json.dumps(found, indent=2) + '\n')
      plots.draw(found, folder / 'simulation.png')
  if args.json:
    json.dump(found, sys.stdout)
    print()
  else:
    report.show(found, Console())


if __name__ == '__main__':
  command_line.run(main, parse=parse)
