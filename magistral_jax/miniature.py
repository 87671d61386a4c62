"""Magistral in miniature: from raw problems to trained reasoning models, on a laptop.

    python -m magistral_jax.miniature --output=runs/mini

Curation, two base models, mini-Medium by reinforcement learning in stages, its traces, mini-Small
by imitation, by reinforcement learning and by both, transfer between domains, and evaluations: each
a command of this package, printed before it runs. The same command goes on after an interruption.
--output gets results.json and report.md. docs/miniature.md says more.
"""

from pathlib import Path

from rich.console import Console

from magistral_jax import command_line, durable
from magistral_jax.experiment import cli
from magistral_jax.recipe import legs, page, pictures, results, walk

FLAGS = dict(
    output=('runs/mini', 'folder of the walk'),
    configs=('configs', 'folder of mini_medium.py and mini_small.py'),
    seed=(0, 'seed of the world, the weights and all draws'),
    scale=(1.0, 'share of the updates, problems and samples'),
    legs=('', 'names of the legs to run, with commas between them; all by default'),
    beside=('', 'folders of other walks, whose figures the report joins'))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_flags(FLAGS)
  parser.add_argument('--dry_run', action='store_true', help='print the commands, and end')
  return parser.parse_args(argv[1:])


def chosen(plan: legs.Plan, names: str) -> list[legs.Leg]:
  """The legs of some names. Raises ValueError for a scale or a name that is none."""
  if not 0 < plan.scale <= 10:
    raise ValueError(f'--scale={plan.scale} must be above 0 and at most 10.')
  known = legs.legs(plan)
  wanted = [name for name in names.split(',') if name]
  for name in wanted:
    if name not in [leg.name for leg in known]:
      raise ValueError(f'--legs: {name!r} is no leg'
                       f'{command_line.did_you_mean(name, [leg.name for leg in known])}; '
                       f'--dry_run prints them.')
  return [leg for leg in known if not wanted or leg.name in wanted]


def report(plan: legs.Plan, beside: str, console: Console) -> None:
  """Writes results.json, report.md and its images out of what there is."""
  output = Path(plan.output)
  found = results.read(output)
  made = results.write(found, output / 'results.json')
  pictures.draw(found, output)
  others = [results.read(Path(folder)) for folder in beside.split(',') if folder]
  durable.write_bytes(output / 'report.md', page.page(found, plan, others).encode())
  for line in page.summary(made):
    console.print(line)
  console.print(f'Written to {output}: results.json, report.md.')


def main(args) -> None:
  console = Console(highlight=False, soft_wrap=True)
  plan = legs.Plan(args.output, args.configs, args.seed, args.scale)
  with command_line.one_sentence():
    todo = chosen(plan, args.legs)
    if args.dry_run:
      for leg in todo:
        console.print(f'# {leg.name}\npython -m magistral_jax.{" ".join(leg.command)}',
                      markup=False)
      return
    output = cli.folder('output', args.output)
    try:
      with cli.claimed('output', output), command_line.writing():
        walk.walk(todo, output, console.print)
    except walk.LegError as error:
      raise SystemExit(f'error: {error}') from None
    report(plan, args.beside, console)


if __name__ == '__main__':
  command_line.run(main, parse=parse)
