"""The display: what stands in the panel, in the lines of a log, and in neither."""
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from magistral_jax.orchestration import display, panel, role_table
from magistral_jax.orchestration.roles import RoleStatus

STEP = dict(
    reward=0.5, accuracy=0.45, completion_tokens_mean=41.3, completion_tokens_p10=22.0,
    completion_tokens_p90=68.0, sampled_tokens_per_s=3412.0, trained_tokens_per_s=2120.0,
    staleness_mean=1.3, staleness_max=3)
FIGURES = STEP | {'reward': 0.625, 'loss': -0.0018, 'staleness_expected': 2.0, 'slots_idle': 0.12,
                  'tokens_discarded': 0.0, 'eval/accuracy': 0.31, 'eval/version': 100,
                  'sampled_tokens_per_s': 1234567.0, 'trained_tokens_per_s': 1234567.0}


def make(terminal, enabled=True, total_steps=4, width=100):
  """A display whose clock moves ten seconds a look, and what it has printed."""
  now = iter(range(0, 10_000, 10))
  out = io.StringIO()
  console = Console(file=out, force_terminal=terminal, width=width, color_system=None)
  return display.Display(
      total_steps, enabled, console=console, clock=lambda: next(now)), out


def rendered(view, width=80, height=24):
  """The lines of the panel on a terminal of that size."""
  console = Console(file=io.StringIO(), width=width, color_system=None)
  console.print(panel.render(view, width=width, height=height))
  return console.file.getvalue().splitlines()


def view(**changed):
  return panel.Contents(**dict(
      phase='reinforcement learning', step=2, total_steps=120, elapsed_s=10.0, left_s=590.0,
      figures=FIGURES, rewards=[0.5, 0.625], roles=roles()) | changed)


def test_a_terminal_shows_every_number_and_every_wait():
  shown, out = make(terminal=True)
  with shown:
    shown.phase('reinforcement learning', 120)
    shown.update({'step': 1, 'eval/accuracy': 0.31, 'eval/version': 1} | STEP)
    shown.update(dict(step=2, **STEP | dict(reward=0.625)))
    shown.watch(roles)
  text = out.getvalue()
  for words in (
      'reinforcement learning', '2/120', '0.625  ▁█', '0.450', 'held out 0.310 at version 1',
      '41 tokens (10th percentile 22, 90th 68)', '3,412 tokens/s sampled, 2,120 tokens/s trained',
      '1.3 updates, at most 3', 'decoding 128 sequences', 'waiting for its first weights'):
    assert words in text, words


@pytest.mark.parametrize('width', [80, 100, 200])
@pytest.mark.parametrize('height', [16, 24, 50])
@pytest.mark.parametrize('count', [3, 12, 300])
def test_the_panel_fits_and_cuts_nothing(width, height, count):
  many = {f'sampler-{i}': RoleStatus(f'waiting for a batch ({i} of 128 groups)', f'10.0.0.{i}',
                                     i / 10, i, 40, waiting=True) for i in range(count)}
  lines = rendered(view(roles=many, ending='Ending.'), width, height)
  assert len(lines) < height and {len(line) for line in lines} == {min(width, 120)}
  assert '…' not in ''.join(lines) and 'Ending.' in ''.join(lines)
  for words in ('2/120', '0.625', 'trained', 'discarded'):
    assert words in ''.join(lines), words
  assert any('of 128 groups)' in line for line in lines) or height == 16


@pytest.mark.parametrize('width', [30, 40, 50, 60, 70, 80])
def test_on_a_narrow_terminal_what_stands_in_a_line_stands_there_whole(width):
  shown = view(total_steps=1000, left_s=4000.0, roles={})
  lines, whole = rendered(shown, width), ' '.join(rendered(shown, 120))
  assert {len(line) for line in lines} == {width}
  progress, *figures = [line.strip(' │') for line in lines[1:-1] if line.strip(' │')]
  assert '2/1000' in progress
  assert progress.endswith(('  0:10 elapsed', '0:10 elapsed, 1:06:40 left'))
  assert [words for words in figures if not words.endswith('…') and words not in whole] == []
  assert width >= 70 or any(words.endswith('…') for words in figures)


