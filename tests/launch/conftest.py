"""A cloud that is played: by a program named gcloud, or faster, inside the test's own process."""
import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

from launch import arguments, command
from launch.shell import Shell
from tests.launch import fake_gcloud
from tests.launch.pods import CLOUD, POD


class PlayedShell(Shell):
  """A shell in which gcloud is a function: starting Python takes nearly all of a command's time."""

  def _start(self, argv):
    return argv if argv[0] == 'gcloud' else super()._start(argv)

  def _finish(self, process, deadline):
    if isinstance(process, subprocess.Popen):
      return super()._finish(process, deadline)
    status, output, error = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
      try:
        fake_gcloud.main(process[1:])
      except SystemExit as end:
        status = 1
        error.write(f'{end}')
    return status, output.getvalue(), error.getvalue()

  def end(self, process):
    if isinstance(process, subprocess.Popen):
      super().end(process)

  def follow(self, argv):
    print(self._finish(argv, 0.0)[1], end='', flush=True)
    return super().follow(['true'])


@pytest.fixture
def elsewhere(monkeypatch):
  """elsewhere(act) lets act() happen once, when the output of a job is followed."""
  follow = PlayedShell.follow

  def happen(act):
    def acting(self, argv):
      monkeypatch.setattr(PlayedShell, 'follow', follow)
      act()
      return follow(self, argv)
    monkeypatch.setattr(PlayedShell, 'follow', acting)
  return happen


@pytest.fixture
def cloud(cloud_of_processes, monkeypatch):
  """As `cloud_of_processes`, without processes."""
  monkeypatch.setattr(command, 'Shell', PlayedShell)
  return cloud_of_processes


@pytest.fixture
def cloud_of_processes(tmp_path, monkeypatch):
  """play(script, ...) -> the exit status of `run`, and what the world has become."""
  world = tmp_path / 'world.json'
  (tmp_path / 'gcloud').write_text(
      f'#!/bin/sh\nexec {sys.executable} -S -E {fake_gcloud.__file__} "$@"\n')
  (tmp_path / 'gcloud').chmod(0o755)
  monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
  monkeypatch.setenv('FAKE_CLOUD', str(world))
  # Nothing of the size of the repository needs to be packed for a played cloud.
  monkeypatch.setattr(arguments, 'CODE', ('pyproject.toml',))

  def play(script, *argv, action='run', pod=POD, becomes='ACTIVE', never=(), refusals=0,
           refused='', unlisted=(), **kept):
    if not world.exists():
      world.write_text(json.dumps(dict(
          slices={}, machines={'small-trainer': 2}, script=script, becomes=becomes,
          never=dict(never), refused=refused, job='', stuck='', asked=0, deaf=0, vanish='',
          unlisted=list(unlisted), unreachable=False,
          submitted=0, refusals=refusals, log=[], created=0,
          objects={'gs://bucket/problems.jsonl': '{}'},
          made={'instance-templates': {}, 'resource-policies': {}})))
    elif kept or script:
      kept |= dict(script=script, refused=refused, never=dict(never), unlisted=list(unlisted))
      world.write_text(json.dumps(json.loads(world.read_text()) | kept))
    status = command.main([action, *pod, *CLOUD, '--poll_s=0.01', '--afterwards=keep', *argv])
    return status, json.loads(world.read_text())
  return play
