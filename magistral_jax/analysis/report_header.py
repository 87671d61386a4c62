"""What stands at the top of a report: what the run was, how it ended, its figures, its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magistral_jax.analysis.report_run import RecordedRun
from magistral_jax.experiment import cli
from magistral_jax.experiment.values import flat
from magistral_jax.orchestration.time_spent import ACTIVITIES

# Figures of the summary: (key, words, unit, digits behind the point, or significant ones below 0);
# a share is shown in percent.
FIGURES = (
    ('accuracy_start', 'Held-out accuracy before training', '%', 1),
    ('accuracy_cold_start', 'Held-out accuracy after the cold start', '%', 1),
    ('accuracy_final', 'Held-out accuracy at the end', '%', 1),
    ('reward_first', 'Reward, first updates', '', 3),
    ('reward_last', 'Reward, last updates', '', 3),
    ('steps', 'Updates', '', 0), ('wall_s', 'Wall time', 's', 0),
    ('completions', 'Completions', '', 0), ('prompts_trained', 'Groups trained', '', 0),
    ('groups_filtered', 'Groups filtered', '', 0), ('groups_stale', 'Groups stale', '', 0),
    ('groups_failed', 'Groups failed', '', 0),
    ('mean_staleness', 'Staleness, mean', 'versions', 2),
    ('max_staleness', 'Staleness, most', 'versions', 0),
    ('sampled_tokens_per_s', 'Sampled', 'tokens/s', 0),
    ('trained_tokens_per_s', 'Trained', 'tokens/s', 0),
    ('slots_idle', 'Slots idle', '%', 1), ('tokens_discarded', 'Tokens discarded', '%', 1),
    ('packing_efficiency', 'Rows filled', '%', 1),
    ('logprob_gap_mean', 'Parity gap, mean', 'nats', -3),
    ('logprob_gap_max', 'Parity gap, most', 'nats', -3),
    ('examples', 'Examples', '', 0), ('best_step', 'Best step', '', 0),
    ('failed_saves', 'Checkpoints not saved', '', 0), ('skipped_updates', 'Updates skipped', '', 0))
SPENT = dict(
    starting='starting: models, checkpoints, compilation', cold_start='cold start',
    waiting='waiting for a batch (samplers and verifiers work)', sampling='sampling',
    verifying='waiting for verdicts', packing='packing rows',
    training='training: forward, backward, optimizer', publishing='publishing weights',
    evaluating='evaluations outside the loop', saving='saving checkpoints', other='everything else')


def header(run: RecordedRun) -> dict[str, Any]:
  """Name, ending, figures, time, starts and config of a run, as the page shows them."""
  first = next(iter(run.starts), {})
  return dict(
      name=run.name, ended=ending(run), running=run.running, finished=bool(run.summary),
      command=' '.join(first.get('command', ())), starts=list(run.starts),
      figures=figures(run.measured), time=time_spent(run), changed=changed(run),
      config=[(key, shown(value)) for key, value in sorted(flat(run.config))])


def ending(run: RecordedRun) -> str:
  """How a run ended, in a sentence."""
  done = _counted(len(run.lines), 'update')
  cold = [line['step'] for line in run.stages if line['stage'] == 'cold_start' and 'loss' in line]
  if cold and not run.lines:
    done = f'{_counted(max(cold), "step")} of the cold start'
  last = run.starts[-1] if run.starts else {}
  if run.running:
    return f'It is going on, after {done}.'
  if last.get('ended') == 'failed':
    return f'It failed after {done}: {last["why"]}'
  if last.get('ended') == 'stopped':
    return f'It was stopped after {done}; the same command goes on.'
  if run.summary and (not last or last.get('ended') == 'finished'):
    return f'It came to its end, after {done}.'
  return f'It was killed after {done}; the same command goes on from its newest checkpoint.'


def _counted(number: int, word: str) -> str:
  return f'{number:,} {word}{"" if number == 1 else "s"}'


def figures(measured: Mapping[str, Any]) -> list[dict[str, str]]:
  """The figures that were measured, with their errors: words, value, error and unit."""
  found = []
  for key, words, unit, digits in FIGURES:
    value, error = measured.get(key), measured.get(f'{key}_se')
    if value is not None:
      scale = 100 if unit == '%' else 1
      kind = f',.{digits}f' if digits >= 0 else f'.{-digits}g'
      number = duration if unit == 's' else lambda x: format(x * scale, kind)
      found.append(dict(key=key, words=words, unit='' if unit == 's' else unit, value=number(value),
                        error='' if error is None else number(error)))
  return found


def time_spent(run: RecordedRun) -> dict[str, Any]:
  """Seconds by activity, which add up to the wall time: rows of (activity, words, seconds, share).

  Of a run that did not write them only training and publishing are known.
  """
  wall, spent = run.measured.get('wall_s'), run.measured.get('time_s')
  if not wall:
    return dict(rows=[], wall=wall, whole=False)
  whole = bool(spent)
  if not spent:
    total = lambda key: sum(line.get(key) or 0.0 for line in run.lines)
    spent = dict(training=total('train_s'), publishing=total('publish_s'))
    spent['other'] = max(0.0, wall - sum(spent.values()))
  rows = [(key, SPENT[key], spent[key], spent[key] / wall)
          for key in (*ACTIVITIES, 'other') if spent.get(key)]
  return dict(rows=rows, wall=wall, whole=whole)


def changed(run: RecordedRun) -> list[dict[str, str]]:
  """What the command line of the last start changed in its config file: key and value."""
  if not run.starts:
    return []
  overrides, _ = cli.split_config(['', *run.starts[-1].get('command', ())[1:]])
  return [dict(key=name.removeprefix('config.'), value='true' if text is None else text)
          for name, text in overrides if name != 'config']


def config_difference(runs: Sequence[RecordedRun]) -> list[tuple[str, list[str]]]:
  """Keys whose values are not the same in all configs, each with the value of every run."""
  configs = [dict(flat(run.config)) for run in runs]
  keys = sorted({key for config in configs for key in config})
  rows = [(key, [shown(config[key]) if key in config else 'not there' for config in configs])
          for key in keys]
  return [(key, row) for key, row in rows if len(set(row)) > 1]


def shown(value: Any) -> str:
  """A value of a config for people."""
  return repr(value) if isinstance(value, str) else str(value)


def duration(seconds: float) -> str:
  """Seconds for people: 3.2 s, 4 min 5 s, 2 h 3 min."""
  if seconds < 60:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'