def test_every_sentence_that_a_role_may_say_fits_into_eighty_columns():
  root = Path(display.__file__).parent.parent
  said = [text for path in root.rglob('*.py') for text in re.findall(
      r"(?:busy|waiting)\(\s*[^()]*?, f?'([^']*)'", path.read_text())]
  said += ['waiting for the trainer to catch up', 'waiting for a batch (128 of 128 groups)']
  assert len(said) > 10
  for words in said:
    words = re.sub(r'\{[^{}]*\}', '1024', words)
    lines = rendered(view(roles=roles(trainer=RoleStatus(words, waiting=True))))
    assert any(words in line for line in lines), words


def test_columns_stay_where_they_are_while_their_contents_change():
  starts = set()
  for step, words, count in ((0, 'decoding', 1), (9, 'waiting for the trainer to catch up', 4096),
                             (120, 'x', None)):
    changing = {f'sampler-{i}': RoleStatus(words, 'machine', count and count / 7, count, count)
                for i in range(3)}
    text = rendered(view(step=step, roles=changing, left_s=None if not step else 5.0 * count
                         if count else None))
    header, = (line for line in text if 'queue' in line)
    starts.add((header.index('queue'), header.index('version'), text[1].index('/120')))
  assert len(starts) == 1


def test_elsewhere_each_step_is_one_line():
  shown, out = make(terminal=False)
  with shown:
    shown.watch(lambda: {'trainer': RoleStatus('waiting for a batch')})
    shown.update(dict(step=1, **STEP))
    shown.update(dict(accuracy=0.5))
    shown.note('saved [checkpoint]\n1')
    shown.watch(dict)
    shown.update(dict(step=2, loss=0.25))
  assert out.getvalue().splitlines() == [
      'starting  step 1/4  reward 0.500  accuracy 0.450  length 41  staleness 1.3  3,412 tokens/s'
      '  | trainer waiting for a batch',
      'saved [checkpoint] 1',
      'starting  step 2/4  loss 0.2500']


def test_a_phase_of_many_short_steps_writes_few_lines():
  now = [0.0]
  out = io.StringIO()
  shown = display.Display(400, True, console=Console(file=out, width=100), clock=lambda: now[0])
  shown.phase('cold start', 400, log_every_s=15.0)
  for step in range(1, 401):
    now[0] += 0.125
    shown.update(dict(step=step, loss=1.0))
  assert [line.split()[3] for line in out.getvalue().splitlines()] == [
      '120/400', '240/400', '360/400']


def test_a_request_to_stop_is_seen_at_once(capfd):
  shown, out = make(terminal=False)
  shown.ending('Ending after this step.')
  assert capfd.readouterr().err == 'Ending after this step.\n'
  shown, out = make(terminal=True)
  with shown:
    shown.ending('Ending after this step.')
  assert 'Ending after this step.' in out.getvalue() and capfd.readouterr().err == ''


class Gone(io.StringIO):
  """A terminal that is closed, a pipe that nobody reads, or a log file on a full disk."""

  def __init__(self, error):
    super().__init__()
    self.error = error

  def write(self, text):
    raise self.error


@pytest.mark.parametrize('terminal', [True, False])
@pytest.mark.parametrize('error', [OSError(5, 'Input/output error'), BrokenPipeError(32, 'Broken'),
                                   OSError(28, 'No space left on device')])
