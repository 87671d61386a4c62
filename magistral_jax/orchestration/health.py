"""Who was last seen doing what, and the first failure: no wait goes on in silence."""

import contextlib
import threading
import time


class Lost(RuntimeError):
  """A role's process died, hung or gave its failure as last words; what it held is gone."""


class Health:
  """Heartbeats of the roles, the request to stop, and the first failure; thread-safe."""

  def __init__(self, deadline_s: float):
    self.deadline_s = deadline_s
    self._lock = threading.Lock()
    self._seen: dict[str, tuple[float, str]] = {}
    self._failure: tuple[str, BaseException] | None = None
    self.stopping = threading.Event()
    self.busy: dict[str, float] = {}
    self._progress = time.monotonic()

  def beat(self, role: str, doing: str) -> None:
    """Notes that a role is alive and what it does or waits for; counts its busy seconds."""
    now = time.monotonic()
    with self._lock:
      then, did = self._seen.get(role, (now, 'waiting'))
      if not did.startswith('waiting'):
        self.busy[role] = self.busy.get(role, 0.0) + now - then
      self._seen[role] = (now, doing)

  def progress(self) -> None:
    """Notes that tokens were drawn or completions scored: whoever waits, waits for a live run."""
    self._progress = time.monotonic()

  @property
  def doing(self) -> dict[str, str]:
    """What each role was doing when last seen."""
    with self._lock:
      return {role: doing for role, (_, doing) in self._seen.items()}

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

  def overdue(self, what: str, waited_s: float) -> None:
    """Raises TimeoutError naming every role if a wait has passed the deadline without progress.

    A long completion is no stall: as long as tokens are drawn the deadline starts anew.
    """
    waited_s = min(waited_s, time.monotonic() - self._progress)
    if waited_s < self.deadline_s:
      return
    now = time.monotonic()
    with self._lock:
      roles = '; '.join(f'{role}: {doing}, seen {now - then:.0f} s ago'
                        for role, (then, doing) in sorted(self._seen.items()))
    raise TimeoutError(f'No {what} for {waited_s:.0f} s (runtime.deadline_s). {roles}.')
