"""From no quota to a running job on TPU slices; launch/README.md walks through it.

    python launch/tpu.py create|run|status|logs|stop|delete --config=configs/FILE.py \\
        --project=PROJECT --zone=ZONE --workdir=gs://BUCKET/RUN [--dry_run] [--config.KEY=VALUE ...]

Exit status: 0 when it is done (`run`: the job succeeded or was stopped), 1 when it failed, 2 when
it could not be asked for.
"""
from __future__ import annotations

import os
import pathlib
import re
import shlex
import signal
import sys
import tempfile

from launch import clouds, jobset, paths, slices
from launch.launcher import Launcher, Refused
from launch.machine import Job, mounted
from launch.shell import CommandError, DryShell, Shell
from magistral_jax.experiment import cli
from magistral_jax.experiment.values import check_limits

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACTIONS = {
    'create': 'ask for the slices and wait until they are there',
    'run': 'create, install, start Ray, submit the job, follow it, replace what is preempted',
    'status': 'what state the slices and the job are in',
    'logs': 'follow the output of the job',
    'stop': 'let the job save and end; the slices stay, and cost',
    'delete': 'delete all slices of this name; what is in the bucket stays',
}
# What every job overrides.
ON_CLUSTER = ('--config.runtime.mode=ray', '--config.runtime.address=auto')
# What travels to the hosts.
CODE = ('magistral_jax', 'configs', 'setup.py', 'pyproject.toml', 'README.md')


def parse(argv):
  """(arguments, config, its overrides as written) of a command line.

  Raises:
    ValueError: a config that cannot be loaded or an argument that is not known.
    SystemExit: other mistakes, told in one sentence.
  """
  parser = cli.ArgumentParser(
      prog='launch/tpu.py', epilog='; '.join(f'{k}: {v}' for k, v in ACTIONS.items()))
  parser.add_argument('action', choices=list(ACTIONS))
  parser.add_argument('--project', default='', help='Google Cloud project')
  parser.add_argument('--zone', default='', help='such as us-east5-a')
  parser.add_argument('--workdir', default='', help='gs://BUCKET/RUN: checkpoints, logs, the code')
  parser.add_argument('--name', default='', help='of the job and its slices; the config\'s name')
  parser.add_argument('--tier', default='spot', choices=['spot', 'reserved', 'on-demand'])
  parser.add_argument('--reservation', default='', help='tpu7x: name of the reservation')
  parser.add_argument('--backend', default='gcloud', choices=['gcloud', 'gke'])
  parser.add_argument('--image', default='', help='gke: an image with magistral_jax[tpu,cluster]')
  parser.add_argument('--service_account', default='default',
                      help='gke: a Kubernetes service account that may use the bucket')
  parser.add_argument('--wait_hours', type=float, default=24.0, help='for slices to be there')
  parser.add_argument('--poll_s', type=float, default=30.0, help='seconds between two looks')
  parser.add_argument('--recoveries', type=int, default=50, help='slices to replace at most')
  parser.add_argument('--afterwards', default='delete', choices=['delete', 'keep'],
                      help='the slices of a `run` that has succeeded, failed or been refused')
  parser.add_argument('--dry_run', action='store_true', help='print every command, run none')
  arguments, left = parser.parse_known_args(argv)
  for text in left:
    if not re.match(r'--config(\.[^=]+)?=', text):
      parser.error(f'{text!r} is no argument (overrides are written --config.KEY=VALUE)')
  c = cli.read_config([*left, *ON_CLUSTER])
  flags = dict(text.split('=', 1) for text in left)
  path = flags.pop('--config')
  return arguments, c, path, [f'{flag}={text}' for flag, text in flags.items()]


def make_job(arguments, config_path: str, overrides, trainers: int) -> Job:
  """The job of a command line.

  Raises:
    ValueError: the config lies outside the repository, the workdir outside a bucket, or the name
      cannot be one.
  """
  path = os.path.relpath(os.path.abspath(config_path), ROOT)
  if path.startswith('..'):
    raise ValueError(f'--config={config_path!r} lies outside {ROOT}, which is what travels to the '
                     f'hosts: put it into configs/.')
  name = arguments.name or pathlib.Path(path).stem.replace('_', '-')
  if not re.fullmatch(r'[a-z][a-z0-9-]{0,39}', name):
    raise ValueError(f'--name={name!r} must be at most 40 small letters, digits and hyphens, a '
                     f'letter first: it becomes the name of cloud resources.')
  if not re.fullmatch(r'gs://[^/]+(/.*)?', arguments.workdir):
    raise ValueError(f'--workdir={arguments.workdir!r} must be in a bucket, gs://BUCKET/RUN: hosts '
                     f'and their disks do not outlive a preemption.')
  command = shlex.join([
      'python', '-m', 'magistral_jax.train', f'--config={path}', *overrides, *ON_CLUSTER,
      f'--config.runtime.trainers={trainers}', f'--workdir={mounted(arguments.workdir)}'])
  archive = os.path.join(tempfile.gettempdir(), f'{name}.tgz')
  upload = ('tar', 'czf', archive, '--exclude=__pycache__', '-C', str(ROOT), *CODE)
  return Job(name, arguments.workdir, command, upload, archive)


