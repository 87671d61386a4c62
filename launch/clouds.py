"""How each way of renting TPUs is spoken to: pure functions from slices to commands.

    QueuedResources   v4, v5e, v5p, v6e     gcloud compute tpus queued-resources, tpu-vm
    InstanceGroups    tpu7x                 gcloud compute instance-groups managed

The TPU API, and queued resources with it, does not serve tpu7x: there a slice is a managed instance
group whose workload policy names the topology.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from launch.slices import GENERATIONS, Slice

ACTIVE, WAITING, LOST, MISSING = 'ACTIVE', 'WAITING', 'LOST', 'MISSING'
# What queued resources say of themselves. SUSPENDED is what a preempted one becomes.
QUEUED_STATES = {
    'ACTIVE': ACTIVE, 'SUSPENDING': LOST, 'SUSPENDED': LOST, 'FAILED': LOST, 'DELETING': LOST}
TPU7X_IMAGE = ('--image-family=ubuntu-accel-2404-amd64-tpu-tpu7x',
               '--image-project=ubuntu-os-accelerator-images')
LABEL = 'magistral'          # Its value says what was asked for.
# A host that is gone says nothing: ssh then ends after a minute, not when TCP gives up.
SSH_FLAGS = ('--ssh-flag=-oConnectTimeout=30', '--ssh-flag=-oServerAliveInterval=15')
DISK_GB = 200                # Environment, code, compilation cache; checkpoints lie in the bucket.


@dataclasses.dataclass(frozen=True)
class Place:
  """Where, and how it is paid for. Place('my-project', 'us-east5-a', 'spot', 24.0)"""
  project: str
  zone: str
  tier: str                 # 'spot', 'reserved' or 'on-demand'.
  wait_hours: float         # A request that is not filled by then is withdrawn.
  reservation: str = ''     # Its name, which instance groups ask for.

  @property
  def region(self) -> str:
    return self.zone.rsplit('-', 1)[0]

  @property
  def flags(self) -> list[str]:
    return [f'--project={self.project}', f'--zone={self.zone}']

  def label(self, one: Slice) -> str:
    """What is asked for, as slices are labelled with it: 'v5p-2x2x2-spot'."""
    return f'{one.generation}-{one.topology}-{self.tier}'


class QueuedResources:
  """One queued resource with one node of the same name for each slice."""

  def __init__(self, place: Place):
    self.place = place

  def create(self, one: Slice) -> list[list[str]]:
    kind = GENERATIONS[one.generation]
    if one.topology.count('x') == 2:   # Of a cube the number of chips does not tell the shape.
      shape = [f'--type={kind.api_type}', f'--topology={one.topology}']
    else:
      shape = [f'--accelerator-type={kind.api_type}-{one.chips}']
    tier = [] if self.place.tier == 'on-demand' else [f'--{self.place.tier}']
    return [['gcloud', 'compute', 'tpus', 'queued-resources', 'create', one.name,
             f'--node-id={one.name}', *self.place.flags, *shape,
             f'--runtime-version={kind.runtime}',
             f'--valid-until-duration={round(self.place.wait_hours * 3600)}s',
             f'--labels={LABEL}={self.place.label(one)}', *tier]]

  def leftovers(self, one: Slice) -> list[list[str]]:
    return []

  def label(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'tpus', 'queued-resources', 'describe', one.name,
            *self.place.flags, f'--format=value(tpu.nodeSpec[0].node.labels.{LABEL})']

  def describe(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'tpus', 'queued-resources', 'describe', one.name,
            *self.place.flags, '--format=value(state.state)']

  def list(self) -> list[str]:
    return ['gcloud', 'compute', 'tpus', 'queued-resources', 'list', *self.place.flags,
            '--format=value(name.basename())']

  def state(self, one: Slice, answer: str) -> str:
    return QUEUED_STATES.get(answer.strip(), WAITING)

  def hosts(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'tpus', 'tpu-vm', 'describe', one.name, *self.place.flags,
            '--format=value[delimiter=" "](networkEndpoints[].ipAddress)']

  def addresses(self, answer: str) -> list[tuple[str, str]]:
    """(what `ssh` takes, internal address) of the hosts, in their order."""
    return [(str(i), address) for i, address in enumerate(answer.split())]

  def ssh(self, one: Slice, workers: Sequence[str], script: str) -> list[list[str]]:
    """Commands, to be run at the same time, that run the script on some hosts."""
    worker = 'all' if len(workers) == one.hosts else ','.join(workers)
    return [['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', one.name, *self.place.flags, '--quiet',
             *SSH_FLAGS, f'--worker={worker}', f'--command={script}']]

  def delete(self, one: Slice) -> list[list[str]]:
    return [['gcloud', 'compute', 'tpus', 'queued-resources', 'delete', one.name,
             *self.place.flags, '--force', '--quiet']]


class InstanceGroups:
  """A workload policy, an instance template and a managed group, all named after the slice."""

  def __init__(self, place: Place):
    self.place = place

  def create(self, one: Slice) -> list[list[str]]:
    place, project = self.place, f'--project={self.place.project}'
    tier = {
        'spot': ['--provisioning-model=SPOT', '--instance-termination-action=STOP'],
        'reserved': ['--provisioning-model=RESERVATION_BOUND', '--reservation-affinity=specific',
                     f'--reservation={place.reservation}', '--instance-termination-action=DELETE'],
        'on-demand': ['--provisioning-model=STANDARD']}[place.tier]
    policy = [['gcloud', 'compute', 'resource-policies', 'create', 'workload-policy', one.name,
               project, f'--region={place.region}', '--type=HIGH_THROUGHPUT',
               f'--accelerator-topology={one.topology}']]
    link = [f'--workload-policy=projects/{place.project}/regions/{place.region}/resourcePolicies/'
            f'{one.name}', '--target-size-policy-mode=bulk']
    if one.hosts == 1:
      policy, link = [], []   # A single host has no neighbours to be placed beside.
    template = [
        'gcloud', 'compute', 'instance-templates', 'create', one.name, project,
        '--machine-type=tpu7x-standard-4t', *TPU7X_IMAGE, f'--boot-disk-size={DISK_GB}GB',
        '--boot-disk-type=hyperdisk-balanced', '--maintenance-policy=TERMINATE',
        '--scopes=cloud-platform', f'--labels={LABEL}={place.label(one)}', *tier]
    group = [
        'gcloud', 'compute', 'instance-groups', 'managed', 'create', one.name, *place.flags,
        f'--template={one.name}', f'--size={one.hosts}',
        # A slice is whole or nothing: one host that the group repairs by itself has no links.
        '--default-action-on-vm-failure=do-nothing', *link]
    return [*policy, template, group]

  def leftovers(self, one: Slice) -> list[list[str]]:
    """Commands that delete what another tier or topology may have left where no group is."""
    return self.delete(one)[1:]

  def label(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'instance-templates', 'describe', one.name,
            f'--project={self.place.project}', f'--format=value(properties.labels.{LABEL})']

  def describe(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'instance-groups', 'managed', 'list-instances', one.name,
            *self.place.flags, '--format=value(instance.basename(),instanceStatus)']

  def list(self) -> list[str]:
    return ['gcloud', 'compute', 'instance-groups', 'managed', 'list',
            f'--project={self.place.project}', f'--zones={self.place.zone}', '--format=value(name)']

  def state(self, one: Slice, answer: str) -> str:
    states = [line.split()[-1] for line in answer.splitlines() if line.strip()]
    if any(state in ('STOPPING', 'SUSPENDED', 'TERMINATED', 'STOPPED') for state in states):
      return LOST
    ready = len(states) == one.hosts and set(states) == {'RUNNING'}
    return ACTIVE if ready else WAITING

  def hosts(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'instances', 'list', f'--project={self.place.project}',
            f'--filter=name~^{one.name}- AND zone:{self.place.zone}', '--sort-by=name',
            '--format=value(name,networkInterfaces[0].networkIP)']

  def addresses(self, answer: str) -> list[tuple[str, str]]:
    return [tuple(line.split()) for line in answer.splitlines() if line.strip()]

  def ssh(self, one: Slice, workers: Sequence[str], script: str) -> list[list[str]]:
    return [['gcloud', 'compute', 'ssh', worker, *self.place.flags, '--quiet', *SSH_FLAGS,
             f'--command={script}'] for worker in workers]

  def delete(self, one: Slice) -> list[list[str]]:
    project = f'--project={self.place.project}'
    return [
        ['gcloud', 'compute', 'instance-groups', 'managed', 'delete', one.name, *self.place.flags,
         '--quiet'],
        ['gcloud', 'compute', 'instance-templates', 'delete', one.name, project, '--quiet'],
        # There is none if the slice had one host.
        ['gcloud', 'compute', 'resource-policies', 'delete', one.name, project,
         f'--region={self.place.region}', '--quiet']]


def choose(slices: Sequence[Slice], place: Place):
  """Who serves these slices.

  Raises:
    ValueError: trainer and samplers are of kinds that are rented in different ways, or the
      reservation is missing.
  """
  modern = {not GENERATIONS[one.generation].api_type for one in slices}
  if len(modern) > 1:
    raise ValueError('mesh.trainer_topology and mesh.sampler_topology are of kinds that are rented '
                     'in different ways: make both tpu7x, or neither.')
  if modern == {True} and (place.tier == 'reserved') != bool(place.reservation):
    raise ValueError(f'--tier={place.tier!r} and --reservation={place.reservation!r} do not go '
                     f'together: tpu7x of --tier=reserved, and only that, needs the reservation.')
  return (InstanceGroups if modern == {True} else QueuedResources)(place)
