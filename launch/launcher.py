"""The life of a job on rented slices: ask, wait, install, start Ray, submit, follow, begin again.

    missing --create--> waiting --> active --install, ray start--> in the cluster --> job runs
       ^                                                                                  |
       +---- delete <---- lost: preempted, failed, or gone while the job ran <------------+

The head of the Ray cluster is the first host of the trainer's slice. When a sampler's slice is lost
the job goes on without it, and the new slice joins. When the trainer's is lost, so is the job: Ray
is started again everywhere, and the same command with the same workdir goes on from the newest
checkpoint in the bucket.

Hosts have a Ray resource of their role: {"trainer": 1}, or {"sampler": 1, "verifier": 1}.
"""
from __future__ import annotations

import dataclasses
import json
import re
import shlex
import time
from collections.abc import Sequence

from launch.clouds import ACTIVE, LOST, MISSING
from launch.machine import ENDED, HOME, Job, install_script, ray, start_script, state_of_job
from launch.shell import CommandError, Shell
from launch.slices import Slice

DASHBOARD = '--address=http://127.0.0.1:8265'
GONE = ('not_found', 'not found')    # What gcloud says of what is not there.
# Seconds that a command may take.
ASK_S, CHANGE_S, INSTALL_S, SSH_S = 120, 900, 1800, 300
SSH_ATTEMPTS = 5
MOST_FAILURES = 10                   # So many failed looks in a row are no passing fault.
WHY = ('quota and zone are the usual reasons; the describe command that --dry_run prints shows '
       'what the cloud says.')
STOP_S = 600                         # What a stopped job may take to save.


class Lost(CommandError):
  """The job cannot go on where it was: its slices, or the head of Ray, are gone."""


class Refused(CommandError):
  """Slices cannot be had as they are asked for: asking again would not help."""


