"""python -m magistral_jax.simulate: against the step time of a real run, and what it writes."""
import gzip
import json
import shutil
from pathlib import Path

import pytest

from magistral_jax import simulate

REAL = Path(__file__).parent / 'simulation/quickstart_run'


@pytest.fixture
def real_run(tmp_path):
  """The last updates of a quickstart run of 2026-11-22, only the keys that are read."""
  for path in REAL.iterdir():
    with gzip.open(path) as source, open(tmp_path / path.stem, 'wb') as target:
      shutil.copyfileobj(source, target)
  return tmp_path


def test_fed_with_a_runs_times_it_predicts_that_runs_step_time(real_run, capsys):
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


def test_a_missing_flag_is_reported(capsys):
  with pytest.raises(SystemExit):
    simulate.main(simulate.parse(['', '--token_s=1']))
  assert 'Without --run give --config, --lengths' in capsys.readouterr().err
