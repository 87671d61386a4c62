"""The rented slices of a job: their states, requests for those that are missing, their end.

    missing --request--> waiting --> active
       ^                               |
       +---- delete <---- lost --------+     preempted or failed

It asks the cloud for the state of a slice each time and remembers only what the cloud cannot tell.
A slice that is gone without having been lost was deleted by its owner, and is not asked for again.
"""
from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Collection, Sequence

from launch.claim import Claim, DeletedError
from launch.clouds import ACTIVE, DELETING, LOST, MISSING, WAITING
from launch.job import Job
from launch.shell import CommandError, Shell
from launch.slices import Slice

GONE = ('not_found', 'not found')    # gcloud's words about a resource that does not exist.
ASK_S, CHANGE_S = 120, 900           # Seconds that a question and a change may take.
WHY = ('quota and zone are the usual reasons; the describe command that --dry_run prints shows '
       'what the cloud says.')


class JobLostError(CommandError):
  """The job cannot go on where it was: its slices, or the head of Ray, are gone."""


class RequestRefusedError(CommandError):
  """Slices cannot be had as they are asked for: asking again would not help."""


class Fleet:
  """The slices of one job, of which the first is the trainer's.

  Args:
    cloud: QueuedResources or InstanceGroups.
    job: its name begins the names of its slices.
    claim: is read before a slice is asked for.
    poll_s: seconds between two looks.
    wait_s: seconds that slices have to become active.
  """

  def __init__(self, cloud, slices: Sequence[Slice], job: Job, claim: Claim, shell: Shell, *,
               poll_s: float, wait_s: float):
    self.cloud, self.slices, self.shell = cloud, list(slices), shell
    self.trainer, *self.samplers = self.slices
    self.renewed: set[Slice] = set()     # Asked for, and since then not in the Ray cluster.
    self.granted: set[Slice] = set()     # Active at some time since they were asked for.
    self.given_up: dict[Slice, str] = {}   # Samplers whose request failed, and why.
    self.deleted: set[Slice] = set()     # Samplers that were deleted elsewhere.
    self._condemned: set[Slice] = set()  # Active for the cloud, but of no use.
    self._name, self._claim, self._poll_s, self._wait_s = job.name, claim, poll_s, wait_s

  def state(self, one: Slice, *, answer: str = ACTIVE) -> str:
    """ACTIVE, WAITING, LOST, DELETING or MISSING.

    Args:
      answer: the state that a dry run assumes; '' for MISSING.
    """
    state = self._ask(one, answer)
    if state == MISSING and one in self.granted and not self.shell.dry:
      time.sleep(self._poll_s)   # Once may be a passing fault, and nothing would be rented again.
      state = self._ask(one, answer)
    if state == ACTIVE and not self.shell.dry:
      self.granted.add(one)
    return LOST if state == ACTIVE and one in self._condemned else state

  def _ask(self, one: Slice, answer: str) -> str:
    described = self.shell.run(self.cloud.describe(one), timeout_s=ASK_S, tolerate=GONE,
                               otherwise=MISSING, answer=answer)
    if self.shell.dry:
      return answer or MISSING
    return MISSING if described == MISSING else self.cloud.state(one, described)

  def condemn(self, one: Slice, why: str) -> None:
    """Takes an active slice for lost, so that it is replaced."""
    self._condemned.add(one)
    self.shell.say(f'{one.name} is of no use any more and will be replaced: {why}')

  def request(self, *, whole: bool, in_use: Collection[Slice]) -> None:
    """Asks for all slices that are missing or lost.

    Args:
      whole: whether all of them are needed; else the trainer's is.
      in_use: slices that the job runs on, which are lost when they are not active.
    Raises:
      RequestRefusedError: a slice is needed and cannot be asked for.
      DeletedError: the trainer's slice was deleted elsewhere.
      CommandError: a slice of this name exists that was asked for otherwise.
    """
    states = {one: self.state(one, answer='') for one in self.slices}
    for one, state in states.items():   # Before anything is asked for.
      if one in self.granted:
        self.heed(one, state)
      if state in (ACTIVE, WAITING):
        self._compare(one)
    for one, state in states.items():
      if one not in self.deleted and (
          state in (LOST, DELETING, MISSING) or (one in in_use and state != ACTIVE)):
        self.renew(one, state, needed=whole or one == self.trainer)

  def heed(self, one: Slice, state: str) -> bool:
    """Whether a slice that was there has been deleted elsewhere; it is then not asked for again.

    Raises:
      DeletedError: it is the trainer's, without which there is no job.
    """
    if state not in (DELETING, MISSING):
      return False
    if one == self.trainer:
      raise DeletedError(f'{one.name} was deleted elsewhere: nothing is rented again.')
    if one not in self.deleted:
      self.deleted.add(one)
      self.shell.say(f'{one.name} was deleted elsewhere: it is not asked for again, and the job '
                     f'goes on without it')
    return True

  def renew(self, one: Slice, state: str, *, needed: bool = False) -> None:
    """Deletes the remains of a slice and asks for it again.

    Args:
      state: its state now.
      needed: whether the job cannot run without it; else a refusal is only reported.
    Raises:
      RequestRefusedError: the slice is needed and cannot be asked for.
      NotInChargeError: the job was deleted or taken over elsewhere.
    """
    self._claim.check()
    for kept in (self.granted, self._condemned):
      kept.discard(one)
    self.given_up.pop(one, None)
    self.renewed.add(one)
    if state != MISSING:
      self.shell.say(f'{one.name} is lost: deleting its remains')
      self._change(self.cloud.delete(one))
    self.shell.say(f'asking for {one.name}: {one.generation}:{one.topology}, '
                   f'{one.machines} machines')
    try:
      if state == MISSING:
        self._change(self.cloud.leftovers(one))
      for argv in self.cloud.create(one):
        self.shell.run(argv, timeout_s=CHANGE_S)
    except CommandError as error:
      if needed:
        raise RequestRefusedError(str(error)) from None
      self.give_up(one, str(error))
    try:
      self._claim.check()
    except DeletedError:   # By a `delete` that did not see this slice.
      self._change(self.cloud.delete(one))
      raise

  def give_up(self, one: Slice, why: str) -> None:
    """Stops asking for a sampler's slice; the job runs without it."""
    self.given_up[one] = why
    self.shell.say(f'the request for {one.name} failed, and the job goes on without it: {why}')

  def wait(self, *, whole: bool) -> list[Slice]:
    """Waits until slices are active; those that are.

    Args:
      whole: wait for all of them; else for the trainer's and one sampler's.
    Raises:
      JobLostError: a slice was lost after it had been active.
      DeletedError: the trainer's slice was deleted elsewhere.
      RequestRefusedError: the request for a needed slice failed, or was not filled in time.
    """
    deadline = time.monotonic() + self._wait_s
    shown: dict[str, str] = {}
    while True:
      states = {one.name: self.state(one) for one in self.slices}
      for name, state in states.items():
        if state != shown.get(name):
          self.shell.say(f'{name}: {state}')
      active = [one for one in self.slices if states[one.name] == ACTIVE]
      if len(active) == len(states) or not whole and len(active) > 1 and self.trainer in active:
        return active
      for one in self.slices:   # Once may be a list of the cloud that is behind.
        if one not in self.given_up and shown.get(one.name) == states[one.name]:
          self.heed(one, states[one.name])
      failed = [one for one in self.slices
                if states[one.name] == LOST or one in self.given_up or one in self.deleted]
      for one in failed:
        if one in self.granted and one not in self.deleted:
          raise JobLostError(f'{one.name} was lost while others were waited for')
        if whole or one == self.trainer or not set(self.samplers).difference(failed):
          why = 'it was deleted elsewhere' if one in self.deleted else self.given_up.get(one, WHY)
          raise RequestRefusedError(f'the request for {one.name} failed: {why}')
      if time.monotonic() > deadline:
        raise RequestRefusedError(
            f'slices are not active after {self._wait_s / 3600:.1f} hours: {states}')
      shown = states
      time.sleep(self._poll_s)

  def found(self) -> list[Slice]:
    """The slices of this job in the zone, also samplers beyond those that the config asks for."""
    names = self.shell.run(self.cloud.list(), timeout_s=ASK_S).split()
    if self.shell.dry:
      return self.slices
    pattern = re.compile(rf'{self._name}-(trainer|sampler-\d+)')
    return [dataclasses.replace(self.slices[match[1] != 'trainer'], name=match[0])
            for match in map(pattern.fullmatch, sorted(names)) if match]

  def delete(self) -> list[Slice]:
    """Deletes all slices of this job, and returns them; checkpoints and logs stay in the bucket."""
    try:
      self._claim.release()   # First: a window that watches elsewhere must not rent them again.
    finally:
      found = self.found()
      # All at the same time: one that cannot be deleted does not spare the others.
      for commands in zip(*map(self.cloud.delete, found), strict=True):
        self.shell.run_together(commands, timeout_s=CHANGE_S, tolerate=GONE)
    return found

  def machines(self, one: Slice) -> list[tuple[str, str]]:
    """(what ssh takes, internal address) of every machine of a slice.

    Raises:
      CommandError: the cloud shows another number of machines than the slice has.
    """
    # A dry run knows no addresses.
    named = [(str(i), f'ADDRESS_{i}') for i in range(one.machines)]
    listed = self.shell.run(self.cloud.list_machines(one), timeout_s=ASK_S)
    found = named if self.shell.dry else self.cloud.addresses(listed)
    if len(found) != one.machines:
      raise CommandError(f'{one.name} should have {one.machines} machines and shows {found}.')
    return found

  def _compare(self, one: Slice) -> None:
    """Raises CommandError if the slice was asked for otherwise; one without a label is trusted."""
    wanted = self.cloud.rental.label(one)
    found = self.shell.run(self.cloud.label(one), timeout_s=ASK_S, answer=wanted).strip()
    if found not in ('', wanted):
      raise CommandError(f'{one.name} exists as {found} and {wanted} is asked for: delete it '
                         f'first, choose another --name, or ask for what exists.')

  def _change(self, commands: Sequence[Sequence[str]]) -> None:
    for argv in commands:
      self.shell.run(argv, timeout_s=CHANGE_S, tolerate=GONE)
