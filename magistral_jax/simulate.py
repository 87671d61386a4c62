"""Simulates the whole loop on so many hosts: speed, idle shares, staleness, without a model.

    python -m magistral_jax.simulate --config=configs/magistral_small_rl.py \
        --lengths=lognormal:6000,0.6 --token_s=0.03 --train_s=60 --sweep
    python -m magistral_jax.simulate --run=runs/quickstart

Times come from a run (--run: its config, completion lengths and measured times) or from the command
line, for example from what `plan` says of a pod. Asynchronous and synchronous operation are shown
side by side on the same chips. --sweep varies sequences in flight, batch and the split of the
chips, and recommends one. --output=FOLDER writes table.json and simulation.png.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from magistral_jax.batching.staleness import window_groups
from magistral_jax.experiment import cli
from magistral_jax.experiment.schema import check_limits
from magistral_jax.simulation import inputs, plots
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.system import System, law_of

# What a table shows of a simulation, with its unit.
COLUMNS = dict(
    step_s='s per update', completions_per_s='completions/s', slots_idle='slots idle',
    trainer_idle='trainer idle', versions_per_completion='versions per completion',
    staleness_mean='staleness', staleness_most='at most', verifier_queue_mean='verifier queue')
SHARES = (0.25, 0.5, 0.75)               # Of the chips, to samplers.
FACTORS = (0.5, 1, 2)                    # Of what the config says, for n_async and n_batch.


def parse(argv):
  parser = cli.ArgumentParser(description=__doc__, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--config', help='the experiment')
  parser.add_argument('--run', type=Path, help='the workdir of a run to measure by')
  parser.add_argument('--last', type=int, default=40, help='updates of that run to look at')
  parser.add_argument('--lengths', help='uniform:A,B | lognormal:MEDIAN,SIGMA | fixed:N')
  parser.add_argument('--filtered', type=float, default=0.0, help='share of groups dropped')
  for name, words in dict(
      token_s='a decode step, whatever its occupancy', sequence_s='more for every active sequence',
      train_s='an update', train_token_s='more for every token of it',
      publish_s='new weights to the samplers', verdict_s='judging one completion').items():
    parser.add_argument(f'--{name}', type=float, help=f'seconds: {words}')
  parser.add_argument('--updates', type=int, default=40)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--sweep', action='store_true')
  parser.add_argument('--json', action='store_true', help='one JSON object instead of tables')
  parser.add_argument('--output', type=Path, help='a folder for table.json and simulation.png')
  return parser.parse_args(argv[1:])


def main(args) -> None:
  with cli.one_sentence():
    system, law, step_s = _described(args)
    found = dict(asynchronous=_run(system, law, args), synchronous=_run(as_one(system), law, args))
    if args.sweep:
      found['sweep'] = sweep(system, law, args)
      found['recommended'] = recommend(found['sweep'])
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
    show(found, Console())


def _described(args):
  """(system, law, measured seconds of an update or None) of the command line."""
  times = {name: getattr(args, name) for name in
           ('token_s', 'sequence_s', 'train_s', 'train_token_s', 'publish_s', 'verdict_s')}
  if args.run:
    path = args.run / 'experiment.json'
    if not path.is_file():
      raise ValueError(f'{path} does not exist: --run names the workdir of a run.')
    c = json.loads(path.read_text('utf-8'))['config']
    system, law, step_s = inputs.read_run(args.run, c, window=_window(c), last=args.last)
    given = {name: value for name, value in times.items() if value is not None}
    return (dataclasses.replace(system, **given),
            law_of(args.lengths, filtered=args.filtered) if args.lengths else law,
            None if given or args.lengths else step_s)
  if not args.config or not args.lengths or args.token_s is None or args.train_s is None:
    raise ValueError('Without --run give --config, --lengths, --token_s and --train_s.')
  c = cli.load_config(args.config)
  check_limits(c)
  system = System(
      samplers=c.runtime.samplers, slots=c.sampler.slots, decode_steps=c.sampler.decode_steps,
      group_size=c.sampler.group_size, prompts_per_batch=c.batching.prompts_per_batch,
      window=_window(c), verifier_workers=c.runtime.verifier_workers * c.runtime.verifier_hosts,
      **{name: value or 0.0 for name, value in times.items()})
  return system, law_of(args.lengths, filtered=args.filtered), None


def _window(c):
  if 'lockstep' in c['runtime']['mode']:
    return None
  return window_groups(c['batching']['max_staleness'], c['batching']['prompts_per_batch'])


def _run(system: System, law, args) -> dict:
  return Simulation(system, law, seed=args.seed).run(args.updates)


def as_one(system: System, share: float = 0.5) -> System:
  """The same chips taking turns: all of them sample, then all of them train.

  Args:
    share: of the chips that the samplers have; more hosts sample and the trainer is as much faster.
  """
  return dataclasses.replace(
      system, synchronous=True, window=None, publish_s=system.publish_s,
      samplers=max(1, round(system.samplers / share)), train_s=system.train_s * (1 - share),
      train_token_s=system.train_token_s * (1 - share))


def split(system: System, share: float) -> System:
  """The same chips, a `share` of them sampling where it was half."""
  left = (1 - share) / 0.5
  return dataclasses.replace(
      system, samplers=max(1, round(system.samplers * share / 0.5)),
      train_s=system.train_s / left, train_token_s=system.train_token_s / left)


def sweep(system: System, law, args) -> list[dict]:
  """Figures for sequences in flight x completions of a batch x split of the chips."""
  found = []
  for in_flight in FACTORS:
    for batch in FACTORS:
      for share in SHARES:
        prompts = max(1, round(system.prompts_per_batch * batch))
        window = system.window and max(prompts, round(system.window * max(batch, in_flight)))
        tried = dataclasses.replace(
            split(system, share), slots=max(1, round(system.slots * in_flight)),
            prompts_per_batch=prompts, window=window, synchronous=False,
            # The same work per completion: a larger batch takes longer to train on.
            train_s=split(system, share).train_s * prompts / system.prompts_per_batch)
        found.append(dict(_run(tried, law, args), sampler_share=share))
  return found


def recommend(tried: list[dict]) -> dict:
  """The fastest of those at most half a version staler than the least stale, ties by staleness."""
  least = min(t['staleness_mean'] for t in tried)
  near = [t for t in tried if t['staleness_mean'] <= max(2 * least, least + 0.5)]
  return max(near, key=lambda t: (round(t['completions_per_s'], 3), -t['staleness_mean']))


def show(found: dict, console: Console) -> None:
  """Prints what was found as tables."""
  table = Table(title='The loop, simulated')
  for name in ('', *COLUMNS.values()):
    table.add_column(name, justify='right')
  for mode in ('asynchronous', 'synchronous'):
    table.add_row(mode, *(f'{found[mode][key]:,.3g}' for key in COLUMNS))
  console.print(table)
  ratio = found['asynchronous']['completions_per_s'] / found['synchronous']['completions_per_s']
  console.print(f'Asynchronous over synchronous on the same chips: {ratio:.2f}x.', highlight=False)
  if 'measured_step_s' in found:
    console.print(f'The run took {found["measured_step_s"]:.3g} s per update; simulated over '
                  f'measured: {found["predicted_over_measured"]:.2f}.', highlight=False)
  if 'sweep' in found:
    best = found['recommended']
    table = Table(title='Sweep (marked: recommended)')
    for name in ('in flight', 'batch', 'chips that sample', *COLUMNS.values()):
      table.add_column(name, justify='right')
    for t in found['sweep']:
      table.add_row(f'{t["n_async"]:,}', f'{t["n_batch"]:,}', f'{t["sampler_share"]:.0%}',
                    *(f'{t[key]:,.3g}' for key in COLUMNS), style='bold green' if t is best else '')
    console.print(table)


if __name__ == '__main__':
  cli.run(main, parse=parse)
