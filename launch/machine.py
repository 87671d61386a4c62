"""Bash for the machines of a job: install, start and stop Ray, and speak to Ray's job server.

The scripts run on any image, through ssh or as the command of a pod.
"""
from __future__ import annotations

import json
import re
import shlex

from launch.job import MOUNTS, STOP_S, Job, mounted

HOME = '~/magistral_jax'             # The folder of the code on every machine.
GCSFUSE = ('https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v2.7.0/'
           'gcsfuse_2.7.0_amd64.deb')
# A checkpoint is finished by renaming its folder, which gcsfuse refuses without a limit.
MOUNT_OPTIONS = ('implicit-dirs', 'rename-dir-limit=1000000')
PORT = 6379
DASHBOARD = '--address=http://127.0.0.1:8265'
# {words of `ray job status` about a job that has ended: the state that they mean}.
ENDED = {'succeeded': 'SUCCEEDED', 'failed': 'FAILED', 'was stopped': 'STOPPED'}
# {role: the Ray resources of each of its machines}.
RESOURCES = {'trainer': {'trainer': 1}, 'sampler': {'sampler': 1, 'verifier': 1}}


def install_script(job: Job) -> str:
  """The script that installs code and environment and mounts the bucket, with its own Python."""
  folder = f'{MOUNTS}/{job.bucket}'
  return (
      f'set -e; mkdir -p {HOME}; cd {HOME}; gcloud storage cp {shlex.quote(job.code)} code.tgz; '
      f'tar xzf code.tgz; export PATH=$HOME/.local/bin:$PATH; '
      f'command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh; '
      f'[ -x .venv/bin/python ] || uv venv --quiet --python 3.12 .venv; '
      f"uv pip install --quiet --python .venv/bin/python -e '.[tpu,cluster]'; "
      f'command -v gcsfuse >/dev/null || {{ curl -fsSLo gcsfuse.deb {GCSFUSE}; '
      f'sudo apt-get install -y -qq ./gcsfuse.deb; }}; '
      f'mountpoint -q {folder} || {{ sudo mkdir -p {folder}; sudo chown $(id -u) {folder}; '
      f'gcsfuse {" ".join("--" + option for option in MOUNT_OPTIONS)} {job.bucket} {folder}; }}')


def token_file(job: Job) -> str:
  """The path of the secret of a job, with which every machine that reads the bucket can join.

  Without a secret Ray obeys every program that reaches its ports. With one that only the head has,
  such as a user's own, Ray would refuse the other machines.
  """
  return f'{mounted(job.workdir).rstrip("/")}/ray_token'


def auth(job: Job) -> dict[str, str]:
  """Environment variables with which Ray's programs may join the cluster."""
  return dict(RAY_AUTH_MODE='token', RAY_AUTH_TOKEN_PATH=token_file(job))


def ray(job: Job) -> str:
  """Ray's program on a machine, with its environment, as a bash command."""
  return ' '.join(f'{k}={shlex.quote(v)}' for k, v in auth(job).items()) + f' {HOME}/.venv/bin/ray'


def make_token(job: Job) -> str:
  """Bash for the head that creates the secret unless the job has one."""
  file = shlex.quote(token_file(job))
  return (f'[ -s {file} ] || {{ mkdir -p {shlex.quote(mounted(job.workdir))} && '
          f"od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > {file}; }}")


def start_script(role: str, head: str, job: Job) -> str:
  """The script that starts Ray, as the head if `head` is '', else as a worker of that address."""
  cluster = f'--address={head}:{PORT}' if head else f'--head --port={PORT}'
  resources = shlex.quote(json.dumps(RESOURCES[role]))
  first = '' if head else f'{make_token(job)} && '
  return f'{first}{ray(job)} start {cluster} --resources={resources} --disable-usage-stats'


def stop_script(job: Job) -> str:
  """The script that ends Ray on a machine."""
  return f'{ray(job)} stop --force'


def nodes_script(job: Job) -> str:
  """The script for the head that lists the nodes of the Ray cluster as JSON, or prints 'down'."""
  return (f'if {ray(job)} status >/dev/null 2>&1; then {ray(job)} list nodes '
          f'--filter=state=ALIVE --limit=10000 --format=json; else echo down; fi')


def forget_job_script(job: Job) -> str:
  """The script for the head that frees the job's name, which an ended job of that name keeps."""
  return f'{ray(job)} job delete {DASHBOARD} {job.name} >/dev/null 2>&1 || true'


def submit_job_script(job: Job) -> str:
  """The script for the head that submits the job; Ray alone gives a stopped job three seconds."""
  patience = json.dumps({'env_vars': {'RAY_JOB_STOP_WAIT_TIME_S': str(STOP_S)}})
  return (f'{ray(job)} job submit {DASHBOARD} --submission-id={job.name} --no-wait '
          f'--runtime-env-json={shlex.quote(patience)} -- '
          f'bash -c {shlex.quote(f"cd {HOME} && exec .venv/bin/{job.command}")}')


def stop_job_script(job: Job) -> str:
  """The script for the head that asks the job to save and end."""
  return f'{ray(job)} job stop {DASHBOARD} --no-wait {job.name}'


def follow_job_script(job: Job) -> str:
  """The script for the head that prints the job's output until the job ends."""
  return f'{ray(job)} job logs --follow {DASHBOARD} {job.name}'


def job_state_script(job: Job) -> str:
  """The script for the head whose output `job_state` reads."""
  return f'{ray(job)} job status {DASHBOARD} {job.name} 2>&1 || true'


def job_state(answer: str) -> str:
  """PENDING, RUNNING or a state of ENDED, from what `ray job status` prints; '' if it has none."""
  found = re.search(rf"Status for job '.*': (PENDING|RUNNING)|Job '.*' ({'|'.join(ENDED)})", answer)
  return (found[1] or ENDED[found[2]]) if found else ''
