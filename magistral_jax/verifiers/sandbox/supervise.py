"""Supervises one started program with all its descendants, until it ends or exceeds a limit.

A parent that polls every few milliseconds is needed because a process limit does not count the
whole tree: four children of 200 MB each are each below 300 MB. Summed over the tree are resident
memory, the working directory's files and the buffers of sockets, CPU time, and threads. What a tree
uses between two polls is bounded by the limits of each process.

CPU time decides, so that a verdict does not depend on what else the machine does. A program that
sleeps uses none; the time in which nothing of it runs or is ready to run has a limit of its own.
Wall time is a backstop far above both.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from magistral_jax.verifiers.sandbox import jail, processes, usage

_POLL_S = 0.01
# A look that comes late, on a loaded machine, says little of the time before it.
_MOST_IDLE_S = 5 * _POLL_S
_KEPT_STDERR = 2048         # Bytes of the beginning, and of the end.
_REAP_S = 10.0


@dataclasses.dataclass(frozen=True)
class Limits:
  """What one test, or one compilation, may use; summed over all its processes.

  Reference: 4 s and 300 MB per test, 10 s to compile: arXiv:2506.10910 section 2.2.2.
  """
  time_s: float = 4.0       # CPU time.
  idle_s: float = 4.0       # Time in which no process runs, is ready to run or waits for a disk.
  wall_s: float = 60.0      # So high that a loaded machine fails no right program.
  memory_mb: int = 300      # Resident memory, files and socket buffers of all processes.
  output_mb: int = 16       # stdout and stderr together.
  box_mb: int = 32          # Size of the working directory, and of any one file.
  processes: int = 64       # Threads count too.
  files: int = 4096
  turns: int = 1            # How often `renew` begins time anew, less one.


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of a program.

  Outcome(status='exited', exit_code=0, stdout=b'3\\n', stderr=b'', cpu_s=.01, wall_s=.03)
  """
  status: str               # exited | timeout | memory | output_limit | stopped | error
  exit_code: int | None = None        # 128 + n if signal n ended it.
  stdout: bytes = b''
  stderr: bytes = b''       # The beginning and the end of it.
  cpu_s: float = 0.0
  wall_s: float = 0.0
  peak_mb: float = 0.0      # Largest memory of the tree at any poll.
  detail: str = ''


