"""Figures of simulations as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

# The figures of a simulation that a table shows, with their names and units.
COLUMNS = dict(
    step_s='s per update', completions_per_s='completions/s', slots_idle='slots idle',
    trainer_idle='trainer idle', versions_per_completion='versions per completion',
    staleness_mean='staleness', staleness_most='at most', verifier_queue_mean='verifier queue')


def show(found: dict, console: Console) -> None:
  """Prints both modes as a table, then the comparison with a run and the sweep, if there are any.

  Args:
    found: what `simulate` writes into table.json.
  """
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
