"""python -m magistral_jax.simulate: against the step time of a real run, and what it writes."""
import gzip
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from magistral_jax import simulate
from magistral_jax.simulation import report

REAL = Path(__file__).parent / 'simulation/quickstart_run'


@pytest.fixture
def real_run(tmp_path):
  """The last updates of a quickstart run of 2026-11-22, only the keys that are read."""
  for path in REAL.iterdir():
    with gzip.open(path) as source, open(tmp_path / path.stem, 'wb') as target:
      shutil.copyfileobj(source, target)
  return tmp_path


def test_fed_with_a_runs_times_it_predicts_that_runs_step_time(real_run, capsys):
  with open(real_run / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 9')             # It is being written, or was killed.
  simulate.main(simulate.parse(['', f'--run={real_run}', '--last=14', '--json']))
  found = json.loads(capsys.readouterr().out)
  assert found['predicted_over_measured'] == pytest.approx(1, abs=0.15)


def test_the_sweep_recommends_one_of_its_own(real_run, tmp_path, capsys):
  simulate.main(simulate.parse(
      ['', f'--run={real_run}', '--last=14', '--json', '--sweep', '--updates=8',
       f'--output={tmp_path / "out"}']))
  found = json.loads(capsys.readouterr().out)
  assert found['recommended'] in found['sweep'] and len(found['sweep']) == 27
  assert (tmp_path / 'out' / 'simulation.png').stat().st_size > 5000


def test_an_override_changes_what_is_simulated(capsys):
  flags = ['', '--config=configs/smollm2_math.py', '--lengths=fixed:40', '--token_s=0.01',
           '--train_s=0.5', '--updates=8', '--json']
  found = []
  for more in ([], ['--config.sampler.in_flight=32', '--late_s=0.1,0.3']):
    simulate.main(simulate.parse(flags + more))
    found.append(json.loads(capsys.readouterr().out)['asynchronous'])
  assert [f['n_async'] for f in found] == [64, 32]
  assert {'slots_idle', 'staleness_expected', 'staleness_mean', 'staleness_most',
          'stale_share', 'step_s', 'trainer_idle', 'versions_per_completion'} <= found[0].keys()
  assert found[1]['slots_idle'] > found[0]['slots_idle']


def test_the_flagship_keeps_its_slots_busy_and_drops_nothing(capsys):
  simulate.main(simulate.parse(
      ['', '--config=configs/magistral_small_rl.py', '--lengths=lognormal:6000,0.6',
       '--token_s=0.03', '--train_s=60', '--filtered=0.3', '--updates=12']))
  rows = dict(line.replace('│', '|').strip(' |').split('|')[:2]
              for line in capsys.readouterr().out.splitlines() if line.count('│') > 2)
  figure = {name.strip(): float(value.replace(',', '')) for name, value in rows.items()}
  assert figure['slots idle'] < 0.05 and figure['groups dropped as stale'] == 0
  assert figure['staleness measured'] > figure['staleness expected: n_async / n_batch'] > 0


def test_a_run_brings_its_own_config(real_run, capsys):
  with pytest.raises(SystemExit):
    simulate.main(simulate.parse(['', f'--run={real_run}', '--config=configs/quickstart.py']))
  assert 'leave --config out' in capsys.readouterr().err


def test_a_missing_flag_is_reported(capsys):
  with pytest.raises(SystemExit):
    simulate.main(simulate.parse(['', '--token_s=1']))
  assert 'Without --run give --config, --lengths' in capsys.readouterr().err


@pytest.mark.parametrize('flag, words', [
    ('--updates=0', '--updates=0 must be a whole number of at least 1'),
    ('--last=-5', '--last=-5 must be a whole number of at least 5'),
    ('--seed=-1', '--seed=-1 must be a whole number of at least 0'),
    ('--filtered=1', 'filtered is 1.0; it must be a share'),
    ('--open=longer:3', '--open=longer:3 is about stages'),
    ('--growth=0.1', '--growth=0.1 is about stages'), ('--growth=nan', '--growth=nan must be')])
def test_a_number_that_cannot_work_is_named(flag, words, capsys):
  with pytest.raises(SystemExit):
    simulate.main(simulate.parse(['', '--config=configs/smollm2_math.py', '--lengths=fixed:40',
                                  '--token_s=1', '--train_s=1', flag]))
  assert words in capsys.readouterr().err


def test_a_run_that_trained_on_nothing_is_refused(real_run, capsys):
  """Its groups, drawn again and again, would never make a batch."""
  for path in real_run.glob('rollouts*'):
    lines = [json.loads(line) | dict(fate='filtered') for line in path.read_text().splitlines()]
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  with pytest.raises(SystemExit):
    simulate.main(simulate.parse(['', f'--run={real_run}', '--last=14']))
  assert 'no whole group of 8 that was trained' in capsys.readouterr().err


@pytest.mark.parametrize('value, text', [
    (2887.26, '2,887'), (24576, '24,576'), (306.9, '307'), (99.6, '100'), (0.8046, '0.805'),
    (12.345, '12.3'), (0.0, '0')])
def test_figures_are_read_without_exponents(value, text):
  names = dict.fromkeys([*report.ROWS, *report.STAGE_ROWS], value) | dict(
      stage='first', reason='hand', completions_per_s=1.0)
  console = Console(file=io.StringIO(), width=80)
  report.show(dict(asynchronous=names, synchronous=names, stages=[names]), console)
  shown = console.file.getvalue().splitlines()
  for start in ('seconds per update', 'longest completion', 'staleness at most'):
    cells = [line.split('│')[2:-1] for line in shown if f'│ {start} ' in line]
    assert cells and all(cell.strip() == text for row in cells for cell in row)
