"""Packs files of the repository for the machines of a job.

    python launch/package.py NAME... ARCHIVE

NAME is a file or a folder of the repository. Prints the SHA-256 of the tar in ARCHIVE: it depends
on names, contents and execute bits alone, so the same code always has the same hash.
"""
from __future__ import annotations

import gzip
import hashlib
import io
import pathlib
import sys
import tarfile
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pack(names: Sequence[str], root: pathlib.Path = ROOT) -> bytes:
  """The tar of these files and folders below `root`, without compiled Python.

  Raises:
    FileNotFoundError: one of them is not there.
  """
  paths: set[pathlib.Path] = set()
  for name in names:
    found = root / name
    if not found.exists():
      raise FileNotFoundError(f'{name} is not in {root}, so it cannot be packed for the machines.')
    paths |= {path for path in (found.rglob('*') if found.is_dir() else [found])
              if path.is_file() and '__pycache__' not in path.parts}
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w', format=tarfile.PAX_FORMAT) as archive:
    for path in sorted(paths):
      content = path.read_bytes()
      entry = tarfile.TarInfo(path.relative_to(root).as_posix())
      entry.size, entry.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
      archive.addfile(entry, io.BytesIO(content))
  return buffer.getvalue()


def digest(content: bytes) -> str:
  """The hash that names a tar."""
  return hashlib.sha256(content).hexdigest()


def main(argv: Sequence[str]) -> None:
  *names, archive = argv
  content = pack(names)
  pathlib.Path(archive).write_bytes(gzip.compress(content, mtime=0))
  print(digest(content))


if __name__ == '__main__':
  main(sys.argv[1:])
