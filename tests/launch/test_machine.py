"""The scripts for machines, run by bash where gcloud, uv, Ray and mounts are played."""
import gzip
import os
import subprocess

import pytest

from launch import machine, package
from launch.clouds import MISSING
from launch.job import Job, Submission
from launch.shell import CommandError

JOB = Job('small', 'gs://bucket/runs/small', 'python -m magistral_jax.train --x', ())
PROGRAMS = {
    # The bucket is a folder.
    'gcloud': '''[ "$1 $2" = 'storage cp' ] || exit 9
        from=${3/gs:\\/\\//$BUCKETS/} to=${4/gs:\\/\\//$BUCKETS/}
        [ -z "$BROKEN" ] || { echo 'ERROR: 503' >&2; exit 1; }
        [ -e "$from" ] || { echo 'ERROR: the URLs matched no objects or files' >&2; exit 1; }
        mkdir -p "$(dirname "$to")"; cp "$from" "$to"''',
    # It installs the newest version unless a file says which.
    'uv': '''case "$1 $2" in
        'venv --quiet') mkdir -p .venv/bin; printf '#!/bin/sh\\n' > .venv/bin/python
          chmod +x .venv/bin/python;;
        'pip install') cp versions.txt installed
          [ -s installed ] || echo "ray==$NEWEST" > installed;;
        'pip freeze') cat installed;; esac''',
    'mountpoint': '[ -e "$HOME/mounted" ]',
    'stat': '[ "$(cat "$HOME/mounted")" = works ]',
    'gcsfuse': 'echo works > "$HOME/mounted"; echo "$@" >> "$HOME/mounts"',
    'sudo': 'case "$1" in umount) rm -f "$HOME/mounted";; esac',
    'pgrep': '[ "$RAY" = up ]',
}


@pytest.fixture
def bash(tmp_path):
  """bash(script, NAME=value, ...) runs a script on the played machine."""
  for name, text in PROGRAMS.items():
    (tmp_path / 'bin').mkdir(exist_ok=True)
    (tmp_path / 'bin' / name).write_text(f'#!/bin/bash\n{text}\n')
    (tmp_path / 'bin' / name).chmod(0o755)

  def run(script, home='home', **variables):
    (tmp_path / home).mkdir(exist_ok=True)
    return subprocess.run(
        ['bash', '-c', script], capture_output=True, text=True, timeout=60, env=dict(
            PATH=f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}', HOME=str(tmp_path / home),
            BUCKETS=str(tmp_path), **(dict(NEWEST='1', BROKEN='', RAY='up') | variables)))
  return run


def upload(tmp_path, **files):
  """Packs files as the code of a job; its hash."""
  root = tmp_path / f'tree{len(os.listdir(tmp_path))}'
  root.mkdir()
  for name, text in files.items():
    (root / f'{name}.py').write_text(text)
  content = package.pack(os.listdir(root), root)
  folder = tmp_path / 'bucket/runs/small/code'
  folder.mkdir(parents=True, exist_ok=True)
  code = package.digest(content)
  (folder / f'{code}.tgz').write_bytes(gzip.compress(content))
  return code


def test_a_machine_has_the_code_that_is_named_and_no_other_module(bash, tmp_path):
  old, new = upload(tmp_path, rewards='1', gone='1'), upload(tmp_path, rewards='2')
  code = tmp_path / 'home/magistral_jax/code'
  for wanted, names in ((old, ['gone.py', 'rewards.py']), (new, ['rewards.py'])):
    done = bash(machine.install_script(JOB, wanted))
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(code)) == names
  assert (code / 'rewards.py').read_text() == '2'
  folder = tmp_path / 'bucket/runs/small/code'
  (folder / f'{old}.tgz').write_bytes((folder / f'{new}.tgz').read_bytes())
  done = bash(machine.install_script(JOB, old))
  assert done.returncode and f'is not what was packed as {old}' in done.stderr
  assert os.listdir(code) == ['rewards.py']


def test_machines_that_join_later_get_the_versions_of_the_first(bash, tmp_path):
  code, other = upload(tmp_path, rewards='1'), upload(tmp_path, rewards='2')
  for home, wanted, newest, has in (
      ('head', code, '1', '1'), ('later', code, '2', '1'), ('anew', other, '2', '2')):
    done = bash(machine.install_script(JOB, wanted), home=home, NEWEST=newest)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / home / 'magistral_jax/installed').read_text() == f'ray=={has}\n'
  done = bash(machine.install_script(JOB, code), home='late', BROKEN='1')
  assert done.returncode and '503' in done.stderr


@pytest.mark.parametrize('mounted', ['', 'works', 'dead'])
def test_the_bucket_is_mounted_again_where_it_does_not_answer(bash, tmp_path, mounted):
  (tmp_path / 'home').mkdir()
  if mounted:
    (tmp_path / 'home/mounted').write_text(mounted)
  assert bash(machine.mount_script(JOB)).returncode == 0
  assert (tmp_path / 'home/mounted').read_text().strip() == 'works'
  assert (tmp_path / 'home/mounts').exists() == (mounted != 'works')


def answering(tmp_path, text):
  """A Ray that answers every question so."""
  program = tmp_path / 'home/magistral_jax/.venv/bin/ray'
  program.parent.mkdir(parents=True, exist_ok=True)
  program.write_text(f'#!/bin/bash\n{text}\n')
  program.chmod(0o755)


def test_only_a_ray_that_does_not_run_is_down(bash, tmp_path):
  answering(tmp_path, 'echo ConnectionError: no answer >&2; exit 1')
  assert machine.nodes(bash(machine.nodes_script(JOB), RAY='down').stdout) == set()
  assert bash(machine.nodes_script(JOB)).returncode, 'the question has failed'
  state = machine.job_state_script(JOB)
  assert machine.job_state(bash(state, RAY='down').stdout) == MISSING
  with pytest.raises(CommandError, match='does not tell the state of the job: .*no answer'):
    machine.job_state(bash(state).stdout)
  with pytest.raises(CommandError, match='does not list its nodes'):
    machine.nodes('[]')
  answering(tmp_path, '''echo '[{"node_ip": "10.0.0.1"}, {"node_ip": "10.0.0.2"}]' ''')
  assert machine.nodes(bash(machine.nodes_script(JOB)).stdout) == {'10.0.0.1', '10.0.0.2'}
  answering(tmp_path, '''echo "Job 'small' failed"; exit 1''')
  assert machine.job_state(bash(state).stdout) == 'FAILED'


def test_a_job_is_submitted_as_it_was_noted(bash, tmp_path):
  answering(tmp_path, 'printf "%s\\n" "$@" > "$HOME/asked"')
  assert bash(machine.record_script()).stdout == ''
  mine = Submission('gs://bucket/runs/small', "python -m x --config.name='a b'", 'c0de')
  bash(machine.keep_record_script(mine))
  assert Submission.from_json(bash(machine.record_script()).stdout) == mine
  assert bash(machine.submit_job_script(JOB, mine)).returncode == 0
  asked = (tmp_path / 'home/asked').read_text()
  assert 'cd ~/magistral_jax/code && exec ~/magistral_jax/.venv/bin/python -m mag' in asked
  bash(machine.keep_record_script(Submission('gs://bucket/runs/other', 'python -m x', 'c0de')))
  (tmp_path / 'home/asked').unlink()
  assert bash(machine.submit_job_script(JOB, mine)).returncode
  assert not (tmp_path / 'home/asked').exists()