def run(arguments, launcher: Launcher, shell: Shell, delete: str) -> int:
  """Runs the job to its end, and says what goes on costing, however it ends; the exit status."""
  over = False
  try:
    end = launcher.run()
    shell.say(f'the job has {end.lower()}')
    over = end != 'STOPPED'
    return int(end == 'FAILED')
  except Refused as error:
    print(f'failed: {error}', file=sys.stderr)
    over = not launcher.working()
    return 1
  finally:
    left = [f'whatever there is of {arguments.name}']
    try:
      if over and arguments.afterwards == 'delete':
        delete_found(arguments, launcher, shell)
        left = []
      else:
        left = [one.name for one in launcher.found()]
    finally:
      if left:
        shell.say(f'{", ".join(left)}: this goes on costing until you run\n{delete}')


def delete_found(arguments, launcher: Launcher, shell: Shell) -> bool:
  """Deletes what there is, and says so; whether there was anything."""
  found = [one.name for one in launcher.delete()]
  shell.say(f'deleted {len(found)}: {", ".join(found)}' if found else
            f'nothing of --name={arguments.name} was found in {arguments.zone}')
  return bool(found)


def act(arguments, launcher: Launcher, shell: Shell, delete: str) -> int:
  """Does what is asked through gcloud; the exit status. `delete` is the command that deletes."""
  if arguments.action == 'run':
    return run(arguments, launcher, shell, delete)
  if arguments.action == 'delete':
    return int(not delete_found(arguments, launcher, shell))
  if arguments.action == 'status':
    for name, state in launcher.status():
      shell.say(f'{name:40} {state}')
  else:
    getattr(launcher, arguments.action)()
  return 0


def act_gke(arguments, wanted, job: Job, shell: Shell) -> int:
  """Does what is asked through kubectl; the exit status."""
  file = f'{job.name}.jobset.yaml'
  if arguments.action in ('create', 'run'):
    text = jobset.manifest(wanted, job, image=arguments.image, tier=arguments.tier,
                           account=arguments.service_account)
    if arguments.dry_run:
      print(text, end='')
    else:
      pathlib.Path(file).write_text(text, 'utf-8')
      shell.say(f'{file} is written')
  if arguments.action == 'logs':
    return shell.follow_to_end(jobset.commands('logs', job.name, file))
  if arguments.action != 'create':
    shell.say(shell.run(jobset.commands(arguments.action, job.name, file), timeout_s=120).strip())
  return 0


def main(argv) -> int:
  with cli.one_sentence():
    arguments, c, path, overrides = parse(argv)
    check_limits(c)
    for flag in ('project', 'zone'):
      if arguments.backend == 'gcloud' and not getattr(arguments, flag):
        raise ValueError(f'--{flag} is missing: name the {flag} of Google Cloud.')
    # Names are made twice: the job's is checked before slices are called after it.
    job = make_job(arguments, path, overrides, trainers=1)
    arguments.name = job.name
    wanted = slices.from_config(c, job.name)
    named: dict[str, str] = {}
    if arguments.action in ('create', 'run'):
      paths.check_job(c, wanted[0].hosts)
      named = paths.in_bucket(c, job.bucket)
    job = make_job(arguments, path, paths.on_hosts(overrides, named), trainers=wanted[0].hosts)
    place = clouds.Place(arguments.project, arguments.zone, arguments.tier, arguments.wait_hours,
                         arguments.reservation)
    cloud = clouds.choose(wanted, place)
    if arguments.backend == 'gke' and arguments.action in ('create', 'run') and not arguments.image:
      raise ValueError("--image='' must name an image with magistral_jax[tpu,cluster] in its "
                       "Python.")
  shell = DryShell() if arguments.dry_run else Shell()
  launcher = Launcher(cloud, wanted, job, shell, poll_s=arguments.poll_s,
                      wait_s=arguments.wait_hours * 3600, recoveries=arguments.recoveries)
  try:
    if arguments.backend == 'gke':
      return act_gke(arguments, wanted, job, shell)
    for uri in named.values():
      shell.run(['gcloud', 'storage', 'ls', uri], timeout_s=120)
    place = argv.index(arguments.action)
    delete = shlex.join(['python', 'launch/tpu.py', *argv[:place], 'delete',
                         *(text for text in argv[place + 1:] if text != '--dry_run')])
    return act(arguments, launcher, shell, delete)
  except CommandError as error:
    print(f'failed: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print(f'The job goes on without this window; python launch/tpu.py {arguments.action} with the '
          f'same arguments takes it up again.', file=sys.stderr)
    return 1


if __name__ == '__main__':
  for number in (signal.SIGTERM, signal.SIGHUP):   # A closed window is as good as Control-C.
    signal.signal(number, signal.default_int_handler)
  sys.exit(main(sys.argv[1:]))
