"""A walk: legs, each in a process of its own, and what each of them took.

They run one after another, or several chains of them beside each other.

A leg is done when its mark is there, DIR/done/NAME.json. The mark is written after the command has
ended well and has left its product; a leg without one is given the same command again, and the
commands of the package go on where they were.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

from magistral_jax import durable
from magistral_jax.recipe.legs import Leg

MOST_S = 4 * 3600.0         # Of a leg; the longest takes twenty minutes of an idle machine.
STOP_S = 120.0              # That a command has to save and end when it is told to stop.
# `train` says so where nothing was left to learn before the last update; it is done all the same.
LEARNT_OUT = 2
_LOOK_S = 0.1               # Between two looks at a child.
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
  """Runs the legs that are not done, one after another; as `beside`."""
  beside([legs], output, show)


def beside(chains: Sequence[Sequence[Leg]], output: Path, show: Callable[[str], None], *,
           parallel: int = 1) -> None:
  """Runs the legs that are not done: those of a chain in their order, chains beside each other.

  Called from the main thread: SIGTERM and Ctrl-C stop what runs.

  Args:
    output: the folder of the walk.
    show: prints a line.
    parallel: chains that run at a time.
  Raises:
    ValueError: a leg was done by another command.
    LegError: a leg ended badly, or took longer than MOST_S; what ran beside it is stopped.
  """
  for folder in ('done', 'logs', 'evaluations'):
    (output / folder).mkdir(parents=True, exist_ok=True)
  marks = read_marks(output)
  for leg in itertools.chain.from_iterable(chains):
    if leg.name in marks and tuple(marks[leg.name].command) != leg.command:
      raise ValueError(f'{output / "done" / leg.name}.json is of another command: give the '
                       f'arguments that this walk began with, or name another folder.')
  legs = [leg.name for chain in chains for leg in chain]
  stop = threading.Event()

  def follow(chain: Sequence[Leg]) -> None:
    for leg in chain:
      if leg.name in marks or stop.is_set():
        continue
      show(f'{legs.index(leg.name) + 1}/{len(legs)} {leg.name}: {leg.command[0]}')
      mark = run(leg, output, stop)
      if mark is not None:
        durable.write_json(output / 'done' / f'{leg.name}.json', dataclasses.asdict(mark), indent=2)
        show(f'    {mark.wall_s:.0f} s, {mark.cpu_s:.0f} s of CPU')

  with _interrupting(), futures.ThreadPoolExecutor(parallel) as pool:
    followed = [pool.submit(follow, chain) for chain in chains]
    try:
      for one in futures.as_completed(followed):
        one.result()
    finally:
      stop.set()               # All have ended, or one failed: then the others end, too.


def run(leg: Leg, output: Path, stop: threading.Event) -> Mark | None:
  """Runs one leg to its end; None if it was told to stop before. Raises LegError."""
  log = output / 'logs' / f'{leg.name}.log'
  before, began = _used(output, leg), time.monotonic()
  status, cpu_s, stopped = _status(leg, output, log, stop)
  # What a stopped leg has taken so far is counted when it goes on.
  used = dict(wall_s=before['wall_s'] + time.monotonic() - began, cpu_s=before['cpu_s'] + cpu_s)
  durable.write_json(_usage(output, leg), used)
  if stopped and stop.is_set():
    return None
  if stopped:
    raise LegError(f'{leg.name} was stopped after {MOST_S:.0f} s: see {log}.')
  there = (output / leg.product).exists()
  if not there or status not in (0, LEARNT_OUT if leg.command[0] == 'train' else 0):
    end = '\n'.join(log.read_text('utf-8', 'replace').splitlines()[-_SHOWN:])
    raise LegError(f'{leg.name} ended with status {status}'
                   f'{"" if there else f" and without {leg.product}"}. {log} ends:\n{end}')
  return Mark(leg.name, list(leg.command), **used)


def _status(leg: Leg, output: Path, log: Path, stop: threading.Event) -> tuple[int, float, bool]:
  """(exit status of the command, its seconds of CPU, whether it had to be stopped).

  What it prints is added to its log.
  """
  # The legs compile the same programs again and again.
  env = dict(JAX_COMPILATION_CACHE_DIR=str((output / 'compiled').resolve()),
             JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0.2',
             JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='0') | os.environ
  name, *arguments = leg.command
  with open(log, 'ab') as out:
    child = subprocess.Popen([sys.executable, '-m', f'magistral_jax.{name}', *arguments], env=env,
                             stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             start_new_session=True)
  cpu_s = _wait(child, MOST_S, stop)
  stopped = cpu_s is None
  for end in (child.terminate, child.kill):
    if cpu_s is None:
      end()
      cpu_s = _wait(child, STOP_S, threading.Event())
  if cpu_s is None:
    raise LegError(f'{leg.name} does not end: see {log}, and process {child.pid}.')
  return child.returncode, cpu_s, stopped


def _wait(child: subprocess.Popen, seconds: float, stop: threading.Event) -> float | None:
  """Seconds of CPU of a child that has ended, with those of the children that it waited for.

  Returns:
    None if it has not ended after so many seconds, or when it is told to stop.
  """
  deadline = time.monotonic() + seconds
  while True:
    # Not Popen.wait: it does not tell what one of several children used.
    pid, status, used = os.wait4(child.pid, os.WNOHANG)
    if pid:
      child.returncode = os.waitstatus_to_exitcode(status)
      return used.ru_utime + used.ru_stime
    if time.monotonic() > deadline or stop.wait(_LOOK_S):
      return None


@contextlib.contextmanager
def _interrupting() -> Iterator[None]:
  """A context that SIGTERM leaves as Ctrl-C does."""
  def interrupt(*_):
    raise KeyboardInterrupt
  before = signal.signal(signal.SIGTERM, interrupt)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def _usage(output: Path, leg: Leg) -> Path:
  return output / 'logs' / f'{leg.name}.json'


def _used(output: Path, leg: Leg) -> dict[str, float]:
  path = _usage(output, leg)
  return json.loads(path.read_text('utf-8')) if path.exists() else dict(wall_s=0.0, cpu_s=0.0)
