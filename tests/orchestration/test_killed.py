"""A run as users start it, killed with -9 and with SIGTERM and resumed: each prompt exactly once.

The moments are drawn with a seed, but where they fall in the run depends on the machine's speed:
the checks hold wherever they fall.
"""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from magistral_jax import metrics
from magistral_jax.models.formats import committed
from magistral_jax.orchestration.report import SUMMARY_KEYS

ROOT = Path(__file__).resolve().parents[2]
PROMPTS, SAMPLES, STEPS, MAX_STALENESS = 4, 4, 80, 3
OVERRIDES = dict(
    total_steps=STEPS, model=dict(layers=1, dim=32, heads=2, kv_heads=1, head_dim=16, ffn_dim=64),
    trainer=dict(unroll=1), data=dict(max_prompt_tokens=8, arithmetic=dict(max_terms=2)),
    cold_start=dict(steps=80, examples=512, rows=16),
    sampler=dict(slots=16, group_size=SAMPLES, max_new_tokens=32),
    batching=dict(prompts_per_batch=PROMPTS, max_staleness=MAX_STALENESS, row_tokens=64),
    evaluation=dict(every=7, problems=4, samples=1, max_new_tokens=32),
    checkpoints=dict(every=3, keep=2), runtime=dict(mode='threads', deadline_s=300.0))
PATIENCE_S = 300.0        # For a slow machine; nothing is measured by it.


def flags(overrides, prefix='--config'):
  for key, value in overrides.items():
    if isinstance(value, dict):
      yield from flags(value, f'{prefix}.{key}')
    else:
      yield f'{prefix}.{key}={value}'


