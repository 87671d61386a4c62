"""The launcher's command, from no quota to a running job; launch/README.md walks through it.

    python launch/tpu.py create|run|status|logs|stop|delete --config=configs/FILE.py \\
        --project=PROJECT --zone=ZONE --workdir=gs://BUCKET/RUN [--dry_run] [--config.KEY=VALUE ...]

Exit status: 0 when it is done (`run`: the job succeeded or was stopped), 1 when it failed, 2 when
the command line or the config cannot work.
"""
from __future__ import annotations

import argparse
import pathlib
import signal
import sys
from collections.abc import Sequence

from launch import clouds, jobset, paths, slices
from launch.arguments import deleting, job_name, make_job, parse
from launch.claim import DeletedError, NotInChargeError
from launch.fleet import Fleet, RequestRefusedError
from launch.job import Job, bucket_of
from launch.launcher import Launcher
from launch.shell import CommandError, DryShell, Shell
from launch.slices import Slice
from magistral_jax import command_line
from magistral_jax.experiment.values import check_limits


def run(flags: argparse.Namespace, launcher: Launcher, shell: Shell, delete: str) -> int:
  """Runs the job to its end; the exit status.

  However it ends, the slices are deleted, or the user is told that they go on costing. Those of
  another job, or of a job that another window has taken over, are left alone.

  Args:
    delete: the command that deletes the slices.
  """
  over, ours = False, True
  try:
    end = launcher.run()
    shell.say(f'the job has {end.lower()}')
    over = end != 'STOPPED'
    return int(end == 'FAILED')
  except RequestRefusedError as error:
    print(f'failed: {error}', file=sys.stderr)
    over = not launcher.working()
    return 1
  except NotInChargeError as error:
    ours = isinstance(error, DeletedError)
    raise
  finally:
    if ours:
      leave(flags, launcher, shell, delete, over=over)


def leave(flags: argparse.Namespace, launcher: Launcher, shell: Shell, delete: str, *,
          over: bool) -> None:
  """Deletes the slices if the job is over, or tells the user that they go on costing.

  They are left to another window if that is in charge of them.
  """
  left = [f'all slices of {flags.name}']
  try:
    if over and flags.afterwards == 'delete':
      launcher.claim.check()
      delete_found(flags, launcher.fleet, shell)
      left = []
    else:
      left = [one.name for one in launcher.fleet.found()]
  except NotInChargeError as error:
    left = []
    shell.say(f'{error}')
  finally:
    if left:
      shell.say(f'{", ".join(left)}: this goes on costing until you run\n{delete}')


def delete_found(flags: argparse.Namespace, fleet: Fleet, shell: Shell) -> bool:
  """Deletes all slices of the job and names them; whether there were any."""
  found = [one.name for one in fleet.delete()]
  shell.say(f'deleted {len(found)}: {", ".join(found)}' if found else
            f'nothing of --name={flags.name} was found in {flags.zone}')
  return bool(found)


def act(flags: argparse.Namespace, launcher: Launcher, shell: Shell, delete: str) -> int:
  """Performs an action through gcloud; the exit status.

  Args:
    delete: the command that deletes the slices.
  """
  if flags.action == 'run':
    return run(flags, launcher, shell, delete)
  if flags.action == 'delete':
    return int(not delete_found(flags, launcher.fleet, shell))
  if flags.action == 'status':
    for name, state in launcher.status():
      shell.say(f'{name:40} {state}')
  else:
    getattr(launcher, flags.action)()
  return 0


def act_on_kubernetes(flags: argparse.Namespace, wanted: Sequence[Slice], job: Job,
                      shell: Shell) -> int:
  """Performs an action through kubectl; the exit status."""
  file = f'{job.name}.jobset.yaml'
  if flags.action in ('create', 'run'):
    text = jobset.manifest(wanted, job, image=flags.image, tier=flags.tier,
                           account=flags.service_account)
    if flags.dry_run:
      print(text, end='')
    else:
      pathlib.Path(file).write_text(text, 'utf-8')
      shell.say(f'{file} is written')
  if flags.action == 'logs':
    return shell.follow_to_end(jobset.commands('logs', job.name, file))
  if flags.action != 'create':
    shell.say(shell.run(jobset.commands(flags.action, job.name, file), timeout_s=120).strip())
  return 0


def prepare(argv: Sequence[str]):
  """(flags, slices, job, cloud, {key: gs://BUCKET/...} of the files) of a command line.

  Raises:
    ValueError: the command line or the config cannot work.
  """
  line = parse(argv)
  flags, c = line.flags, line.config
  check_limits(c)
  for flag in ('project', 'zone'):
    if flags.backend == 'gcloud' and not getattr(flags, flag):
      raise ValueError(f'--{flag} is missing: name the {flag} of Google Cloud.')
  flags.name = job_name(line)
  wanted = slices.from_config(c, flags.name)
  named: dict[str, str] = {}
  if flags.action in ('create', 'run'):
    paths.check_job(c, wanted[0].machines)
    named = paths.in_bucket(c, bucket_of(flags.workdir))
  job = make_job(line, flags.name, paths.on_machines(line.overrides, named), wanted[0].machines)
  rental = clouds.Rental(flags.project, flags.zone, flags.tier, flags.wait_hours,
                         flags.reservation)
  cloud = clouds.choose(wanted, rental)
  if flags.backend == 'gke' and flags.action in ('create', 'run') and not flags.image:
    raise ValueError("--image='' must name an image with magistral_jax and its extras "
                     '[tpu,cluster], as launch/README.md says.')
  return flags, wanted, job, cloud, named


def main(argv: Sequence[str]) -> int:
  with command_line.one_sentence():
    flags, wanted, job, cloud, named = prepare(argv)
  shell = DryShell() if flags.dry_run else Shell()
  launcher = Launcher(cloud, wanted, job, shell, poll_s=flags.poll_s,
                      wait_s=flags.wait_hours * 3600, recoveries=flags.recoveries)
  try:
    if flags.backend == 'gke':
      return act_on_kubernetes(flags, wanted, job, shell)
    for uri in named.values():
      shell.run(['gcloud', 'storage', 'ls', uri], timeout_s=120)
    return act(flags, launcher, shell, deleting(argv, flags.action))
  except CommandError as error:
    print(f'failed: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print(f'The job goes on without this window; python launch/tpu.py {flags.action} with the '
          f'same arguments takes it up again.', file=sys.stderr)
    return 1


if __name__ == '__main__':
  for number in (signal.SIGTERM, signal.SIGHUP):   # A closed window is as good as Control-C.
    signal.signal(number, signal.default_int_handler)
  sys.exit(main(sys.argv[1:]))
