"""The benchmark of asynchrony measures both modes: what it makes of a run follows the run."""
import json

import pytest

from tests.benchmarks import asynchrony


@pytest.mark.long
def test_both_modes_are_measured(capsys):
  asynchrony.main(['--updates=2', '--warmup_updates=1', '--repeats=1', '--slots=8',
                   '--prompts_per_batch=2', '--longest=20', '--layers=1', '--dim=64'])
  found = json.loads(capsys.readouterr().out)
  assert found['threads']['completions_per_s'] > 0 < found['lockstep']['completions_per_s']
  assert found['lockstep']['staleness_mean'] == 0 < found['threads']['slots_busy'] <= 1
