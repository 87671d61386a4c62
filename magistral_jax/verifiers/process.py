"""One worker process seen from its parent: pipes, deadlines, its last words."""

from __future__ import annotations

import json
import os
import pathlib
import select
import struct
import subprocess
import sys
import tempfile
import time

_PACKAGE_ROOT = str(pathlib.Path(__file__).resolve().parents[2])


class WorkerDied(RuntimeError):
  """The process ended, for whatever reason, with a job in hand or before it was ready."""


class Process:
  """One child and its pipes. Every call has a deadline (time.monotonic)."""

  def __init__(self, settings: str):
    self._stderr = tempfile.TemporaryFile()
    self._popen = subprocess.Popen(
        [sys.executable, '-P', '-m', 'magistral_jax.verifiers.worker', settings],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, bufsize=0,
        env=_environment(), start_new_session=True)
    for pipe in (self._popen.stdin, self._popen.stdout):
      os.set_blocking(pipe.fileno(), False)
    self._received = bytearray()
    self.pid = self._popen.pid

  def alive(self) -> bool:
    return self._popen.poll() is None

  def exchange(self, payload: bytes, deadline: float):
    """Sends a message (or nothing) and returns the next one. TimeoutError, WorkerDied."""
    out, into = self._popen.stdin.fileno(), self._popen.stdout.fileno()
    unsent = memoryview(payload)
    poll = select.poll()           # select() ends at 1024 open files.
    poll.register(into, select.POLLIN)
    if unsent:
      poll.register(out, select.POLLOUT)
    while True:
      if (message := self._message()) is not None:
        return message
      left = deadline - time.monotonic()
      if left <= 0:
        raise TimeoutError
      try:
        for pipe, _ in poll.poll(left * 1000):
          if pipe == into:
            data = os.read(into, 65536)
            if not data:
              raise WorkerDied
            self._received += data
          else:
            unsent = unsent[os.write(out, unsent[:65536]):]
            if not unsent:
              poll.unregister(out)
      except BlockingIOError:
        continue
      except BrokenPipeError:
        unsent = b''                 # It takes no more, but may have said why.
        poll.unregister(out)

  def _message(self):
    if len(self._received) < 4:
      return None
    end = 4 + struct.unpack('>I', self._received[:4])[0]
    if len(self._received) < end:
      return None
    body = bytes(self._received[4:end])
    del self._received[:end]
    try:
      return json.loads(body)
    except ValueError:
      raise WorkerDied from None

  def last_words(self) -> str:
    """The end of what it wrote to stderr."""
    size = os.fstat(self._stderr.fileno()).st_size
    tail = os.pread(self._stderr.fileno(), 1000, max(0, size - 1000))
    return tail.decode(errors='replace').strip()

  def kill(self) -> None:
    self._popen.kill()

  def bury(self) -> int:
    """Kills it if it lives and closes its files; returns its exit code (minus the signal)."""
    self._popen.kill()
    code = self._popen.wait()
    for file in (self._popen.stdin, self._popen.stdout, self._stderr):
      file.close()
    return code


def _environment() -> dict[str, str]:
  """A small environment: no accelerator, no secrets of the parent, one thread per library."""
  kept = {k: os.environ[k] for k in ('PATH', 'HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'LD_LIBRARY_PATH',
                                     'VIRTUAL_ENV') if k in os.environ}
  path = [_PACKAGE_ROOT, os.environ.get('PYTHONPATH', '')]
  # Thread pools reserve address space by the gigabyte, which the memory limit counts.
  return kept | dict(PYTHONPATH=os.pathsep.join(filter(None, path)), PYTHONIOENCODING='utf-8',
                     PYTHONHASHSEED='0', OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1')
