"""The report: every number in it is computed again here, from the lines of the run's files."""
import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from magistral_jax import metrics, report, rollouts
from magistral_jax.analysis import (
  report_audit,
  report_compare,
  report_page,
  report_run,
  report_sample,
)
from magistral_jax.metrics import MetricsWriter
from magistral_jax.orchestration.time_spent import ACTIVITIES
from tests import fakes
from tests.analysis import made_runs, pages

FATES = ('trained', 'filtered', 'stale', 'failed')


def page_of(*workdirs, **how):
  return report_page.page(report_run.read_all(workdirs), **how)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """(workdir, lines of metrics, lines of rollouts, rows, data) of a finished run."""
  workdir = made_runs.make(tmp_path_factory.mktemp('made') / 'run')
  rows, data, _ = pages.read(page_of(workdir))
  lines = metrics.read_lines(workdir / 'metrics.jsonl')
  return workdir, lines, list(rollouts.read(workdir)), rows, data


def number(text):
  return float(text.replace(',', '').replace('%', '').strip())


def test_figures_are_those_of_the_summary(made):
  workdir, _, _, rows, _ = made
  summary = json.loads((workdir / 'summary.json').read_text())
  shown = {key: cells[0] for (kind, key), cells in rows.items() if kind == 'data-figure'}
  assert number(shown['accuracy_final']) == 100 * summary['accuracy_final']
  assert number(shown['tokens_discarded']) == 100 * summary['tokens_discarded']
  assert number(shown['steps']) == summary['steps'] and shown['wall_s'] == '1 min 0 s'
  assert number(shown['completions']) == summary['completions']


def test_time_adds_up_to_the_wall_time(made):
  workdir, _, _, rows, _ = made
  summary = json.loads((workdir / 'summary.json').read_text())
  shares = {key: number(cells[2]) for (kind, key), cells in rows.items() if kind == 'data-time'}
  assert shares == {key: round(100 * seconds / summary['wall_s'], 1)
                    for key, seconds in summary['time_s'].items()}
  assert sum(shares.values()) == pytest.approx(100, abs=0.3)
  assert set(shares) <= {*ACTIVITIES, 'other'}


def test_points_of_curves_are_those_of_the_lines(made):
  _, lines, _, _, data = made
  curves, = data['curves']
  assert curves['loop']['step'] == [line['step'] for line in lines]
  for key in ('reward', 'entropy', 'completion_tokens_p90', 'staleness_max', 'part_correct'):
    assert curves['loop'][key] == pytest.approx([line[key] for line in lines], rel=1e-5), key
  for fate in FATES[:3]:
    totals = [0, *(line[f'groups_{fate}'] for line in lines)]
    assert curves['loop'][f'fate_{fate}'] == list(np.diff(totals)), fate
  assert curves['loop']['waiting_s'] == [4.0] * len(lines)
  assert curves['loop']['verifier_queue'] == [line['verifier']['queue_depth'] for line in lines]
  assert curves['stages'] == [dict(step=3, name='longer')]
  assert [point['step'] for point in curves['held_out']] == [0, 6]
  drawn = {key for panel in data['panels'] for key in panel['series']}
  assert {'reward', 'part_format', 'fate_stale', 'grad_norm'} <= drawn
  assert 'kl_k3' not in drawn and 'loss' not in drawn          # No line has them.


def test_held_out_points_are_those_of_the_evaluations(made):
  workdir, *_, data = made
  lines = [line for line in metrics.read_lines(workdir / 'stages.jsonl') if 'eval/accuracy' in line]
  points = data['curves'][0]['held_out']
  for point, line in zip(points, lines, strict=True):
    assert point['accuracy'] == pytest.approx(line['eval/accuracy'], rel=1e-5)
    assert point['error'] == pytest.approx(line['eval/accuracy_se'], rel=1e-5)


