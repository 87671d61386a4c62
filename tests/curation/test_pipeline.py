"""In = out + ledger; the same output after a kill, and whatever order the workers finish in."""
import contextlib
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from magistral_jax.curation import pipeline
from magistral_jax.curation.rows import CurationStep, Decision, read_rows

FILES = ('kept', 'dropped', 'changed', 'extra')
NOTHING = lambda *_: None


def decide(number, row):
  """Keeps, drops, changes, doubles or notes, by the row's own number."""
  kind = row['n'] * 7919 % 11
  if kind < 3:
    return Decision((), f'reason {kind}', 'why', dict(extra=dict(id=row['id'])) if kind else {})
  if kind == 3:
    return Decision((row | dict(seen=number),), 'changed')
  if kind == 4:
    return Decision((row | dict(id=f'{row["id"]}a'), row | dict(id=f'{row["id"]}b')), 'doubled')
  return Decision((row,))


def step(name='one', decision=decide, threads=1):
  @contextlib.contextmanager
  def opened(path):
    yield decision
  return CurationStep(name, opened, threads)


@pytest.fixture
def source(write):
  from pathlib import Path
  return Path(write('in.jsonl', [dict(id=f'r{n}', n=n, text='数 ' * (n % 5)) for n in range(300)]))


def outcome(folder):
  return {name: (folder / f'{name}.jsonl').read_bytes() for name in FILES
          if (folder / f'{name}.jsonl').exists()}


def test_every_row_is_kept_or_in_the_ledger(source, tmp_path):
  entry = pipeline.run_step(step(), source, tmp_path / 'a', rows=300, progress=NOTHING)
  kept, dropped, changed = ([row for _, row in read_rows(tmp_path / 'a' / f'{name}.jsonl')]
                            for name in FILES[:3])
  assert entry['rows_in'] == 300 and entry['rows_out'] == len(kept)
  assert entry['rows_in'] + entry['added'] == entry['rows_out'] + sum(entry['reasons'].values())
  assert sum(entry['reasons'].values()) == len(dropped)
  assert sum(entry['changed'].values()) == len(changed)
  names = {row['id'].rstrip('ab') for row in kept} | {row['id'] for row in dropped}
  assert names == {f'r{n}' for n in range(300)}
  given = {row['id']: row for _, row in read_rows(source)}
  for row in dropped:
    assert {k: v for k, v in row.items() if k not in ('step', 'reason', 'detail')} == given[
        row['id']]
    assert row['step'] == 'one' and row['reason']
  for row in changed:
    assert row['before'] == given[row['id']] and all(after in kept for after in row['after'])


def test_the_order_in_which_workers_finish_changes_nothing(source, tmp_path):
  pipeline.run_step(step(), source, tmp_path / 'a', rows=300, progress=NOTHING)
  rng = random.Random(0)

  def late(number, row):
    time.sleep(rng.random() * 0.004)
    return decide(number, row)
  for threads in (2, 7):
    folder = tmp_path / f'threads{threads}'
    pipeline.run_step(step(decision=late, threads=threads), source, folder, rows=300,
                      progress=NOTHING)
    assert outcome(folder) == outcome(tmp_path / 'a')


@pytest.mark.parametrize('threads', [1, 5])
def test_a_failure_keeps_what_was_decided_before_it(source, tmp_path, threads):
  pipeline.run_step(step(), source, tmp_path / 'a', rows=300, progress=NOTHING)
  calls = []

  def failing(number, row):
    calls.append(number)
    if number == 120:
      raise ValueError('no more')
    return decide(number, row)
  with pytest.raises(ValueError, match='no more'):
    pipeline.run_step(step(decision=failing, threads=threads), source, tmp_path / 'b', rows=300,
                      progress=NOTHING)
  calls.clear()

  def counting(number, row):
    calls.append(number)
    return decide(number, row)
  pipeline.run_step(step(decision=counting, threads=threads), source, tmp_path / 'b', rows=300,
                    progress=NOTHING)
  assert sorted(calls) == list(range(120, 300))
  assert outcome(tmp_path / 'b') == outcome(tmp_path / 'a')


KILLED = """
import os, signal, sys
from pathlib import Path
from magistral_jax.curation import pipeline
from tests.curation import test_pipeline
pipeline.RECORD_S = float(sys.argv[4])
last = int(sys.argv[3])

def deadly(number, row):
  if number == last:
    os.kill(os.getpid(), signal.SIGKILL)
  return test_pipeline.decide(number, row)
pipeline.run_step(test_pipeline.step(decision=deadly, threads=2), Path(sys.argv[1]),
                  Path(sys.argv[2]), rows=300, progress=test_pipeline.NOTHING)
"""


@pytest.mark.parametrize('last, record_s', [(3, 0.0), (150, 0.0), (299, 0.0), (200, 1e9)])
def test_killed_and_resumed_is_uninterrupted(source, tmp_path, last, record_s):
  pipeline.run_step(step(), source, tmp_path / 'a', rows=300, progress=NOTHING)
  done = subprocess.run(
      [sys.executable, '-c', KILLED, source, tmp_path / 'b', str(last), str(record_s)],
      capture_output=True, text=True, timeout=120, env={'PYTHONPATH': ':'.join(sys.path)})
  assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
  # Lines past the last record, the last of them cut in two.
  for name in ('kept', 'dropped'):
    with open(tmp_path / 'b' / f'{name}.jsonl', 'ab') as file:
      file.write(b'{"id": "r1"}\n{"id":')
  (tmp_path / 'b' / 'stray.jsonl').write_text('{}\n')
  pipeline.run_step(step(threads=3), source, tmp_path / 'b', rows=300, progress=NOTHING)
  assert outcome(tmp_path / 'b') == outcome(tmp_path / 'a')
  assert not (tmp_path / 'b' / 'stray.jsonl').exists()


def test_a_finished_step_is_not_run_again(source, tmp_path):
  first = pipeline.run_step(step(), source, tmp_path / 'a', rows=300, progress=NOTHING)

  def never(number, row):
    raise AssertionError('run again')
  again = pipeline.run_step(step(decision=never), source, tmp_path / 'a', rows=300,
                            progress=NOTHING)
  assert json.dumps(first) == json.dumps(again)


def test_rows_are_read_only_a_little_ahead(source):
  """Memory is bounded: decisions that are not taken keep the rows behind them unread."""
  begun = []

  def slow(number, row):
    begun.append(number)
    return Decision((row,))
  found = pipeline.decided(slow, 2, source, 0, 0)
  next(found)
  time.sleep(0.2)
  assert max(begun) < 20
  found.close()
