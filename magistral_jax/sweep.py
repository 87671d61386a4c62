"""Variants of an experiment with several seeds, and what they say of a paper's finding.

    python -m magistral_jax.sweep --config=configs/ablations/NAME.py --workdir=sweeps/NAME

Every run is a process of `train`, and then one of `evaluate`. The same command goes on after an
interruption: what is done is not done again, and a run that was struck goes on from its newest
checkpoint. --workdir gets results.json, results.md and curves.png, however it ends.
--config.KEY=VALUE changes a key of all runs, but for those that make a start or a variant.
docs/analysis.md says more.
"""

from pathlib import Path

from rich.console import Console

from magistral_jax import command_line, durable
from magistral_jax.ablations import page, pictures, results, runs, sweep_file
from magistral_jax.experiment import cli
from magistral_jax.recipe import walk

FLAGS = dict(
    workdir=('', 'folder of the sweep'),
    seeds=('', 'seeds, with commas between them; those of the file by default'),
    variants=('', 'names of the variants to run, with commas between them; all by default'),
    inputs=('', 'folder of the walk that the file reads from, such as runs/mini, where it is '
            'another one'),
    parallel=(1, 'runs at a time'))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--config', help='a sweep file, such as configs/ablations/kl.py')
  parser.add_flags(FLAGS)
  parser.add_argument('--dry_run', action='store_true', help='print the commands, and end')
  changed, others = cli.split_config(argv)
  files = [f'--config={text}' for name, text in changed if name == 'config']
  args = parser.parse_args([*files, *others[1:]])
  args.more = [f'--{name}={text}' for name, text in changed if name != 'config']
  return args


def read(args) -> sweep_file.Sweep:
  """The sweep that the arguments ask for. Raises ValueError."""
  if not args.config:
    raise ValueError('--config is missing: name a sweep, such as configs/ablations/kl.py.')
  if args.parallel < 1:
    raise ValueError(f'--parallel={args.parallel} must be at least 1.')
  sweep = sweep_file.read(args.config, args.inputs).only(args.variants, args.seeds)
  # What train would refuse is refused before the first run.
  for _, text in cli.split_config(args.more)[0]:
    if text is None:
      raise ValueError('--config.KEY needs a value: write --config.KEY=VALUE.')
  for chain in runs.chains(sweep, args.workdir, args.more):
    cli.read_config(list(chain[0].command))
  return sweep


def report(sweep: sweep_file.Sweep, output: Path) -> results.Findings:
  """Writes results.json, results.md and curves.png out of what there is."""
  found = results.collect(sweep, output)
  results.write(found, output / 'results.json')
  pictures.draw(found, output / 'curves.png')
  durable.write_bytes(output / 'results.md', page.page(found).encode())
  return found


def main(args) -> None:
  console = Console(highlight=False, soft_wrap=True)
  with command_line.one_sentence():
    sweep = read(args)
    starts, chains = (of(sweep, args.workdir, args.more) for of in (runs.starts, runs.chains))
    if args.dry_run:
      for leg in [leg for chain in starts + chains for leg in chain]:
        console.print(f'# {leg.name}\npython -m magistral_jax.{" ".join(leg.command)}',
                      markup=False)
      return
    output = cli.folder('workdir', args.workdir)
    try:
      with cli.claimed('workdir', output), command_line.writing():
        for batch in (starts, chains):
          walk.beside(batch, output, console.print, parallel=args.parallel)
    except walk.LegError as error:
      raise SystemExit(f'error: {error}') from None
    finally:
      found = report(sweep, output)
  for line in page.summary(found):
    console.print(line, markup=False)
  console.print(f'Written to {output}: results.json, results.md, curves.png.')


if __name__ == '__main__':
  command_line.run(main, parse=parse)
