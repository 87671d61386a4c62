"""The ways of renting TPUs, as pure functions from slices to commands.

    QueuedResources   v4, v5e, v5p, v6e     gcloud compute tpus queued-resources, tpu-vm
    InstanceGroups    tpu7x                 gcloud compute instance-groups managed

The TPU API, and with it queued resources, does not serve tpu7x. A slice of tpu7x is a managed
instance group whose workload policy names the topology.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from launch.slices import GENERATIONS, Slice

# A slice that is preempted or fails is LOST, and still there; only a deletion makes it MISSING.
ACTIVE, WAITING, LOST = 'ACTIVE', 'WAITING', 'LOST'
DELETING, MISSING = 'DELETING', 'MISSING'
# States of queued resources that count as lost; a preempted one becomes SUSPENDED.
QUEUED_STATES = {
    'ACTIVE': ACTIVE, 'SUSPENDING': LOST, 'SUSPENDED': LOST, 'FAILED': LOST,
    'DELETING': DELETING}
TPU7X_IMAGE = ('--image-family=ubuntu-accel-2404-amd64-tpu-tpu7x',
               '--image-project=ubuntu-os-accelerator-images')
LABEL = 'magistral'          # Its value names topology and tier of the request.
# A machine that is gone does not answer: ssh then ends after a minute, not when TCP gives up.
SSH_FLAGS = ('--ssh-flag=-oConnectTimeout=30', '--ssh-flag=-oServerAliveInterval=15')
DISK_GB = 200                # Environment, code, compilation cache; checkpoints are in the bucket.


@dataclasses.dataclass(frozen=True)
class Rental:
  """Where slices are rented, and on which terms: Rental('project', 'us-east5-a', 'spot', 24.0)"""
  project: str
  zone: str
  tier: str                 # 'spot', 'reserved' or 'on-demand'.
  wait_hours: float         # A request that is not filled after these is withdrawn.
  reservation: str = ''     # Its name, which instance groups need.

  @property
  def region(self) -> str:
    """The region of the zone."""
    return self.zone.rsplit('-', 1)[0]

  @property
  def flags(self) -> list[str]:
    """The flags of gcloud that name project and zone."""
    return [f'--project={self.project}', f'--zone={self.zone}']

  def label(self, one: Slice) -> str:
    """The label of a slice, which says how it was asked for: 'v5p-2x2x2-spot'."""
    return f'{one.generation}-{one.topology}-{self.tier}'


class QueuedResources:
  """Commands that rent each slice as one queued resource with one node of the same name."""

  def __init__(self, rental: Rental):
    self.rental = rental

  def create(self, one: Slice) -> list[list[str]]:
    """Commands, to be run one after another, that ask for a slice."""
    kind = GENERATIONS[one.generation]
    if one.topology.count('x') == 2:   # The number of chips does not tell the shape of a cube.
      shape = [f'--type={kind.api_type}', f'--topology={one.topology}']
    else:
      shape = [f'--accelerator-type={kind.api_type}-{one.chips}']
    tier = [] if self.rental.tier == 'on-demand' else [f'--{self.rental.tier}']
    return [['gcloud', 'compute', 'tpus', 'queued-resources', 'create', one.name,
             f'--node-id={one.name}', *self.rental.flags, *shape,
             f'--runtime-version={kind.runtime}',
             f'--valid-until-duration={round(self.rental.wait_hours * 3600)}s',
             f'--labels={LABEL}={self.rental.label(one)}', *tier]]

  def leftovers(self, one: Slice) -> list[list[str]]:
    """Commands that delete the remains of a slice that is missing; there are none."""
    return []

  def label(self, one: Slice) -> list[str]:
    """The command that prints the label of a slice."""
    return ['gcloud', 'compute', 'tpus', 'queued-resources', 'describe', one.name,
            *self.rental.flags, f'--format=value(tpu.nodeSpec[0].node.labels.{LABEL})']

  def describe(self, one: Slice) -> list[str]:
    """The command whose output `state` reads."""
    return ['gcloud', 'compute', 'tpus', 'queued-resources', 'describe', one.name,
            *self.rental.flags, '--format=value(state.state)']

  def list(self) -> list[str]:
    """The command that prints the names of all slices in the zone."""
    return ['gcloud', 'compute', 'tpus', 'queued-resources', 'list', *self.rental.flags,
            '--format=value(name.basename())']

  def state(self, one: Slice, answer: str) -> str:
    """ACTIVE, WAITING, LOST or DELETING, from the output of `describe`."""
    return QUEUED_STATES.get(answer.strip(), WAITING)

  def list_machines(self, one: Slice) -> list[str]:
    """The command whose output `addresses` reads."""
    return ['gcloud', 'compute', 'tpus', 'tpu-vm', 'describe', one.name, *self.rental.flags,
            '--format=value[delimiter=" "](networkEndpoints[].ipAddress)']

  def addresses(self, answer: str) -> list[tuple[str, str]]:
    """(name that `ssh` takes, internal address) of the machines of a slice, in their order."""
    return [(str(i), address) for i, address in enumerate(answer.split())]

  def ssh(self, one: Slice, workers: Sequence[str], script: str) -> list[list[str]]:
    """Commands, to be run at the same time, that run a script on some machines of a slice."""
    worker = 'all' if len(workers) == one.machines else ','.join(workers)
    return [['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', one.name, *self.rental.flags, '--quiet',
             *SSH_FLAGS, f'--worker={worker}', f'--command={script}']]

  def delete(self, one: Slice) -> list[list[str]]:
    """Commands, to be run one after another, that delete a slice."""
    return [['gcloud', 'compute', 'tpus', 'queued-resources', 'delete', one.name,
             *self.rental.flags, '--force', '--quiet']]


class InstanceGroups:
  """Commands that rent each slice as a managed group with a template and a workload policy.

  All three have the name of the slice. The methods are those of QueuedResources.
  """

  def __init__(self, rental: Rental):
    self.rental = rental

  def create(self, one: Slice) -> list[list[str]]:
    rental, project = self.rental, f'--project={self.rental.project}'
    tier = {
        'spot': ['--provisioning-model=SPOT', '--instance-termination-action=STOP'],
        'reserved': ['--provisioning-model=RESERVATION_BOUND', '--reservation-affinity=specific',
                     f'--reservation={rental.reservation}', '--instance-termination-action=DELETE'],
        'on-demand': ['--provisioning-model=STANDARD']}[rental.tier]
    policy = [['gcloud', 'compute', 'resource-policies', 'create', 'workload-policy', one.name,
               project, f'--region={rental.region}', '--type=HIGH_THROUGHPUT',
               f'--accelerator-topology={one.topology}']]
    link = [f'--workload-policy=projects/{rental.project}/regions/{rental.region}/resourcePolicies/'
            f'{one.name}', '--target-size-policy-mode=bulk']
    if one.machines == 1:
      policy, link = [], []   # A single machine has no neighbours to be close to.
    template = [
        'gcloud', 'compute', 'instance-templates', 'create', one.name, project,
        '--machine-type=tpu7x-standard-4t', *TPU7X_IMAGE, f'--boot-disk-size={DISK_GB}GB',
        '--boot-disk-type=hyperdisk-balanced', '--maintenance-policy=TERMINATE',
        '--scopes=cloud-platform', f'--labels={LABEL}={rental.label(one)}', *tier]
    group = [
        'gcloud', 'compute', 'instance-groups', 'managed', 'create', one.name, *rental.flags,
        f'--template={one.name}', f'--size={one.machines}',
        # A slice is whole or useless: a machine that the group repairs by itself has no links.
        '--default-action-on-vm-failure=do-nothing', *link]
    return [*policy, template, group]

  def leftovers(self, one: Slice) -> list[list[str]]:
    """Commands that delete the template and the policy of a group that no longer exists."""
    return self.delete(one)[1:]

  def label(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'instance-templates', 'describe', one.name,
            f'--project={self.rental.project}', f'--format=value(properties.labels.{LABEL})']

  def describe(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'instance-groups', 'managed', 'list-instances', one.name,
            *self.rental.flags, '--format=value(instance.basename(),instanceStatus,currentAction)']

  def list(self) -> list[str]:
    return ['gcloud', 'compute', 'instance-groups', 'managed', 'list',
            f'--project={self.rental.project}', f'--zones={self.rental.zone}',
            '--format=value(name)']

  def state(self, one: Slice, answer: str) -> str:
    # An empty column has no text between its tabs.
    rows = [[*line.split('\t'), '', ''][:3] for line in answer.splitlines() if line.strip()]
    states = [status for _, status, _ in rows]
    if rows and all(action == 'DELETING' for _, _, action in rows):
      return DELETING
    if any(state in ('STOPPING', 'SUSPENDED', 'TERMINATED', 'STOPPED') for state in states):
      return LOST
    ready = len(states) == one.machines and set(states) == {'RUNNING'}
    return ACTIVE if ready else WAITING

  def list_machines(self, one: Slice) -> list[str]:
    return ['gcloud', 'compute', 'instances', 'list', f'--project={self.rental.project}',
            f'--filter=name~^{one.name}- AND zone:{self.rental.zone}', '--sort-by=name',
            '--format=value(name,networkInterfaces[0].networkIP)']

  def addresses(self, answer: str) -> list[tuple[str, str]]:
    return [tuple(line.split()) for line in answer.splitlines() if line.strip()]

  def ssh(self, one: Slice, workers: Sequence[str], script: str) -> list[list[str]]:
    return [['gcloud', 'compute', 'ssh', worker, *self.rental.flags, '--quiet', *SSH_FLAGS,
             f'--command={script}'] for worker in workers]

  def delete(self, one: Slice) -> list[list[str]]:
    project = f'--project={self.rental.project}'
    return [
        ['gcloud', 'compute', 'instance-groups', 'managed', 'delete', one.name, *self.rental.flags,
         '--quiet'],
        ['gcloud', 'compute', 'instance-templates', 'delete', one.name, project, '--quiet'],
        # A slice of one machine has none.
        ['gcloud', 'compute', 'resource-policies', 'delete', one.name, project,
         f'--region={self.rental.region}', '--quiet']]


def choose(slices: Sequence[Slice], rental: Rental):
  """The way of renting these slices: QueuedResources or InstanceGroups.

  Raises:
    ValueError: trainer and samplers are rented in different ways, or tier and reservation do not
      go together.
  """
  modern = {not GENERATIONS[one.generation].api_type for one in slices}
  if len(modern) > 1:
    raise ValueError('mesh.trainer_topology and mesh.sampler_topology are of kinds that are rented '
                     'in different ways: make both tpu7x, or neither.')
  if modern == {True} and (rental.tier == 'reserved') != bool(rental.reservation):
    raise ValueError(f'--tier={rental.tier!r} and --reservation={rental.reservation!r} do not go '
                     f'together: tpu7x of --tier=reserved, and only that, needs the reservation.')
  return (InstanceGroups if modern == {True} else QueuedResources)(rental)
