"""Damaged files of a run: the part that is damaged is named, counts nowhere, and ends nothing."""
import json

import pytest

from magistral_jax.analysis import (
  entropy,
  lengths,
  report_audit,
  report_curves,
  report_header,
  report_page,
  report_run,
  report_sample,
  staleness,
)
from tests.analysis import made_runs, pages

FILES = ('metrics.jsonl', 'stages.jsonl', 'starts.jsonl', 'rollouts.jsonl', 'summary.json',
         'experiment.json')
MISSING = type('Missing', (), {'__repr__': lambda self: 'missing'})()


@pytest.fixture
def workdir(tmp_path):
  return made_runs.make(tmp_path / 'run', updates=2, groups=1)


def change(path, key, value, line=0):
  """Puts a value under a key of a JSON file, or of a line of it; MISSING takes the key away."""
  texts = path.read_text().splitlines() if path.suffix == '.jsonl' else [path.read_text()]
  found = json.loads(texts[line])
  if value is MISSING:
    del found[key]
  else:
    found[key] = value
  texts[line] = json.dumps(found)
  path.write_text('\n'.join(texts) + '\n')


def left_out(workdir):
  """What the audit says was left out."""
  found = report_audit.checks(report_run.read(workdir))
  first, = (check for check in found if check['words'] == 'Every line can be read.')
  return '' if first['holds'] else first['found']


@pytest.mark.parametrize('file, key, value, words', [
    ('metrics.jsonl', 'reward', '0.5', 'line 1: reward is "0.5", not a number or null'),
    ('metrics.jsonl', 'reward', True, 'line 1: reward is true, not a number or null'),
    ('metrics.jsonl', 'wall_s', 10 ** 400, 'line 1: wall_s is a number of 1329 bits'),
    ('metrics.jsonl', 'time_s', [1.0], 'line 1: time_s is [1.0], not an object of numbers'),
    ('metrics.jsonl', 'verifier', {'errors': 'x'}, 'line 1: verifier is {"errors": "x"}, not'),
    ('metrics.jsonl', 'step', -1, 'line 1: step is -1, not an integer from 0 on'),
    ('stages.jsonl', 'eval/accuracy', {}, 'line 1: eval/accuracy is {}, not a number'),
    ('stages.jsonl', 'eval/per_problem', [['a']], 'line 1: eval/per_problem is [["a"]], not pairs'),
    ('stages.jsonl', 'stage', None, 'line 1: stage is null, not a text'),
    ('starts.jsonl', 'command', 'train', 'start 1: command is "train", not a list of texts'),
    ('starts.jsonl', 'at', MISSING, 'start 1: at is missing'),
    ('summary.json', 'wall_s', 'x', 'summary.json: wall_s is "x", not a number'),
    ('summary.json', 'time_s', 3, 'summary.json: time_s is 3, not an object of numbers'),
    ('experiment.json', 'config', [1], 'experiment.json: config is [1], not an object'),
    ('rollouts.jsonl', 'n_tokens', 10 ** 30, 'line 1: n_tokens is 1000'),
    ('rollouts.jsonl', 'n_tokens', 1.5, 'line 1: n_tokens is 1.5, not an integer'),
    ('rollouts.jsonl', 'versions', [[0, 'a']], 'line 1: versions is [[0, "a"]], not pairs'),
    ('rollouts.jsonl', 'domain', ['math'], 'line 1: domain is ["math"], not a text'),
    ('rollouts.jsonl', 'completion', MISSING, 'line 1: completion is missing'),
    ('rollouts.jsonl', 'tokens', {'texts': ['a'], 'logp': [0, 0]}, 'line 1: tokens is {"texts": '),
    ('rollouts.jsonl', 'tokens', {'texts': ['a']}, 'line 1: tokens is {"texts": ["a"]}, not texts'),
])
def test_a_value_of_another_kind_is_left_out_and_named(workdir, file, key, value, words):
  change(workdir / file, key, value)
  assert words in left_out(workdir)
  report_page.page([report_run.read(workdir)])


