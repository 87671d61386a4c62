"""A walk: legs one after another, each in a process of its own, and what each of them took.

A leg is done when its mark is there, DIR/done/NAME.json. The mark is written after the command has
ended well and has left its product; a leg without one is given the same command again, and the
commands of the package go on where they were.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from magistral_jax import durable
from magistral_jax.recipe.legs import Leg

MOST_S = 4 * 3600.0         # Of a leg; the longest takes twenty minutes of an idle machine.
STOP_S = 120.0              # That a command has to save and end when it is told to stop.
# `train` says so where nothing was left to learn before the last update; it is done all the same.
LEARNT_OUT = 2
_SHOWN = 12                 # Lines of a log that a failure shows.


class LegError(RuntimeError):
  """A leg ended badly; the message has its command and the end of its log."""


@dataclasses.dataclass(frozen=True)
class Mark:
  """That a leg is done, and what it took, interruptions left out."""
  name: str
  command: list[str]
  wall_s: float
  cpu_s: float              # Of all processes of the command.


def read_marks(output: Path) -> dict[str, Mark]:
  """The marks of a walk by the names of their legs."""
  found = (json.loads(path.read_text('utf-8')) for path in (output / 'done').glob('*.json'))
  return {line['name']: Mark(**line) for line in found}


def walk(legs: Sequence[Leg], output: Path, show: Callable[[str], None]) -> None:
  """Runs the legs that are not done.

  Args:
    output: the folder of the walk.
    show: prints a line.
  Raises:
    ValueError: a leg was done by another command.
    LegError: a leg ended badly, or took longer than MOST_S.
  """
  for folder in ('done', 'logs', 'evaluations'):
    (output / folder).mkdir(parents=True, exist_ok=True)
  marks = read_marks(output)
  for leg in legs:
    if leg.name in marks and tuple(marks[leg.name].command) != leg.command:
      raise ValueError(f'{output / "done" / leg.name}.json is of another command: give the '
                       f'arguments that this walk began with, or name another folder.')
  for number, leg in enumerate(legs, 1):
    if leg.name in marks:
      continue
    show(f'{number}/{len(legs)} {leg.name}: {leg.command[0]}')
    mark = run(leg, output)
    durable.write_json(output / 'done' / f'{leg.name}.json', dataclasses.asdict(mark), indent=2)
    show(f'    {mark.wall_s:.0f} s, {mark.cpu_s:.0f} s of CPU')


def run(leg: Leg, output: Path) -> Mark:
  """Runs one leg to its end. Raises LegError."""
  log = output / 'logs' / f'{leg.name}.log'
  before, began = _used(output, leg), time.monotonic()
  cpu_before = _cpu_s()
  try:
    status = _status(leg, output, log)
  finally:
    # What a stopped leg has taken so far is counted when it goes on.
    used = dict(wall_s=before['wall_s'] + time.monotonic() - began,
                cpu_s=before['cpu_s'] + _cpu_s() - cpu_before)
    durable.write_json(_usage(output, leg), used)
  there = (output / leg.product).exists()
  if not there or status not in (0, LEARNT_OUT if leg.command[0] == 'train' else 0):
    end = '\n'.join(log.read_text('utf-8', 'replace').splitlines()[-_SHOWN:])
    raise LegError(f'{leg.name} ended with status {status}'
                   f'{"" if there else f" and without {leg.product}"}. {log} ends:\n{end}')
  return Mark(leg.name, list(leg.command), **used)


def _status(leg: Leg, output: Path, log: Path) -> int:
  """The exit status of the command, whose output is added to its log."""
  # The legs compile the same programs again and again.
  env = dict(JAX_COMPILATION_CACHE_DIR=str((output / 'compiled').resolve()),
             JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0.2',
             JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='0') | os.environ
  name, *arguments = leg.command
  with open(log, 'ab') as out:
    child = subprocess.Popen([sys.executable, '-m', f'magistral_jax.{name}', *arguments], env=env,
                             stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             start_new_session=True)
    with _stopping(child):
      try:
        return child.wait(MOST_S)
      except subprocess.TimeoutExpired:
        raise LegError(f'{leg.name} was stopped after {MOST_S:.0f} s: see {log}.') from None


@contextlib.contextmanager
def _stopping(child: subprocess.Popen) -> Iterator[None]:
  """A context that ends the child, however it is left itself; SIGTERM leaves it as Ctrl-C does."""
  def interrupt(*_):
    raise KeyboardInterrupt
  before = signal.signal(signal.SIGTERM, interrupt)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)
    if child.poll() is None:
      child.terminate()
      try:
        child.wait(STOP_S)
      except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _usage(output: Path, leg: Leg) -> Path:
  return output / 'logs' / f'{leg.name}.json'


def _used(output: Path, leg: Leg) -> dict[str, float]:
  path = _usage(output, leg)
  return json.loads(path.read_text('utf-8')) if path.exists() else dict(wall_s=0.0, cpu_s=0.0)


def _cpu_s() -> float:
  """Seconds of CPU that ended children have used, with the children that they waited for."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime
