"""The paper's claim about versions per completion, simulated with the paper's numbers.

    python -m magistral_jax.analysis.versions --output=FOLDER

With n_async sequences in flight and batches of n_batch completions a completion is overtaken by
about n_async / n_batch updates (arXiv:2506.10910, section 3): lengths spread fivefold, n_async of
4096, n_batch from 1024 to 8192. Writes versions.md and versions.png.
"""


from magistral_jax import command_line
from magistral_jax.experiment import cli
from magistral_jax.simulation import plots
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.system import System, lengths_of

N_ASYNC, N_BATCHES, GROUP = 4096, (1024, 2048, 4096, 8192), 16
LENGTHS = 'uniform:2000,10000'
KEYS = ('n_batch', 'versions_per_completion', 'staleness_mean', 'staleness_most', 'slots_idle',
        'trainer_idle', 'completions_per_s')


def simulate(updates: int = 40) -> list[dict]:
  """The figures for each batch size, where decoding is the bottleneck, as in long reasoning.

  Args:
    updates: of each simulation.
  Returns:
    One dict of figures for each of N_BATCHES, in their order.
  """
  return [Simulation(System(
      samplers=8, slots=N_ASYNC // 8, decode_steps=8, token_s=0.02, sequence_s=0.0,
      group_size=GROUP, prompts_per_batch=n_batch // GROUP, in_flight=0, backlog_batches=1,
      max_staleness=0, verifier_workers=64, verifier_queue=4096,
      verdict_s=0.01, train_s=n_batch / 1024, train_token_s=0.0, publish_s=5.0),
      lengths_of(LENGTHS)).run(updates) for n_batch in N_BATCHES]


def table(rows: list[dict]) -> str:
  """The figures as a Markdown table, with the formula that they are compared with."""
  lines = [f'Simulated: n_async = {N_ASYNC}, lengths {LENGTHS} tokens, groups of {GROUP}.\n',
           '| n_async / n_batch | ' + ' | '.join(KEYS) + ' |', '|---' * (len(KEYS) + 1) + '|']
  # Rounded first: a share of time that is a difference of sums may miss 0 by 1e-16.
  lines += [f'| {N_ASYNC / row["n_batch"]:g} | '
            + ' | '.join(f'{round(row[k], 6) + 0.0:.4g}' for k in KEYS) + ' |' for row in rows]
  return '\n'.join([*lines, '']) + (
      '\nA completion is written by the version that began it and by those that overtake it: '
      '1 + n_async / n_batch.\n')


def main(args) -> None:
  with command_line.one_sentence():
    folder = cli.folder('output', args.output)
  rows = simulate()
  (folder / 'versions.md').write_text(table(rows))
  plots.draw_versions(rows, folder / 'versions.png')
  print(table(rows))


def parse(argv):
  parser = command_line.ArgumentParser(description=__doc__)
  parser.add_argument('--output', required=True, help='a folder')
  return parser.parse_args(argv[1:])


if __name__ == '__main__':
  command_line.run(main, parse=parse)
