"""A lockstep run that was killed and resumed is the run that was not: weights and files alike."""
import shutil

import jax
import numpy as np
import pytest

from magistral_jax import metrics
from magistral_jax.experiment import checks
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.run import Run
from magistral_jax.records import Verdict
from magistral_jax.runtime.local import LocalRuntime
from tests import fakes, tiny

STEPS = 5


def config():
  return tiny.shrink(tiny.load(), **{
      'total_steps': STEPS, 'cold_start.steps': 0, 'evaluation.problems': 0,
      'checkpoints.every': 2, 'runtime.mode': 'lockstep',
      # It opens after the update in which runs are killed.
      'stages.order': 'longer', 'stages.longer': dict(
          opens='update', update=3, sampler=dict(max_new_tokens=12, temperature=0.7),
          loss=dict(clip_high=0.5), verifiers=dict(length_max=12),
          optimizer=dict(learning_rate=1e-4))})


def judge(completion):
  """A verdict of the tokens alone; every other group is flat, so no batch is full at once."""
  right = completion.ordinal % 2 and completion.tokens.sum() % 2
  return Verdict('correct' if right else 'wrong', float(right), dict(correct=float(right)))


class Killed(Exception):
  """Raised in the middle of sampling."""


def run(workdir, kill_at=None, *, saves=True):
  """Runs to the end, or to the second round of sampling after update `kill_at`, when some groups
  are filtered, some wait and some fly. Returns the train state."""
  first = []
  def judge_or_die(completion):
    if kill_at == one.trainer.version:
      first.append(completion.ordinal)
    if first and completion.ordinal >= min(first) + one.c.batching.prompts_per_batch:
      if not saves:
        one.checkpoints.save = lambda *_: False
      raise Killed
    return judge(completion)
  c = config()
  jax.config.update('jax_transfer_guard', 'allow')
  parts = checks.prepare(c)
  one = Run(c, workdir, parts, LocalRuntime(c, parts), fakes.FakeVerifier(judge_or_die),
            Health(60.0), Display(STEPS, False), tokens_share=0.5)
  try:
    one.train()
    return jax.device_get(one.trainer.state)
  except Killed:
    return None
  finally:
    one.close()
    jax.config.update('jax_transfer_guard', 'allow')


def rollouts(workdir):
  return [{k: v for k, v in line.items() if k != 'seconds'}
          for line in metrics.read_lines(workdir / 'rollouts.jsonl')]


def figures(workdir):
  """Lines of metrics.jsonl without what a clock says."""
  timed = ('_s', '_per_s', 'verifier', 'slots_idle', 'sequence_pages')
  return [{k: v for k, v in line.items() if not k.endswith(timed)}
          for line in metrics.read_lines(workdir / 'metrics.jsonl')]


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  before = jax.config.jax_transfer_guard
  workdir = tmp_path_factory.mktemp('uninterrupted')
  yield workdir, run(workdir)
  jax.config.update('jax_transfer_guard', before)


def test_killed_and_resumed_is_uninterrupted(uninterrupted, tmp_path, capsys):
  # After update 3 the checkpoint of 2 is the newest, and lines of update 3 are on disk.
  assert run(tmp_path, kill_at=3, saves=False) is None
  assert len(figures(tmp_path)) == 3
  with open(tmp_path / 'rollouts.jsonl', 'ab') as file:
    file.write(b'{"ordinal": 7, "sam')
  # This time the failure leaves a checkpoint from the middle of sampling.
  assert run(tmp_path, kill_at=3) is None
  state = run(tmp_path)
  workdir, expected = uninterrupted
  assert int(state.step) == int(expected.step) == STEPS
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert rollouts(tmp_path) == rollouts(workdir)
  # Of update 4 a part of the groups was sampled before the checkpoint: they count all the same.
  assert figures(tmp_path) == figures(workdir)
  opening, = metrics.read_lines(tmp_path / 'stages.jsonl')
  assert [opening] == metrics.read_lines(workdir / 'stages.jsonl')
  assert (opening['stage'], opening['step'], opening['opens']) == ('longer', 3, True)


def test_a_stage_changes_what_its_prompts_may_take(uninterrupted):
  workdir, _ = uninterrupted
  opening, = metrics.read_lines(workdir / 'stages.jsonl')
  longest = lambda later: max(line['n_tokens'] for line in rollouts(workdir)
                              if (line['ordinal'] >= opening['ordinal']) == later)
  assert (longest(False), longest(True)) == (8, 12)


def test_lockstep_is_on_policy_and_the_log_probabilities_agree(uninterrupted):
  lines = metrics.read_lines(uninterrupted[0] / 'metrics.jsonl')
  assert [line['step'] for line in lines] == [*range(1, STEPS + 1)]
  assert max(line['staleness_max'] for line in lines) == 0
  assert max(line['logprob_gap_max'] for line in lines) <= 1e-4
  # The same of single tokens, before and after a stage has changed the temperature.
  gaps = [line['tokens']['gap'] for line in rollouts(uninterrupted[0])
          if 'tokens' in line and line['fate'] == 'trained']
  assert len(gaps) > 4 and max(abs(gap) for of_one in gaps for gap in of_one) <= 1e-4
  fates = {line['fate'] for line in rollouts(uninterrupted[0])}
  assert fates == {'trained', 'filtered'}


def test_a_finished_run_started_again_changes_nothing(uninterrupted, tmp_path, capsys):
  workdir, expected = uninterrupted
  copy = tmp_path / 'copy'
  shutil.copytree(workdir, copy)
  state = run(copy)
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert rollouts(copy) == rollouts(workdir) and figures(copy) == figures(workdir)
