"""What the supervisor does to single processes: it adopts them, waits for them, kills them."""

from __future__ import annotations

import ctypes
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
