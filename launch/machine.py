"""Bash for the machines of a job: install, start and stop Ray, and speak to Ray's job server.

The scripts run on any image, through ssh or as the command of a pod.
"""
from __future__ import annotations

import hashlib
import json
import re
import shlex

from launch.clouds import MISSING
from launch.job import MOUNTS, STOP_S, Job, Submission, mounted
from launch.shell import CommandError

HOME = '~/magistral_jax'             # On every machine: code/, .venv/ and RECORD.
RECORD = f'{HOME}/job.json'          # What the head was given to run.
GCSFUSE = ('https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v2.7.0/'
           'gcsfuse_2.7.0_amd64.deb')
# An exported model is finished by renaming its folder, which gcsfuse refuses without a limit.
MOUNT_OPTIONS = ('implicit-dirs', 'rename-dir-limit=1000000')
PORT = 6379
DASHBOARD = '--address=http://127.0.0.1:8265'
# {words of `ray job status` about a job that has ended: the state that they mean}.
ENDED = {'succeeded': 'SUCCEEDED', 'failed': 'FAILED', 'was stopped': 'STOPPED'}
# {role: the Ray resources of each of its machines}.
RESOURCES = {'trainer': {'trainer': 1}, 'sampler': {'sampler': 1, 'verifier': 1}}


def install_script(job: Job, code: str) -> str:
  """The script that installs code and environment and mounts the bucket, with its own Python.

  It can be run again, after a reboot too. The first machine to install the code leaves the versions
  of all packages in the bucket, and the others take the same.

  Args:
    code: hash of the packed code.
  """
  archive, versions = shlex.quote(job.archive(code)), shlex.quote(job.versions(code))
  return (
      f'set -e; mkdir -p {HOME}; cd {HOME}; gcloud storage cp {archive} code.tgz; '
      f'[ "$(gzip -dc code.tgz | sha256sum)" = "{code}  -" ] || {{ '
      f'echo "code.tgz is not what was packed as {code}" >&2; exit 1; }}; '
      # Into an empty folder: a module that an older code had must not stay.
      f'rm -rf code.new; mkdir code.new; tar xzf code.tgz -C code.new; rm -rf code; '
      f'mv code.new code; export PATH=$HOME/.local/bin:$PATH; '
      f'command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh; '
      f'[ -x .venv/bin/python ] || uv venv --quiet --python 3.12 .venv; '
      f'if error=$(gcloud storage cp {versions} versions.txt 2>&1); then pinned=1; else pinned=; '
      f'case "$error" in *"matched no objects"*) : > versions.txt;; '
      f'*) echo "$error" >&2; exit 1;; esac; fi; '
      f'uv pip install --quiet --python .venv/bin/python --constraints versions.txt '
      f"-e './code[tpu,cluster]'; "
      f'[ "$pinned" ] || {{ uv pip freeze --quiet --python .venv/bin/python --exclude-editable '
      f'> versions.txt; gcloud storage cp versions.txt {versions}; }}; {mount_script(job)}')


def mount_script(job: Job) -> str:
  """The script that mounts the bucket unless it is mounted, and works."""
  folder = f'{MOUNTS}/{job.bucket}'
  return (
      f'command -v gcsfuse >/dev/null || {{ curl -fsSLo gcsfuse.deb {GCSFUSE}; '
      f'sudo apt-get install -y -qq ./gcsfuse.deb; }}; '
      # A mount whose gcsfuse has died is still a mount, but answers nothing.
      f'mountpoint -q {folder} && timeout 60 stat {folder} >/dev/null || {{ '
      f'sudo umount -l {folder} 2>/dev/null || true; sudo mkdir -p {folder}; '
      f'sudo chown $(id -u) {folder}; gcsfuse '
      f'{" ".join("--" + option for option in MOUNT_OPTIONS)} {job.bucket} {folder}; }}')


def token_file(job: Job) -> str:
  """The path of the secret of a job, with which every machine that reads the bucket can join.

  Without a secret Ray obeys every program that reaches its ports. With one that only the head has,
  such as a user's own, Ray would refuse the other machines.
  """
  return f'{mounted(job.workdir)}/ray_token'


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


# Prints 'down' if Ray's head does not run on the machine, which a failed answer does not show.
SAY_DOWN = 'if pgrep -x gcs_server >/dev/null; [ $? = 1 ]; then echo down; '


def nodes_script(job: Job) -> str:
  """The script for the head that lists the nodes of the Ray cluster as JSON, or prints 'down'."""
  return (f'{SAY_DOWN}else {ray(job)} list nodes --filter=state=ALIVE --limit=10000 '
          f'--format=json; fi')


def nodes(answer: str) -> set[str]:
  """Addresses of the nodes that `nodes_script` printed; none where Ray is down.

  Raises:
    CommandError: it has printed neither.
  """
  found = set(re.findall(r'"node_ip": *"([^"]+)"', answer))
  if not found and answer.split() != ['down']:
    raise CommandError(f'Ray on the head does not list its nodes: {answer[-1000:].strip()}')
  return found


def record_script() -> str:
  """The script for the head that prints what it was given to run, if anything."""
  return f'[ ! -e {RECORD} ] || cat {RECORD}'


def keep_record_script(submission: Submission) -> str:
  """The script for the head that notes what it is given to run."""
  return (f'mkdir -p {HOME} && printf %s {shlex.quote(submission.to_json())} > {RECORD}.new && '
          f'mv {RECORD}.new {RECORD}')


def forget_job_script(job: Job) -> str:
  """The script for the head that frees the job's name, which an ended job of that name keeps."""
  return f'{ray(job)} job delete {DASHBOARD} {job.name} >/dev/null 2>&1 || true'


def submit_job_script(job: Job, submission: Submission) -> str:
  """The script for the head that submits the job; Ray alone gives a stopped job three seconds.

  It fails where another `run` has noted another submission meanwhile.
  """
  patience = json.dumps({'env_vars': {'RAY_JOB_STOP_WAIT_TIME_S': str(STOP_S)}})
  noted = hashlib.sha256(submission.to_json().encode()).hexdigest()
  return (f'[ "$(sha256sum < {RECORD})" = "{noted}  -" ] && '
          f'{ray(job)} job submit {DASHBOARD} --submission-id={job.name} --no-wait '
          f'--runtime-env-json={shlex.quote(patience)} -- '
          f'bash -c {shlex.quote(f"cd {HOME}/code && exec {HOME}/.venv/bin/{job.command}")}')


def stop_job_script(job: Job) -> str:
  """The script for the head that asks the job to save and end."""
  return f'{ray(job)} job stop {DASHBOARD} --no-wait {job.name}'


def follow_job_script(job: Job) -> str:
  """The script for the head that prints the job's output until the job ends."""
  return f'{ray(job)} job logs --follow {DASHBOARD} {job.name}'


def job_state_script(job: Job) -> str:
  """The script for the head whose output `job_state` reads."""
  return f'{ray(job)} job status {DASHBOARD} {job.name} 2>&1; {SAY_DOWN}fi'


def job_state(answer: str) -> str:
  """PENDING, RUNNING, a state of ENDED, or MISSING, from the output of `job_state_script`.

  Raises:
    CommandError: Ray runs and did not say.
  """
  found = re.search(rf"Status for job '.*': (PENDING|RUNNING)|Job '.*' ({'|'.join(ENDED)})", answer)
  if found:
    return found[1] or ENDED[found[2]]
  if 'does not exist' in answer or answer.split()[-1:] == ['down']:
    return MISSING
  raise CommandError(f'Ray on the head does not tell the state of the job: '
                     f'{answer[-1000:].strip()}')