def test_the_table_has_every_completion_and_the_texts_their_groups(made):
  _, _, lines, _, data = made
  shown, = data['rollouts']
  table = shown['table']
  word = lambda column, i: table['names'][column][table[column][i]]
  assert shown['total'] == len(lines) == len(table['ordinal'])
  for i, line in enumerate(lines):
    assert (table['ordinal'][i], table['sample'][i]) == (line['ordinal'], line['sample'])
    assert (word('fate', i), word('status', i), word('domain', i), word('language', i)) == (
        line['fate'], line['status'], line['domain'], line['language'])
    assert table['reward'][i] == pytest.approx(line['reward'])
    assert (table['tokens'][i], table['step'][i]) == (line['n_tokens'], line['step'] or -1)
    assert table['oldest'][i] == min(version for _, version in line['versions'])
    text = next(member for member in shown['texts'][str(line['ordinal'])]['members']
                if member['sample'] == line['sample'])
    assert (text['completion'], text['detail'], text['parts'], text['versions']) == (
        line['completion'], line['detail'], line['parts'], line['versions'])


def test_the_audit_counts_what_stands_in_the_rollouts(made):
  _, _, lines, rows, _ = made
  for fate in FATES:
    here = [line for line in lines if line['fate'] == fate]
    assert list(map(number, rows['data-fate', fate][1:])) == [
        len({line['ordinal'] for line in here}), len(here), sum(line['n_tokens'] for line in here)]
  for name in ('generated', *FATES[:3]):
    lengths = [line['n_tokens'] for line in lines if name in ('generated', line['fate'])]
    count, mean, *quantiles = map(number, rows['data-lengths', name][1:])
    assert (count, mean) == (len(lengths), round(float(np.mean(lengths)), 1))
    # The page rounds halves as Python does.
    assert quantiles == [float(f'{x:.0f}') for x in np.percentile(lengths, (10, 50, 90))]
  for status in {line['status'] for line in lines}:
    here = [line['reward'] for line in lines if line['status'] == status]
    count, share, reward = map(number, rows['data-status', status][1:])
    assert (count, share) == (len(here), round(100 * len(here) / len(lines), 1))
    assert reward == pytest.approx(np.mean(here), abs=6e-4)


def test_lengths_are_tested_over_one_completion_of_a_group(made):
  workdir, _, lines, _, _ = made
  first = {}
  for line in lines:
    first.setdefault(line['ordinal'], line)
  groups = [[line['n_tokens'] for line in first.values() if (line['fate'] == 'trained') is trained]
            for trained in (True, False)]
  expected = stats.ks_2samp(*groups)
  text = ' '.join(pages.read(page_of(workdir))[2].text)
  assert f'distance {expected.statistic:.3f}, p = {expected.pvalue:.3g}' in text


def checks(workdir):
  """{sentence: found} of the checks that do not hold."""
  found = report_audit.checks(report_run.read(workdir))
  return {check['words']: check['found'] for check in found if not check['holds']}


def test_a_whole_run_passes_its_audit(made):
  assert checks(made[0]) == {}


