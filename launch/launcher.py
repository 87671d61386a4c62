"""The life of a job on rented slices: request, wait, install, start Ray, submit, follow, repeat.

    missing --request--> waiting --> active --install, ray start--> in the cluster --> job runs
       ^                                                                                   |
       +---- delete <---- lost: preempted, failed, or gone while the job ran <-------------+

When a sampler's slice is lost the job goes on without it, and the new slice joins. When the
trainer's is lost, so is the job: Ray is started again everywhere, and the same command with the
same workdir goes on from the newest checkpoint in the bucket.
"""
from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from launch import machine
from launch.clouds import ACTIVE, LOST, MISSING
from launch.cluster import RayCluster
from launch.fleet import WHY, Fleet, JobLostError, RequestRefusedError
from launch.job import Job
from launch.shell import CommandError, Shell
from launch.slices import Slice

MOST_FAILURES = 10                   # So many failed looks in a row are no passing fault.


class Launcher:
  """Brings slices and job to the state that the user wants.

  Args:
    cloud: QueuedResources or InstanceGroups.
    poll_s: seconds between two looks.
    wait_s: seconds that slices have to become active.
    recoveries: how many losses are repaired before it gives up.
  """

  def __init__(self, cloud, slices: Sequence[Slice], job: Job, shell: Shell, *, poll_s: float,
               wait_s: float, recoveries: int):
    self._job, self._shell, self._poll_s, self._left = job, shell, poll_s, recoveries
    self.fleet = Fleet(cloud, slices, job.name, shell, poll_s=poll_s, wait_s=wait_s)
    self._cluster = RayCluster(self.fleet, job, poll_s=poll_s)

  def create(self, *, whole: bool = True) -> list[Slice]:
    """Asks for slices that are missing or lost, and waits; those that are active.

    Args:
      whole: wait for all of them; else for what a job needs, the trainer's and one sampler's.
    Raises:
      RequestRefusedError: a request failed, or was not filled in time.
      CommandError: a slice of this name exists that was asked for otherwise.
    """
    self.fleet.request(whole=whole, in_use=self._cluster.members)
    return self.fleet.wait(whole=whole)

  def run(self) -> str:
    """Runs the job to its end, over as many losses as `recoveries` allows; how it ended."""
    while True:
      try:
        self._cluster.bring_up(self.create(whole=False))
        if self.job_state() not in ('PENDING', 'RUNNING'):
          self._submit()
        return self._watch()
      except RequestRefusedError:
        raise
      except CommandError as error:
        # A slice that is preempted while it is being set up shows as a failed command.
        if not isinstance(error, JobLostError) and all(
            self.fleet.state(one) == ACTIVE for one in self.fleet.granted.copy()):
          raise
        self._spend(str(error))

  def status(self) -> list[tuple[str, str]]:
    """(name, state) of every slice, and of the job if the trainer's slice is active."""
    slices = self.fleet.slices + [one for one in self.fleet.found()
                                  if one not in self.fleet.slices]
    rows = [(one.name, self.fleet.state(one)) for one in slices]
    if rows[0][1] == ACTIVE:
      rows.append((f'job {self._job.name}', self.job_state()))
    return rows

  def logs(self) -> None:
    """Prints the job's output until the job ends or the user interrupts."""
    self._shell.follow_to_end(self._cluster.head_command(machine.follow_job_script(self._job)))

  def stop(self) -> None:
    """Asks the job to save and end; the slices stay."""
    self._cluster.on_head(machine.stop_job_script(self._job))

  def working(self) -> bool:
    """Whether the job runs, or may run: true where it cannot be asked."""
    try:
      return (self.fleet.state(self.fleet.trainer) == ACTIVE
              and self.job_state() in ('PENDING', 'RUNNING'))
    except CommandError:
      return True

  def job_state(self) -> str:
    """PENDING, RUNNING, a state of machine.ENDED, or MISSING."""
    answer = self._cluster.on_head(machine.job_state_script(self._job))
    return machine.job_state(answer) or MISSING

  def _submit(self) -> None:
    self._cluster.on_head(machine.forget_job_script(self._job))
    self._cluster.on_head(machine.submit_job_script(self._job))

  def _watch(self) -> str:
    """Follows the job until it ends, while samplers are lost and replaced; how it ended.

    Raises:
      JobLostError: the trainer's slice or the head of Ray is gone.
      CommandError: nothing could be asked for MOST_FAILURES looks.
    """
    logs = self._follow()
    failures = missed = 0
    try:
      while not self._shell.dry:
        time.sleep(self._poll_s)
        try:
          state = self._look()
          missed = missed + 1 if state == MISSING else 0
          if missed > 1:   # Once may be a passing fault.
            self._cluster.forget()
            raise JobLostError('Ray does not know the job any more: its head was started anew')
          if state in machine.ENDED.values():
            return state
          for one in self.fleet.samplers:
            self._tend(one)
          self._cluster.rejoin()
          failures = 0
        except JobLostError:
          raise
        except CommandError:   # A passing fault of the network, or a slice that is just dying.
          failures += 1
          if failures >= MOST_FAILURES:
            raise
        if logs.poll() is not None:
          logs = self._follow()
      return 'SUCCEEDED'
    finally:
      self._shell.end(logs)

  def _look(self) -> str:
    """The state of the job.

    Raises:
      JobLostError: the trainer's slice is gone, or the job failed while slices were lost.
    """
    if self.fleet.state(self.fleet.trainer) != ACTIVE:
      raise JobLostError(f'{self.fleet.trainer.name} is lost, and the job with it')
    state = self.job_state()
    if state == 'FAILED':   # By a fault of its own, or because its slices are being lost.
      time.sleep(self._poll_s)
      if any(self.fleet.state(one) != ACTIVE for one in self._cluster.members):
        raise JobLostError('the job failed while slices were lost')
    return state

  def _follow(self) -> subprocess.Popen:
    return self._shell.follow(self._cluster.head_command(machine.follow_job_script(self._job)))

  def _tend(self, one: Slice) -> None:
    """Asks for a sampler's slice again if it is lost, and lets it join if it is new."""
    state = self.fleet.state(one)
    if one in self.fleet.given_up:
      return
    joined = one in self._cluster.members
    if state == LOST and one not in self.fleet.granted:   # Asking again would not help.
      self.fleet.give_up(one, WHY)
    elif joined and state != ACTIVE or state in (LOST, MISSING):
      self._spend(f'{one.name} is lost; the job goes on without it')
      self.fleet.renew(one, state)
    elif not joined and state == ACTIVE:
      self._cluster.add([one])

  def _spend(self, why: str) -> None:
    """Counts a loss; CommandError when none is left."""
    if not self._left:
      raise CommandError(
          f'{why}\nNo recovery is left: run again, with more --recoveries or another --tier; the '
          f'job goes on from its newest checkpoint.')
    self._left -= 1
    self._shell.say(f'{why}\n{self._left} recoveries are left')
