"""Prepared data sets hold what their JSONL file holds, without TensorFlow or JAX."""
import subprocess
import sys

import pytest

from magistral_jax.data.jsonl import JsonlSource
from magistral_jax.data.prepared import TfdsSource, find_prepared
from magistral_jax.data.sources import SOURCES


@pytest.fixture
def prepared(write, rows, tmp_path):
  """Result of the builder's command, its JSONL file and its folder."""
  program = dict(problem='f', tests=[{'assert': 'assert f()'}])
  path = write('a.jsonl', [*rows, dict(problem='数?', answer='7'), program])
  folder = tmp_path / 'prepared'
  return run_builder(path, folder), path, folder


def run_builder(path, folder):
  return subprocess.run(
      [sys.executable, '-X', 'importtime', '-m', 'magistral_jax.data.builders.problems',
       f'--input={path}', f'--output={folder}'],
      capture_output=True, text=True, env={'PYTHONPATH': ':'.join(filter(None, sys.path))})


def test_prepared_problems_are_those_of_the_file(prepared):
  run, path, folder = prepared
  assert run.returncode == 0, run.stderr[-2000:]
  imported = {line.split('|')[-1].strip() for line in run.stderr.splitlines()}
  assert not imported & {'tensorflow', 'jax'}
  ours = SOURCES['tfds'](0, path=str(folder), held_out=0)
  theirs = JsonlSource(0, path=path, held_out_path='', held_out=0)
  assert sorted(ours.training, key=lambda p: p.id) == sorted(theirs.training, key=lambda p: p.id)
  split = TfdsSource(0, path=str(find_prepared(str(folder))), held_out=4)
  assert split.size == 28 and len(split.held_out(10)) == 4
  # Nothing but our own words is printed.
  assert run.stdout.startswith('Prepared;') and len(run.stdout.splitlines()) == 1
  assert [line for line in run.stderr.splitlines() if not line.startswith('import time')] == []
  again = run_builder(path, folder)
  said = again.stderr.splitlines()[-1]
  assert again.returncode == 2 and said.startswith('error: ') and 'exists already' in said


def test_a_file_that_cannot_be_prepared_leaves_nothing_behind(write, tmp_path):
  path = write('bad.jsonl', [dict(problem='1+1')])
  before = sorted(tmp_path.rglob('*'))
  run = run_builder(path, tmp_path / 'prepared')
  assert run.returncode == 2 and 'line 1: "answer" is missing' in run.stderr
  assert sorted(tmp_path.rglob('*')) == before


def test_paths_that_hold_no_data_set_name_their_key(tmp_path):
  with pytest.raises(ValueError, match=r'set data\.tfds\.path'):
    TfdsSource(0, path='', held_out=0)
  with pytest.raises(ValueError, match=r'holds 0 prepared data sets.*data\.tfds\.path'):
    TfdsSource(0, path=str(tmp_path), held_out=0)
