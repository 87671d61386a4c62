"""Every machine of a job has the code of its submission, whatever the working tree has become."""
import gzip
import io
import os
import shutil
import tarfile

import pytest

from launch import arguments, package
from tests.launch.pods import ROOT, count


@pytest.fixture
def tree(tmp_path, monkeypatch):
  """A working tree of one module, which the launcher packs; the path of the module."""
  (tmp_path / 'tree/launch').mkdir(parents=True)
  shutil.copy(ROOT / 'launch/package.py', tmp_path / 'tree/launch')
  module = tmp_path / 'tree/rewards.py'
  module.write_text('reward = 1\n')

  def use():
    monkeypatch.setattr(arguments, 'PACKER', tmp_path / 'tree/launch/package.py')
    monkeypatch.setattr(arguments, 'CODE', ('rewards.py',))
    return module
  return use


def codes(world):
  return {one['code'] for one in world['slices'].values()}


def archives(world):
  return [path for path in world['objects'] if path.endswith('.tgz')]


def test_a_replaced_sampler_gets_the_code_of_the_submission(cloud, elsewhere, tree):
  module = tree()
  elsewhere(lambda: module.write_text('reward = 2\n'))
  status, world = cloud({'2': 'preempt small-sampler-1', '6': 'preempt small-trainer',
                         '9': 'succeed'})
  code = package.digest(package.pack(['rewards.py'], module.parent))
  assert status == 0 and world['submitted'] == 2
  assert module.read_text() == 'reward = 2\n' and code not in codes(world)
  module.write_text('reward = 1\n')
  code = package.digest(package.pack(['rewards.py'], module.parent))
  assert codes(world) == {code}
  assert archives(world) == [f'gs://bucket/runs/small/code/{code}.tgz'], 'packed once'


def test_a_window_that_takes_up_a_job_gives_new_samplers_its_code(cloud, tree, capfd):
  module = tree()
  first = cloud({'2': 'stop'})[1]
  module.write_text('reward = 2\n')
  status, world = cloud({'2': 'preempt small-sampler-1', '6': 'succeed'}, job='RUNNING', asked=0)
  assert status == 0 and world['submitted'] == 1
  assert codes(world) == codes(first) and archives(world) == archives(first)
  assert 'small runs other code' in capfd.readouterr().out


def test_a_job_that_is_submitted_anew_has_the_new_code_everywhere(cloud, tree):
  module = tree()
  first = cloud({'1': 'fail'})[1]
  assert cloud({'2': 'fail'}, asked=0)[1]['submitted'] == 2
  module.write_text('reward = 2\n')
  status, world = cloud({'2': 'succeed'}, asked=0)
  assert status == 0 and world['submitted'] == 3 and len(archives(world)) == 2
  assert len(codes(world)) == 1 and codes(world) != codes(first)
  assert count(world, 'queued-resources create') == 3


def test_the_hash_depends_on_names_contents_and_modes_alone(tmp_path):
  def packed(**files):
    root = tmp_path / str(len(os.listdir(tmp_path)))
    for name, text in files.items():
      path = root / 'folder' / name.replace('__', '/')
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text)
      os.utime(path, (len(os.listdir(tmp_path)), 0))
    (root / 'folder/__pycache__').mkdir()
    (root / 'folder/__pycache__/a.pyc').write_text(str(root))
    return package.pack(['folder'], root)

  one = packed(a='1', b__c='2')
  assert one == packed(b__c='2', a='1')
  assert len({one, packed(a='1', b__c='3'), packed(a='1', b__d='2'), packed(a='1')}) == 4
  with tarfile.open(fileobj=io.BytesIO(one)) as archive:
    assert archive.getnames() == ['folder/a', 'folder/b/c']
  (tmp_path / '0/folder/a').chmod(0o755)
  assert package.pack(['folder'], tmp_path / '0') != one
  with pytest.raises(FileNotFoundError, match='missing is not in .*cannot be packed'):
    package.pack(['missing'], tmp_path)


def test_an_archive_has_what_its_hash_names(tmp_path, capsys):
  package.main([*arguments.CODE, str(tmp_path / 'code.tgz')])
  content = gzip.decompress((tmp_path / 'code.tgz').read_bytes())
  assert capsys.readouterr().out.strip() == package.digest(content)
  with tarfile.open(fileobj=io.BytesIO(content)) as archive:
    names = archive.getnames()
  assert {'setup.py', 'README.md', 'configs/quickstart.py', 'magistral_jax/train.py'} <= set(names)
  assert not any('__pycache__' in name or name.startswith(('/', '..')) for name in names)
