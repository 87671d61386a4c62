"""One Ray cluster on the machines of the active slices: install, start, join, join again.

The head of the cluster is the first machine of the trainer's slice. Machines have a Ray resource of
their role: {"trainer": 1}, or {"sampler": 1, "verifier": 1}. All of them have the code of one
submission: the archive in the bucket that its hash names.
"""
from __future__ import annotations

import collections
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from launch import machine
from launch.clouds import ACTIVE, MISSING
from launch.fleet import Fleet
from launch.job import Job, Submission
from launch.shell import CommandError
from launch.slices import Slice

INSTALL_S, SSH_S = 1800, 300         # Seconds that an installation and another script may take.
SSH_ATTEMPTS = 5
DOWN_LOOKS = 3                       # So many looks must agree that a Ray that was started is down.
MOST_ATTEMPTS = 20                   # To bring a machine back, half a minute and more each.


class RayCluster:
  """The Ray cluster of a job.

  Args:
    poll_s: seconds between two attempts to reach a machine.
  """

  def __init__(self, fleet: Fleet, job: Job, *, poll_s: float):
    self._fleet, self._job, self._poll_s = fleet, job, poll_s
    self._joined: dict[Slice, list[tuple[str, str]]] = {}   # With their machines.
    self._silent: set[str] = set()     # Addresses that the last look did not find in the cluster.
    self._attempts: collections.Counter[Slice] = collections.Counter()   # That failed, in a row.
    self.code = ''                     # Hash of the code that every machine gets.

  @property
  def members(self) -> dict[Slice, list[tuple[str, str]]]:
    """{slice: its machines} of all slices in the cluster."""
    return {one: machines for one, machines in self._joined.items()
            if one not in self._fleet.renewed}

  def forget(self) -> None:
    """Takes the cluster for gone: `bring_up` will start it anew on all slices."""
    self._joined.clear()

  def pack(self, *, upload: bool) -> str:
    """Packs the working tree, copies it into the bucket if asked; the hash that names it."""
    shell = self._fleet.shell
    # A folder of its own: a name that others can guess in a shared folder can be theirs.
    with tempfile.TemporaryDirectory() as folder:
      archive = 'code.tgz' if shell.dry else os.path.join(folder, 'code.tgz')
      code = shell.run([*self._job.pack, archive], timeout_s=SSH_S, answer='HASH').strip()
      if upload:
        shell.run(['gcloud', 'storage', 'cp', archive, self._job.archive(code)],
                  timeout_s=INSTALL_S)
    return code

  def submitted(self) -> tuple[Submission | None, str]:
    """What the head was given to run, None if that is not known; the state of that job."""
    return self._patiently([self._fleet.trainer], self._ask)

  def note(self, submission: Submission) -> None:
    """Notes on the head what it is given to run; a window that prepares another fails then."""
    self._patiently([self._fleet.trainer],
                    lambda: self.on_head(machine.keep_record_script(submission)))

  def job_state(self, workdir: str = '') -> str:
    """PENDING, RUNNING, a state of machine.ENDED, or MISSING.

    Args:
      workdir: of the job, if it is another than is asked for.
    """
    job = dataclasses.replace(self._job, workdir=workdir) if workdir else self._job
    answer = self.on_head(machine.job_state_script(job))
    return MISSING if self._fleet.shell.dry else machine.job_state(answer)

  def bring_up(self, slices: Sequence[Slice], *, anew: bool) -> bool:
    """Makes one Ray cluster of these slices; whether its head was started, without any job.

    Args:
      anew: start Ray on all of them, whatever runs there.
    """
    alive = set() if anew else self._alive()
    found = {one: self._fleet.machines(one) for one in slices
             if alive and one not in self._fleet.renewed}
    # The head is the trainer's slice: another machine of it that is silent can join again.
    self._joined = {one: machines for one, machines in found.items() if alive.issuperset(
        address for _, address in machines[:1 if one == self._fleet.trainer else None])}
    # Without the head there is nothing that others could have joined.
    if self._fleet.trainer not in self._joined:
      self._joined.clear()
    fresh = [one for one in slices if one not in self._joined]
    if fresh:
      self.add(fresh)
    return self._fleet.trainer in fresh

  def add(self, slices: Sequence[Slice]) -> None:
    """Installs on slices and lets them join; with the trainer's among them Ray starts anew.

    A sampler's slice that cannot join is reported, and after MOST_ATTEMPTS condemned.

    Raises:
      CommandError: the trainer's slice cannot join, or no sampler's has.
    """
    trainer = self._fleet.trainer
    if trainer in slices:   # It leaves the versions of its packages to the others.
      self._patiently([trainer], self._start_head)
    machines: dict[Slice, list[tuple[str, str]]] = {}
    present: set[str] = set()

    def join() -> None:
      head = self._fleet.machines(trainer)[0][1]
      machines.update({one: self._fleet.machines(one) for one in slices})
      left = {one: [named for named in machines[one][one == trainer:] if named[1] not in present]
              for one in slices}
      try:
        self._run(left, lambda one: self._anew(one, head))
      except CommandError:
        present.update(self._nodes())
        raise

    try:
      self._patiently(slices, join)
    except CommandError as error:
      machines = {one: named for one, named in machines.items()
                  if present.issuperset(address for _, address in named)}
      whole = self.members | machines
      if self._fleet.state(trainer) != ACTIVE or trainer not in whole or len(whole) < 2:
        raise
      self._fleet.shell.say(f'{error}')
      self._count([one for one in slices if one not in machines
                   and self._fleet.state(one) == ACTIVE], SSH_ATTEMPTS)
    self._joined.update(machines)
    self._fleet.renewed.difference_update(machines)
    for one in machines:
      self._attempts.pop(one, None)

  def rejoin(self) -> None:
    """Installs and starts Ray again on machines that two looks did not find in the cluster.

    The head gives up a machine that it cannot reach for half a minute, whose Ray then ends. One
    that was rebooted has neither Ray nor the bucket. A slice whose machines do not come back in
    MOST_ATTEMPTS is condemned.
    """
    alive = self._nodes()
    if not alive:   # The head itself is down, which the state of the job shows.
      return
    for one, machines in self.members.items():
      if not alive.issuperset(address for _, address in machines):   # It may have a new address.
        self._joined[one] = self._fleet.machines(one)
    members = self.members
    silent = {one: [named for named in machines[one == self._fleet.trainer:]
                    if named[1] not in alive] for one, machines in members.items()}
    again = {one: [named for named in machines if named[1] in self._silent]
             for one, machines in silent.items()}
    self._silent = {address for machines in silent.values() for _, address in machines}
    for one in members:
      if not silent[one]:
        self._attempts.pop(one, None)
    names = [f'{one.name} ({address})' for one, machines in again.items()
             for _, address in machines]
    if names:
      self._fleet.shell.say(f'{", ".join(names)} left the Ray cluster: starting Ray there again')
      self._count([one for one, machines in again.items() if machines], 1)
      head = members[self._fleet.trainer][0][1]
      try:
        self._run(again, lambda one: self._anew(one, head))
      except CommandError as error:   # Still out of reach, or booting; the job goes on without it.
        self._fleet.shell.say(f'{error}')

  def on_head(self, script: str) -> str:
    """Runs a script on the head; its output."""
    return self._fleet.shell.run(self.head_command(script), timeout_s=SSH_S)

  def head_command(self, script: str) -> list[str]:
    """The command that runs a script on the head."""
    trainer = self._fleet.trainer
    return self._fleet.cloud.ssh(trainer, [self._fleet.machines(trainer)[0][0]], script)[0]

  def _ask(self) -> tuple[Submission | None, str]:
    submission = Submission.from_json(self.on_head(machine.record_script()))
    return submission, self.job_state(submission.workdir if submission else '')

  def _start_head(self) -> None:
    trainer = self._fleet.trainer
    self._run({trainer: self._fleet.machines(trainer)[:1]}, lambda one: self._anew(one, ''))

  def _anew(self, one: Slice, head: str) -> str:
    """The script that installs, ends Ray and starts it on a machine; '' for `head` is the head.

    It is one script, so that a machine that does not answer holds up no other.
    """
    return '; '.join([machine.install_script(self._job, self.code), machine.stop_script(self._job),
                      machine.start_script(one.role, head, self._job)])

  def _run(self, machines: Mapping[Slice, list], script: Callable[[Slice], str]) -> None:
    """Runs script(slice) on the machines of each slice, all at the same time."""
    ssh = self._fleet.cloud.ssh
    commands = [argv for one, named in machines.items() if named
                for argv in ssh(one, [worker for worker, _ in named], script(one))]
    self._fleet.shell.run_together(commands, timeout_s=INSTALL_S)

  def _count(self, slices: Sequence[Slice], attempts: int) -> None:
    """Counts failed attempts of slices; those with too many are condemned."""
    for one in slices:
      self._attempts[one] += attempts
      if self._attempts[one] >= MOST_ATTEMPTS:
        del self._attempts[one]
        self._fleet.condemn(one, f'its machines did not join in {MOST_ATTEMPTS} attempts')

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
    found: set[str] = set()
    for look in range(DOWN_LOOKS):
      time.sleep(self._poll_s if look else 0)
      found = self._patiently([trainer], self._nodes)
      if found:
        break
    return found

  def _nodes(self) -> set[str]:
    """Addresses of the machines in the Ray cluster; none if Ray is down on the head."""
    return machine.nodes(self.on_head(machine.nodes_script(self._job)))
