"""What the supervisor does to single processes: it adopts them, waits for them, kills them."""

from __future__ import annotations

import ctypes
import os
import pathlib
import select
import signal

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
  """Makes this process the parent of its orphaned descendants.

  Otherwise their parent is the first process of the machine, which in many containers never reaps:
  every jail would leave a zombie.
  """
  ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_first(pid: int) -> None:
  """Has the kernel kill this process, or one that it starts, before others if memory runs out."""
  try:
    with open(f'/proc/{pid}/oom_score_adj', 'w') as score:
      score.write('1000')
  except OSError:                  # It has ended, or the kernel does not allow it.
    return


def readable(fd: int, wait_s: float) -> bool:
  """Whether a descriptor becomes readable within `wait_s` seconds."""
  poll = select.poll()
  poll.register(fd, select.POLLIN)
  return bool(poll.poll(wait_s * 1000))


def kill(pidfd: int) -> None:
  """Sends SIGKILL to a process, unless it has ended."""
  try:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
  except ProcessLookupError:
    return


def end_all_of(uid: int, wait_s: float) -> None:
  """Kills every process of a user; waits `wait_s` seconds for the end of each. Raises TimeoutError.
  """
  while found := _of(uid):
    for pid in found:
      try:
        pidfd = os.pidfd_open(pid)
      except ProcessLookupError:
        continue
      try:
        kill(pidfd)
        if not readable(pidfd, wait_s):
          raise TimeoutError(f'Process {pid} of user {uid}, which a killed verifier has left, does '
                             f'not end within {wait_s:.0f} s of SIGKILL: see what holds it.')
      finally:
        os.close(pidfd)


def _of(uid: int) -> list[int]:
  """Process ids of a user's processes, but for those that wait to be reaped."""
  found = []
  for status in pathlib.Path('/proc').glob('[0-9]*/status'):
    try:
      text = status.read_text()
    except (FileNotFoundError, ProcessLookupError):
      continue
    if f'\nUid:\t{uid}\t' in text and '\nState:\tZ' not in text:
      found.append(int(status.parent.name))
  return found
