"""The parent's side of the processes that fork workers; two are kept loaded, so that one may die.

    ForkServers.fork(worker_id) --> first fork server --fork--> worker, ready after milliseconds
                                    second: idle; takes over when the first one dies
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
from magistral_jax.verifiers.workers.worker import FORK, ORDER, REAP, REPLY

KEPT = 2
START_TIMEOUT_S = 120.0    # Importing SymPy from a cold disk on a loaded machine.
START_ATTEMPTS = 3         # Failures in a row after which jobs no longer wait.
ORDER_TIMEOUT_S = 20.0     # A fork or a reaping takes milliseconds, unless the machine swaps.
TEND_S = 0.2
_PACKAGE_ROOT = str(pathlib.Path(__file__).resolve().parents[3])


class ForkServer:
  """Handle on one process that runs `worker.fork_server`. Thread-safe once it is ready.

  The process dies with the thread that made it. Every call raises WorkerDied when the process is
  gone or hangs, and kills it then.
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
    """Waits until the process has loaded everything; WorkerDied after `timeout_s`."""
    with self._lock:
      self._reply(timeout_s)

  def fork(self, worker_id: int) -> Process:
    """Forks a new worker, which is not ready yet."""
    return Process(
        worker_id, lambda number, files: self._order(FORK, number, files), self._reap_worker)

  def alive(self) -> bool:
    """Whether the process runs."""
    return self._popen.poll() is None

  def last_words(self) -> str:
    """The last 1000 bytes that the process wrote to stdout and stderr."""
    size = os.fstat(self._stderr.fileno()).st_size
    return os.pread(self._stderr.fileno(), 1000, max(0, size - 1000)).decode(
        errors='replace').strip()

  def kill(self) -> None:
    """Kills the process, and with it its workers. Safe to call twice, or while a call waits."""
    self._popen.kill()
    self._popen.wait()

  def reap(self) -> None:
    """Kills the process, reaps it and closes its files."""
    self.kill()
    with self._lock:
      self._channel.close()
      self._stderr.close()

  def _reap_worker(self, pid: int) -> int:
    """Reaps a worker and returns its exit code; -SIGKILL if the fork server is gone."""
    with contextlib.suppress(WorkerDied):
      return self._order(REAP, pid, [])
    return -signal.SIGKILL

  def _order(self, kind: bytes, number: int, files: list[int]) -> int:
    """Sends an order and returns the reply."""
    with self._lock:
      if not self.alive():
        raise WorkerDied('the fork server died')
      try:
        socket.send_fds(self._channel, [ORDER.pack(kind, number)], files)
      except OSError as error:
        raise WorkerDied(f'the fork server died: {error}') from None
      return self._reply(ORDER_TIMEOUT_S)

  def _reply(self, timeout_s: float) -> int:
    """The next reply of the process, which is killed if it sends none in time."""
    self._channel.settimeout(timeout_s)
    try:
      reply = self._channel.recv(REPLY.size, socket.MSG_WAITALL)
    except OSError as error:
      self.kill()
      raise WorkerDied(f'the fork server hangs: {error!r}') from None
    if len(reply) < REPLY.size:
      self.kill()
      raise WorkerDied(self.last_words() or 'the fork server died')
    return REPLY.unpack(reply)[0]


class ForkServers:
  """Keeps `KEPT` fork servers loaded.

  They are started from a thread of its own, since the kernel ends them with the thread that
  started them.
  """

  def __init__(self, settings: str):
    self._settings = settings
    self._changed = threading.Condition()
    self._loaded: list[ForkServer] = []
    self._loading: ForkServer | None = None
    self._failures, self._words = 0, ''
    self._closing, self._ended = False, threading.Event()
    self._thread = threading.Thread(target=self._tend, name='verifier-fork-server', daemon=True)
    self._thread.start()

  def fork(self, worker_id: int) -> Process:
    """Forks a new worker, which is not ready yet.

    Raises:
      WorkerDied: no worker could be made; the message is what the last fork server wrote.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
      with self._changed:
        while not self._loaded:
          if self._closing or self._failures >= START_ATTEMPTS:
            raise WorkerDied(self._words)
          if not self._changed.wait(max(0.0, deadline - time.monotonic())):
            raise WorkerDied(f'no fork server was loaded within {START_TIMEOUT_S:.0f} s')
        server = self._loaded[0]
      try:
        return server.fork(worker_id)
      except WorkerDied:
        with self._changed:
          self._loaded = [n for n in self._loaded if n is not server]
          self._changed.notify_all()
        server.reap()

  def stop(self) -> None:
    """Refuses new workers from here on; existing ones can still be reaped."""
    with self._changed:
      self._closing = True
      if self._loading:
        self._loading.kill()
      self._changed.notify_all()

  def close(self) -> None:
    """Kills the fork servers, and with them the workers that are left."""
    self.stop()
    self._ended.set()
    self._thread.join(30.0)

  def _tend(self) -> None:
    """Runs the thread: reaps dead fork servers and loads new ones until `stop`."""
    while True:
      with self._changed:
        for server in [n for n in self._loaded if not n.alive()]:
          self._loaded.remove(server)
          server.reap()
        if self._closing:
          break
        if len(self._loaded) >= KEPT:
          self._changed.wait(TEND_S)
          continue
        if self._failures >= START_ATTEMPTS:
          # The cause may be temporary: memory, the number of processes, a full disk.
          self._changed.wait(5 * TEND_S)
      self._load()
    self._ended.wait()
    for server in self._loaded:
      server.reap()

  def _load(self) -> None:
    """Starts a fork server and waits until it is loaded, or counts the failure."""
    server = None
    try:
      with self._changed:
        if self._closing:
          return
        server = self._loading = ForkServer(self._settings)
      server.ready(START_TIMEOUT_S)
      words = None
    except (WorkerDied, OSError) as error:
      words = str(error) or repr(error)
      if server:
        server.reap()
    with self._changed:
      self._loading = None
      if words is None:
        self._loaded.append(server)
        self._failures = 0
      else:
        self._failures, self._words = self._failures + 1, words
      self._changed.notify_all()


def _environment() -> dict[str, str]:
  """The environment of a fork server: no accelerator, no secrets, one thread per library."""
  kept = {k: os.environ[k] for k in ('PATH', 'HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'LD_LIBRARY_PATH',
                                     'VIRTUAL_ENV') if k in os.environ}
  path = [_PACKAGE_ROOT, os.environ.get('PYTHONPATH', '')]
  # Thread pools reserve address space by the gigabyte, which the memory limit counts; and a process
  # with threads must not fork.
  return kept | dict(PYTHONPATH=os.pathsep.join(filter(None, path)), PYTHONIOENCODING='utf-8',
                     PYTHONHASHSEED='0', OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1',
                     MKL_NUM_THREADS='1')
