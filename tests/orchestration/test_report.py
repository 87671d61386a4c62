"""The report of a finished run: the summary's keys, the image, the table and the samples."""
import io
import json

import numpy as np
import pytest
from rich.console import Console

from magistral_jax import metrics
from magistral_jax.orchestration import curves, report
from magistral_jax.orchestration.display import Display

SUMMARY = dict(
    accuracy_start=0.0, accuracy_start_se=0.0, accuracy_cold_start=0.25,
    accuracy_cold_start_se=0.04, accuracy_final=0.95, accuracy_final_se=0.02, steps=3)
PNG = b'\x89PNG\r\n\x1a\n'


def finish(workdir, summary, samples=()):
  out = io.StringIO()
  console = Console(file=out, width=100, color_system=None)
  report.finish(workdir, summary, samples, Display(1, True, console=console).show)
  return out.getvalue()


def test_a_run_leaves_summary_image_table_and_samples(tmp_path):
  with metrics.MetricsWriter(tmp_path) as writer:
    for step in (1, 2, 3):
      writer.write(step, dict(
          reward=0.3 * step, accuracy=0.3 * step, entropy=1.0 / step, staleness_mean=1.0,
          staleness_max=2, sampled_tokens_per_s=100.0, trained_tokens_per_s=float('nan'),
          **metrics.percentiles('completion_tokens', [10, 20, 30])))
  text = finish(tmp_path, SUMMARY, [('7+12=?', '<think>7+12=19</think>\\boxed{19}', 1.0)])
  for words in (
      'before training', '0.000 ± 0.000', 'after the cold start', '0.250 ± 0.040', '+0.250',
      'after reinforcement learning', '0.950 ± 0.020', '+0.700', 'sample 1, reward 1.00', '7+12=?',
      '\\boxed{19}', 'summary.json'):
    assert words in text, words
  assert (tmp_path / 'reward.png').read_bytes().startswith(PNG)
  written = json.loads((tmp_path / 'summary.json').read_text())
  assert written['accuracy_final'] == 0.95
  assert set(report.SUMMARY_KEYS) <= set(written)
  assert written['logprob_gap_max'] is None
  assert not list(tmp_path.glob('*.unfinished'))


def test_a_run_that_ended_before_its_first_update_still_has_a_report(tmp_path):
  text = finish(tmp_path / 'new', {})
  assert (tmp_path / 'new' / 'reward.png').read_bytes().startswith(PNG)
  assert json.loads((tmp_path / 'new' / 'summary.json').read_text())['steps'] is None
  assert 'Held-out accuracy' not in text and '0 updates' in text


@pytest.mark.parametrize('figures, sentence', [
    (dict(steps=110, wall_s=245.0, reward_first=0.4, reward_last=1.02),
     '110 updates in 4:05; mean reward 0.400 in the first 5, 1.020 in the last 5.'),
    (dict(steps=2, wall_s=3700.0, reward_first=0.5, reward_last=0.5),
     '2 updates in 1:01:40; mean reward 0.500.'),
    (dict(), '0 updates.'),
])
def test_a_report_says_how_long_it_took_and_how_the_reward_went(tmp_path, figures, sentence):
  assert sentence in finish(tmp_path, figures).splitlines()


def test_in_a_log_file_the_last_sentence_is_one_line(tmp_path):
  workdir = tmp_path / ('a' * 60)
  assert f'Written to {workdir}: summary.json, reward.png, metrics.jsonl, rollouts.jsonl, ' \
         f'stages.jsonl, checkpoints/, tensorboard/' in finish(workdir, {}).splitlines()


def test_one_problem_has_no_standard_error(tmp_path):
  text = finish(tmp_path, dict(accuracy_final=0.5, accuracy_final_se=float('nan')))
  assert '0.500' in text and 'nan' not in text and '±' not in text


def test_a_summary_is_strict_json(tmp_path):
  written = report.write_summary(
      tmp_path / 'summary.json', dict(reward_last=np.float32(0.5), wall_s=float('nan')))
  assert written == json.loads(
      (tmp_path / 'summary.json').read_text(), parse_constant=pytest.fail)
  assert (written['reward_last'], written['wall_s']) == (0.5, None)


def test_evaluations_come_from_the_lines_and_both_ends_of_the_summary():
  lines = [
      dict(step=1), dict(step=2, **{'eval/accuracy': 0.5, 'eval/accuracy_se': 0.1}), dict(step=3)]
  step, accuracy, error = curves._evaluations(lines, SUMMARY)
  np.testing.assert_array_equal(step, [0, 2, 3])
  np.testing.assert_array_equal(accuracy, [0.25, 0.5, 0.95])
  np.testing.assert_array_equal(error, [0.04, 0.1, 0.02])


def test_a_model_cannot_steer_the_terminal_or_the_markup(tmp_path):
  text = finish(tmp_path, {}, [('[bold]p[/bold]', 'a\x1b[2Jb\tc', 0.0)])
  assert '\x1b' not in text and '[bold]p[/bold]' in text


def test_a_long_completion_loses_its_middle():
  short = report.shorten('a' * 600 + 'b' * 1000 + 'c' * 600, limit=1200)
  assert short == 'a' * 600 + '\n[... 1,000 characters ...]\n' + 'c' * 600
  assert report.shorten('abc') == 'abc'


def test_running_mean_skips_what_is_missing():
  values = np.array([1.0, np.nan, 3.0] + [np.nan] * 37)
  smooth = curves.running_mean(values)  # Two neighbours to each side.
  np.testing.assert_array_equal(smooth[:5], [2.0, 2.0, 2.0, 3.0, 3.0])
  assert np.isnan(smooth[5:]).all()
