"""What stands on a real terminal while a run goes on, and what is left of it in a log file."""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS_TMUX = pytest.mark.skipif(not shutil.which('tmux'), reason='tmux is not installed')
DEADLINE_S = 600.0
TINY = [
    '--config=configs/quickstart.py', '--config.total_steps=4', '--config.cold_start.steps=20',
    '--config.evaluation.problems=16', '--config.evaluation.samples=1',
    '--config.evaluation.every=2', '--config.sampler.slots=16',
    '--config.batching.prompts_per_batch=4', '--config.sampler.group_size=4']
# A run without a model: an evaluation, then updates until it is asked to stop, then the report.
FAKE = '''
import sys, time
from absl import logging
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health, stop_on_signals
from magistral_jax.orchestration.report import finish
from magistral_jax.orchestration.roles import RoleStatus
health, display, step = Health(60.0), Display(9, True), 0
stop_on_signals(health, display.ending)
roles = lambda: {f'{kind}-{i}': RoleStatus(f'{said} {10 ** (step % 4)} sequences', f'10.0.0.{i}',
                                           step / 7, 10 ** (step % 5), step, step % 2 == 0)
                 for kind, said in (('sampler', 'decoding'), ('verifier', 'scoring'))
                 for i in range(7)}
with display:
  display.phase('evaluation: start', 20, log_every_s=15.0)
  for step in range(21):
    display.update(dict(step=step))
    time.sleep(0.06)
  display.note('a sentence of many words ' * 8 + 'that ends here')
  logging.warning('a warning of a library')
  display.phase('reinforcement learning', 100)
  display.watch(roles)
  for step in range(1, 2400):
    display.update({'step': step % 100 + 1, 'reward': step % 7 / 7, 'loss': 0.1, 'accuracy': 0.5,
                    'completion_tokens_mean': 10.0 ** (step % 5), 'sampled_tokens_per_s': 1e3,
                    'staleness_mean': 1.0, 'slots_idle': 0.1, 'eval/accuracy': 0.3,
                    'eval/version': 1})
    if health.stopping.wait(0.05):
      break
  time.sleep(1.2)
  finish(sys.argv[1], dict(accuracy_start=0.1, accuracy_final=0.9, steps=9),
         [('1+1', '2', 1.0)] * 3, display.show)
'''


class Terminal:
  """A pane of tmux in which one command runs."""

  def __init__(self, width, height, command):
    self._tmux = ['tmux', '-L', f'test-{uuid.uuid4().hex}', '-f', os.devnull]
    self._run('new-session', '-d', '-x', str(width), '-y', str(height), '-c', str(ROOT),
              # A pane is 80 columns wide for a moment, whatever it is asked to be.
              f'until stty size | grep -q " {width}$"; do sleep 0.05; done; {command}; '
              f'echo ended; exec sleep 600')

  def _run(self, *arguments):
    return subprocess.run([*self._tmux, *arguments], check=True, text=True, timeout=30,
                          capture_output=True, env=os.environ | dict(LC_ALL='C.UTF-8')).stdout

  def press(self, key):
    self._run('send-keys', key)

  def screen(self):
    return self._run('capture-pane', '-p').splitlines()

  def history(self):
    return self._run('capture-pane', '-p', '-S', '-1000').splitlines()

  def close(self):
    self._run('kill-server')


@contextlib.contextmanager
def terminal(*arguments):
  pane = Terminal(*arguments)
  try:
    yield pane
  finally:
    pane.close()


def watch(pane, until):
  """Every different screen until one has a line that `until` is found in, this one included.

  Only screens that stand for two looks count: on a busy machine a look may come between the two
  halves of a long panel.
  """
  seen, before, last = [], None, time.monotonic() + DEADLINE_S
  while time.monotonic() < last:
    now = pane.screen()
    if now == before and (not seen or now != seen[-1]):
      seen.append(now)
      if any(re.search(until, line) for line in now):
        return seen
    before = now
    time.sleep(0.08)
  raise AssertionError('\n'.join(before))


def panels(screen):
  """The lines of every panel of a phase, without the report's samples."""
  found = []
  for i, line in enumerate(screen):
    if line.startswith('╭─') and not line.startswith('╭─ sample'):
      ends = [j for j in range(i, len(screen)) if screen[j].startswith('╰')]
      found.append(screen[i:ends[0] + 1] if ends else screen[i:])
  return found