class Launcher:
  """Brings slices and job to where the user wants them; asks the cloud each time, keeps no notes.

  Args:
    cloud: QueuedResources or InstanceGroups.
    poll_s: seconds between two looks.
    wait_s: how long slices may take to become active.
    recoveries: how often something that is lost is replaced before it gives up.
  """

  def __init__(self, cloud, slices: Sequence[Slice], job: Job, shell: Shell, *, poll_s: float,
               wait_s: float, recoveries: int):
    self._cloud, self._slices, self._job, self._shell = cloud, list(slices), job, shell
    self._poll_s, self._wait_s, self._left = poll_s, wait_s, recoveries
    self._trainer, *self._samplers = self._slices
    self._ray = ray(job)
    self._joined: dict[Slice, list[tuple[str, str]]] = {}   # In the Ray cluster, with their hosts.
    self._silent: set[str] = set()       # Addresses of theirs that were not in it at the last look.
    self._renewed: set[Slice] = set()    # Those that were asked for since, and are not in it yet.
    self._granted: set[Slice] = set()    # Those that were active since they were asked for.
    self._given_up: set[Slice] = set()   # Samplers whose request failed.

  def create(self, *, whole: bool = True) -> list[Slice]:
    """Asks for slices that are missing or lost, and waits; those that are active.

    Args:
      whole: wait for all of them; else for what a job needs, the trainer's and one sampler's.
    Raises:
      Refused: a request failed, or was not filled in time.
      CommandError: there is a slice of this name that was asked for otherwise.
    """
    states = {one: self._state(one, answer='') for one in self._slices}
    for one, state in states.items():   # Before anything is asked for.
      if state not in (LOST, MISSING):
        self._compare(one)
    for one, state in states.items():
      if state in (LOST, MISSING) or (one in self._joined and state != ACTIVE):
        self._renew(one, state, needed=whole or one == self._trainer)
    return self._wait(whole)

  def run(self) -> str:
    """Runs the job to its end, over as many losses as `recoveries` allows; how it ended."""
    while True:
      try:
        self._bring_up(self.create(whole=False))
        if self.job_state() not in ('PENDING', 'RUNNING'):
          self._submit()
        return self._watch()
      except Refused:
        raise
      except CommandError as error:
        # A slice that is preempted while it is being set up shows as a failed command.
        if not isinstance(error, Lost) and all(
            self._state(one, answer=ACTIVE) == ACTIVE for one in self._granted.copy()):
          raise
        self._spend(str(error))

  def status(self) -> list[tuple[str, str]]:
    """(name, state) of every slice, and of the job if the trainer's is active."""
    slices = self._slices + [one for one in self.found() if one not in self._slices]
    rows = [(one.name, self._state(one, answer=ACTIVE)) for one in slices]
    if rows[0][1] == ACTIVE:
      rows.append((f'job {self._job.name}', self.job_state()))
    return rows

  def logs(self) -> None:
    """Follows the job's output until the job ends or the user goes."""
    self._shell.follow_to_end(self._logs())

  def stop(self) -> None:
    """Asks the job to save and end; the slices stay."""
    self._on_head(f'{self._ray} job stop {DASHBOARD} --no-wait {self._job.name}')

  def found(self) -> list[Slice]:
    """What there is of this job in the zone, more samplers than the config asks for included."""
    names = self._shell.run(self._cloud.list(), timeout_s=ASK_S).split()
    if self._shell.dry:
      return self._slices
    pattern = re.compile(rf'{self._job.name}-(trainer|sampler-\d+)')
    return [dataclasses.replace(self._slices[match[1] != 'trainer'], name=match[0])
            for match in map(pattern.fullmatch, sorted(names)) if match]

  def delete(self) -> list[Slice]:
    """Deletes what there is, and names it; checkpoints and logs stay in the bucket."""
    found = self.found()
    # All at the same time, and none is spared because another cannot be deleted.
    for commands in zip(*map(self._cloud.delete, found), strict=True):
      self._shell.run_together(commands, timeout_s=CHANGE_S, tolerate=GONE)
    return found

  def working(self) -> bool:
    """Whether the job runs, or may run for all that can be seen."""
    try:
      return (self._state(self._trainer, answer=ACTIVE) == ACTIVE
              and self.job_state() in ('PENDING', 'RUNNING'))
    except CommandError:
      return True

  def job_state(self) -> str:
    """PENDING, RUNNING, one of ENDED, or MISSING."""
    answer = self._on_head(f'{self._ray} job status {DASHBOARD} {self._job.name} 2>&1 || true')
    return state_of_job(answer) or MISSING

  def _state(self, one: Slice, *, answer: str) -> str:
    said = self._shell.run(self._cloud.describe(one), timeout_s=ASK_S, tolerate=GONE,
                           answer=answer)
    if self._shell.dry:
      return answer or MISSING
    state = self._cloud.state(one, said) if said.strip() else MISSING
    if state == ACTIVE:
      self._granted.add(one)
    return state

  def _compare(self, one: Slice) -> None:
    """Raises CommandError if what is there was asked for otherwise; unlabelled it is trusted."""
    wanted = self._cloud.place.label(one)
    found = self._shell.run(self._cloud.label(one), timeout_s=ASK_S, answer=wanted).strip()
    if found not in ('', wanted):
      raise CommandError(f'{one.name} is there as {found} and {wanted} is asked for: delete it '
                         f'first, choose another --name, or ask for what there is.')

  def _renew(self, one: Slice, state: str, *, needed: bool = False) -> None:
    """Asks for a slice again; what is left of the old one goes first.

    Raises:
      Refused: it is needed and cannot be asked for; the job does without another.
    """
    self._joined.pop(one, None)
    for kept in (self._granted, self._given_up):
      kept.discard(one)
    self._renewed.add(one)
    if state != MISSING:
      self._shell.say(f'{one.name} is lost: deleting what is left of it')
      self._change(self._cloud.delete(one))
    self._shell.say(f'asking for {one.name}: {one.generation}:{one.topology}, {one.hosts} hosts')
    try:
      if state == MISSING:
        self._change(self._cloud.leftovers(one))
      for argv in self._cloud.create(one):
        self._shell.run(argv, timeout_s=CHANGE_S)
    except CommandError as error:
      if needed:
        raise Refused(str(error)) from None
      self._give_up(one, str(error))

  def _give_up(self, one: Slice, why: str) -> None:
    self._given_up.add(one)
    self._shell.say(f'the request for {one.name} failed, and the job goes on without it: {why}')

  def _spend(self, why: str) -> None:
    """Counts a loss; CommandError when there have been too many."""
    if not self._left:
      raise CommandError(
          f'{why}\nNo recovery is left: run again, with more --recoveries or another --tier; the '
          f'job goes on from its newest checkpoint.')
    self._left -= 1
    self._shell.say(f'{why}\n{self._left} recoveries are left')

  def _wait(self, whole: bool) -> list[Slice]:
    deadline = time.monotonic() + self._wait_s
    shown: dict[str, str] = {}
    while True:
      states = {one.name: self._state(one, answer=ACTIVE) for one in self._slices}
      for name, state in states.items():
        if state != shown.get(name):
          self._shell.say(f'{name}: {state}')
      active = [one for one in self._slices if states[one.name] == ACTIVE]
      if len(active) == len(states) or not whole and len(active) > 1 and self._trainer in active:
        return active
      failed = [one for one in self._slices if states[one.name] == LOST or one in self._given_up]
      for one in failed:
        if one in self._granted:
          raise Lost(f'{one.name} is lost while others are waited for')
        if whole or one == self._trainer or not set(self._samplers).difference(failed):
          raise Refused(f'the request for {one.name} failed: {WHY}')
      if time.monotonic() > deadline:
        raise Refused(f'slices are not active after {self._wait_s / 3600:.1f} hours: {states}')
      shown = states
      time.sleep(self._poll_s)

  def _bring_up(self, slices: Sequence[Slice]) -> None:
    """Installs where nothing is installed, and makes one Ray cluster of these slices."""
    alive = self._in_ray()
    found = {one: self._hosts(one) for one in slices if alive and one not in self._renewed}
    self._joined = {one: hosts for one, hosts in found.items()
                    if alive.issuperset(address for _, address in hosts)}
    if self._trainer not in self._joined:   # Nor is there a head, then, that others were joined to.
      self._joined.clear()
    fresh = [one for one in slices if one not in self._joined]
    if fresh:
      self._install(fresh)
      self._start(fresh)

  def _install(self, slices: Sequence[Slice]) -> None:
    self._shell.run(self._job.upload, timeout_s=INSTALL_S)
    self._shell.run(['gcloud', 'storage', 'cp', self._job.archive, self._job.code],
                    timeout_s=INSTALL_S)
    self._patiently(slices, lambda: self._ssh_all(
        {one: self._hosts(one) for one in slices}, lambda one: install_script(self._job),
        INSTALL_S))

  def _patiently(self, slices: Sequence[Slice], act):
    """act(), several times if need be: fresh hosts refuse keys for a minute or so."""
    for attempt in range(SSH_ATTEMPTS):
      try:
        return act()
      except CommandError:
        if attempt + 1 == SSH_ATTEMPTS or any(
            self._state(one, answer=ACTIVE) != ACTIVE for one in slices):
          raise
        time.sleep(self._poll_s)

  def _start(self, slices: Sequence[Slice]) -> None:
    """Starts Ray: on all hosts anew if the trainer's slice is among them, else as workers."""
    hosts = {one: self._hosts(one) for one in {self._trainer: 0} | dict.fromkeys(slices)}
    (head, address), *others = hosts[self._trainer]
    joining = {one: hosts[one] for one in slices}
    self._stop_ray(joining)
    if self._trainer in slices:
      script = start_script('trainer', '', self._job)
      self._shell.run_together(self._cloud.ssh(self._trainer, [head], script), timeout_s=SSH_S)
      joining[self._trainer] = others
    self._start_workers(joining, address)
    self._joined.update({one: hosts[one] for one in slices})
    self._renewed.difference_update(slices)

  def _rejoin(self) -> None:
    """Starts Ray again on hosts of working slices that two looks did not find in the cluster.

    The head gives up a host that it cannot reach for half a minute; its Ray then ends by itself.
    """
    alive = self._in_ray()
    silent = {one: [host for host in hosts[one is self._trainer:] if host[1] not in alive]
              for one, hosts in self._joined.items() if alive}
    again = {one: [host for host in hosts if host[1] in self._silent]
             for one, hosts in silent.items()}
    self._silent = {address for hosts in silent.values() for _, address in hosts}
    names = [f'{one.name} ({address})' for one, hosts in again.items() for _, address in hosts]
    if names:
      self._shell.say(f'{", ".join(names)} left the Ray cluster: starting Ray there again')
      try:
        self._stop_ray(again)
        self._start_workers(again, self._joined[self._trainer][0][1])
      except CommandError as error:   # Still out of reach; the job goes on without it.
        self._shell.say(f'{error}')

  def _stop_ray(self, hosts) -> None:
    self._ssh_all(hosts, lambda one: f'{self._ray} stop --force', SSH_S)

  def _start_workers(self, hosts, head: str) -> None:
    self._ssh_all(hosts, lambda one: start_script(one.role, head, self._job), SSH_S)

  def _ssh_all(self, hosts, script, timeout_s: float) -> None:
    """Runs script(slice) on the hosts of each slice, all at the same time."""
    commands = [argv for one, named in hosts.items() if named
                for argv in self._cloud.ssh(one, [worker for worker, _ in named], script(one))]
    self._shell.run_together(commands, timeout_s=timeout_s)

  def _hosts(self, one: Slice) -> list[tuple[str, str]]:
    """(what ssh takes, internal address) of every host of a slice."""
    # A dry run knows no addresses.
    named = [(str(i), f'ADDRESS_{i}') for i in range(one.hosts)]
    said = self._shell.run(self._cloud.hosts(one), timeout_s=ASK_S)
    found = named if self._shell.dry else self._cloud.addresses(said)
    if len(found) != one.hosts:
      raise CommandError(f'{one.name} should have {one.hosts} hosts and shows {found}.')
    return found

  def _on_head(self, script: str, *, answer: str = '') -> str:
    head = self._hosts(self._trainer)[0][0]
    return self._shell.run(self._cloud.ssh(self._trainer, [head], script)[0], timeout_s=SSH_S,
                           answer=answer)

  def _in_ray(self) -> set[str]:
    """Addresses of the hosts in the Ray cluster that another `run` may have left working."""
    if self._shell.dry or self._trainer in self._renewed:
      return set()
    answer = self._patiently([self._trainer], lambda: self._on_head(
        f'if {self._ray} status >/dev/null 2>&1; then {self._ray} list nodes --filter=state=ALIVE '
        f'--limit=10000 --format=json; else echo down; fi'))
    return set(re.findall(r'"node_ip": *"([^"]+)"', answer))

  def _submit(self) -> None:
    # An ended job of this name keeps the name until it is deleted.
    self._on_head(f'{self._ray} job delete {DASHBOARD} {self._job.name} >/dev/null 2>&1 || true')
    # Ray's own patience with a job that is stopped is three seconds.
    patience = json.dumps({'env_vars': {'RAY_JOB_STOP_WAIT_TIME_S': str(STOP_S)}})
    self._on_head(
        f'{self._ray} job submit {DASHBOARD} --submission-id={self._job.name} --no-wait '
        f'--runtime-env-json={shlex.quote(patience)} -- '
        f'bash -c {shlex.quote(f"cd {HOME} && exec .venv/bin/{self._job.command}")}')

  def _watch(self) -> str:
    """Follows the job until it ends, while samplers are lost and replaced; how it ended.

    Raises:
      Lost: the trainer's slice or the head of Ray is gone.
    """
    logs = self._shell.follow(self._logs())
    failures = missed = 0
    try:
      while not self._shell.dry:
        time.sleep(self._poll_s)
        try:
          if self._state(self._trainer, answer=ACTIVE) != ACTIVE:
            raise Lost(f'{self._trainer.name} is lost, and the job with it')
          state = self.job_state()
          missed = missed + 1 if state == MISSING else 0
          if missed > 1:   # Once may be a passing fault.
            self._joined.clear()
            raise Lost('Ray has forgotten the job: its head has come up anew')
          if state == 'FAILED':   # Of its own accord, or for what is dying under it?
            time.sleep(self._poll_s)
            if any(self._state(one, answer=ACTIVE) != ACTIVE for one in self._joined):
              raise Lost('the job failed while slices were lost')
          if state in ENDED.values():
            return state
          for one in self._samplers:
            self._tend(one)
          self._rejoin()
          failures = 0
        except Lost:
          raise
        except CommandError:   # A passing fault of the network, or a slice that is just dying.
          failures += 1
          if failures >= MOST_FAILURES:
            raise
        if logs.poll() is not None:
          logs = self._shell.follow(self._logs())
      return 'SUCCEEDED'
    finally:
      self._shell.end(logs)

  def _tend(self, one: Slice) -> None:
    """One look at a sampler's slice: asks for it again if it is lost, lets it join if it is new."""
    state = self._state(one, answer=ACTIVE)
    if one in self._given_up:
      return
    if state == LOST and one not in self._granted:   # Asking again would not help.
      self._give_up(one, WHY)
    elif one in self._joined and state != ACTIVE or state in (LOST, MISSING):
      self._spend(f'{one.name} is lost; the job goes on without it')
      self._renew(one, state)
    elif one not in self._joined and state == ACTIVE:
      self._install([one])
      self._start([one])

  def _logs(self) -> list[str]:
    return self._cloud.ssh(self._trainer, [self._hosts(self._trainer)[0][0]],
                           f'{self._ray} job logs --follow {DASHBOARD} {self._job.name}')[0]

  def _change(self, commands: Sequence[Sequence[str]]) -> None:
    for argv in commands:
      self._shell.run(argv, timeout_s=CHANGE_S, tolerate=GONE)
