r"""What a run decided about its stages, and what it would have decided with other settings.

    python -m magistral_jax.stages --run=runs/rl
    python -m magistral_jax.stages --run=runs/rl --config.stages.longer.rise=0.1 --looks
    python -m magistral_jax.stages --run=runs/rl --config=configs/other.py

Makes the decisions of a run again from its metrics.jsonl: with its own config, changed by
--config.KEY=VALUE, or with the stages of another one. --looks also shows the decisions by which
nothing opened. docs/stages.md says what opens a stage.
"""

import json
import sys
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from magistral_jax import command_line
from magistral_jax.experiment import cli, stage_configs
from magistral_jax.experiment.values import check_limits
from magistral_jax.models.formats.workdir import EXPERIMENT, read_experiment
from magistral_jax.orchestration import replay, run_stages


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--run', type=Path, required=True, help='the workdir of a run')
  parser.add_argument('--config', help='an experiment whose stages are taken instead; '
                      '--config.KEY=VALUE changes a key')
  parser.add_argument('--looks', action='store_true', help='also decisions that opened nothing')
  parser.add_argument('--json', action='store_true', help='one JSON object instead of tables')
  args = parser.parse_args(cli.split_config(argv[1:])[1])
  with command_line.one_sentence():
    args.config = config_of(args.run, argv)
  return args


def config_of(run: Path, argv) -> ConfigDict:
  """The run's config with other settings of its stages. Raises ValueError for what is no run."""
  if not (run / EXPERIMENT).is_file():
    raise ValueError(f'{run / EXPERIMENT} does not exist: --run names the workdir of a run.')
  own = ConfigDict(read_experiment(str(run))['config'])
  found = cli.read_config(argv, default=own)
  c = ConfigDict(own.to_dict() | dict(stages=found.stages.to_dict()))
  check_limits(c)
  stage_configs.check_names(c)
  if not stage_configs.names(c):
    raise ValueError(f'The run in {run} has no stages: say which are to be decided about, by '
                     f'--config=FILE or --config.stages.order=... and their keys.')
  return c


def table(title: str, rows) -> Table:
  found = Table(title=title, title_justify='left')
  for name in ('stage', 'after update', 'reason', 'evidence'):
    found.add_column(name)
  for row in rows:
    found.add_row(*row)
  return found


def show(found: replay.Replay, looks: bool, console: Console) -> None:
  """Prints what was decided and what would have been."""
  console.print(table('The run opened', replay.rows(found.recorded)))
  console.print(table('With these settings', replay.rows(found.looks if looks else found.openings)))
  if found.parts is not None:
    console.print(f'They part after update {found.parts}: what follows was measured under the '
                  f'stages that the run opened.', highlight=False)
  for stage, margin in found.seen().items():
    console.print(f'For {stage} a window showed a plateau where rise is above {margin:.2g}.',
                  highlight=False)


def main(args) -> None:
  with command_line.one_sentence():
    found = replay.of_run(args.run, run_stages.controller(args.config))
  if args.json:
    json.dump(dict(recorded=[d.line() for d in found.recorded],
                   replayed=[d.line() for d in (found.looks if args.looks else found.openings)],
                   parts=found.parts, seen=found.seen()), sys.stdout)
    print()
  else:
    show(found, args.looks, Console())


if __name__ == '__main__':
  command_line.run(main, parse=parse)
