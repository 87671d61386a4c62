"""A pod simulated on one machine: `launch/` brings up the quickstart on it, and parts of it fail.

    python tests/faults/machines.py [--steps=150] [--transport=host]

Every machine has a network address, a name, processes and shared memory of its own (Linux
namespaces, joined by a bridge); in common they have a folder, as the machines of a pod have a
bucket. The launcher is the real one, with the scripts that it sends to machines, the code that they
unpack, Ray's head, workers and jobs; only renting machines, installing packages and the bucket are
simulated:

    trainer's slice: head, trainer-1      sampler-0 + verifier-0      sampler-1 + verifier-1

In the middle of the run the power of a sampler's machine fails, and the launcher has to rent
another; then the cable of the other sampler's machine is pulled for longer than Ray waits for it,
and put back; then a machine is rebooted, and has neither Ray nor the bucket. Prints what was seen
and one JSON object; exit status 1 if anything fails. Needs root, `unshare`, `nsenter`, `ip` and the
extra [cluster].
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import psutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from launch import arguments, clouds, package  # noqa: E402
from launch.job import Job  # noqa: E402
from launch.launcher import Launcher  # noqa: E402
from launch.shell import Shell  # noqa: E402
from launch.slices import Slice  # noqa: E402
from tests.faults.campaign import accounts  # noqa: E402

HEARTBEAT_S = 10.0
CUT_S = 60.0                                # Ray gives up a silent node after half of that.
START_S, PATIENCE_S = 1200.0, 600.0         # The cold start and compiling, on a busy machine.
JOB_FLAGS = {
    'batching.patience_batches': 10_000, 'checkpoints.every': 10, 'mesh.trainer.fsdp': 4,
    'runtime.mode': 'ray', 'runtime.address': 'auto', 'runtime.trainers': 2, 'runtime.samplers': 2,
    'runtime.verifiers': 2, 'runtime.heartbeat_s': HEARTBEAT_S}
BUCKET, RUN = 'gs://played/run', '/mnt/gcs/played/run'
# Programs of every machine; {buckets} is the folder of all buckets.
PROGRAMS = {
    'gcloud': """[ "$1" = storage ] || exit 9
        names=(); for name in "${{@:3}}"; do names+=("${{name/#gs:\\/\\//{buckets}/}}"); done
        [ -e "${{names[0]}}" ] || {{ echo "$name matched no objects or files" >&2; exit 1; }}
        case "$2" in cat|rm) "$2" "${{names[@]}}";; cp) mkdir -p "$(dirname "${{names[1]}}")"
          cp "${{names[0]}}" "${{names[1]}}.new"; mv "${{names[1]}}.new" "${{names[1]}}";; esac""",
    'gcsfuse': 'mount --bind {buckets}/"${{@: -2:1}}" "${{@: -1}}"',
    'sudo': 'exec "$@"',
    # Every package is there.
    'uv': '[ "$2" != freeze ] || echo played==1',
}
TRAINER = Slice('played-trainer', 'trainer', 'v5p', '2x2x2')           # Two machines.
SAMPLERS = [Slice(f'played-sampler-{i}', 'sampler', 'v5p', '2x2x1') for i in range(2)]
# As runtime/actor_handle.py: ActorHandle.start names processes.
ROLE_TITLE = re.compile(r'ray::(trainer|sampler|verifier)-\d+')
_INSIDE = 'MAGISTRAL_JAX_BRIDGE'


def missing() -> str:
  """The tools and rights that are missing here; '' if none is."""
  tools = [tool for tool in ('unshare', 'nsenter', 'ip') if not shutil.which(tool)]
  return ', '.join(tools + ['root'] * bool(os.geteuid()))


def enter() -> None:
  """Runs this program again in namespaces whose bridge nothing else of the machine sees."""
  if not os.environ.get(_INSIDE):
    if missing():
      sys.exit(f'No machines can be simulated here: {missing()} missing.')
    os.execvpe('unshare', ['unshare', '--net', '--mount', sys.executable, *sys.argv],
               os.environ | {_INSIDE: '1'})
  for words in ('link set lo up', 'link add bridge0 type bridge', 'link set bridge0 up'):
    _ip(words)


class Machine:
  """A machine with a disk, until `power_off`."""
  _numbers = itertools.count()

  def __init__(self, role: str):
    self._number = next(self._numbers)
    self.address, self._cable = f'10.77.0.{self._number + 1}', f'cable{self._number}'
    self._home = pathlib.Path(tempfile.mkdtemp(prefix='machine-'))
    self.code = self._home / 'magistral_jax/code'
    self.code.parent.mkdir()
    (self.code.parent / '.venv').symlink_to(sys.prefix)
    (self._home / 'hosts').write_text(f'127.0.0.1 localhost\n{self.address} host{self._number}\n')
    # A TPU machine knows its number of devices by itself.
    devices = 2 if role == 'trainer' else 1
    self._environment = dict(
        HOME=str(self._home), PATH=os.environ['PATH'], PYTHONPATH=str(self.code), LANG='C.UTF-8',
        JAX_PLATFORMS='cpu', XLA_FLAGS=f'--xla_force_host_platform_device_count={devices}',
        RAY_worker_niceness='0', RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES='300000000')
    self._boot()

  def _boot(self) -> None:
    # Ray keeps sockets under fixed names in /tmp/ray, and finds its own address by the host's name.
    script = f"""set -e; hostname host{self._number}; mount --bind {self._home}/hosts /etc/hosts
        mount -t tmpfs tmpfs /dev/shm; mkdir -p /tmp/ray; mount --bind {self._home} /tmp/ray
        mount -t tmpfs tmpfs /mnt; echo here; exec sleep infinity"""
    self._holder = subprocess.Popen(
        ['unshare', '--net', '--mount', '--pid', '--uts', '--ipc', '--fork', '--kill-child',
         '--mount-proc', 'bash', '-c', script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if not self._holder.stdout.readline():
      raise RuntimeError('A namespace could not be made.')
    self._first, = psutil.Process(self._holder.pid).children()
    _ip(f'link add {self._cable} type veth peer name eth0 netns {self._first.pid}')
    _ip(f'link set {self._cable} master bridge0 up')
    for words in ('link set lo up', f'addr add {self.address}/24 dev eth0', 'link set eth0 up'):
      subprocess.run(self.ssh(f'ip {words}'), check=True, timeout=60)

  def ssh(self, script: str) -> list[str]:
    """The command that runs a script there."""
    environment = [f'{name}={value}' for name, value in self._environment.items()]
    return ['nsenter', '--all', f'--target={self._first.pid}', 'env', '--ignore-environment',
            *environment, 'bash', '-c', script]

  @property
  def alive(self) -> bool:
    return self._holder.poll() is None

  def power_off(self) -> None:
    """Ends it for good, without notice to any other machine."""
    if self.alive:
      self._end()
      shutil.rmtree(self._home)

  def reboot(self) -> None:
    """Ends all its processes and mounts, and starts it again with the same disk and address."""
    self._end()
    self._boot()

  def _end(self) -> None:
    # First the cable: otherwise the kernel closes the connections, which others notice.
    _ip(f'link delete {self._cable}')
    self._first.kill()
    self._holder.wait(30)
    self._holder.stdout.close()

  def roles(self, since: float) -> int:
    """How many roles live in processes that began later than this (seconds since 1970)."""
    found = 0
    with contextlib.suppress(psutil.NoSuchProcess):
      for process in self._first.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
          title = ' '.join(process.cmdline())
          found += process.create_time() > since and bool(ROLE_TITLE.match(title))
    return found

  def cut(self) -> None:
    """Makes it unreachable for a while."""
    self.unplug()
    time.sleep(CUT_S)
    self.plug_in()

  def unplug(self) -> None:
    _ip(f'link set {self._cable} down')

  def plug_in(self) -> None:
    _ip(f'link set {self._cable} up')


class Cloud:
  """Rents out machines at once; answers the launcher as QueuedResources does."""
  rental = clouds.Rental('played', 'here', 'on-demand', 1.0)

  def __init__(self):
    self.machines: dict[str, list[Machine]] = {}

  def create(self, one: Slice) -> list[list[str]]:
    self.machines[one.name] = [Machine(one.role) for _ in range(one.machines)]
    return [['true']]

  def leftovers(self, one: Slice) -> list[list[str]]:
    return []

  def describe(self, one: Slice) -> list[str]:
    if one.name not in self.machines:
      return ['echo', clouds.MISSING]
    return ['echo', clouds.ACTIVE if all(m.alive for m in self.machines[one.name]) else clouds.LOST]

  def label(self, one: Slice) -> list[str]:
    return ['echo', self.rental.label(one)]

  def list(self) -> list[str]:
    return ['echo', *self.machines]

  def state(self, one: Slice, answer: str) -> str:
    return answer.strip()

  def list_machines(self, one: Slice) -> list[str]:
    return ['echo', *(machine.address for machine in self.machines[one.name])]

  addresses = clouds.QueuedResources.addresses

  def ssh(self, one: Slice, workers, script: str) -> list[list[str]]:
    return [self.machines[one.name][int(worker)].ssh(script) for worker in workers]

  def delete(self, one: Slice) -> list[list[str]]:
    for machine in self.machines.pop(one.name):
      machine.power_off()
    return [['true']]


def _ip(words: str) -> None:
  subprocess.run(['ip', *words.split()], check=True, timeout=10)


def lines(path: pathlib.Path) -> list[dict]:
  """The whole lines of a file that is still being written."""
  return [json.loads(line) for line in path.read_text().split('\n')[:-1]] if path.exists() else []


class Striker(threading.Thread):
  """Makes machines fail, and measures how long the run takes to recover."""

  def __init__(self, cloud: Cloud, log: pathlib.Path):
    super().__init__(name='striker', daemon=True)
    self._cloud, self._log = cloud, log
    self.over = threading.Event()
    self.struck: list[dict] = []
    self.wrong: list[str] = []

  def run(self) -> None:
    try:
      self._updates(5, START_S)
      self._lose('power failure', SAMPLERS[0].name, Machine.power_off)
      self._lose('pulled cable', SAMPLERS[1].name, Machine.cut)
      self._lose('reboot', SAMPLERS[0].name, Machine.reboot)
    except TimeoutError as error:
      self.wrong.append(str(error))

  def _lose(self, what: str, name: str, strike) -> None:
    at, began, struck_at = len(lines(self._log)), time.monotonic(), time.time()
    strike(*self._cloud.machines[name])
    self._await(f'the roles of {name} after a {what}', PATIENCE_S, lambda: sum(
        machine.roles(since=struck_at) for machine in self._cloud.machines.get(name, ())) == 2)
    back_s = time.monotonic() - began
    now = len(lines(self._log))
    self._updates(now + 5, PATIENCE_S)
    self.struck.append(dict(what=what, at=at, meanwhile=now - at, back_s=back_s))
    print(f'{what} at update {at}: its roles are back after {back_s:.0f} s and {now - at} updates, '
          f'and the run goes on', flush=True)

  def _updates(self, update: int, patience_s: float) -> None:
    self._await(f'update {update}', patience_s, lambda: len(lines(self._log)) >= update)

  def _await(self, what: str, patience_s: float, there) -> None:
    until = time.monotonic() + patience_s
    while not there():
      if time.monotonic() > until or self.over.is_set():
        raise TimeoutError(f'{what} did not come within {patience_s:.0f} s, or before the end.')
      time.sleep(0.2)


def train(cloud: Cloud, overrides: dict) -> str:
  """Runs the launcher; returns how the job ended."""
  flags = [f'--config.{key}={value}' for key, value in (JOB_FLAGS | overrides).items()]
  command = shlex.join(['python', '-m', 'magistral_jax.train', '--config=configs/quickstart.py',
                        *flags, f'--workdir={RUN}'])
  job = Job('played', BUCKET, command, (sys.executable, str(arguments.PACKER), *arguments.CODE))
  launcher = Launcher(cloud, [TRAINER, *SAMPLERS], job, Shell(), poll_s=5.0, wait_s=60.0,
                      recoveries=2)
  return launcher.run()


def install_programs(folder: pathlib.Path, buckets: pathlib.Path) -> None:
  """Puts PROGRAMS into a folder, before all other programs of machines and launcher."""
  for name, text in PROGRAMS.items():
    (folder / name).write_text(f'#!/bin/bash\nset -e\n{text.format(buckets=buckets)}\n')
    (folder / name).chmod(0o755)
  os.environ['PATH'] = f'{folder}:{os.environ["PATH"]}'


def other_code(cloud: Cloud, workdir: pathlib.Path) -> list[str]:
  """Machines whose code is not what was packed for the job."""
  archive, = (workdir / 'code').glob('*.tgz')
  return [f'{machine.address} has other code than {archive.stem}'
          for machine in itertools.chain(*cloud.machines.values())
          if package.digest(package.pack(arguments.CODE, machine.code)) != archive.stem]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--steps', type=int, default=150)
  parser.add_argument('--least_accuracy', type=float, default=0.9)
  parser.add_argument('--transport', choices=('host', 'device'), default='device')
  args = parser.parse_args()
  enter()
  with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as programs:
    install_programs(pathlib.Path(programs), pathlib.Path(name))
    workdir = pathlib.Path(name, BUCKET.removeprefix('gs://'))
    workdir.mkdir(parents=True)
    cloud, wrong = Cloud(), []
    striker = Striker(cloud, workdir / 'metrics.jsonl')
    striker.start()
    try:
      end = train(cloud, {'runtime.transport': args.transport, 'total_steps': args.steps})
      wrong += other_code(cloud, workdir)
    finally:
      striker.over.set()
      striker.join(PATIENCE_S)
      for machine in itertools.chain(*cloud.machines.values()):
        machine.power_off()
    wrong += striker.wrong + [f'the job has {end}'] * (end != 'SUCCEEDED')
    summary = workdir / 'summary.json'
    found = json.loads(summary.read_text()) if summary.exists() else {}
    last = (lines(workdir / 'metrics.jsonl') or [{}])[-1]
    if found:
      wrong += accounts(workdir, found['steps'])
  if found.get('accuracy_final', 0.0) < args.least_accuracy:
    wrong.append(f'accuracy {found.get("accuracy_final")} is not {args.least_accuracy}')
  weights = {key: value for key, value in last.items() if key.startswith('weights')}
  print(json.dumps(dict(struck=striker.struck, summary=found, weights=weights, wrong=wrong)))
  sys.exit(bool(wrong))


if __name__ == '__main__':
  main()
