"""The environment that launch/environment.sh makes, with a Python and a pip that are played."""
import re
import shutil
import subprocess
import sys

import pytest

from tests.launch.pods import ROOT


def test_install_hints_name_the_clone_since_no_index_has_the_package():
  wrong = re.compile(r'pip[^\n]* install[^\n]*(?<![-./])magistral_jax')
  texts = [path for folder in ('magistral_jax', 'launch', 'docs', 'configs')
           for pattern in ('*.py', '*.md', '*.sh', '*.ipynb')
           for path in (ROOT / folder).rglob(pattern)] + list(ROOT.glob('*.md'))
  assert len(texts) > 100
  assert [path for path in texts if wrong.search(path.read_text('utf-8'))] == []
  assert wrong.search('pip install "magistral_jax[plan]"')


@pytest.fixture
def environment(tmp_path):
  """environment(clone, extra) -> (what pip was asked, what was said) where all share one folder."""
  python = tmp_path / 'venv/bin/python'
  python.parent.mkdir(parents=True)
  python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo "$@" >> {tmp_path}/asked\n')
  python.chmod(0o755)

  def run(clone, extra=''):
    folder = tmp_path / clone
    if not folder.exists():
      (folder / 'launch').mkdir(parents=True)
      shutil.copy(ROOT / 'launch/environment.sh', folder / 'launch')
      (folder / 'setup.py').write_text('')
    (tmp_path / 'asked').write_text('')
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c',
         f'source "{folder}/launch/environment.sh"; environment {extra}; echo "$PYTHON_BIN"'],
        env=dict(PATH='/usr/bin:/bin', MAGISTRAL_VENV=str(tmp_path / 'venv')),
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip() == str(python), done.stderr
    return (tmp_path / 'asked').read_text(), done.stderr
  return run


def test_it_is_installed_once_and_again_when_setup_has_changed(environment, tmp_path):
  asked, said = environment('clone')
  assert f'-e {tmp_path}/clone' in asked and 'Installing' in said
  assert f'`source {tmp_path}/venv/bin/activate`' in said
  assert environment('clone') == ('', '')
  (tmp_path / 'clone/setup.py').write_text('new')
  asked, said = environment('clone')
  assert asked and 'was installed for' not in said


def test_an_environment_that_another_clone_had_says_so(environment, tmp_path):
  environment('my clone', 'dev')
  asked, said = environment('other')
  assert f'-e {tmp_path}/other' in asked
  assert f'was installed for {tmp_path}/my clone and will be installed for {tmp_path}/other' in said
  # The first clone is not installed any more, with no extra.
  asked, said = environment('my clone', 'dev')
  assert f'-e {tmp_path}/my clone[dev]' in asked and f'was installed for {tmp_path}/other' in said
  assert environment('my clone') == environment('my clone', 'dev') == ('', '')


@pytest.mark.parametrize('module', ['magistral_jax', 'magistral_jax.report', 'magistral_jax.train'])
def test_a_command_outside_the_environment_says_how_to_enter_it(module):
  done = subprocess.run([sys.executable, '-S', '-m', module, '--help'], cwd=ROOT,
                        capture_output=True, text=True, timeout=60)
  assert done.returncode == 2 and not done.stdout
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert '`source .venv/bin/activate`' in done.stderr
