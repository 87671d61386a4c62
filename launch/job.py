"""A job: its name, its command, and the folder in a bucket that outlives its slices."""
from __future__ import annotations

import dataclasses

MOUNTS = '/mnt/gcs'                  # Buckets are folders here, mounted by gcsfuse.
STOP_S = 600                         # Seconds that a stopped job has to save.


@dataclasses.dataclass(frozen=True)
class Job:
  """Job('small', 'gs://bucket/small', 'python -m ...', ('tar', ...), '/tmp/small.tgz')"""
  name: str
  workdir: str              # gs://BUCKET/RUN: all that outlives the slices.
  command: str              # Run in the folder of the code on the head machine.
  upload: tuple[str, ...]   # The command that packs the code, on this machine.
  archive: str              # The file that it writes.

  @property
  def bucket(self) -> str:
    """Name of the bucket."""
    return bucket_of(self.workdir)

  @property
  def code(self) -> str:
    """Address of the packed code in the bucket."""
    return f'{self.workdir.rstrip("/")}/code.tgz'


def bucket_of(address: str) -> str:
  """The name of the bucket of a folder: gs://BUCKET/RUN -> BUCKET."""
  return address.removeprefix('gs://').split('/')[0]


def mounted(address: str) -> str:
  """The path of a folder of a bucket on every machine: gs://BUCKET/RUN -> /mnt/gcs/BUCKET/RUN."""
  return f'{MOUNTS}/{address.removeprefix("gs://")}'
