"""What a run says of its disk and its config at the end, and when it goes on."""
import json

import jax
import pytest

from magistral_jax import metrics
from magistral_jax.experiment import checks
from magistral_jax.orchestration.display import Display
from magistral_jax.orchestration.health import Health
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.run import Run
from magistral_jax.orchestration.unsaved import UnsavedError
from magistral_jax.records import Verdict
from magistral_jax.runtime.local import LocalRuntime
from magistral_jax.trainer.checkpoint import CheckpointFolder
from tests import fakes, tiny
from tests.full_disk import FullFile


def one_run(workdir, **overrides):
  """A run whose notes can be read: (the Run, its notes)."""
  c = tiny.shrink(tiny.load(), **{'total_steps': 2, 'evaluation.problems': 0} | overrides)
  guard, said = jax.config.jax_transfer_guard, []
  display = Display(c.total_steps, False)
  display.note = said.append
  parts = checks.prepare(c)
  run = Run(c, workdir, parts, LocalRuntime(c, parts), fakes.FakeVerifier(tiny.by_tokens),
            Health(c.runtime.deadline_s), display)
  try:
    run.train()
  finally:
    run.close()
    jax.config.update('jax_transfer_guard', guard)
  return run, said


def test_a_run_whose_last_weights_are_not_on_disk_is_no_success(tmp_path, monkeypatch):
  save = CheckpointFolder.save
  def full(self, step, *rest):
    if step < 2:
      return save(self, step, *rest)
    self.failed_saves += 1
    return False
  with monkeypatch.context() as patch:
    patch.setattr(CheckpointFolder, 'save', full)
    with pytest.raises(UnsavedError, match='weights of step 2 could not be saved.*of step'):
      one_run(tmp_path)
  assert json.loads((tmp_path / 'summary.json').read_text())['failed_saves'] >= 1
  # With room again, the same command goes on and ends well, and says what was changed.
  run, said = one_run(tmp_path, **{'optimizer.learning_rate': 1e-5})
  assert run.checkpoints.latest() == run.trainer.version == 2
  assert json.loads((tmp_path / 'summary.json').read_text())['failed_saves'] == 0
  changed = [note for note in said if note.startswith('Changed since')]
  assert len(changed) == 1 and 'optimizer.learning_rate was' in changed[0]
  assert changed[0].endswith('is 1e-05.')


def test_a_disk_without_room_for_a_line_ends_the_run_with_a_sentence_and_the_books_agree(
    tmp_path, monkeypatch):
  settle, judge = Journal.settle, tiny.by_tokens
  def full_at_the_second(self, group, fate):
    if self._ledger.counts['filtered']:
      lines = self._rollouts._lines
      monkeypatch.setattr(lines, '_file', FullFile(lines._file, 300))
    return settle(self, group, fate)
  with monkeypatch.context() as patch:
    patch.setattr(Journal, 'settle', full_at_the_second)
    patch.setattr(tiny, 'by_tokens', lambda completion: (
        judge(completion) if completion.ordinal % 2 else Verdict('wrong', 0.0, {})))
    with pytest.raises(UnsavedError, match=r'rollouts.jsonl cannot be written \(No space left on '
                                           r'device\): make room there, then the same command'):
      one_run(tmp_path)
  run, _ = one_run(tmp_path)
  lines = metrics.read_lines(tmp_path / 'rollouts.jsonl')
  assert len({(line['ordinal'], line['sample']) for line in lines}) == len(lines)
  assert run.journal.summary()['completions'] == len(lines)
  assert run.trainer.version == 2
