"""Who was last seen doing what, and the first failure: no wait goes on in silence."""

import contextlib
import dataclasses
import threading
import time

# What was open this often in a role that was lost may be what killed it.
LOST_TOO_OFTEN = 3


@dataclasses.dataclass(frozen=True)
class RoleStatus:
  """How a role stands, as the table of roles shows it; what is not known is None.

  RoleStatus('decoding 128 sequences', where='10.0.0.7 pid 4711', heard_s=.4, queue=128, version=12)
  """
  doing: str | None = None
  where: str | None = None      # None: in the process that asks.
  heard_s: float | None = None  # Seconds since its last sign of life.
  queue: int | None = None      # Completions it has in hand; of the trainer: groups that wait.
  version: int | None = None    # Of its weights.


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
  def standings(self) -> dict[str, RoleStatus]:
    """What each role was doing when last seen, and when that was."""
    now = time.monotonic()
    with self._lock:
      return {role: RoleStatus(doing, heard_s=now - then)
              for role, (then, doing) in self._seen.items()}

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
  def minding(self, say, *roles: str):
    """Tells `say`, once for each deadline, while none of `roles` gives a sign of life.

    They are those the calling thread speaks for: when it hangs in a call, nobody else would.
    """
    ended = threading.Event()
    def mind():
      said = time.monotonic()
      while not ended.wait(min(1.0, self.deadline_s / 10)):
        now = time.monotonic()
        with self._lock:
          heard = max((then for role, (then, _) in self._seen.items() if role in roles),
                      default=said)
        if now - max(heard, said) >= self.deadline_s:
          said = now
          say(f'Nothing is heard of {" and ".join(roles)} for {now - heard:.0f} s '
              f'(runtime.deadline_s={self.deadline_s:.0f}). {self._last_words(now)}')
    thread = threading.Thread(target=mind, name='minding', daemon=True)
    thread.start()
    try:
      yield
    finally:
      ended.set()
      thread.join(self.deadline_s)

  def overdue(self, what: str, waited_s: float, held=lambda: '') -> None:
    """Raises TimeoutError naming every role if a wait has passed the deadline without progress.

    A long completion is no stall: as long as tokens are drawn the deadline starts anew.
    """
    waited_s = min(waited_s, time.monotonic() - self._progress)
    if waited_s < self.deadline_s:
      return
    raise TimeoutError(f'No {what} for {waited_s:.0f} s (runtime.deadline_s). '
                       f'{self._last_words(time.monotonic())} {held()}'.rstrip())

  def _last_words(self, now: float) -> str:
    with self._lock:
      roles = '; '.join(f'{role}: {doing}, seen {now - then:.0f} s ago'
                        for role, (then, doing) in sorted(self._seen.items()))
    return f'{roles}.'
