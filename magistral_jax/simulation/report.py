"""Figures of simulations as tables, narrow enough for a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

# The figures of a simulation that the first table shows, with their names and units.
ROWS = dict(
    step_s='seconds per update', completions_per_s='completions per second',
    slots_idle='slots idle', trainer_idle='trainer idle',
    preemptions='preemptions per update', prefill_again='time spent to prefill them again',
    versions_per_completion='versions per completion',
    staleness_expected='staleness expected: n_async / n_batch',
    staleness_mean='staleness measured', staleness_most='staleness at most',
    stale_share='groups dropped as stale', verifier_queue_mean='verifier queue')
# Those of each system in a sweep.
COLUMNS = dict(step_s='s per update', completions_per_s='compl./s', slots_idle='slots idle',
               trainer_idle='trainer idle', staleness_mean='staleness')
# Those of a stage.
STAGE_ROWS = dict(
    update='after update', reason='opened by', max_new_tokens='longest completion',
    n_batch='completions of a batch', n_async='in flight', tokens_mean='mean length',
    **{key: ROWS[key] for key in ('step_s', 'completions_per_s', 'slots_idle', 'trainer_idle',
                                  'preemptions', 'staleness_mean', 'staleness_most')})
MODES = ('asynchronous', 'synchronous')


def show(found: dict, console: Console) -> None:
  """Prints both modes as a table, then the comparison with a run and the sweep, if there are any.

  Args:
    found: what `simulate` writes into table.json.
  """
  table = Table(title='The loop, simulated')
  table.add_column('')
  for mode in MODES:
    table.add_column(mode, justify='right')
  for key, name in ROWS.items():
    table.add_row(name, *(_figure(found[mode][key]) for mode in MODES))
  console.print(table)
  ratio = found['asynchronous']['completions_per_s'] / found['synchronous']['completions_per_s']
  console.print(f'Asynchronous over synchronous on the same chips: {ratio:.2f}x.', highlight=False)
  if 'stages' in found:
    table = Table(title='Stages, one after the other')
    table.add_column('')
    for t in found['stages']:
      table.add_column(t['stage'], justify='right')
    for key, name in STAGE_ROWS.items():
      table.add_row(name, *(t[key] if isinstance(t[key], str) else _figure(t[key])
                            for t in found['stages']))
    console.print(table)
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
                    *(_figure(t[key]) for key in COLUMNS), style='bold green' if t is best else '')
    console.print(table)


def _figure(value: float) -> str:
  """A number in three digits, or all digits of what is larger."""
  return f'{value:,.0f}' if abs(value) >= 99.5 else f'{value:.3g}'
