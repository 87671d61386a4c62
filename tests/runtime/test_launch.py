"""A run from the command line: how it ends where it cannot even begin."""
import contextlib
import errno
import signal
import types

import pytest

from magistral_jax import metrics
from magistral_jax.orchestration import starts
from magistral_jax.orchestration.health import StoppedError
from magistral_jax.runtime import launch

C = types.SimpleNamespace(runtime=types.SimpleNamespace(deadline_s=60.0, mode='threads'))


@pytest.fixture
def carry_out(tmp_path, monkeypatch):
  """carry_out(train) -> the run whose `train` that is, without roles."""
  runtime = types.SimpleNamespace(verifier=lambda: None)
  monkeypatch.setattr(launch, 'make_runtime', lambda *_: contextlib.nullcontext(runtime))
  monkeypatch.setattr(launch, 'keep_compiled', lambda workdir: None)
  before = {number: signal.getsignal(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
  def make(train=lambda health: None):
    return launch.carry_out(
        C, tmp_path, None, lambda c, workdir, parts, runtime, verifier, health, display:
        types.SimpleNamespace(finished=True, train=lambda: train(health), close=lambda: None),
        'train', 1)
  yield make
  for number, handler in before.items():
    signal.signal(number, handler)


def test_a_full_disk_at_the_start_is_one_sentence(carry_out, monkeypatch, capsys):
  """The first line of a run, or its first file."""
  def full(self, line):
    raise metrics.WriteError(errno.ENOSPC, 'No space left on device', str(self.path))
  for method in ('write', '__init__'):
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
      patch.setattr(metrics.JsonlWriter, method, full)
      patch.setattr(metrics.JsonlWriter, 'path', 'starts.jsonl', raising=False)
      carry_out()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert 'starts.jsonl cannot be written (No space left on device): make room there' in said


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
  (tmp_path / 'metrics.jsonl').mkdir()
  with pytest.raises(metrics.WriteError, match='Is a directory.*metrics.jsonl'):
    metrics.JsonlWriter(tmp_path / 'metrics.jsonl')


def test_a_stop_that_nothing_could_be_saved_at_is_no_failure_unless_a_role_has_failed(
    carry_out, tmp_path, capsys):
  def stopped(health):
    raise StoppedError('It goes on from the newest checkpoint.')
  carry_out(stopped)
  assert 'It goes on from the newest checkpoint.' in capsys.readouterr().out
  def failed(health):
    with health.watching('verifier'):
      raise OSError('no more files')
    stopped(health)
  with pytest.raises(RuntimeError, match='The verifier failed: OSError: no more files'):
    carry_out(failed)
  assert [one['ended'] for one in starts.read(tmp_path)] == ['stopped', 'failed']