class Killable:
  """One start of the command, in a process of its own; `more` overrides its config, too."""

  def __init__(self, workdir, more=()):
    self.workdir = workdir
    self.output = open(workdir.parent / 'output.txt', 'ab')
    # One device, as on a user's machine: trainer and sampler share it.
    env = os.environ | dict(XLA_FLAGS='', JAX_PLATFORMS='cpu', PYTHONPATH=str(ROOT))
    self.process = subprocess.Popen(
        [sys.executable, '-m', 'magistral_jax.train', f'--config={ROOT}/configs/quickstart.py',
         f'--workdir={workdir}', *flags(OVERRIDES), *more],
        cwd=ROOT, env=env, stdout=self.output, stderr=subprocess.STDOUT)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self.process.poll() is None:
      self.process.kill()
      self.process.wait()
    self.output.close()

  @property
  def running(self):
    return self.process.poll() is None

  def until(self, condition):
    """Waits for `condition`, the end of the process, or too long."""
    end = time.monotonic() + PATIENCE_S
    while self.running and not condition():
      assert time.monotonic() < end, self.tail()
      time.sleep(0.01)

  def until_step(self, step):
    self.until(lambda: last_step(self.workdir) >= step)

  def finish(self):
    assert self.process.wait(PATIENCE_S) == 0, self.tail()

  def tail(self):
    return (self.workdir.parent / 'output.txt').read_text(errors='replace')[-3000:]

  def workers(self):
    """Verifier workers that this process started and that are alive."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
      try:
        words = path.read_bytes().decode(errors='replace')
        state = path.with_name('stat').read_text().rsplit(')', 1)[1].split()[0]
      except OSError:             # It ended meanwhile.
        continue
      if 'verifiers.worker' in words and f'"parent": {self.process.pid},' in words and state != 'Z':
        found.append(path.parent.name)
    return found

  def no_worker_left(self):
    end = time.monotonic() + 60.0
    while self.workers():
      assert time.monotonic() < end, f'workers outlive their parent: {self.workers()}'
      time.sleep(0.05)


def last_step(workdir):
  path = workdir / 'metrics.jsonl'
  try:
    lines = metrics.read_lines(path) if path.exists() else []
  except ValueError:        # It was cut back, and grew again, while it was read.
    lines = []
  return lines[-1]['step'] if lines else 0


def newest_record(workdir):
  found = committed.found(workdir / 'checkpoints')
  return max(found), json.loads((Path(found[max(found)]) / 'record.json').read_text())


def kill_and_resume(workdir, moments):
  """Starts and kills once for each moment, (a step to reach or None, seconds from then).

  Returns:
    How many were running when killed, and how many of these had verifier workers.
  """
  kills = with_workers = 0
  for step, seconds in moments:
    with Killable(workdir) as run:
      if step is not None:
        run.until_step(step)
      end = time.monotonic() + seconds
      run.until(lambda end=end: time.monotonic() > end)
      with_workers += bool(run.workers())
      kills += run.running
      run.process.send_signal(signal.SIGKILL)
      run.process.wait()
      run.no_worker_left()
  return kills, with_workers


def check_everything_is_accounted_for(workdir):
  lines = metrics.read_lines(workdir / 'rollouts.jsonl')
  identities = [(line['ordinal'], line['sample']) for line in lines]
  assert len(set(identities)) == len(identities), 'a completion stands twice'
  fates = collections.defaultdict(set)
  for line in lines:
    fates[line['ordinal']].add((line['fate'], line['step']))
  assert all(len(found) == 1 for found in fates.values())
  step, record = newest_record(workdir)
  ledger = record['ledger']
  settled = set(range(ledger['frontier'])) | {ordinal for ordinal, _ in ledger['settled']}
  assert step == STEPS and settled <= set(fates), 'a prompt was lost'
  # Groups that the verifier's thread settles after the last save; nothing trains them any more.
  after = set(fates) - settled
  assert 'trained' not in {fate for ordinal in after for fate, _ in fates[ordinal]}
  assert len(lines) == len(fates) * SAMPLES
  saved, counts = (collections.Counter(fate for ordinal in ordinals for fate, _ in fates[ordinal])
                   for ordinals in (settled, fates))
  assert {k: n for k, n in ledger['counts'].items() if n} == saved
  trained = collections.Counter(line['step'] for line in lines if line['fate'] == 'trained')
  assert trained == dict.fromkeys(range(1, STEPS + 1), PROMPTS * SAMPLES)
  steps = [line['step'] for line in metrics.read_lines(workdir / 'metrics.jsonl')]
  assert steps == [*range(1, STEPS + 1)]
  staleness = [line['step'] - 1 - min(version for _, version in line['versions'])
               for line in lines if line['fate'] == 'trained']
  assert min(staleness) >= 0 and max(staleness) <= MAX_STALENESS
  summary = json.loads((workdir / 'summary.json').read_text())
  assert set(SUMMARY_KEYS) <= set(summary)
  assert summary['steps'] == STEPS and summary['prompts_trained'] == STEPS * PROMPTS
  assert saved['filtered'] <= summary['groups_filtered'] <= counts['filtered']
  assert len(settled) * SAMPLES <= summary['completions'] <= len(lines)
  assert summary['max_staleness'] == max(staleness)
  for key in ('accuracy_start', 'accuracy_cold_start', 'accuracy_final', 'reward_last'):
    assert summary[key] is not None, key


STAGES = list(flags(dict(stages=dict(
    order='longer,wider,slower',
    longer=dict(opens='update', update=10, sampler=dict(max_new_tokens=40),
                verifiers=dict(length_max=40, length_cache=8)),
    wider=dict(opens='hand', loss=dict(clip_high=0.4)),
    slower=dict(opens='reward', window=24, rise=0.5, latest=50,
                optimizer=dict(learning_rate=5e-4))))))


def openings(workdir):
  path = workdir / 'stages.jsonl'
  lines = metrics.read_lines(path) if path.exists() else []
  return {line['stage']: line for line in lines if line.get('opens')}


@pytest.mark.long
@pytest.mark.parametrize('seed', [0, 1])
def test_killed_as_stages_open_and_resumed(tmp_path, seed):
  """Before the checkpoint that an opening saves, and after it: every stage opens once."""
  workdir, rng = tmp_path / 'run', random.Random(seed)
  workdir.mkdir()
  for number, latest in enumerate((0.02, 0.5, 0.02, 0.5, 0.1), 1):
    with Killable(workdir, STAGES) as run:
      before = len(openings(workdir))
      if number == 3:
        (workdir / 'open-wider').touch()
      run.until(lambda before=before: len(openings(workdir)) > before)
      end = time.monotonic() + rng.uniform(0, latest)
      run.until(lambda end=end: time.monotonic() > end)
      run.process.send_signal(signal.SIGKILL)
      run.process.wait()
  (workdir / 'open-wider').touch()
  with Killable(workdir, STAGES) as run:
    run.finish()
  check_everything_is_accounted_for(workdir)
  lines = [line for line in metrics.read_lines(workdir / 'stages.jsonl') if line.get('opens')]
  assert sorted(line['stage'] for line in lines) == ['longer', 'slower', 'wider']
  opened = openings(workdir)
  assert opened['longer']['step'] == 10 and opened['wider']['reason'] == 'hand'
  assert newest_record(workdir)[1]['stages'] == lines
  first = opened['longer']['ordinal']
  longest = collections.defaultdict(int)
  for line in metrics.read_lines(workdir / 'rollouts.jsonl'):
    later = line['ordinal'] >= first
    longest[later] = max(longest[later], line['n_tokens'])
    assert later or line['parts']['length'] == 0
  assert longest[False] <= 32 < longest[True] <= 40
  for line in metrics.read_lines(workdir / 'metrics.jsonl'):
    assert line['stages_open'] == sum(one['step'] < line['step'] for one in lines)


def test_killed_twice_stopped_once_and_resumed(tmp_path):
  workdir, rng = tmp_path / 'run', random.Random(0)
  workdir.mkdir()
  moments = [(step + rng.randint(0, 6), rng.uniform(0, 0.2)) for step in (2, 12)]
  kills, with_workers = kill_and_resume(workdir, moments)
  assert kills == 2 and with_workers > 0
  with Killable(workdir) as run:
    run.until_step(22)
    assert run.running
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    run.no_worker_left()
    assert 'saved; the same command goes on' in ' '.join(run.tail().split())
  stopped = last_step(workdir)
  assert 22 <= stopped < STEPS
  # Saved where it stopped, not at the last multiple of checkpoints.every.
  assert newest_record(workdir)[0] == stopped
  assert not (workdir / 'summary.json').exists()
  with Killable(workdir) as run:
    run.finish()
    run.no_worker_left()
  check_everything_is_accounted_for(workdir)


@pytest.mark.long
@pytest.mark.parametrize('seed', [0])
def test_killed_ten_times_and_resumed(tmp_path, seed):
  """Anywhere: while it starts, in the cold start, while it saves, in the loop."""
  workdir, rng = tmp_path / 'run', random.Random(seed)
  workdir.mkdir()
  early = [(None, rng.uniform(0, 8)) for _ in range(3)]
  late = [(6 * i + rng.randint(0, 3), rng.uniform(0, 0.2)) for i in range(1, 8)]
  kills, with_workers = kill_and_resume(workdir, early + late)
  assert kills == 10 and with_workers > 0
  with Killable(workdir) as run:
    run.finish()
    run.no_worker_left()
  check_everything_is_accounted_for(workdir)


@pytest.mark.long
def test_stopped_in_the_cold_start_and_resumed(tmp_path):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  with Killable(workdir) as run:
    run.until(lambda: 'cold start  step 20/' in run.tail())
    run.process.send_signal(signal.SIGTERM)
    run.finish()
  assert 'Stopped in the cold start' in run.tail()
  before = len((tmp_path / 'output.txt').read_text())
  with Killable(workdir) as run:
    run.finish()
  resumed = (tmp_path / 'output.txt').read_text()[before:]
  assert 'cold start  step 1/' not in resumed and 'cold start  step 80/80' in resumed
  check_everything_is_accounted_for(workdir)