@pytest.mark.parametrize('fault, words, found', [
    (lambda lines: lines + lines[:1], 'Every completion has exactly one fate.',
     'completion 0 of prompt 0 stands there more than once'),
    (lambda lines: [lines[0] | dict(fate='lost'), *lines[1:]],
     'Every completion has exactly one fate.', "the fate 'lost' is none"),
    (lambda lines: lines[1:], 'Every group is whole.', 'prompt 0 has 3 of 4'),
    (lambda lines: [lines[0] | dict(step=5), *lines[1:]],
     'Every trained group was trained in one update.', 'prompt 0 was trained in updates 1 and 5'),
    (lambda lines: [lines[0] | dict(step=None), *lines[1:]],
     'Every trained group was trained in one update.', 'is trained and names update -1'),
    (lambda lines: [line | dict(step=99) if line['step'] == 1 else line for line in lines],
     'Updates and what they trained belong together.', 'update 99 has no line'),
    (lambda lines: lines[4:], 'Totals are those of the lines.', 'completions is 104'),
    (lambda lines: [dict(ordinal='x'), *lines], 'Every line can be read.', 'line 1'),
    (lambda lines: [lines[0], lines[1] | dict(reward=float('inf')), *lines[2:]],
     'Every line can be read.', 'line 2'),
])
def test_the_audit_finds_faults(tmp_path, fault, words, found):
  workdir = made_runs.make(tmp_path / 'run')
  lines = fault(list(rollouts.read(workdir)))
  (workdir / 'rollouts.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  assert found in checks(workdir)[words]


@pytest.mark.parametrize('name', ['completions', 'completions_spanning_versions',
                                  'prompts_trained', 'groups_filtered', 'groups_stale',
                                  'groups_failed'])
def test_every_count_of_the_summary_is_compared_with_the_rollouts(tmp_path, name):
  workdir = made_runs.make(tmp_path / 'run')
  summary = json.loads((workdir / 'summary.json').read_text())
  (workdir / 'summary.json').write_text(json.dumps(summary | {name: 12345}))
  assert f'{name} is 12,345 and' in checks(workdir)['Totals are those of the lines.']


@pytest.mark.parametrize('broken', [
    b'{"step": 3, "rew', b'\0' * 100, b'[1, 2]', b'{"reward": 1.0}', b'{"step": 3, "reward": NaN}',
    b'\xff'], ids=str)
@pytest.mark.parametrize('file', ['metrics.jsonl', 'stages.jsonl'])
def test_a_line_that_cannot_be_read_is_left_out_and_named(tmp_path, file, broken):
  workdir = made_runs.make(tmp_path / 'run')
  lines = (workdir / file).read_bytes().split(b'\n')
  (workdir / file).write_bytes(b'\n'.join([lines[0], broken, *lines[1:]]))
  (words, found), = checks(workdir).items()
  assert words == 'Every line can be read.' and found.startswith(f'{workdir / file}, line 2: ')
  _, data, _ = pages.read(page_of(workdir))
  assert data['curves'][0]['loop']['step'] == [1, 2, 3, 4, 5, 6]


def test_files_of_the_loop_pass_the_audit(tmp_path):
  """Whatever became of groups, verifier failures included; no file was made for the report."""
  def judge(completion):
    if completion.ordinal == 2 and completion.sample == 1:
      return fakes.Verdict('error', 0.0, {})
    if completion.ordinal % 3 == 0:
      return fakes.Verdict('wrong', 0.0, {})
    return fakes.every_other(completion)
  loop = fakes.make_loop(tmp_path, max_staleness=0, paced=False, verifier=fakes.FakeVerifier(judge))
  for _ in range(3):
    fakes.fill(loop, 6)
    loop.update(loop.next_batch())
  loop.journal.close()
  assert checks(tmp_path) == {}
  run = report_run.read(tmp_path)
  assert run.completions.having('fate', 'failed').sum() == 1
  assert len(page_of(tmp_path)) > 10_000


def test_a_run_that_has_nothing_yet_has_a_report(tmp_path):
  failed = made_runs.make(tmp_path / 'failed', updates=0, finished=False, evaluations=False,
                          ended='failed')
  killed = made_runs.make(tmp_path / 'killed', updates=2, finished=False, ended='')
  text = ' '.join(pages.read(page_of(failed))[2].text)
  assert 'It failed after 0 updates' in text and 'the run has no update' in text
  rows, data, reader = pages.read(page_of(killed))
  assert 'It was killed after 2 updates' in ' '.join(reader.text)
  assert number(rows['data-figure', 'steps'][0]) == 2       # From its lines: there is no summary.
  assert number(rows['data-figure', 'accuracy_start'][0]) > 0
  assert [point['step'] for point in data['curves'][0]['held_out']] == [0]


def test_a_summary_of_an_earlier_end_is_not_taken_for_that_of_now(tmp_path):
  workdir = made_runs.make(tmp_path / 'run')
  path = workdir / 'summary.json'
  summary, lines = json.loads(path.read_text()), metrics.read_lines(workdir / 'metrics.jsonl')
  path.write_text(json.dumps(summary | dict(steps=len(lines) - 1, wall_s=1.0)))
  run = report_run.read(workdir)
  assert run.measured['steps'] == len(lines) and run.measured['wall_s'] == lines[-1]['wall_s']
  assert 'accuracy_final' not in run.measured
  assert any('is of an earlier end' in words for words in run.unreadable)


def test_a_run_without_a_final_evaluation_is_compared_by_its_newest_one(tmp_path):
  workdir = made_runs.make(tmp_path / 'run')
  run = report_run.read(workdir)
  of = lambda share: {'eval/per_problem': [['a', share]]}
  cold, final = dict(stage='cold_start', step=1, **of(0.1)), dict(stage='final', step=9, **of(0.9))
  shares = lambda **changed: report_compare._per_problem(dataclasses.replace(run, **changed))
  lines = [dict(step=1, **of(0.4)), dict(step=2, **of(0.5)), dict(step=3)]
  assert shares(stages=[cold, final], lines=lines) == {'a': [0.9]}
  assert shares(stages=[cold], lines=lines) == {'a': [0.5]}
  assert shares(stages=[cold], lines=[]) == {'a': [0.1]}


def test_a_run_that_did_not_come_out_of_its_cold_start_says_so(tmp_path):
  run = made_runs.make(tmp_path / 'run', updates=0, finished=False, evaluations=False,
                       ended='stopped')
  with MetricsWriter(run) as metrics:
    for step in range(1, 1001):
      metrics.write_stage('cold_start', step, dict(loss=1.0, tokens=9.0), 0)
  text = ' '.join(pages.read(page_of(run))[2].text)
  assert 'It was stopped after 1,000 steps of the cold start; the same command goes on.' in text


def test_what_is_no_run_is_refused(tmp_path, capsys):
  with pytest.raises(ValueError, match='is no run'):
    report_run.read(tmp_path)
  with pytest.raises(SystemExit):
    report.main(report.parse(['report', str(tmp_path)]))
  assert capsys.readouterr().err.startswith('error: ')


@pytest.mark.parametrize('flags, words', [
    (['a', 'b'], '--output is missing'), (['a', '--reverify=-1'], '--reverify=-1'),
    (['a', '--serve', '--output=x'], '--serve writes no file')])
def test_flags_that_do_not_fit_are_one_sentence(flags, words):
  with pytest.raises(ValueError, match=words):
    report.settings(report.parse(['report', *flags]))


def test_the_command_writes_a_page_into_the_run(tmp_path, capsys):
  workdir = made_runs.make(tmp_path / 'run', updates=2)
  report.main(report.parse(['report', str(workdir)]))
  assert (workdir / 'report.html').stat().st_size > 10_000
  assert f'Written to {workdir}/report.html' in capsys.readouterr().out


def test_hostile_text_stands_only_in_data_and_can_end_nothing(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=2, text=lambda *_: made_runs.HOSTILE,
                           changes=[('data', 'source', '</style><script>alert(1)</script>\u202e')])
  page = page_of(workdir)
  rows, data, reader = pages.read(page)
  texts = data['rollouts'][0]['texts']['0']['members']
  assert texts[0]['completion'] == made_runs.HOSTILE
  scripts = [script for script in reader.scripts if script.get('type') != 'application/json']
  assert len(scripts) == 1 and 'alert' not in scripts[0]['text']
  assert not [tag for tag, attrs in reader.tags if tag in ('img', 'iframe', 'object', 'link')
              and attrs.get('rel') != 'icon']
  assert not [attrs for _, attrs in reader.tags if any(name.startswith('on') for name in attrs)]
  assert not [value for _, attrs in reader.tags for name, value in attrs.items()
              if name in ('src', 'href') and not value.startswith(('#', 'data:,'))]
  assert rows['data-config', 'data.source'][1] == r"'</style><script>alert(1)</script>\u202e'"
  outside = page.decode().replace(reader.scripts[0]['text'], '')
  assert not set(outside) & set('\x00\x07\x1b\u202e\u200b\ufeff\u2028')


def test_everything_is_shown_where_it_fits(made):
  run = report_run.read(made[0])
  sample = report_sample.choose(run.completions, 10 ** 7)
  assert sample.texts.all() and len(sample.rows) == len(run.completions) and not sample.clipped
  assert sample.rule == 'All 104 completions are shown whole.'


def test_the_sample_has_every_update_and_fate_first(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=9, groups=6,
                           text=lambda o, s: 'x' * 20_000 if s else 'short')
  run = report_run.read(workdir)
  completions = run.completions
  ordinals, group = completions.groups
  step, fate = completions['step'], completions.words['fate']
  kinds = {(int(s), int(f) if s < 0 else 0) for s, f in zip(step, fate, strict=True)}
  size = 4 * 2 * report_sample.CLIPPED                # Most that a group takes.
  for count in (len(kinds), len(kinds) + 3):
    sample = report_sample.choose(completions, count * size)
    shown = np.unique(group[sample.texts])
    assert len(shown) >= count
    assert (np.bincount(group[sample.texts], minlength=len(ordinals))[shown] == 4).all()
    assert {(int(s), int(f) if s < 0 else 0) for s, f in zip(
        step[sample.texts], fate[sample.texts], strict=True)} == kinds
  texts = report_sample.read_texts(workdir, completions, sample)
  long = [member['completion'] for one in texts.values() for member in one['members']
          if member['sample']]
  assert all(len(text) < report_sample.CLIPPED + 100 and '14,000 characters are left out' in text
             for text in long)
  few = report_sample.choose(completions, 10 ** 9, most_rows=40)
  assert len(few.rows) == 40 and few.texts[few.rows].all() and few.texts.sum() == 40
  assert 'The table lists 40' in few.rule


def test_the_page_stays_within_its_limit(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=6, text=lambda o, s: '<' * 3_000)
  limit = 400_000                                     # Each '<' takes six bytes.
  page = page_of(workdir, most_bytes=limit)
  assert len(page) <= limit
  shown, = pages.read(page)[1]['rollouts']
  assert 0 < len(shown['texts']) < 26 and shown['total'] == 104
  with pytest.raises(ValueError, match='name fewer runs'):
    page_of(workdir, most_bytes=20_000)


def test_runs_are_compared_in_pairs(tmp_path):
  first = made_runs.make(tmp_path / 'first')
  second = made_runs.make(tmp_path / 'second', seed=1, gain=0.2, changes=[('sampler', 'slots', 16)])
  rows, data, reader = pages.read(page_of(first, second))
  assert rows['data-key', 'sampler.slots'] == ['sampler.slots', '8', '16']
  assert [key for kind, key in rows if kind == 'data-key'] == ['sampler.slots']
  shares = [dict(metrics.read_lines(run / 'stages.jsonl')[-1]['eval/per_problem'])
            for run in (first, second)]
  change = [shares[1][id_] - shares[0][id_] for id_ in shares[0]]
  text = ' '.join(''.join(reader.text).split())
  assert f'{100 * np.mean(change):+.1f} points' in text
  assert f'{sum(c > 0 for c in change)} better, {sum(c < 0 for c in change)} worse' in text
  assert [curve['name'] for curve in data['curves']] == ['first', 'second']


def test_runs_without_shares_are_compared_by_their_errors(tmp_path):
  runs = [made_runs.make(tmp_path / name, evaluations=False, gain=gain)
          for name, gain in (('a', 0.0), ('b', 0.2))]
  text = ' '.join(''.join(pages.read(page_of(*runs))[2].text).split())
  half = 100 * 1.96 * math.hypot(0.05, 0.05)
  assert f'+20.0 points, 95 % interval {20 - half:+.1f} to {20 + half:+.1f}' in text
  assert 'Not in pairs' in text


def test_runs_of_one_name_are_told_apart():
  assert report_run.names_of(['x/rl', 'y/rl']) == ['x/rl', 'y/rl']
  assert report_run.names_of(['x/a', 'x/b']) == ['a', 'b']
  assert len(set(report_run.names_of(['x/a', 'x/a']))) == 2


def test_a_finished_run_names_its_report(tmp_path):
  workdir = made_runs.make(tmp_path / 'run', updates=2)
  before = json.loads((workdir / 'summary.json').read_text())
  assert report_page.write(workdir) == workdir / 'report.html'
  assert json.loads((workdir / 'summary.json').read_text()) == before | dict(report='report.html')
  assert 'It came to its end' in (workdir / 'report.html').read_text('utf-8')
