"""A job: its name, its command, and the folder in a bucket that outlives its slices."""
from __future__ import annotations

import dataclasses
import json
import shlex

from launch.shell import CommandError

MOUNTS = '/mnt/gcs'                  # Buckets are folders here, mounted by gcsfuse.
STOP_S = 600                         # Seconds that a stopped job has to save.


@dataclasses.dataclass(frozen=True)
class Job:
  """Job('small', 'gs://bucket/small', 'python -m ...', ('python', 'launch/package.py', ...))"""
  name: str
  workdir: str              # gs://BUCKET/RUN, no slash behind it: all that outlives the slices.
  command: str              # Run in the folder of the code on the head machine.
  pack: tuple[str, ...]     # With a path behind it, the command that packs the code there.

  @property
  def bucket(self) -> str:
    """Name of the bucket."""
    return bucket_of(self.workdir)

  def archive(self, code: str) -> str:
    """Address in the bucket of the packed code that has this hash."""
    return f'{self.workdir}/code/{code}.tgz'

  def versions(self, code: str) -> str:
    """Address in the bucket of the versions of all packages that were installed with it."""
    return f'{self.workdir}/code/{code}.txt'


@dataclasses.dataclass(frozen=True)
class Submission:
  """What a head machine was given to run: Submission('gs://bucket/small', 'python -m ...', '9f..')

  A file on the machine keeps it, so that it can be read whatever has become of Ray and the bucket.
  """
  workdir: str
  command: str
  code: str                 # Hash of the packed code.

  def to_json(self) -> str:
    """It as one line, which `from_json` reads."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, text: str) -> Submission | None:
    """The submission in a text; None if the text is empty.

    Raises:
      CommandError: the text is something else.
    """
    try:
      return cls(**json.loads(text)) if text.strip() else None
    except (ValueError, TypeError) as error:
      raise CommandError(f'The head should have noted what it was given to run, and has {text!r}: '
                         f'`delete` its slices, or choose another --name.') from error

  def difference(self, other: Submission) -> str:
    """What it runs otherwise than another, in words; '' if both run the same command.

    Code is not compared, and overrides may have another order.
    """
    here, there = set(shlex.split(self.command)), set(shlex.split(other.command))
    words = [f'with {shlex.join(sorted(here - there))}'] * bool(here - there)
    words += [f'without {shlex.join(sorted(there - here))}'] * bool(there - here)
    return ' and '.join(words)


def bucket_of(address: str) -> str:
  """The name of the bucket of a folder: gs://BUCKET/RUN -> BUCKET."""
  return address.removeprefix('gs://').split('/')[0]


def mounted(address: str) -> str:
  """The path of a folder of a bucket on every machine: gs://BUCKET/RUN -> /mnt/gcs/BUCKET/RUN."""
  return f'{MOUNTS}/{address.removeprefix("gs://")}'
