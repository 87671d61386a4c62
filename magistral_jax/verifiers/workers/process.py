"""One worker process as the pool sees it: its pipes, deadlines and last output."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import tempfile
import time


class WorkerDied(RuntimeError):
  """Raised when a process ended with a job in hand, or before it was ready."""


class Process:
  """A worker process and its pipes. Every call has a deadline (time.monotonic).

  Args:
    worker_id: number of the worker in its pool.
    fork: (worker_id, files) -> process id; the files are the worker's jobs, replies and stderr.
    reap: process id -> exit code; kills the process if it still runs.
  """

  def __init__(self, worker_id: int, fork, reap):
    self._stderr = tempfile.TemporaryFile()
    jobs, self._into = os.pipe()
    self._out, replies = os.pipe()
    self._reap = reap
    try:
      self.pid = fork(worker_id, [jobs, replies, self._stderr.fileno()])
    except BaseException:
      self._close()
      raise
    finally:
      os.close(jobs)
      os.close(replies)
    for pipe in (self._into, self._out):
      os.set_blocking(pipe, False)
    self._received, self._unsent = bytearray(), memoryview(b'')

  def alive(self) -> bool:
    """Whether the process still holds its end of the pipe, which only its end closes."""
    poll = select.poll()
    poll.register(self._out, 0)
    return not poll.poll(0)

  def cpu_s(self) -> float | None:
    """Seconds of processor time that the process has used; None where there is no /proc."""
    try:
      with open(f'/proc/{self.pid}/stat') as stat:
        # The name, in brackets, may hold spaces; user and system time are fields 14 and 15.
        fields = stat.read().rsplit(')', 1)[1].split()
    except OSError:
      return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

  def exchange(self, payload: bytes, deadline: float):
    """Sends a message, or nothing, and returns the next one that arrives.

    After a TimeoutError another call, with nothing to send, goes on with this one.

    Raises:
      TimeoutError: nothing arrived before the deadline.
      WorkerDied: the process ended, or wrote something that is no message.
    """
    self._unsent = memoryview(payload) if payload else self._unsent
    poll = select.poll()           # select() ends at 1024 open files.
    poll.register(self._out, select.POLLIN)
    if self._unsent:
      poll.register(self._into, select.POLLOUT)
    while True:
      if (message := self._message()) is not None:
        return message
      left = deadline - time.monotonic()
      try:
        ready = poll.poll(max(0.0, left) * 1000)
        # A reply that has arrived counts even if this thread first ran after the deadline.
        if left <= 0 and self._out not in dict(ready):
          raise TimeoutError
        for pipe, _ in ready:
          if pipe == self._out:
            data = os.read(self._out, 65536)
            if not data:
              raise WorkerDied
            self._received += data
          else:
            self._unsent = self._unsent[os.write(self._into, self._unsent[:65536]):]
            if not self._unsent:
              poll.unregister(self._into)
      except BlockingIOError:
        continue
      except BrokenPipeError:
        self._unsent = memoryview(b'')   # The process reads no more, but may have said why.
        poll.unregister(self._into)

  def _message(self):
    """The next complete message received, or None."""
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
    """The last 1000 bytes that the process wrote to stderr."""
    size = os.fstat(self._stderr.fileno()).st_size
    tail = os.pread(self._stderr.fileno(), 1000, max(0, size - 1000))
    return tail.decode(errors='replace').strip()

  def kill(self) -> None:
    """Sends SIGKILL. Allowed only before `reap`, while the process id cannot be another's."""
    with contextlib.suppress(ProcessLookupError):
      os.kill(self.pid, signal.SIGKILL)

  def reap(self) -> int:
    """Kills and reaps the process, closes its files; returns its exit code (minus the signal)."""
    code = self._reap(self.pid)
    self._close()
    return code

  def _close(self) -> None:
    os.close(self._into)
    os.close(self._out)
    self._stderr.close()
