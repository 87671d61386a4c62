"""Which window is in charge of a workdir: an object in the bucket, `launch.json`.

    absent --create, run--> names the job and its newest `run` --delete--> absent

`run` reads it before it rents anything and at every look. Where it is absent, the slices have been
deleted elsewhere and are not to be rented again; where it names another `run`, that one replaces
what is lost. One workdir belongs to one job: the lock file of a run holds on one machine only,
since gcsfuse keeps locks to itself.
"""
from __future__ import annotations

import json
import os
import secrets
import tempfile

from launch.clouds import Rental
from launch.job import Job
from launch.shell import CommandError, Shell

FILE = 'launch.json'
# gcloud's words about an object that does not exist.
ABSENT = ('matched no objects', 'not_found', 'not found')
COPY_S = 120              # Seconds that a read and a write may take.


class NotInChargeError(CommandError):
  """This window is not in charge of the job, or no longer: it rents and deletes nothing."""


class DeletedError(NotInChargeError):
  """The slices of the job were deleted elsewhere."""


class Claim:
  """The claim of one window on the workdir of a job.

  Args:
    rental: where the slices of the job are rented.
  """

  def __init__(self, job: Job, rental: Rental, shell: Shell):
    self._address, self._shell = f'{job.workdir}/{FILE}', shell
    self._job = dict(name=job.name, project=rental.project, zone=rental.zone)
    self._window = ''

  def take(self) -> None:
    """Puts this window in charge.

    Raises:
      NotInChargeError: the workdir belongs to another job.
    """
    self._read_own()
    self._window = 'WINDOW' if self._shell.dry else secrets.token_hex(8)
    self._write()

  def join(self) -> None:
    """Claims the workdir for the job, and leaves a window that is in charge of it in charge.

    Raises:
      NotInChargeError: the workdir belongs to another job.
    """
    found = self._read_own()
    if not found:
      self.take()
    else:
      self._window = found['window']

  def check(self) -> None:
    """Reads whether this window is still in charge.

    Raises:
      DeletedError: the slices were deleted elsewhere.
      NotInChargeError: another window has taken over.
    """
    if self._shell.dry:
      return
    found, name = self._read(), self._job['name']
    if not found:
      raise DeletedError(f'{name} was deleted elsewhere ({self._address} is gone): nothing is '
                         f'rented again.')
    if found != self._job | dict(window=self._window):
      raise NotInChargeError(f'another `run` or `create` of {name} has taken over, and replaces '
                             f'what is lost; this one ends.')

  def release(self) -> None:
    """Ends the claim of the job, so that every window that watches it rents nothing any more."""
    found = self._read()
    if self._shell.dry or found and self._is_own(found):
      self._shell.run(['gcloud', 'storage', 'rm', self._address], timeout_s=COPY_S,
                      tolerate=ABSENT)

  def _is_own(self, found: dict) -> bool:
    return self._job.items() <= found.items()

  def _read_own(self) -> dict:
    """The claim of this job, or {}.

    Raises:
      NotInChargeError: it is that of another job.
    """
    found = self._read()
    if found and not self._is_own(found):
      raise NotInChargeError(
          f'{self._address} says that the workdir belongs to --name={found["name"]} '
          f'--project={found["project"]} --zone={found["zone"]}: `delete` that, or choose another '
          f'--workdir.')
    return found

  def _read(self) -> dict:
    """The claim, or {} where there is none."""
    text = self._shell.run(['gcloud', 'storage', 'cat', self._address], timeout_s=COPY_S,
                           tolerate=ABSENT)
    try:
      found = json.loads(text) if text.strip() else {}
      return {key: found[key] for key in ('name', 'project', 'zone', 'window')} if found else {}
    except (ValueError, KeyError, TypeError) as error:
      raise CommandError(f'{self._address} should name a job and its window, and has {text!r}: '
                         f'remove it if no other job uses this workdir.') from error

  def _write(self) -> None:
    text = json.dumps(self._job | dict(window=self._window))
    with tempfile.TemporaryDirectory() as folder:
      path = FILE
      if self._shell.dry:
        self._shell.say(f'{FILE} is {text}')
      else:
        path = os.path.join(folder, FILE)
        with open(path, 'w', encoding='utf-8') as file:
          file.write(text)
      self._shell.run(['gcloud', 'storage', 'cp', path, self._address], timeout_s=COPY_S)
