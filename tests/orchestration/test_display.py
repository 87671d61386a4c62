"""The display: what stands in the panel, in the lines of a log, and in neither."""
import io

import pytest
from rich.console import Console

from magistral_jax.orchestration import display, role_table
from magistral_jax.orchestration.roles import RoleStatus

STEP = dict(
    reward=0.5, accuracy=0.45, completion_tokens_mean=41.3, completion_tokens_p10=22.0,
    completion_tokens_p90=68.0, sampled_tokens_per_s=3412.0, trained_tokens_per_s=2120.0,
    staleness_mean=1.3, staleness_max=3)


def make(terminal, enabled=True, total_steps=4, width=100):
  """A display whose clock moves ten seconds a look, and what it has printed."""
  now = iter(range(0, 10_000, 10))
  out = io.StringIO()
  console = Console(file=out, force_terminal=terminal, width=width, color_system=None)
  return display.Display(
      total_steps, enabled, console=console, clock=lambda: next(now)), out


def test_a_terminal_shows_every_number_and_every_wait():
  shown, out = make(terminal=True)
  with shown:
    shown.phase('reinforcement learning', 120)
    shown.update({'step': 1, 'eval/accuracy': 0.31} | STEP)
    shown.update(dict(step=2, **STEP | dict(reward=0.625)))
    shown.update(dict(progress={'sampler': 'decoding (8 of 8 slots)'}))
    shown.update(dict(progress={'trainer': 'waiting for batch (3 of 16 groups)'}))
  text = out.getvalue()
  for words in (
      'reinforcement learning', '2/120', '0.625  ▁█', '0.450', 'held out 0.310 at step 1',
      '41 tokens (10th percentile 22, 90th 68)', '3,412 tokens/s sampled', '2,120 tokens/s trained',
      '1.3 updates, at most 3', 'decoding (8 of 8 slots)', 'waiting for batch (3 of 16 groups)'):
    assert words in text, words


def test_elsewhere_each_step_is_one_line():
  shown, out = make(terminal=False)
  with shown:
    shown.update(dict(progress={'trainer': 'waiting for batch (0 of 2 groups)'}))
    shown.update(dict(step=1, **STEP))
    shown.update(dict(progress={'trainer': 'stepping'}))
    shown.note('saved [checkpoint] 1')
    shown.update(dict(step=2, loss=0.25))
  assert out.getvalue().splitlines() == [
      'training  step 1/4  reward 0.500  accuracy 0.450  length 41  staleness 1.3  3,412 tokens/s'
      '  | trainer waiting for batch (0 of 2 groups)',
      'saved [checkpoint] 1',
      'training  step 2/4  loss 0.2500  | trainer stepping']


@pytest.mark.parametrize('terminal', [True, False])
def test_a_display_that_is_not_wanted_prints_nothing(terminal):
  shown, out = make(terminal, enabled=False)
  with shown:
    shown.update(dict(step=1, **STEP))
    shown.note('nothing')
  assert out.getvalue() == ''


def test_a_new_phase_forgets_the_numbers_of_the_last():
  shown, out = make(terminal=True)
  shown.update(dict(step=3, loss=0.123))
  shown.phase('reinforcement learning', 9)
  out.truncate(0)
  with shown:
    pass
  assert '0/9' in out.getvalue() and '0.123' not in out.getvalue()


def test_time_left_counts_only_the_steps_of_this_process():
  # Resumed at step 61 of 100; 1 step took all the time so far, so 39 more take 39 times as long.
  now = [0.0]
  console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
  shown = display.Display(100, True, console=console, clock=lambda: now[0])
  now[0] = 10.0
  shown.update(dict(step=61))
  console.print(shown._render())
  assert '0:10 gone, 6:30 left' in console.file.getvalue()


def test_a_narrow_terminal_still_holds_the_panel():
  shown, out = make(terminal=True, width=44)
  with shown:
    shown.update(dict(step=1, progress={'trainer': 'waiting for batch (3 of 16 groups)'}, **STEP))
  assert max(len(line) for line in out.getvalue().splitlines()) <= 60  # Control codes included.


@pytest.mark.parametrize('values, expected', [
    ([], ''),
    ([0.3], '0'),
    ([0.0, 1.0], '09'),
    ([1.0, 1.0], '00'),
    ([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0], '0369'),
])
def test_sparkline(values, expected):
  assert display.sparkline(values, 4, '0123456789') == expected


@pytest.mark.parametrize('seconds, expected', [
    (0, '0:00'), (65.9, '1:05'), (3599, '59:59'), (7265, '2:01:05')])
def test_minutes(seconds, expected):
  assert display.minutes(seconds) == expected


def roles(**changed):
  """A cluster's, as `Loop.roles` tells of them."""
  return dict(
      {'trainer-0': RoleStatus('training on 16 groups', '10.0.0.1 pid 11', 0.2, 3, 41),
       'sampler-10': RoleStatus('decoding 128 sequences', '10.0.0.2 pid 12', 2.4, 128, 40),
       'sampler-2': RoleStatus('waiting for its first weights', 'not started', queue=0,
                                waiting=True),
       'verifier-0': RoleStatus('scoring 12', '10.0.0.3 pid 13', 1.0, 12, None)}, **changed)


def test_the_table_of_roles_says_where_what_when_how_much_and_which_version():
  console = Console(file=io.StringIO(), width=110, color_system=None)
  console.print(role_table.table(roles()))
  rows = [' '.join(line.split()) for line in console.file.getvalue().splitlines()]
  assert rows == [
      'queue version heard where',
      'sampler-2 waiting for its first weights 0 not started',
      'sampler-10 decoding 128 sequences 128 40 2s 10.0.0.2 pid 12',
      'trainer-0 training on 16 groups 3 41 0s 10.0.0.1 pid 11',
      'verifier-0 scoring 12 12 1s 10.0.0.3 pid 13']


def test_the_panel_and_the_lines_of_a_log_show_the_roles():
  shown, out = make(terminal=True, width=110)
  with shown:
    shown.watch(roles)
    shown.update(dict(step=1, **STEP))
  for words in ('decoding 128 sequences', '10.0.0.2 pid 12', 'version', 'heard', 'queue'):
    assert words in out.getvalue(), words
  shown, out = make(terminal=False)
  with shown:
    shown.watch(roles)
    shown.update(dict(step=1, loss=0.5))
  assert out.getvalue() == (
      'training  step 1/4  loss 0.5000  | sampler-2 waiting for its first weights; sampler-10 '
      'decoding 128 sequences; trainer-0 training on 16 groups; verifier-0 scoring 12\n')


def test_of_hundreds_of_roles_the_one_silent_longest_stands_for_those_alike():
  many = {f'sampler-{i}': RoleStatus(f'decoding {i} sequences', 'n', i / 100, i, 40)
          for i in range(500)}
  many['sampler-7'] = RoleStatus('waiting for the trainer', 'n', 0.5, 0, 40, waiting=True)
  console = Console(file=io.StringIO(), width=110, color_system=None)
  console.print(role_table.table(roles(**many)))
  rows = [line.split('  ')[0] for line in console.file.getvalue().splitlines()]
  assert rows[1:] == ['499 samplers, sampler-499', 'sampler-7', 'trainer-0', 'verifier-0']


@pytest.mark.parametrize('waiting, color', [(True, 33), (False, 32)])
def test_a_role_that_waits_is_yellow_and_one_that_works_is_green(waiting, color):
  console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system='standard')
  console.print(role_table.table({'trainer': RoleStatus('what it does', waiting=waiting)}))
  assert f'\x1b[{color}mwhat it does' in console.file.getvalue()
