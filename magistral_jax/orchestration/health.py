"""What every role was last seen doing, the request to stop, and the first failure of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Collection

from magistral_jax.orchestration.roles import RoleStatus


class StoppedError(RuntimeError):
  """A run was asked to stop, or failed elsewhere, while it waited for processes of its trainer."""


@dataclasses.dataclass(frozen=True)
class _Sign:
  """A role's last sign of life.

  _Sign(at=103.2, doing='training on 16 groups', waiting=False)
  """
  at: float                 # By time.monotonic, seconds.
  doing: str
  waiting: bool


class Health:
  """Signs of life of the roles, the request to stop, and the first failure; any thread may call.

  Args:
    deadline_s: runtime.deadline_s, after which a wait without progress fails.
  """

  def __init__(self, deadline_s: float):
    self.deadline_s = deadline_s
    self._lock = threading.Lock()
    self._seen: dict[str, _Sign] = {}
    self._failure: tuple[str, BaseException] | None = None
    self.stopping = threading.Event()
    self.busy_s: dict[str, float] = {}    # Seconds that each role has worked.
    self._progress = time.monotonic()

  def busy(self, role: str, doing: str) -> None:
    """Notes that a role works, and at what; until its next sign of life its seconds count."""
    self._note(role, doing, waiting=False)

  def waiting(self, role: str, what: str) -> None:
    """Notes that a role is alive and waits for `what`."""
    self._note(role, f'waiting for {what}', waiting=True)

  def _note(self, role: str, doing: str, *, waiting: bool) -> None:
    now = time.monotonic()
    with self._lock:
      before = self._seen.get(role)
      if before and not before.waiting:
        self.busy_s[role] = self.busy_s.get(role, 0.0) + now - before.at
      self._seen[role] = _Sign(now, doing, waiting)

  def progress(self) -> None:
    """Notes that tokens were drawn or completions judged: the run as a whole does not hang."""
    self._progress = time.monotonic()

  def role_status(self) -> dict[str, RoleStatus]:
    """What each role was doing when it was last seen, and how long ago that was."""
    now = time.monotonic()
    with self._lock:
      return {role: RoleStatus(sign.doing, heard_s=now - sign.at, waiting=sign.waiting)
              for role, sign in self._seen.items()}

  @contextlib.contextmanager
  def watching(self, role: str):
    """Turns an exception in a role's thread into the failure of the run."""
    try:
      yield
    except BaseException as error:  # The border of a thread: nothing above it would see it.
      with self._lock:
        self._failure = self._failure or (role, error)
      self.stopping.set()

  def check(self) -> None:
    """Raises RuntimeError if a role has failed, with the role's own error as its cause."""
    if self._failure:
      role, error = self._failure
      raise RuntimeError(f'The {role} failed: {type(error).__name__}: {error}') from error

  @contextlib.contextmanager
  def reporting_silence(self, say: Callable[[str], None], *roles: str):
    """Tells `say`, once for each deadline, that none of `roles` gives a sign of life.

    They are the roles that the calling thread gives signs for: when that thread hangs in a call,
    no other part of the program would notice.
    """
    ended = threading.Event()
    def report():
      said = time.monotonic()
      while not ended.wait(min(1.0, self.deadline_s / 10)):
        now = time.monotonic()
        with self._lock:
          heard = max((sign.at for role, sign in self._seen.items() if role in roles),
                      default=said)
        if now - max(heard, said) >= self.deadline_s:
          said = now
          say(f'Nothing is heard of {" and ".join(roles)} for {now - heard:.0f} s '
              f'(runtime.deadline_s={self.deadline_s:.0f}). {self._last_signs(now)}')
    thread = threading.Thread(target=report, name='silence', daemon=True)
    thread.start()
    try:
      yield
    finally:
      ended.set()
      thread.join(min(1.0, self.deadline_s))     # It only speaks: nothing depends on its end.

  def overdue(self, what: str, waited_s: float, held: Callable[[], str] = lambda: '') -> None:
    """Raises TimeoutError naming every role if a wait has passed the deadline without progress.

    A long completion is no stall: whenever tokens are drawn, the deadline starts anew.

    Args:
      what: the thing waited for: 'batch'.
      waited_s: seconds of the wait so far.
      held: says where the oldest work in flight is; asked only if the deadline has passed.
    """
    waited_s = min(waited_s, time.monotonic() - self._progress)
    if waited_s < self.deadline_s:
      return
    raise TimeoutError(f'No {what} for {waited_s:.0f} s (runtime.deadline_s). '
                       f'{self._last_signs(time.monotonic())} {held()}'.rstrip())

  def _last_signs(self, now: float) -> str:
    with self._lock:
      roles = '; '.join(f'{role}: {sign.doing}, seen {now - sign.at:.0f} s ago'
                        for role, sign in sorted(self._seen.items()))
    return f'{roles}.'


def stop_on_signals(health: Health, say: Callable[[str], None]) -> None:
  """Makes the first SIGINT or SIGTERM ask the run to save and end, the second end it at once.

  A terminal that is closed (SIGHUP) asks for the same, unless that is to be ignored (nohup).

  Args:
    say: tells, once, that the first one came; it is called from the signal handler or from a thread
      (`Display.ending`).
  """
  lock, told = threading.RLock(), []     # One handler may interrupt another one.
  def tell():
    with lock:
      if not told:
        told.append(True)
        say('Saving and ending after this step; Ctrl-C once more ends at once.')
  def stop(number, frame):
    del frame
    if health.stopping.is_set():
      signal.signal(number, signal.SIG_DFL)
      raise KeyboardInterrupt
    health.stopping.set()
    tell()
  numbers = [signal.SIGINT, signal.SIGTERM]
  if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    numbers.append(signal.SIGHUP)
  for number in numbers:
    signal.signal(number, stop)
  _tell_at_once(numbers, tell)


def _tell_at_once(numbers: Collection[int], tell: Callable[[], None]) -> None:
  """Calls `tell` from a thread when one of the signals comes.

  Their handlers wait until the main thread is back from XLA, for as long as an update takes.
  """
  heard, woken = os.pipe()
  os.set_blocking(woken, False)
  signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
  def listen():
    while number := os.read(heard, 1):
      if number[0] in numbers:
        tell()
        return
  threading.Thread(target=listen, name='signals', daemon=True).start()
