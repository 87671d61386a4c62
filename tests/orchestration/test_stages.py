"""What is measured outside the loop stands in the files of a run, whatever happens meanwhile."""
import types

import pytest

from magistral_jax import metrics
from magistral_jax.durable import WriteError
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.run import Run
from magistral_jax.orchestration.unsaved import UnsavedError
from tests import fakes


@pytest.fixture
def journal(tmp_path):
  made = Journal(tmp_path, Ledger(None), fakes.FakeStream().dealer)
  yield made
  made.close()


def stages(workdir):
  return [(line['stage'], line['step']) for line in metrics.read_lines(workdir / 'stages.jsonl')]


def test_a_cold_start_that_was_lost_with_its_trainer_leaves_no_lines(journal, tmp_path):
  journal.stage('start', 0, {'eval/accuracy': 0.1})
  for steps in (3, 5):
    journal.begin_cold_start()
    for step in range(steps):
      journal.stage('cold_start', step, dict(loss=1.0))
  assert stages(tmp_path) == [('start', 0), *(('cold_start', step) for step in range(5))]


def test_a_run_that_goes_on_from_a_checkpoint_cuts_its_stages_there(journal, tmp_path):
  journal.stage('cold_start', 1, dict(loss=2.0))
  record = journal.record()
  journal.stage('cold_start', 2, dict(loss=1.0))
  journal.restore(record)
  assert stages(tmp_path) == [('cold_start', 1)]


@pytest.mark.parametrize('number, remedy', [
    (28, 'make room there'), (122, 'make room there'), (5, 'repair that')])
def test_a_disk_that_refuses_a_line_ends_the_run_with_one_sentence(number, remedy):
  """From whichever thread it comes."""
  def fail():
    try:
      try:
        raise WriteError(number, 'it does not work', 'runs/x/rollouts.jsonl')
      except WriteError as error:
        raise RuntimeError('The verifier failed') from error
    finally:
      try:
        raise KeyError('another failure while the run is being saved')
      except KeyError:
        pass
  with pytest.raises(UnsavedError) as caught:
    Run.train(types.SimpleNamespace(_train=fail))
  assert str(caught.value) == (
      f'runs/x/rollouts.jsonl cannot be written (it does not work): {remedy}, then the same '
      f'command goes on from the newest checkpoint.')


def test_other_failures_keep_their_traceback():
  def fail():
    raise RuntimeError('The trainer failed')
  with pytest.raises(RuntimeError, match='The trainer failed'):
    Run.train(types.SimpleNamespace(_train=fail))
