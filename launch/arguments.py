"""A command line of the launcher as flags, a config and a job."""
from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from launch.job import Job, mounted
from magistral_jax import command_line
from magistral_jax.experiment import cli

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACTIONS = {
    'create': 'ask for the slices and wait until they are active',
    'run': 'create, install, start Ray, submit the job, follow it, replace what is preempted',
    'status': 'print the state of the slices and of the job',
    'logs': 'follow the output of the job',
    'stop': 'let the job save and end; the slices stay, and cost',
    'delete': 'delete all slices of this name; what is in the bucket stays',
}
# The part of the config that every job overrides.
ON_CLUSTER = ('--config.runtime.mode=ray', '--config.runtime.address=auto')
PACKER = ROOT / 'launch/package.py'
# The part of the repository that is copied to the machines.
CODE = ('magistral_jax', 'configs', 'setup.py', 'pyproject.toml', 'README.md')


@dataclasses.dataclass(frozen=True)
class CommandLine:
  """A parsed command line."""
  flags: argparse.Namespace
  config: ConfigDict        # With the user's overrides and those of ON_CLUSTER.
  config_path: str          # As written.
  overrides: list[str]      # --config.KEY=VALUE, as written.


def parse(argv: Sequence[str]) -> CommandLine:
  """Parses a command line.

  Raises:
    ValueError: the config cannot be loaded, or an override does not fit it.
    SystemExit: any other mistake, which is reported in one sentence.
  """
  parser = _parser()
  flags, left = parser.parse_known_args(argv)
  for text in left:
    if not re.match(r'--config(\.[^=]+)?=', text):
      parser.error(f'{text!r} is no argument (overrides are written --config.KEY=VALUE)')
  config = cli.read_config([*left, *ON_CLUSTER])
  written = dict(text.split('=', 1) for text in left)
  path = written.pop('--config')
  return CommandLine(flags, config, path, [f'{flag}={text}' for flag, text in written.items()])


def job_name(line: CommandLine) -> str:
  """The name of the job and of its slices: --name, or else that of the config.

  Raises:
    ValueError: the config is outside the repository, the workdir outside a bucket, or the name
      cannot be one.
  """
  flags, path = line.flags, _path(line)
  if path.startswith('..'):
    raise ValueError(f'--config={line.config_path!r} lies outside {ROOT}, which is what is copied '
                     f'to the machines: put it into configs/.')
  name = flags.name or pathlib.Path(path).stem.replace('_', '-')
  if not re.fullmatch(r'[a-z][a-z0-9-]{0,39}', name):
    raise ValueError(f'--name={name!r} must be at most 40 small letters, digits and hyphens, a '
                     f'letter first: it becomes the name of cloud resources.')
  if not re.fullmatch(r'gs://[^/]+(/.*)?', flags.workdir):
    raise ValueError(f'--workdir={flags.workdir!r} must be in a bucket, gs://BUCKET/RUN: machines '
                     f'and their disks do not outlive a preemption.')
  return name


def make_job(line: CommandLine, name: str, overrides: Sequence[str], trainers: int) -> Job:
  """The job of a command line.

  Args:
    overrides: --config.KEY=VALUE, with every file at its path on the machines.
    trainers: number of machines of the trainer's slice, each with one process.
  """
  workdir = line.flags.workdir.rstrip('/')   # The same folder is the same job.
  command = shlex.join([
      'python', '-m', 'magistral_jax.train', f'--config={_path(line)}', *overrides, *ON_CLUSTER,
      f'--config.runtime.trainers={trainers}', f'--workdir={mounted(workdir)}'])
  pack = (sys.executable, str(PACKER), *CODE)
  return Job(name, workdir, command, pack)


def deleting(argv: Sequence[str], action: str) -> str:
  """The command that deletes the slices of another command line."""
  position = argv.index(action)
  return shlex.join(['python', 'launch/tpu.py', *argv[:position], 'delete',
                     *(text for text in argv[position + 1:] if text != '--dry_run')])


def _path(line: CommandLine) -> str:
  """The path of the config below the root of the repository."""
  return os.path.relpath(os.path.abspath(line.config_path), ROOT)


def _parser() -> argparse.ArgumentParser:
  parser = command_line.ArgumentParser(
      prog='launch/tpu.py', epilog='; '.join(f'{k}: {v}' for k, v in ACTIONS.items()))
  parser.add_argument('action', choices=list(ACTIONS))
  parser.add_argument('--project', default='', help='Google Cloud project')
  parser.add_argument('--zone', default='', help='such as us-east5-a')
  parser.add_argument('--workdir', default='', help='gs://BUCKET/RUN: checkpoints, logs, the code')
  parser.add_argument('--name', default='', help='of the job and its slices; the config\'s name')
  parser.add_argument('--tier', default='spot', choices=['spot', 'reserved', 'on-demand'])
  parser.add_argument('--reservation', default='', help='tpu7x: name of the reservation')
  parser.add_argument('--backend', default='gcloud', choices=['gcloud', 'gke'])
  parser.add_argument('--image', default='', help='gke: an image with magistral_jax')
  parser.add_argument('--service_account', default='default',
                      help='gke: a Kubernetes service account that may use the bucket')
  parser.add_argument('--wait_hours', type=float, default=24.0, help='for slices to be active')
  parser.add_argument('--poll_s', type=float, default=30.0, help='seconds between two looks')
  parser.add_argument('--recoveries', type=int, default=50, help='slices to replace at most')
  parser.add_argument('--afterwards', default='delete', choices=['delete', 'keep'],
                      help='the slices of a `run` that has succeeded, failed or been refused')
  parser.add_argument('--dry_run', action='store_true', help='print every command, run none')
  return parser
