"""Paths: files, folders, patterns, packed files; what is none of these is said in one sentence."""
import gzip
import json
import os

import pytest

from magistral_jax.data import files
from magistral_jax.data.jsonl import JsonlSource, read_files

LINE = json.dumps(dict(problem='1+1?', answer='2')).encode() + b'\n'


@pytest.fixture
def tree(tmp_path):
  """A folder with plain and packed files, one of them below, and something else."""
  (tmp_path / 'below').mkdir()
  for name in ('b.jsonl', 'a.jsonl', 'below/c.jsonl'):
    (tmp_path / name).write_bytes(LINE)
  (tmp_path / 'd.jsonl.gz').write_bytes(gzip.compress(LINE * 2))
  (tmp_path / 'notes.txt').write_text('no problem')
  return tmp_path


def names(paths, root):
  return [os.path.relpath(path, root) for path in files.expand(paths)]


def test_folders_patterns_and_lists(tree):
  everything = ['a.jsonl', 'b.jsonl', 'below/c.jsonl', 'd.jsonl.gz']
  assert names(str(tree), tree) == everything
  assert names(f'{tree}/*.jsonl', tree) == ['a.jsonl', 'b.jsonl']
  assert names(f'{tree}/**/*.jsonl', tree) == ['a.jsonl', 'b.jsonl', 'below/c.jsonl']
  assert names(f'{tree}/b.jsonl, {tree}/below', tree) == ['b.jsonl', 'below/c.jsonl']
  assert names([f'{tree}/b.jsonl', f'{tree}/d.jsonl.gz'], tree) == ['b.jsonl', 'd.jsonl.gz']
  assert len(read_files(str(tree))) == 5


def test_home_and_commas_in_names(tree, monkeypatch):
  monkeypatch.setenv('HOME', str(tree))
  assert names('~/a.jsonl', tree) == ['a.jsonl'] and len(names('~', tree)) == 4
  (tree / 'x,y.jsonl').write_bytes(LINE)
  assert names(str(tree / 'x,y.jsonl'), tree) == ['x,y.jsonl']


def test_a_packed_file_is_known_by_its_content(tmp_path):
  (tmp_path / 'a.jsonl').write_bytes(gzip.compress(b'\n' + LINE))
  assert [problem.where for problem in read_files(str(tmp_path))] == [
      f'{tmp_path}/a.jsonl, line 2']
  (tmp_path / 'a.jsonl').write_bytes(gzip.compress(LINE * 9)[:-9])
  with pytest.raises(ValueError, match=r'a\.jsonl cannot be read \(.*end'):
    read_files(str(tmp_path))


@pytest.mark.parametrize('path, words', [
    ('absent.jsonl', "'absent.jsonl' does not exist: correct its path.$"),
    ('openai/gsm8k', 'does not exist: .* Names of data sets on a hub are not read: download'),
    ('absent/*.jsonl', r"no file matches the pattern 'absent/\*.jsonl'"),
    ('https://x.org/a.jsonl', 'is an address, and only files of this machine are read'),
    ('gs://bucket/a.jsonl', 'is an address'), (' , ', 'no file is named'), ('', 'no file is nam')])
def test_what_names_no_file_is_said(path, words, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=f'^data.jsonl.path: .*{words}'):
    files.expand(path, 'data.jsonl.path')


def test_other_kinds_of_files_are_said(tree):
  (tree / 'below' / 'c.jsonl').rename(tree / 'below' / 'c.csv')
  with pytest.raises(ValueError, match=r'has no \.jsonl or \.jsonl\.gz file; it holds c\.csv'):
    files.expand(str(tree / 'below'))
  (tree / 'a.jsonl').write_bytes(b'PAR1....')
  with pytest.raises(ValueError, match='is a Parquet file: write its rows as JSON lines'):
    read_files(str(tree))
  for start in (b'PK\x03\x04', b'\x28\xb5\x2f\xfd', b'BZh9', b'\xfd7zXZ'):
    (tree / 'a.jsonl').write_bytes(start + bytes(9))
    with pytest.raises(ValueError, match='is packed, and only gzip is unpacked here'):
      read_files(str(tree))
  (tree / 'a.jsonl').write_bytes(b'[\n' + LINE)
  with pytest.raises(ValueError, match=r'line 1: this is not JSON .* must be no JSON list'):
    read_files(str(tree))
  (tree / 'a.jsonl').write_bytes(b'[' + LINE.strip() + b']')
  with pytest.raises(ValueError, match='this is a list; a file that is one JSON list must be'):
    read_files(str(tree))


def test_a_pipe_is_called_one_and_never_opened(tmp_path):
  """A reader of a pipe that nobody writes into would wait for ever."""
  os.mkfifo(tmp_path / 'a.jsonl')
  words = "a.jsonl' is a pipe, and what is read here is read more than once: write its lines into"
  with pytest.raises(ValueError, match=f'^data.jsonl.path: .*{words}'):
    files.expand(str(tmp_path / 'a.jsonl'), 'data.jsonl.path')
  with pytest.raises(ValueError, match=words):
    files.expand(str(tmp_path))
  with pytest.raises(ValueError, match=words):
    list(files.lines(str(tmp_path / 'a.jsonl')))
  with pytest.raises(ValueError, match="'/dev/null' is no file"):
    files.expand('/dev/null')


def test_a_file_named_twice_is_refused(tree):
  with pytest.raises(ValueError, match=r"a\.jsonl' is named 2 times: name it once"):
    files.expand(f'{tree}/*.jsonl,{tree}/a.jsonl')


@pytest.mark.parametrize('paths, expected', [
    (['/a/train.jsonl', '/b/train.jsonl'], ['a/train', 'b/train']),
    (['/a/train.jsonl', '/b/test.jsonl'], ['train', 'test']),
    (['/x/a/t.jsonl', '/y/a/t.jsonl', '/y/b/t.jsonl'], ['x/a/t', 'y/a/t', 'b/t']),
    (['/a/t.jsonl', '/a/t.jsonl.gz'], ['a/t.jsonl', 'a/t.jsonl.gz']),
    (['/t.jsonl', '/a/t.jsonl'], ['t.jsonl', 'a/t'])])
def test_files_of_one_name_are_told_apart(paths, expected):
  assert files.labels(paths) == dict(zip(paths, expected, strict=True))


def test_two_files_of_the_same_name_give_different_ids(tmp_path):
  for folder in ('one', 'two'):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'train.jsonl').write_bytes(LINE.replace(b'1+1', folder.encode()))
  assert [p.id for p in read_files(str(tmp_path))] == ['one/train-1', 'two/train-1']
  source = JsonlSource(0, path=str(tmp_path / 'one'), held_out_path=str(tmp_path / 'two'),
                       held_out=0)
  assert [p.id for p in source.training] == ['one/train-1']
  assert [p.id for p in source.evaluation] == ['two/train-1']


def test_an_id_that_is_made_takes_none_that_is_given(tmp_path):
  lines = [dict(problem='a?', answer='1'), dict(problem='b?', answer='1', id='a-1')]
  (tmp_path / 'a.jsonl').write_text('\n'.join(map(json.dumps, lines)))
  assert [p.id for p in read_files(str(tmp_path))] == ['a-1-line', 'a-1']
