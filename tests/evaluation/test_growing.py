"""Outputs that grow: whole lines only, one writer, and a full disk said in one sentence."""
import errno
import json
import os

import pytest

from magistral_jax import command_line, durable
from magistral_jax.evaluation import growing
from magistral_jax.evaluation.growing import GrowingFile
from magistral_jax.metrics import read_lines
from tests.full_disk import FullFile


def begun(path, **how):
  lines = []
  return GrowingFile(str(path), dict(seed=0), lines.append, **how), lines


def test_a_file_has_one_writer_at_a_time(tmp_path):
  first, _ = begun(tmp_path / 'r')
  with pytest.raises(ValueError, match='is being written by another command'):
    begun(tmp_path / 'r', restart=True)
  first.close()
  begun(tmp_path / 'r')[0].close()


def test_a_disk_without_locks_is_written_all_the_same(tmp_path, monkeypatch, caplog):
  def none(*args):
    raise OSError(errno.ENOLCK, 'No locks available')
  monkeypatch.setattr(growing.fcntl, 'flock', none)
  one, _ = begun(tmp_path / 'r')
  one.write(dict(id=1))
  one.close()
  other, lines = begun(tmp_path / 'r')
  other.close()
  assert lines == [dict(id=1)] and 'No locks available' in caplog.text


def test_a_line_that_a_full_disk_cuts_leaves_nothing_and_the_file_goes_on(
    tmp_path, monkeypatch, capsys):
  one, _ = begun(tmp_path / 'r')
  one.write(dict(id=1))
  monkeypatch.setattr(one._lines, '_file', FullFile(one._lines._file, 3))
  with pytest.raises(SystemExit), command_line.writing():
    one.write(dict(id=2))
  one.close()
  assert 'r.partial cannot be written (No space left on device)' in capsys.readouterr().err
  other, lines = begun(tmp_path / 'r')
  assert lines == [dict(id=1)]
  other.write(dict(id='\ud800'))
  other.finish()
  other.close()
  assert [line['id'] for line in read_lines(tmp_path / 'r')] == [1, '\ud800']
  assert os.listdir(tmp_path) == ['r']


@pytest.mark.parametrize('progress', ['', '{"se', '\0\0', '{"seed": 1}', '[]'])
def test_lines_of_other_settings_are_refused_or_dropped(tmp_path, progress):
  for restart in (False, True):
    (tmp_path / 'r.partial').write_text('{"id": "of another"}\n')
    (tmp_path / 'r.progress').write_text(progress)
    if not restart:
      with pytest.raises(ValueError, match='was begun otherwise .seed was'):
        begun(tmp_path / 'r')
      continue
    one, lines = begun(tmp_path / 'r', restart=True)
    one.close()
    assert lines == [] and json.loads((tmp_path / 'r.progress').read_text()) == dict(seed=0)


def test_a_damaged_line_is_named(tmp_path):
  begun(tmp_path / 'r')[0].close()
  (tmp_path / 'r.partial').write_bytes(b'{"id": 1}\n\0\0\n')
  with pytest.raises(ValueError, match='r.partial, line 2: this is not JSON.*Remove that line'):
    begun(tmp_path / 'r')


def test_an_output_is_checked_before_the_work(tmp_path):
  (tmp_path / 'in').touch()
  check = lambda name, *inputs, **how: command_line.check_output(
      str(tmp_path / name), *inputs, **how)
  check('out', str(tmp_path / 'in'))
  for name, how, words in (
      ('./in', {}, 'which is read'), ('in', dict(new=True), 'there already|which is read'),
      ('no/out', {}, 'cannot be written .No such file'), ('', {}, 'cannot be written .Is a dir')):
    with pytest.raises(ValueError, match=words):
      check(name, str(tmp_path / 'in'), **how)


def test_other_errors_stay_what_they_are():
  with pytest.raises(ValueError, match='a fault of ours'), command_line.writing():
    raise ValueError('a fault of ours')
  assert issubclass(durable.WriteError, OSError)