def test_a_display_that_cannot_be_written_costs_no_run(terminal, error, caplog, monkeypatch):
  console = Console(file=Gone(error), force_terminal=terminal, color_system=None)
  shown = display.Display(4, True, console=console)
  with shown:
    for step in (1, 2, 3):
      shown.update(dict(step=step, **STEP))
      shown.note('a sentence')
      shown.show('another', panel.render(view(), width=80, height=24))
  assert caplog.text.count(error.strerror) == 1
  def closed(*_):
    raise error
  monkeypatch.setattr(display.os, 'write', closed)
  shown.ending('Ending after this step.')


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


def test_a_resumed_phase_shows_what_is_done_before_its_first_step():
  console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
  shown = display.Display(100, True, console=console, clock=lambda: 0.0)
  shown.phase('reinforcement learning', 100, done=60)
  console.print(shown._render())
  assert ' 60/100' in console.file.getvalue() and 'left' not in console.file.getvalue()


def test_time_left_is_told_by_the_steps_after_the_first_one_which_compiles():
  now, output = [0.0], io.StringIO()
  console = Console(file=output, force_terminal=True, width=100, color_system=None)
  shown = display.Display(100, True, console=console, clock=lambda: now[0])
  def progress(seconds, step=None):
    now[0] = seconds
    if step is not None:
      shown.update(dict(step=step))
    output.seek(0)
    output.truncate()
    console.print(shown._render())
    return re.search(r'\d:\d\d elapsed(?:, \S+ left)?', output.getvalue()).group()
  # Resumed at step 60 of 100. The first step takes 50 s, those after it 10 s.
  assert progress(49.0) == '0:49 elapsed'
  assert progress(50.0, step=61) == '0:50 elapsed'
  assert progress(60.0, step=62) == '1:00 elapsed, 6:20 left'      # 38 steps.
  assert progress(66.0) == '1:06 elapsed, 6:14 left'
  assert progress(90.0) == '1:30 elapsed, 6:10 left'               # 37 steps are left for sure.
  assert progress(100.0, step=100) == '1:40 elapsed'
  shown.phase('another', 10)
  assert progress(110.0) == '0:10 elapsed'


@pytest.mark.parametrize('values, expected', [
    ([], ''),
    ([0.3], '0'),
    ([0.0, 1.0], '09'),
    ([1.0, 1.0], '00'),
    ([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0], '0369'),
])
def test_sparkline(values, expected):
  assert panel.sparkline(values, 4, '0123456789') == expected


@pytest.mark.parametrize('seconds, expected', [
    (0, '0:00'), (65.9, '1:05'), (3599, '59:59'), (7265, '2:01:05')])
def test_minutes(seconds, expected):
  assert panel.minutes(seconds) == expected


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
  console.print(role_table.table(roles(), width=110))
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
      'starting  step 1/4  loss 0.5000  | sampler-2 waiting for its first weights; sampler-10 '
      'decoding 128 sequences; trainer-0 training on 16 groups; verifier-0 scoring 12\n')


def test_of_hundreds_of_roles_the_one_silent_longest_stands_for_those_alike():
  many = {f'sampler-{i}': RoleStatus(f'decoding {i} sequences', 'n', i / 100, i, 40)
          for i in range(500)}
  many['sampler-7'] = RoleStatus('waiting for the trainer', 'n', 0.5, 0, 40, waiting=True)
  console = Console(file=io.StringIO(), width=110, color_system=None)
  console.print(role_table.table(roles(**many), width=110))
  rows = [line.split('  ')[0] for line in console.file.getvalue().splitlines()]
  assert rows[1:] == ['499 samplers, sampler-499', 'sampler-7', 'trainer-0', 'verifier-0']


@pytest.mark.parametrize('waiting, color', [(True, 33), (False, 32)])
def test_a_role_that_waits_is_yellow_and_one_that_works_is_green(waiting, color):
  console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system='standard')
  console.print(role_table.table({'trainer': RoleStatus('what it does', waiting=waiting)},
                                 width=60))
  assert f'\x1b[{color}mwhat it does' in console.file.getvalue()