def check(screens, width):
  """Each screen has at most one panel, whole, with nothing cut and columns where they were."""
  shown, columns = [], {}
  for screen in screens:
    found = panels(screen)
    assert len(found) <= 1, '\n'.join(screen)
    for lines in found:
      assert {len(line) for line in lines} == {min(width, 120)}, '\n'.join(lines)
      assert all(line[0] in '╭│╰' and line[-1] in '╮│╯' for line in lines)
      assert '…' not in ''.join(lines)
      shown.append(lines)
      for line in lines:
        if 'queue' in line:
          columns.setdefault(lines[0], set()).add((line, lines[1].index('elapsed') - len(
              re.search(r'[\d:]+ elapsed', lines[1]).group()) > 0))
  assert all(len(found) == 1 for found in columns.values())
  return shown


@NEEDS_TMUX
@pytest.mark.parametrize('width, height', [(80, 24), (200, 50)])
def test_a_terminal_shows_one_whole_panel_and_then_the_report(tmp_path, width, height):
  script = tmp_path / 'fake.py'
  script.write_text(FAKE)
  with terminal(width, height, f'PYTHONPATH=. {sys.executable} {script} {tmp_path}') as pane:
    screens = watch(pane, r'held out 0\.300')
    pane.press('C-c')
    screens += watch(pane, '^ended')
    shown, history = check(screens, width), pane.history()
  steps = [int(re.search(r'(\d+)/20 ', lines[1]).group(1)) for lines in shown
           if 'evaluation' in lines[0]]
  assert steps == sorted(steps) and steps[-1] > 0
  assert any('Ctrl-C once more ends at once.' in ''.join(lines) for lines in shown)
  words = ' '.join(' '.join(history).split())
  assert 'that ends here' in words and 'a warning of a library' in words
  # The panel is gone; each line of the report is there, and once.
  assert panels(history) == [] and words.count('Held-out accuracy') == 1
  for text in ('before training', 'after reinforcement learning', 'sample 3', '9 updates',
               'tensorboard/'):
    assert words.count(text) == 1, words


@NEEDS_TMUX
def test_a_run_whose_terminal_is_closed_ends_well(tmp_path):
  script = tmp_path / 'fake.py'
  script.write_text(FAKE)
  with terminal(80, 24, f'PYTHONPATH=. {sys.executable} {script} {tmp_path}') as pane:
    watch(pane, r'held out 0\.300')
  last = time.monotonic() + DEADLINE_S
  while not (tmp_path / 'summary.json').exists():
    assert time.monotonic() < last, 'it has ended without its report'
    time.sleep(0.08)


@pytest.mark.long
@NEEDS_TMUX
@pytest.mark.parametrize('width, height', [(80, 24), (160, 40)])
def test_a_terminal_shows_a_run_from_its_start_to_its_report(tmp_path, width, height):
  command = [sys.executable, '-m', 'magistral_jax.train', f'--workdir={tmp_path}', *TINY]
  with terminal(width, height, ' '.join(command)) as pane:
    shown, history = check(watch(pane, '^ended'), width), pane.history()
  phases = {lines[0].strip('╭─╮ ') for lines in shown}
  assert {'cold start', 'reinforcement learning'} <= phases
  assert panels(history) == []
  for text in ('before training', 'after reinforcement learning', 'sample 3', 'Written to'):
    assert sum(text in line for line in history) == 1, '\n'.join(history)


@pytest.mark.long
def test_a_log_file_has_a_line_for_each_update_and_no_control_characters(tmp_path):
  done = subprocess.run(
      [sys.executable, '-m', 'magistral_jax.train', f'--workdir={tmp_path}', *TINY], cwd=ROOT,
      stdout=subprocess.PIPE, text=True, timeout=600, check=True)
  assert not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', done.stdout)
  lines = done.stdout.splitlines()
  assert [line.split()[3] for line in lines if line.startswith('reinforcement learning')] == [
      '1/4', '2/4', '3/4', '4/4']
  assert sum(line.startswith('cold start') for line in lines) < 10
