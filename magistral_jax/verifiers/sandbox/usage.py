"""What a process and all its descendants use, as /proc has it: CPU time, memory, threads.

CPU time is that of every process ever seen, and of the children that its parents waited for. A
process adds the time of a child to its own only when it waits for it, so the sum over the living
alone would forget a child that nobody waited for; and a child that lived between two looks was
never seen, but its parent's sum has it.
"""

from __future__ import annotations

import functools
import os

_TICKS = os.sysconf('SC_CLK_TCK')
_PAGE = os.sysconf('SC_PAGE_SIZE')
_LAST_MESSAGE = 1 << 17     # A buffer takes a message as long as it is not full.
_AWAKE = b'RD'              # Running or ready to run; waiting for a disk.


class Meter:
  """The use of a process tree, measured by each `look`.

  cpu_s: CPU time in seconds so far. memory: resident bytes. threads: their number. awake: whether
  any thread runs, is ready to run or waits for a disk; a tree that is not awake sleeps or waits for
  another program. pids: the processes of the last look.
  """

  def __init__(self, pid: int):
    self._pid = pid
    self._own: dict[tuple[int, bytes], float] = {}     # (process, its start) -> seconds.
    self._unseen_s = self.cpu_s = 0.0
    self.memory = self.threads = 0
    self.awake, self.pids = True, [pid]

  def look(self) -> None:
    """Measures the present processes."""
    self.pids = tree(self._pid)
    self.memory = self.threads = 0
    self.awake = False
    alive_s = 0.0
    for pid in self.pids:
      if (fields := _stat(pid)) is None:
        continue
      own_s, waited_s = (sum(map(int, fields[i:i + 2])) / _TICKS for i in (11, 13))
      self._own[pid, fields[19]] = own_s
      alive_s += own_s + waited_s
      self.memory += int(fields[21]) * _PAGE
      threads = int(fields[17])
      self.threads += threads
      self.awake = self.awake or fields[0] in _AWAKE or (threads > 1 and _thread_awake(pid))
    seen_s = sum(self._own.values())
    self._unseen_s = max(self._unseen_s, alive_s - seen_s)
    self.cpu_s = max(self.cpu_s, seen_s + self._unseen_s)

  def shared_memory(self) -> int:
    """Resident bytes, where a page that n processes share counts as 1/n for each; takes longer."""
    return sum(map(_proportional, self.pids))


class Folder:
  """A folder in a jail that is a tmpfs of its own, once the jail is there.

  Args:
    path: in the jail.
    size: its size in bytes, by which it is told from the folder of that name outside.
  """

  def __init__(self, path: str, size: int):
    self._path, self._size = path, size
    self._fd: int | None = None

  def look(self, pid: int | None) -> tuple[int, int]:
    """(number of files, bytes) in it, by a process of the jail; zeros before it is there."""
    if self._fd is None and pid is not None:
      try:
        fd = os.open(f'/proc/{pid}/root{self._path}', os.O_PATH)
      except OSError:
        return 0, 0                # The jail is still being built.
      found = os.fstatvfs(fd)
      if found.f_blocks * found.f_frsize != self._size:
        os.close(fd)               # Still a folder outside: the jail has not changed its root yet.
        return 0, 0
      self._fd = fd
    if self._fd is None:
      return 0, 0
    found = os.fstatvfs(self._fd)
    return found.f_files - found.f_ffree, (found.f_blocks - found.f_bfree) * found.f_frsize

  def close(self) -> None:
    """Closes its descriptor; nothing may be asked afterwards."""
    if self._fd is not None:
      os.close(self._fd)


def tree(pid: int) -> list[int]:
  """Process ids of a process and all its present descendants."""
  found = [pid]
  for parent in found:
    try:
      for thread in os.listdir(f'/proc/{parent}/task'):
        with open(f'/proc/{parent}/task/{thread}/children') as children:
          found += map(int, children.read().split())
    except (FileNotFoundError, ProcessLookupError):
      continue
  return found


def sockets(pid: int) -> int:
  """Number of sockets in the network namespace of a process; 0 where it cannot be told."""
  try:
    with open(f'/proc/{pid}/net/sockstat', 'rb') as counts:
      return int(counts.readline().split()[2])       # sockets: used 4
  except (OSError, IndexError, ValueError):
    return 0


@functools.lru_cache
def socket_bytes() -> int:
  """The most that the kernel buffers for one Unix socket whose buffer was not made larger."""
  with open('/proc/sys/net/core/wmem_default') as default:
    return int(default.read()) + _LAST_MESSAGE


def _stat(path: int | str) -> list[bytes] | None:
  """The fields of a process's or thread's stat from its state on; None if it is gone."""
  try:
    with open(f'/proc/{path}/stat', 'rb') as stat:
      # The second field is the program's name in brackets, which may contain any character.
      return stat.read().rsplit(b')', 1)[1].split()
  except (FileNotFoundError, ProcessLookupError):
    return None


def _thread_awake(pid: int) -> bool:
  """Whether any thread of a process is awake."""
  try:
    threads = os.listdir(f'/proc/{pid}/task')
  except (FileNotFoundError, ProcessLookupError):
    return False
  return any(fields[0] in _AWAKE for thread in threads if (fields := _stat(f'{pid}/task/{thread}')))


def _proportional(pid: int) -> int:
  """Resident bytes of a process, where a page that n processes share counts as 1/n."""
  try:
    with open(f'/proc/{pid}/smaps_rollup', 'rb') as rollup:
      return sum(int(line.split()[1]) << 10 for line in rollup if line.startswith(b'Pss:'))
  except OSError:                  # The process ended, or may not be read: all of it counts then.
    fields = _stat(pid)
    return int(fields[21]) * _PAGE if fields else 0