class Running:
  """A started program; a context manager that leaves no process behind.

  Args:
    popen: the first process, whose descendants are the tree.
    stdout, stderr: read ends of pipes, non-blocking; closed when the tree is dead, as is `status`.
    status: read end of bubblewrap's --json-status-fd; None without a jail.
    limits: what the whole tree may use.
    cleanup: called once the tree is dead.
    stdin_path: the file that is the program's stdin, if it can have turns: then it is the first
      process of its jail, and waits for the next turn when it is done with one.
  """

  def __init__(self, popen: subprocess.Popen, stdout: int, stderr: int, status: int | None,
               limits: Limits, cleanup: Callable[[], None], stdin_path: str | None = None):
    self._popen, self._limits, self._cleanup = popen, limits, cleanup
    self._stdin_path = stdin_path
    self._stdout_fd, self._stderr_fd, self._status_fd = stdout, stderr, status
    self._began = time.monotonic()
    self._stdout, self._stderr, self._stderr_end = bytearray(), bytearray(), b''
    self._output_bytes = 0
    self._meter = usage.Meter(popen.pid)
    self._cpu_s = self._cpu_before_s = self._idle_s = self._peak = 0.0
    self._pidfd = os.pidfd_open(popen.pid)
    processes.kill_first(popen.pid)
    self._init_pid = self._init_pidfd = self._exit_code = None
    self._box = usage.Folder(jail.BOX, limits.box_mb << 20)
    self._reports = bytearray()
    self._poll = select.poll()
    self._polled = {fd for fd in (stdout, stderr, status, self._pidfd) if fd is not None}
    for fd in self._polled:
      self._poll.register(fd, select.POLLIN)

  def __enter__(self) -> Running:
    return self

  def __exit__(self, *_) -> None:
    self.kill()

  def watch(self, until: int | None = None, beside: Running | None = None) -> Outcome:
    """Waits until the program ends or exceeds a limit, or `until` becomes readable ('stopped').

    The tree is dead afterwards, except after 'stopped', which leaves it running.

    Args:
      until: a descriptor.
      beside: a program that works on what this one says. While it is busy this one is not idle, and
        when it exceeds a limit this one is stopped for it.
    """
    if until is not None:
      self._poll.register(until, select.POLLIN)
    try:
      status, detail = self._wait(until, beside)
    finally:
      if until is not None:
        self._poll.unregister(until)
    if status == 'stopped':
      return self._outcome(status, detail)
    self.kill()
    # The pipes now hold all output: with the tree dead, nothing writes any more.
    if status == 'exited' and self._flooded():
      status, detail = 'output_limit', self._output_words()
    if status == 'exited':             # A limit may have been exceeded after the last poll.
      if self._used_s() > self._limits.time_s:
        status, detail = 'timeout', self._time_words()
      elif self._peak > self._limits.memory_mb << 20:
        status, detail = 'memory', f'more than {self._limits.memory_mb} MB'
    if status == 'exited' and self._exit_code is None:
      status, detail = 'error', f'no program was started: {self.last_words()}'
    return self._outcome(status, detail)

  def renew(self) -> None:
    """Begins the limits of time anew; allowed `limits.turns` times less one."""
    self._meter.look()
    self._cpu_s = max(self._cpu_s, self._meter.cpu_s)
    self._cpu_before_s, self._idle_s, self._began = self._cpu_s, 0.0, time.monotonic()

  def end_turn(self, exit_code: int, peak: int) -> Outcome:
    """What came of a turn; the tree is dead afterwards if the turn has exceeded a limit.

    Args:
      exit_code, peak: how the process of the turn ended, and its largest memory in bytes.
    """
    self._read_reports()
    self._drain()
    self._exit_code, self._peak = exit_code, max(self._peak, peak)
    fault = ('output_limit', self._output_words()) if self._flooded() else self._exceeded()
    if not fault and self._peak > self._limits.memory_mb << 20:
      fault = 'memory', f'more than {self._limits.memory_mb} MB'
    if fault:
      self.kill()
    return self._outcome(*fault or ('exited', ''))

  def begin_turn(self, stdin: bytes) -> bool:
    """Begins time, memory and output anew with another stdin, if nothing is left of the last turn.

    That is the case if the program's first process is the only one, with one thread, and there is
    no file in its working directory.
    """
    if self._stdin_path is None or self._pidfd is None:
      return False
    self.renew()
    files, written = self._box.look(self._init_pid)
    # bubblewrap is the other process, outside of the jail; the folder itself counts as a file.
    if len(self._meter.pids) > 2 or self._meter.threads > 2 or files != 1 or written:
      return False
    self._stdout, self._stderr, self._stderr_end = bytearray(), bytearray(), b''
    self._output_bytes, self._peak, self._exit_code = 0, 0.0, None
    write_file(self._stdin_path, stdin)
    return True

  def last_words(self) -> str:
    """The last 1000 bytes that the program wrote to stderr."""
    return (self._stderr + self._stderr_end)[-1000:].decode(errors='replace').strip()

  def kill(self) -> None:
    """Kills the tree and waits for its end. Safe to call twice; RuntimeError if it does not end."""
    if self._pidfd is None:
      return
    self._read_reports()
    # When the first process of a PID namespace is killed, the kernel kills all others before it.
    for pidfd in (self._init_pidfd, self._pidfd):
      if pidfd is not None:
        processes.kill(pidfd)
    if self._status_fd is None:
      self._kill_unjailed()
    # The largest memory of this one is what it had of ours before it became bubblewrap.
    code, exact_s, _ = self._reap(self._popen.pid, self._pidfd)
    self._popen.returncode = code
    if self._status_fd is None and self._exit_code is None:
      self._exit_code = code if code >= 0 else 128 - code
    if self._init_pidfd is not None:
      # The process became our child when bubblewrap ended, unless bubblewrap had reaped it: then
      # its CPU time is part of bubblewrap's.
      _, its_s, peak = self._reap(self._init_pid, self._init_pidfd)
      exact_s, self._peak = exact_s + its_s, max(self._peak, peak)
    self._cpu_s = max(self._cpu_s, exact_s)
    self._read_reports()
    self._drain()
    self._box.close()
    for fd in (self._pidfd, self._init_pidfd, self._stdout_fd, self._stderr_fd,
               self._status_fd):
      if fd is not None:
        os.close(fd)
    self._pidfd = None
    self._cleanup()

  def _reap(self, pid: int, pidfd: int) -> tuple[int, float, int]:
    """(exit code, CPU seconds, largest memory in bytes) of a killed process and its children.

    All are 0 if another process has reaped it. Children count if they were reaped.
    """
    if not processes.readable(pidfd, _REAP_S):
      raise RuntimeError(f'A jailed program is still there {_REAP_S} s after SIGKILL.')
    try:
      _, status, used = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
      return 0, 0.0, 0
    return (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss << 10)

  def _wait(self, until, beside):
    """(status, detail) of the first event: an end, a limit, or `until`."""
    polled = time.monotonic()
    while True:
      ready = [fd for fd, _ in self._poll.poll(_POLL_S * 1000)]
      if self._status_fd in ready:
        self._read_reports()
      for fd in (self._stdout_fd, self._stderr_fd):
        if fd in ready and self._read(fd) and self._flooded():
          return 'output_limit', self._output_words()
      if until in ready:
        return 'stopped', ''
      if self._pidfd in ready:
        return 'exited', ''
      now = time.monotonic()
      if now - polled >= _POLL_S:
        awake = False
        if beside:
          beside._drain()
          if fault := beside._exceeded():
            return fault[0], f'with what the program returned: {fault[1]}'
          awake = beside._meter.awake
        fault = self._exceeded()
        if not (awake or self._meter.awake):
          self._idle_s += min(now - polled, _MOST_IDLE_S)
        polled = now
        if fault:
          return fault

  def _exceeded(self):
    """(status, detail) if the tree exceeds a limit, else None."""
    most, meter = self._limits, self._meter
    meter.look()
    self._cpu_s = max(self._cpu_s, meter.cpu_s)
    if self._used_s() > most.time_s:
      return 'timeout', self._time_words()
    if self._idle_s > most.idle_s:
      return 'timeout', f'idle for more than {most.idle_s:g} s'
    if time.monotonic() - self._began > most.wall_s:
      return 'timeout', f'still running after {most.wall_s:g} s'
    files, written = self._box.look(self._init_pid)
    if self._init_pid and (held := usage.sockets(self._init_pid)):
      written += held * usage.socket_bytes()
    memory = meter.memory
    if memory + written > most.memory_mb << 20:
      # Pages that a parent shares with its children were counted for each of them.
      memory = meter.shared_memory()
    self._peak = max(self._peak, memory + written)
    if memory + written > most.memory_mb << 20:
      return 'memory', f'more than {most.memory_mb} MB in {len(meter.pids)} processes'
    if meter.threads > most.processes + 4:   # The jail has processes of its own.
      return 'memory', f'more than {most.processes} processes'
    if files > most.files:
      return 'output_limit', f'more than {most.files} files'
    return None

  def _used_s(self) -> float:
    """CPU time in seconds since the start or the last `renew`."""
    return self._cpu_s - self._cpu_before_s

  def _time_words(self) -> str:
    return f'more than {self._limits.time_s:g} s of CPU time'

  def _read(self, fd: int) -> bool:
    """Reads a part of what a pipe holds; False if the pipe is empty or at its end."""
    try:
      data = os.read(fd, 1 << 18)
    except BlockingIOError:
      return False
    if not data:
      self._forget(fd)
    elif fd == self._stdout_fd:
      self._stdout += data
    else:
      room = _KEPT_STDERR - len(self._stderr)
      self._stderr += data[:room]
      self._stderr_end = (self._stderr_end + data[room:])[-_KEPT_STDERR:]
    self._output_bytes += len(data)
    return bool(data)

  def _flooded(self) -> bool:
    """Whether the program wrote more than it may."""
    return self._output_bytes > self._limits.output_mb << 20

  def _drain(self) -> None:
    """Reads what is left in the pipes."""
    for fd in (self._stdout_fd, self._stderr_fd):
      while not self._flooded() and self._read(fd):
        pass

  def _read_reports(self) -> None:
    """Reads bubblewrap's reports: the PID of the jail's first process, later the exit code."""
    while self._status_fd is not None and processes.readable(self._status_fd, 0):
      data = os.read(self._status_fd, 4096)
      if not data:
        self._forget(self._status_fd)
        break
      self._reports += data
    *lines, rest = bytes(self._reports).split(b'\n')
    self._reports = bytearray(rest)
    for report in map(json.loads, lines):
      self._exit_code = report.get('exit-code', self._exit_code)
      if 'child-pid' in report:
        self._init_pid = report['child-pid']
        processes.kill_first(self._init_pid)
        try:
          self._init_pidfd = os.pidfd_open(self._init_pid)
        except ProcessLookupError:
          continue                 # The process has already ended.

  def _forget(self, fd: int) -> None:
    """Stops polling a descriptor that is at its end."""
    if fd in self._polled:
      self._polled.remove(fd)
      self._poll.unregister(fd)

  def _kill_unjailed(self) -> None:
    """Kills the tree of a program without a jail, as far as it is found.

    Without a PID namespace a program can hide its descendants.
    """
    for pid in usage.tree(self._popen.pid):
      try:
        os.kill(pid, signal.SIGKILL)
      except ProcessLookupError:
        continue
    try:
      os.killpg(self._popen.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
      return

  def _output_words(self) -> str:
    return f'more than {self._limits.output_mb} MB of output'

  def _outcome(self, status: str, detail: str) -> Outcome:
    """The Outcome with the output and the use measured so far."""
    return Outcome(
        status, self._exit_code, bytes(self._stdout), bytes(self._stderr + self._stderr_end),
        self._used_s(), time.monotonic() - self._began, self._peak / 2**20, detail)


def write_file(path: str, content: bytes) -> None:
  """Replaces what a file holds, in the file itself: jails show the file and not the path."""
  with open(path, 'r+b') as file:
    file.truncate()
    file.write(content)
