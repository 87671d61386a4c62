"""Verdicts given again: what differs is found, what cannot be judged is counted."""
import contextlib
import json

import pytest

from magistral_jax import durable, rollouts
from magistral_jax.analysis import report_page, report_reverify, report_run
from magistral_jax.data.role import Dealer
from magistral_jax.experiment import build
from magistral_jax.records import Verdict
from tests import fakes, tiny
from tests.analysis import made_runs, pages


def make(tmp_path, **changes):
  """A run whose config is a whole one, of sums; its problems are not those of that config."""
  workdir = made_runs.make(tmp_path / 'run')
  config = json.loads(tiny.load(**changes).to_json_best_effort())
  durable.write_json(workdir / 'experiment.json', dict(config=config))
  return workdir, list(rollouts.read(workdir))


@pytest.fixture
def judged_by(monkeypatch):
  """judged_by(completion -> verdict): no process is started."""
  def by(judge):
    monkeypatch.setattr(build, 'pool', lambda c: contextlib.nullcontext())
    monkeypatch.setattr(build, 'verifier', lambda c, pool: fakes.FakeVerifier(judge))
  return by


def again(workdir, count=1000, seed=0):
  found, = report_reverify.judge_again([report_run.read(workdir)], count, seed)
  return found


def test_the_same_verdicts_are_the_same_and_another_is_listed(tmp_path, judged_by):
  workdir, lines = make(tmp_path)
  math = {(line['ordinal'], line['sample']): line for line in lines if line['domain'] == 'math'}

  def judge(completion):
    line = math[completion.ordinal, completion.sample]
    assert completion.text == line['completion'] and len(completion.tokens) == line['n_tokens']
    if (completion.ordinal, completion.sample) == (1, 2):
      return Verdict('timeout', 0.0, {}, detail='took too long')
    return Verdict(line['status'], line['reward'], line['parts'])

  judged_by(judge)
  found = again(workdir)
  assert (found['asked'], found['same']) == (len(math), len(math) - 1)
  assert found['skipped'] == len(lines) - len(math)          # Programs, whose tests are not there.
  row, = found['different']
  assert (row['ordinal'], row['sample'], row['before'], row['now'], row['why']) == (
      1, 2, math[1, 2]['status'], 'timeout', 'took too long')
  page = report_page.page([report_run.read(workdir)], reverified=[found])
  text = ' '.join(''.join(pages.read(page)[2].text).split())
  words = f'of {len(math)} completions that were judged again {len(math) - 1} have the verdict'
  assert words in text
  assert 'took too long' in text


def test_another_reward_for_the_same_verdict_differs(tmp_path, judged_by):
  workdir, lines = make(tmp_path)
  judged_by(lambda completion: Verdict(next(
      line['status'] for line in lines if (line['ordinal'], line['sample']) == (
          completion.ordinal, completion.sample)), 7.0, {}))
  found = again(workdir, count=5)
  assert found['same'] == 0 and found['asked'] + found['skipped'] == 5


def test_problems_are_made_again_from_the_config(tmp_path):
  c = tiny.load()
  problem = Dealer(build.source(c)).problem(3)
  line = dict(ordinal=3, id=problem.id, prompt=problem.text, gold=problem.answer, domain='code')
  find = report_reverify._problems(c)[0]
  assert report_reverify._problem_of(line, find) == problem
  assert report_reverify._problem_of(line | dict(gold='another'), find) is None


def test_a_run_without_a_config_cannot_be_judged_again(tmp_path):
  workdir, _ = make(tmp_path)
  (workdir / 'experiment.json').unlink()
  with pytest.raises(ValueError, match='has no experiment.json'):
    again(workdir)


@pytest.mark.long
def test_the_verifiers_themselves_find_what_was_written_down_wrongly(tmp_path):
  """The writer of these lines calls completions badly formatted that are not."""
  workdir, lines = make(tmp_path)
  found = again(workdir)
  wrongly = {(line['ordinal'], line['sample']) for line in lines
             if line['domain'] == 'math' and line['status'] == 'bad_format'}
  assert found['asked'] == sum(line['domain'] == 'math' for line in lines)
  assert {(row['ordinal'], row['sample']) for row in found['different']} == wrongly
  assert {row['now'] for row in found['different']} == {'wrong'}
