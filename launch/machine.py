"""What a job is, and what runs on the hosts of its slices: bash for any image, through ssh."""
from __future__ import annotations

import dataclasses
import json
import re
import shlex

HOME = '~/magistral_jax'             # On every host.
MOUNTS = '/mnt/gcs'                  # Buckets are folders here, by gcsfuse.
GCSFUSE = ('https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v2.7.0/'
           'gcsfuse_2.7.0_amd64.deb')
# A checkpoint is finished by renaming its folder, which gcsfuse refuses without a limit.
MOUNT_OPTIONS = ('implicit-dirs', 'rename-dir-limit=1000000')
PORT = 6379
# How `ray job status` says that a job has ended, and what that state is called.
ENDED = {'succeeded': 'SUCCEEDED', 'failed': 'FAILED', 'was stopped': 'STOPPED'}
RESOURCES = {'trainer': {'trainer': 1}, 'sampler': {'sampler': 1, 'verifier': 1}}


@dataclasses.dataclass(frozen=True)
class Job:
  """What runs, under which name. Job('small', 'gs://bucket/small', 'python -m ...', ('-e',))"""
  name: str
  workdir: str              # gs://BUCKET/RUN: all that outlives the slices.
  command: str              # Run in HOME on the head, its python being the environment's.
  upload: tuple[str, ...]   # Makes the archive of the code, on this machine.
  archive: str              # Where that command puts it.

  @property
  def bucket(self) -> str:
    return self.workdir.removeprefix('gs://').split('/')[0]

  @property
  def code(self) -> str:
    return f'{self.workdir.rstrip("/")}/code.tgz'


def mounted(workdir: str) -> str:
  """Where a folder of a bucket is on every host: gs://BUCKET/RUN -> /mnt/gcs/BUCKET/RUN."""
  return f'{MOUNTS}/{workdir.removeprefix("gs://")}'


def install_script(job: Job) -> str:
  """Puts code, environment and the mounted bucket on a host, whatever Python its image has."""
  place = f'{MOUNTS}/{job.bucket}'
  return (
      f'set -e; mkdir -p {HOME}; cd {HOME}; gcloud storage cp {shlex.quote(job.code)} code.tgz; '
      f'tar xzf code.tgz; export PATH=$HOME/.local/bin:$PATH; '
      f'command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh; '
      f'[ -x .venv/bin/python ] || uv venv --quiet --python 3.12 .venv; '
      f"uv pip install --quiet --python .venv/bin/python -e '.[tpu,cluster]'; "
      f'command -v gcsfuse >/dev/null || {{ curl -fsSLo gcsfuse.deb {GCSFUSE}; '
      f'sudo apt-get install -y -qq ./gcsfuse.deb; }}; '
      f'mountpoint -q {place} || {{ sudo mkdir -p {place}; sudo chown $(id -u) {place}; '
      f'gcsfuse {" ".join("--" + option for option in MOUNT_OPTIONS)} {job.bucket} {place}; }}')


def key(job: Job) -> str:
  """The file with the secret that all hosts of a job share: who reads the bucket may join.

  Without one Ray obeys whoever reaches its ports; and where one of a user's own lies on the head,
  it obeys nobody else, the other hosts included.
  """
  return f'{mounted(job.workdir).rstrip("/")}/ray_token'


def auth(job: Job) -> dict[str, str]:
  """What Ray's programs need in their environment to take part."""
  return dict(RAY_AUTH_MODE='token', RAY_AUTH_TOKEN_PATH=key(job))


def ray(job: Job) -> str:
  """Ray's program on a host, as bash has it."""
  return ' '.join(f'{k}={shlex.quote(v)}' for k, v in auth(job).items()) + f' {HOME}/.venv/bin/ray'


def make_key(job: Job) -> str:
  """Bash for the head: makes the secret, unless the job has one."""
  file = shlex.quote(key(job))
  return (f'[ -s {file} ] || {{ mkdir -p {shlex.quote(mounted(job.workdir))} && '
          f"od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > {file}; }}")


def start_script(role: str, head: str, job: Job) -> str:
  """Starts Ray on a host: as the head if `head` is '', else as a worker of the head there."""
  place = f'--address={head}:{PORT}' if head else f'--head --port={PORT}'
  resources = shlex.quote(json.dumps(RESOURCES[role]))
  first = '' if head else f'{make_key(job)} && '
  return f'{first}{ray(job)} start {place} --resources={resources} --disable-usage-stats'


def state_of_job(answer: str) -> str:
  """PENDING, RUNNING or how it ended, out of what `ray job status` prints; '' if it names none."""
  found = re.search(rf"Status for job '.*': (PENDING|RUNNING)|Job '.*' ({'|'.join(ENDED)})", answer)
  return (found[1] or ENDED[found[2]]) if found else ''
