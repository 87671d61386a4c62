"""The life of a job on rented slices: request, wait, install, start Ray, submit, follow, repeat.

    missing --request--> waiting --> active --install, ray start--> in the cluster --> job runs
       ^                                                                                   |
       +---- delete <---- lost: preempted, failed, or gone while the job ran <-------------+

When a sampler's slice is lost the job goes on without it, and the new slice joins. When the
trainer's is lost, so is the job: Ray is started again everywhere, and the same command with the
same workdir goes on from the newest checkpoint in the bucket.

A job that runs is never ended for a question that was not answered, nor for another job: `run`
takes it up if it is the same command in the same workdir, and ends otherwise.
"""
from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from launch import machine
from launch.claim import Claim, NotInChargeError
from launch.clouds import ACTIVE, LOST, MISSING
from launch.cluster import RayCluster
from launch.fleet import WHY, Fleet, JobLostError, RequestRefusedError
from launch.job import Job, Submission
from launch.shell import CommandError, Shell
from launch.slices import Slice

MOST_FAILURES = 10                   # So many failed looks in a row are no passing fault.
RUNNING = ('PENDING', 'RUNNING')     # States of a job that has not ended.


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
    self.claim = Claim(job, cloud.rental, shell)
    self.fleet = Fleet(cloud, slices, job, self.claim, shell, poll_s=poll_s, wait_s=wait_s)
    self._cluster = RayCluster(self.fleet, job, poll_s=poll_s)

  def create(self) -> list[Slice]:
    """Asks for slices that are missing or lost, and waits until all are active; all of them.

    Raises:
      RequestRefusedError: a request failed, or was not filled in time.
      NotInChargeError: the workdir is that of another job, or the job was deleted elsewhere.
      CommandError: a slice of this name exists that was asked for otherwise.
    """
    self.claim.join()
    return self._have(whole=True)

  def _have(self, *, whole: bool) -> list[Slice]:
    """Creates the slices: all of them if `whole`, else at least the trainer's and a sampler's."""
    self.fleet.request(whole=whole, in_use=self._cluster.members)
    return self.fleet.wait(whole=whole)

  def run(self) -> str:
    """Runs the job to its end, over as many losses as `recoveries` allows; how it ended.

    Raises:
      NotInChargeError: another job of this name runs, or this one was deleted or taken over
        elsewhere.
      RequestRefusedError: slices cannot be had.
      CommandError: a command failed, or no recovery is left.
    """
    known = None
    if self.fleet.state(self.fleet.trainer, answer='') == ACTIVE:
      known = self._running()   # Before anything is rented for a job that cannot be.
    self.claim.take()
    while True:
      try:
        active = self._have(whole=False)
        self.claim.check()
        self._start(active, *(known or self._running()))
        return self._watch()
      except (RequestRefusedError, NotInChargeError):
        raise
      except CommandError as error:
        # A slice that is preempted while it is being set up shows as a failed command.
        if not isinstance(error, JobLostError) and all(
            self.fleet.state(one) == ACTIVE for one in self.fleet.granted.copy()):
          raise
        self._spend(str(error))
      known = None

  def status(self) -> list[tuple[str, str]]:
    """(name, state) of every slice, and of the job if the trainer's slice is active."""
    slices = self.fleet.slices + [one for one in self.fleet.found()
                                  if one not in self.fleet.slices]
    rows = [(one.name, self.fleet.state(one)) for one in slices]
    if rows[0][1] == ACTIVE:
      try:
        state = self._cluster.submitted()[1]
      except CommandError as error:
        state = f'unknown: {error}'
      rows.append((f'job {self._job.name}', state))
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
              and self._cluster.submitted()[1] in RUNNING)
    except CommandError:
      return True

  def _running(self) -> tuple[Submission | None, bool]:
    """What the head was given to run, None if that is not known; whether it runs.

    Raises:
      NotInChargeError: it runs, and is another job than is asked for.
    """
    submission, state = self._cluster.submitted()
    runs, name = state in RUNNING, self._job.name
    if not runs or not submission:
      return submission, runs
    if submission.workdir != self._job.workdir:
      raise NotInChargeError(
          f'{name} runs the job of --workdir={submission.workdir}, and goes on: `stop` it first '
          f'with that workdir, or choose another --name.')
    difference = submission.difference(self._submission())
    if difference:
      raise NotInChargeError(
          f'{name} runs another job than is asked for, {difference}, and goes on: take it up with '
          f'its own arguments, `stop` it first, or choose another --name.')
    return submission, runs

  def _submission(self) -> Submission:
    return Submission(self._job.workdir, self._job.command, self._cluster.code)

  def _start(self, active: Sequence[Slice], found: Submission | None, runs: bool) -> None:
    """Takes up the job if it runs; otherwise submits it, with the same code on all machines.

    Args:
      found, runs: as `_running` returned them.
    """
    if runs and not found:
      self._shell.say(f'{self._job.name} left no note of its code: slices that join get that of '
                      f'the working tree')
    self._choose_code(found if runs else None)
    wanted = self._submission()
    # What is not known to be of this code and workdir is installed and started anew.
    anew = not runs and (not found or (found.workdir, found.code) != (wanted.workdir, wanted.code))
    if found or not runs:
      self._cluster.note(wanted)
    if self._cluster.bring_up(active, anew=anew) or not runs:
      self._cluster.on_head(machine.forget_job_script(self._job))
      self._cluster.on_head(machine.submit_job_script(self._job, wanted))

  def _choose_code(self, running: Submission | None) -> None:
    """Chooses the code of all machines, once: that of the job that runs, or the working tree's."""
    if self._cluster.code:
      return
    code = self._cluster.pack(upload=not running)
    if running and running.code != code:
      self._shell.say(f'{self._job.name} runs other code ({running.code[:12]}) than the working '
                      f'tree has ({code[:12]}): it goes on with its own, on all machines')
    self._cluster.code = running.code if running else code

  def _watch(self) -> str:
    """Follows the job until it ends, while samplers are lost and replaced; how it ended.

    Raises:
      JobLostError: the trainer's slice or the head of Ray is gone.
      NotInChargeError: the job was deleted or taken over elsewhere.
      CommandError: nothing could be asked for MOST_FAILURES looks.
    """
    logs = self._follow()
    failures = missed = 0
    try:
      while not self._shell.dry:
        time.sleep(self._poll_s)
        try:
          self.claim.check()
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
        except (JobLostError, NotInChargeError):
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
      DeletedError: the trainer's slice was deleted elsewhere.
      JobLostError: the trainer's slice is lost, or the job failed while slices were lost.
    """
    trainer = self.fleet.state(self.fleet.trainer)
    self.fleet.heed(self.fleet.trainer, trainer)
    if trainer != ACTIVE:
      raise JobLostError(f'{self.fleet.trainer.name} is lost, and the job with it')
    state = self._cluster.job_state()
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
    if one in self.fleet.given_up or self.fleet.heed(one, state):
      return
    joined = one in self._cluster.members
    if state == LOST and one not in self.fleet.granted:   # Asking again would not help.
      self.fleet.give_up(one, WHY)
    elif joined and state != ACTIVE or state == LOST:
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
