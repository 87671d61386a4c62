"""Trackers besides TensorBoard: what they get, and that none of them can harm a run."""
import sys
import threading
import types

import pytest

from magistral_jax import metrics, sinks


class Tracker:
  """Stands for a run of wandb or trackio."""

  def __init__(self, fails_at=None, **how):
    self.how, self.points, self.metrics, self.ended = how, [], {}, False
    self._fails_at = fails_at

  def define_metric(self, name, step_metric):
    self.metrics[name] = step_metric

  def log(self, points):
    if len(self.points) == self._fails_at:
      raise ConnectionError('no network')
    self.points.append(points)

  def finish(self):
    self.ended = True


@pytest.fixture(params=list(sinks.SINKS))
def opened(request, monkeypatch, tmp_path):
  """opened(fails_at) -> (the sink of a tracker, its run)."""
  def make(fails_at=None):
    runs = []
    module = types.ModuleType(request.param)
    module.init = lambda **how: runs.append(Tracker(fails_at, **how)) or runs[-1]
    monkeypatch.setitem(sys.modules, request.param, module)
    sink, = sinks.open_sinks(sinks.check(request.param), tmp_path / 'rl', 'abc', dict(seed=1))
    return sink, runs[0]
  return make


def test_a_tracker_gets_every_line_over_its_own_steps(opened, tmp_path):
  sink, run = opened()
  assert run.how['config'] == dict(seed=1) and run.how['resume'] == 'allow'
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.sinks.append(sink)
    writer.write_stage('cold_start', 1, dict(loss=2.0))
    writer.write_stage('start', 0, {'eval/accuracy': 0.1, 'eval/per_problem': [['p', 1.0]]}, 0)
    writer.write(1, dict(reward=0.5, verifier=dict(done=3), loss=float('nan')))
  assert run.points == [
      {'cold_start/loss': 2.0, sinks.COLD_START: 1}, {'eval/accuracy': 0.1, sinks.LOOP: 0},
      {'reward/reward': 0.5, 'verifier/done': 3.0, sinks.LOOP: 1}]
  assert run.ended


def test_one_that_fails_is_told_and_the_run_goes_on(opened, tmp_path, caplog):
  sink, run = opened(fails_at=1)
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.sinks.append(sink)
    for step in (1, 2, 3):
      writer.write(step, dict(reward=0.5))
  assert len(run.points) == 1 and not run.ended
  assert len(metrics.read_lines(tmp_path / 'metrics.jsonl')) == 3
  assert caplog.text.count('no network') == 1


@pytest.mark.parametrize('hangs', ['write', 'close'])
def test_one_that_does_not_answer_holds_up_nothing(tmp_path, monkeypatch, caplog, hangs):
  """Lines are written under a lock that verdicts wait for, too."""
  answers, ended = threading.Event(), threading.Event()
  class Silent:
    def write(self, points):
      if hangs == 'write':
        answers.wait(60.0)
    def close(self):
      answers.wait(60.0)
      ended.set()
  monkeypatch.setattr(sinks, 'MOST', 5)
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.sinks.append(sinks.LoggedSink('wandb', Silent(), deadline_s=0.05))
    for step in range(1, 9):
      writer.write(step, dict(reward=0.5))
  assert not answers.is_set() and len(metrics.read_lines(tmp_path / 'metrics.jsonl')) == 8
  assert 'wandb' in caplog.text
  answers.set()
  assert ended.wait(60.0) or hangs == 'write'


@pytest.mark.parametrize('names, words', [
    ('wandb,mlflow', "names 'mlflow': there are wandb, trackio"),
    ('trackio', 'needs trackio, which is not installed')])
def test_what_is_not_there_is_one_sentence(monkeypatch, names, words):
  monkeypatch.setitem(sys.modules, 'wandb', types.ModuleType('wandb'))
  monkeypatch.setitem(sys.modules, 'trackio', None)
  with pytest.raises(ValueError, match=words):
    sinks.check(names)
  assert sinks.check('') == [] and sinks.check(' wandb, ') == ['wandb']
