"""starts.jsonl: when, by what and on what a run was started, and how each of these starts ended.

    {"at": "2026-11-30T09:14:23+00:00", "command": ["train", "--config=configs/quickstart.py", ...],
     "commit": "00611a0b12", "changed": false, "machine": "...", "devices": "8 cpu",
     "python": "3.11.9", "packages": {"jax": "0.10.2", ...}}
    {"at": "2026-11-30T09:19:01+00:00", "ended": "finished", "why": ""}

A start without an end was killed, or is going on. Lines are never taken back, nor is anything else
made to depend on them: one that a crash of the machine has spoilt is left out.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from magistral_jax.metrics import JsonlWriter

FILE = 'starts.jsonl'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
_MOST_CHARACTERS = 2000        # Of the reason of a failure.


@contextlib.contextmanager
def noted(workdir: str | os.PathLike, command: str, arguments: list[str],
          devices: str) -> Generator[Callable[[str], None]]:
  """Notes that a run starts, and at the end of the block how it ended: `failed` with an exception.

  Gives a function that takes how it ended otherwise: `finished` or `stopped`.

  Args:
    command: such as 'train'; arguments: those of its command line.
    devices: what it runs on, for people.
  Raises:
    WriteError: the file cannot be written as the run starts.
  """
  with contextlib.closing(JsonlWriter(Path(workdir) / FILE)) as lines:
    lines.write(dict(at=_now(), command=[command, *arguments], devices=devices, **_machine(),
                     **commit(Path(__file__).parent)))
    end = dict(ended='stopped', why='')
    try:
      yield lambda how: end.update(ended=how)
    except BaseException as error:
      end = dict(ended='failed', why=_reason(error)[:_MOST_CHARACTERS])
      raise
    finally:
      with contextlib.suppress(OSError):       # A full disk has ended it; the run says so itself.
        lines.write(dict(at=_now(), **end))


def read(workdir: str | os.PathLike, left_out: list[str] | None = None) -> list[dict[str, Any]]:
  """The starts of a run, each with `ended`, `ended_at` and `why`; `ended` is '' where none stands.

  [] of a run without the file. A key that a line does not have is not looked for.

  Args:
    left_out: gets where lines stand that cannot be read, each in words.
  """
  path, found = Path(workdir) / FILE, []
  for line in _lines(path, [] if left_out is None else left_out) if path.exists() else ():
    if 'ended' not in line:
      found.append(line | dict(ended='', ended_at='', why=''))
    elif found:
      found[-1] |= dict(ended=line['ended'], ended_at=line.get('at'), why=line.get('why'))
  return found


def _lines(path: Path, left_out: list[str]) -> Iterator[dict[str, Any]]:
  for number, text in enumerate(path.read_bytes().split(b'\n')[:-1], 1):
    try:
      line = json.loads(text)
      if not isinstance(line, dict):
        raise ValueError('no object')
    except (ValueError, RecursionError) as error:
      left_out.append(f'{path}, line {number}: {error}')
      logging.warning('%s, line %d cannot be read and is left out (%s).', path, number, error)
    else:
      yield line


def identity(workdir: str | os.PathLike) -> str:
  """Twelve hexadecimal digits that a run keeps whenever it is resumed, and no other run has."""
  first = next(iter(read(workdir)), {}).get('at', '')
  return hashlib.sha256(f'{Path(workdir).resolve()} {first}'.encode()).hexdigest()[:12]


def commit(folder: Path) -> dict[str, Any]:
  """The commit of the sources in a folder, and whether files differ from it; '' without git."""
  git = lambda *words: subprocess.run(
      ['git', '-C', str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
  try:
    return dict(commit=git('rev-parse', '--short=10', 'HEAD').stdout.strip(),
                changed=bool(git('status', '--porcelain', '--untracked-files=no').stdout.strip()))
  except (OSError, subprocess.SubprocessError):
    return dict(commit='', changed=False)


def _reason(error: BaseException) -> str:
  """What went wrong: of an exit with a sentence, the mistake that it came from."""
  if isinstance(error, SystemExit) and error.__context__ is not None:
    error = error.__context__
  return f'{type(error).__name__}: {error}'.strip(': ')


def _machine() -> Mapping[str, Any]:
  versions = {}
  for name in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[name] = importlib.metadata.version(name)
  return dict(machine=f'{platform.node()}, {platform.system()} {platform.machine()}, '
                      f'{os.cpu_count()} processors',
              python=sys.version.split()[0], packages=versions)


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
