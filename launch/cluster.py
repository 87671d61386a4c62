"""One Ray cluster on the machines of the active slices: install, start, join, join again.

The head of the cluster is the first machine of the trainer's slice. Machines have a Ray resource of
their role: {"trainer": 1}, or {"sampler": 1, "verifier": 1}.
"""
from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence

from launch.clouds import ACTIVE
from launch.fleet import Fleet
from launch.job import Job
from launch.machine import install_script, nodes_script, start_script, stop_script
from launch.shell import CommandError
from launch.slices import Slice

INSTALL_S, SSH_S = 1800, 300         # Seconds that an installation and another script may take.
SSH_ATTEMPTS = 5


class RayCluster:
  """The Ray cluster of a job.

  Args:
    poll_s: seconds between two attempts to reach a machine.
  """

  def __init__(self, fleet: Fleet, job: Job, *, poll_s: float):
    self._fleet, self._job, self._poll_s = fleet, job, poll_s
    self._joined: dict[Slice, list[tuple[str, str]]] = {}   # With their machines.
    self._silent: set[str] = set()     # Addresses that the last look did not find in the cluster.

  @property
  def members(self) -> dict[Slice, list[tuple[str, str]]]:
    """{slice: its machines} of all slices in the cluster."""
    return {one: machines for one, machines in self._joined.items()
            if one not in self._fleet.renewed}

  def forget(self) -> None:
    """Takes the cluster for gone: `bring_up` will start it anew on all slices."""
    self._joined.clear()

  def bring_up(self, slices: Sequence[Slice]) -> None:
    """Installs where nothing is installed, and makes one Ray cluster of these slices."""
    alive = self._alive()
    found = {one: self._fleet.machines(one) for one in slices
             if alive and one not in self._fleet.renewed}
    self._joined = {one: machines for one, machines in found.items()
                    if alive.issuperset(address for _, address in machines)}
    # Without the trainer's slice there is no head that others could have joined.
    if self._fleet.trainer not in self._joined:
      self._joined.clear()
    fresh = [one for one in slices if one not in self._joined]
    if fresh:
      self.add(fresh)

  def add(self, slices: Sequence[Slice]) -> None:
    """Installs on slices and lets them join; with the trainer's among them Ray starts anew."""
    self._install(slices)
    trainer = self._fleet.trainer
    machines = {one: self._fleet.machines(one)
                for one in {trainer: 0} | dict.fromkeys(slices)}
    (head, address), *others = machines[trainer]
    joining = {one: machines[one] for one in slices}
    self._stop_ray(joining)
    if trainer in slices:
      script = start_script('trainer', '', self._job)
      self._fleet.shell.run_together(self._fleet.cloud.ssh(trainer, [head], script),
                                     timeout_s=SSH_S)
      joining[trainer] = others
    self._start_workers(joining, address)
    self._joined.update({one: machines[one] for one in slices})
    self._fleet.renewed.difference_update(slices)

  def rejoin(self) -> None:
    """Starts Ray again on machines of active slices that two looks did not find in the cluster.

    The head gives up a machine that it cannot reach for half a minute, whose Ray then ends.
    """
    alive = self._alive()
    members = self.members
    silent = {one: [machine for machine in machines[one is self._fleet.trainer:]
                    if machine[1] not in alive]
              for one, machines in members.items() if alive}
    again = {one: [machine for machine in machines if machine[1] in self._silent]
             for one, machines in silent.items()}
    self._silent = {address for machines in silent.values() for _, address in machines}
    names = [f'{one.name} ({address})' for one, machines in again.items()
             for _, address in machines]
    if names:
      self._fleet.shell.say(f'{", ".join(names)} left the Ray cluster: starting Ray there again')
      try:
        self._stop_ray(again)
        self._start_workers(again, members[self._fleet.trainer][0][1])
      except CommandError as error:   # Still out of reach; the job goes on without it.
        self._fleet.shell.say(f'{error}')

  def on_head(self, script: str) -> str:
    """Runs a script on the head; its output."""
    return self._fleet.shell.run(self.head_command(script), timeout_s=SSH_S)

  def head_command(self, script: str) -> list[str]:
    """The command that runs a script on the head."""
    trainer = self._fleet.trainer
    return self._fleet.cloud.ssh(trainer, [self._fleet.machines(trainer)[0][0]], script)[0]

  def _install(self, slices: Sequence[Slice]) -> None:
    shell = self._fleet.shell
    shell.run(self._job.upload, timeout_s=INSTALL_S)
    shell.run(['gcloud', 'storage', 'cp', self._job.archive, self._job.code], timeout_s=INSTALL_S)
    self._patiently(slices, lambda: self._ssh_all(
        {one: self._fleet.machines(one) for one in slices}, lambda one: install_script(self._job),
        INSTALL_S))

  def _patiently(self, slices: Sequence[Slice], act: Callable):
    """act(), tried several times: fresh machines refuse keys for a minute or so."""
    for attempt in range(SSH_ATTEMPTS):
      try:
        return act()
      except CommandError:
        if attempt + 1 == SSH_ATTEMPTS or any(
            self._fleet.state(one) != ACTIVE for one in slices):
          raise
        time.sleep(self._poll_s)

  def _alive(self) -> set[str]:
    """Addresses of the machines in the Ray cluster, which may be that of an earlier `run`."""
    trainer = self._fleet.trainer
    if self._fleet.shell.dry or trainer in self._fleet.renewed:
      return set()
    answer = self._patiently([trainer], lambda: self.on_head(nodes_script(self._job)))
    return set(re.findall(r'"node_ip": *"([^"]+)"', answer))

  def _stop_ray(self, machines: Mapping[Slice, list]) -> None:
    self._ssh_all(machines, lambda one: stop_script(self._job), SSH_S)

  def _start_workers(self, machines: Mapping[Slice, list], head: str) -> None:
    self._ssh_all(machines, lambda one: start_script(one.role, head, self._job), SSH_S)

  def _ssh_all(self, machines: Mapping[Slice, list], script: Callable[[Slice], str],
               timeout_s: float) -> None:
    """Runs script(slice) on the machines of each slice, all at the same time."""
    ssh = self._fleet.cloud.ssh
    commands = [argv for one, named in machines.items() if named
                for argv in ssh(one, [worker for worker, _ in named], script(one))]
    self._fleet.shell.run_together(commands, timeout_s=timeout_s)