@pytest.mark.parametrize('value', ['x', [], 10 ** 400, -1.5, None, [['a']], MISSING], ids=str)
def test_no_value_of_a_key_ends_a_report_without_a_sentence(workdir, value):
  for file in FILES:
    whole = (workdir / file).read_bytes()
    for key in json.loads(whole if file.endswith('.json') else whole.split(b'\n')[0]):
      change(workdir / file, key, value)
      run = report_run.read(workdir)
      report_header.header(run)
      report_audit.audit(run)
      report_page.embedded([report_curves.of_run(run), report_sample.read_texts(
          workdir, run.completions, report_sample.choose(run.completions, 10 ** 6))])
      (workdir / file).write_bytes(whole)


@pytest.mark.parametrize('file', FILES)
def test_a_folder_in_place_of_a_file_is_one_sentence(workdir, file):
  (workdir / file).unlink()
  (workdir / file).mkdir()
  with pytest.raises(ValueError, match=rf'{file} cannot be read \(Is a directory\)'):
    report_run.read(workdir)


@pytest.mark.parametrize('text', ['[1]', '{"wall_s": NaN}', '', '[' * 10_000, '{"wall_s": 1'])
@pytest.mark.parametrize('file', ['summary.json', 'experiment.json'])
def test_a_file_that_is_no_object_is_one_sentence(workdir, file, text):
  (workdir / file).write_text(text)
  with pytest.raises(ValueError, match=f'{file} is no JSON that can be read'):
    report_run.read(workdir)


@pytest.mark.parametrize('line', ['xx', '[1]', '[' * 10_000, '{"ended": "finished"}'])
def test_a_line_of_starts_that_says_nothing_leaves_the_others(workdir, line):
  path = workdir / 'starts.jsonl'
  start, _ = path.read_text().splitlines()
  path.write_text(f'{start}\n{line}\n{start}\n')
  assert 'starts.jsonl' in left_out(workdir)
  assert report_run.read(workdir).starts[-1]['commit'] == '0123456789'


def test_the_audit_says_how_many_faults_it_does_not_name(workdir):
  lines = (workdir / 'rollouts.jsonl').read_text().splitlines()
  (workdir / 'rollouts.jsonl').write_text('\n'.join(['x' for _ in lines]) + '\n')
  assert left_out(workdir).endswith(f'and {len(lines) - 5} more')


def test_times_that_do_not_add_up_are_found(workdir):
  change(workdir / 'summary.json', 'time_s', dict(waiting=1.0, training=2.0))
  found = {check['words']: check for check in report_audit.checks(report_run.read(workdir))}
  time = found['Times add up to the wall time.']
  assert not time['holds'] and time['found'] == 'activities take 3.0 s of 20.0 s'
  rows, *_ = pages.read(report_page.page([report_run.read(workdir)]))
  assert rows['data-time', 'training'][2] == '10.0 %'


@pytest.mark.parametrize('analyse, file, key, value', [
    (lambda run: entropy.analyse(run), 'metrics.jsonl', 'entropy', '0.5'),
    (lambda run: lengths.analyse(run, 2), 'rollouts.jsonl', 'n_tokens', None),
    (lambda run: staleness.analyse(run), 'rollouts.jsonl', 'versions', MISSING)])
def test_an_analysis_names_a_damaged_line(workdir, analyse, file, key, value):
  change(workdir / file, key, value)
  with pytest.raises(ValueError, match=rf'{file}, line 1: {key} is'):
    analyse(str(workdir))


def test_an_analysis_needs_a_config_that_says_what_was_in_flight(workdir):
  for config in (MISSING, [], {}, {'sampler': {'slots': 'x'}}):
    (workdir / 'experiment.json').write_text(json.dumps(
        {} if config is MISSING else dict(config=config)))
    with pytest.raises(ValueError, match='does not say how many sequences were in flight'):
      staleness.analyse(str(workdir))
