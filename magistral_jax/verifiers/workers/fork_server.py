"""The processes that fork workers: two of them loaded at any time, so that one may die, too.

    Nurseries.fork(seat) --> first nursery --fork--> worker, ready after milliseconds
                             second: waits; takes over when the first one dies
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from magistral_jax.verifiers.workers.process import Process, WorkerDied
from magistral_jax.verifiers.workers.worker import BURY, FORK, ORDER, REPLY

KEPT = 2
START_TIMEOUT_S = 120.0    # Importing SymPy from a cold disk on a loaded machine.
START_ATTEMPTS = 3         # Failures in a row after which jobs no longer wait.
ORDER_TIMEOUT_S = 20.0     # A fork or a funeral; milliseconds, but for a machine that swaps.
TEND_S = 0.2
_PACKAGE_ROOT = str(pathlib.Path(__file__).resolve().parents[3])


class Nursery:
  """One process of `worker.nursery`; dies with the thread that made it. Thread-safe once ready.

  Any call raises WorkerDied when the process is gone or hangs; it is killed then.
  """

  def __init__(self, settings: str):
    self._stderr = tempfile.TemporaryFile()
    self._channel, theirs = socket.socketpair()
    try:
      with theirs:
        self._popen = subprocess.Popen(
            [sys.executable, '-P', '-m', 'magistral_jax.verifiers.workers.worker',
             str(theirs.fileno()), settings],
            stdin=subprocess.DEVNULL, stdout=self._stderr, stderr=self._stderr,
            pass_fds=[theirs.fileno()], env=_environment(), start_new_session=True)
    except BaseException:
      self._channel.close()
      self._stderr.close()
      raise
    self._lock = threading.Lock()

  def ready(self, timeout_s: float) -> None:
    """Returns when it is loaded."""
    with self._lock:
      self._reply(timeout_s)

  def fork(self, seat: int) -> Process:
    """A new worker."""
    return Process(seat, lambda seat, files: self._order(FORK, seat, files), self._buried)

  def alive(self) -> bool:
    return self._popen.poll() is None

  def last_words(self) -> str:
    """The end of what it wrote."""
    size = os.fstat(self._stderr.fileno()).st_size
    return os.pread(self._stderr.fileno(), 1000, max(0, size - 1000)).decode(
        errors='replace').strip()

  def kill(self) -> None:
    """Its workers die with it. Safe to call twice, and while another call waits."""
    self._popen.kill()
    self._popen.wait()

  def bury(self) -> None:
    """Kills it and closes its files."""
    self.kill()
    with self._lock:
      self._channel.close()
      self._stderr.close()

  def _buried(self, pid: int) -> int:
    """Exit code of a worker; it died by SIGKILL if its nursery did."""
    with contextlib.suppress(WorkerDied):
      return self._order(BURY, pid, [])
    return -signal.SIGKILL

  def _order(self, kind: bytes, number: int, files: list[int]) -> int:
    with self._lock:
      if not self.alive():
        raise WorkerDied('the nursery died')
      try:
        socket.send_fds(self._channel, [ORDER.pack(kind, number)], files)
      except OSError as error:
        raise WorkerDied(f'the nursery died: {error}') from None
      return self._reply(ORDER_TIMEOUT_S)

  def _reply(self, timeout_s: float) -> int:
    self._channel.settimeout(timeout_s)
    try:
      reply = self._channel.recv(REPLY.size, socket.MSG_WAITALL)
    except OSError as error:
      self.kill()
      raise WorkerDied(f'the nursery hangs: {error!r}') from None
    if len(reply) < REPLY.size:
      self.kill()
      raise WorkerDied(self.last_words() or 'the nursery died')
    return REPLY.unpack(reply)[0]


class Nurseries:
  """Keeps `KEPT` nurseries loaded, from a thread of its own: the kernel ties them to its life."""

  def __init__(self, settings: str):
    self._settings = settings
    self._changed = threading.Condition()
    self._loaded: list[Nursery] = []
    self._loading: Nursery | None = None
    self._failures, self._words = 0, ''
    self._closing, self._ended = False, threading.Event()
    self._thread = threading.Thread(target=self._tend, name='verifier-nursery', daemon=True)
    self._thread.start()

  def fork(self, seat: int) -> Process:
    """A new worker, its files and process id; not yet ready.

    Raises:
      WorkerDied: none could be made; says what the last nursery said.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
      with self._changed:
        while not self._loaded:
          if self._closing or self._failures >= START_ATTEMPTS:
            raise WorkerDied(self._words)
          if not self._changed.wait(max(0.0, deadline - time.monotonic())):
            raise WorkerDied(f'no nursery was loaded within {START_TIMEOUT_S:.0f} s')
        nursery = self._loaded[0]
      try:
        return nursery.fork(seat)
      except WorkerDied:
        with self._changed:
          self._loaded = [n for n in self._loaded if n is not nursery]
          self._changed.notify_all()
        nursery.bury()

  def stop(self) -> None:
    """From here on there are no new workers; those there are can still be buried."""
    with self._changed:
      self._closing = True
      if self._loading:
        self._loading.kill()
      self._changed.notify_all()

  def close(self) -> None:
    """Kills the nurseries, and with them what workers there are."""
    self.stop()
    self._ended.set()
    self._thread.join(30.0)

  def _tend(self) -> None:
    while True:
      with self._changed:
        for nursery in [n for n in self._loaded if not n.alive()]:
          self._loaded.remove(nursery)
          nursery.bury()
        if self._closing:
          break
        if len(self._loaded) >= KEPT:
          self._changed.wait(TEND_S)
          continue
        if self._failures >= START_ATTEMPTS:
          self._changed.wait(5 * TEND_S)       # It may be passing: memory, processes, a full disk.
      self._load()
    self._ended.wait()
    for nursery in self._loaded:
      nursery.bury()

  def _load(self) -> None:
    nursery = None
    try:
      with self._changed:
        if self._closing:
          return
        nursery = self._loading = Nursery(self._settings)
      nursery.ready(START_TIMEOUT_S)
      words = None
    except (WorkerDied, OSError) as error:
      words = str(error) or repr(error)
      if nursery:
        nursery.bury()
    with self._changed:
      self._loading = None
      if words is None:
        self._loaded.append(nursery)
        self._failures = 0
      else:
        self._failures, self._words = self._failures + 1, words
      self._changed.notify_all()


def _environment() -> dict[str, str]:
  """A small environment: no accelerator, no secrets of the parent, one thread per library."""
  kept = {k: os.environ[k] for k in ('PATH', 'HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'LD_LIBRARY_PATH',
                                     'VIRTUAL_ENV') if k in os.environ}
  path = [_PACKAGE_ROOT, os.environ.get('PYTHONPATH', '')]
  # Thread pools reserve address space by the gigabyte, which the memory limit counts; and a process
  # with threads must not fork.
  return kept | dict(PYTHONPATH=os.pathsep.join(filter(None, path)), PYTHONIOENCODING='utf-8',
                     PYTHONHASHSEED='0', OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1',
                     MKL_NUM_THREADS='1')
