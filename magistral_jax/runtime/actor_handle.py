"""A role in a process of its own: the Ray actor that holds it, and the handle that watches it.

Ray starts the process where its resources are, carries calls and notices deaths. What Ray does not
notice, a process that is alive and does nothing (SIGSTOP, a hung driver, a cut network), the
watchdog does: every actor answers pings from a thread of its own, whatever its role is busy with,
and an actor that has not answered for `heartbeat_s` is killed, so that calls to it fail and their
callers wake up.

How long a start may take is counted from the process's first answer, because before that an actor
may be waiting for its node, which takes as long as it takes. A process that hangs while it builds
its role (its chip is still held by the process before it, a file system does not answer) is lost
after `start_s`, one that freezes there after `heartbeat_s`. A process that freezes before its
first answer, while it imports this module, is not detected: without Ray's dashboard it cannot be
told from one that waits for its node. It is shown as not started, and the other roles do its work.

The process of role 'sampler-0' has the title `ray::sampler-0` (`ps`, `top`, `kill`), in a call
sometimes `ray::sampler-0.call`; in Ray's dashboard the class is 'sampler-0' and the actor's name is
'sampler-0', then 'sampler-0.1' after it was lost once.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from absl import logging
from ray import exceptions

from magistral_jax.orchestration.roles import Lost

# A wait for a process that starts looks this often whether it is still wanted.
_LOOK_S = 1.0


class NotStarted(Lost):
  """A process has not answered yet: it waits for its node, or freezes before it can answer."""


class RoleActor:
  """The actor: builds a role by a function and calls its methods."""

  def __init__(self):
    self._role = None

  def build(self, make: Callable, *args) -> dict[str, Any]:
    """Makes the role in this process; returns the process id and the node's address."""
    self._role = make(*args)
    return dict(pid=os.getpid(), node=ray.util.get_node_ip_address())

  def call(self, method: str, *args):
    """The role's answer, from the one thread that its methods run on."""
    return getattr(self._role, method)(*args)

  @ray.method(concurrency_group='side')
  def aside(self, method: str, *args):
    """The role's answer, from a second thread: for methods that say they may be called so."""
    return getattr(self._role, method)(*args)

  @ray.method(concurrency_group='health')
  def ping(self) -> int:
    """Answers whatever the role is doing; returns the process id."""
    return os.getpid()


class ActorHandle:
  """Starts an actor, calls its role, and starts another actor in its place when it is lost.

  Args:
    name: of the role, as people read it: 'sampler-1'.
    make, args: build the role in the actor's process.
    options: Ray's for the actor: resources, runtime_env.
    restarts: how often in a row it may be lost without a call of `mark_healthy` in between.
    start_s: seconds after its process's first answer within which the role must be built.
    final: exceptions of the role that another process would only raise again: calls raise them as
      they are.
  """

  def __init__(self, name: str, make: Callable, args: tuple, *, options: Mapping[str, Any],
               restarts: int, start_s: float = math.inf,
               final: tuple[type[Exception], ...] = ()):
    self.name, self._make, self._args, self._final = name, make, args, final
    self._options, self._restarts, self._start_s = dict(options), restarts, start_s
    self.lost_in_a_row = self.lost = 0
    self.where: dict[str, Any] = {}
    self.seen: float | None = None        # When it last answered; None: not started yet.
    self.start()

  def start(self) -> None:
    """Asks for a process and for the role in it; waits for neither."""
    # Ray titles a process by the name of its class.
    kind = ray.remote(max_restarts=0, concurrency_groups=dict(side=1, health=1))(
        type(self.name, (RoleActor,), {}))
    # A killed actor may keep its name for a moment.
    name = f'{self.name}.{self.lost}' if self.lost else self.name
    actor = kind.options(**self._options, name=name).remote()
    # Asked first, so that it is answered whatever happens in the building; and there before
    # `self.actor` is, so that the watchdog never takes the greeting of the actor before for it.
    self.greeting, self._answered = actor.ping.remote(), None
    self.actor = actor
    self.built = actor.build.remote(self._make, *self._args)
    self.where, self.seen = {}, time.monotonic()

  def ready(self) -> bool:
    """Whether the role is built; never waits, so a caller that waits for it asks again and again.

    Raises:
      Lost: it could not be built, or not within `start_s` of the process's first answer.
    """
    if self.where:
      return True
    if self.arrived(self.built):
      self.where = self.get(self.built, 1.0)
    elif self._answered is None:
      # Noted by the thread that may restart it, so that it is never the answer of the one before.
      self._answered = time.monotonic() if self.arrived(self.greeting) else None
    elif time.monotonic() - self._answered > self._start_s:
      raise Lost(f'{self.name} answers, but its role was not built within {self._start_s:.0f} s '
                 f'(runtime.deadline_s)')
    return bool(self.where)

  @property
  def answers(self) -> bool:
    """Whether its process is known to have started, by what `ready` has found."""
    return bool(self.where) or self._answered is not None

  @property
  def status(self) -> dict[str, Any]:
    """`where` and `heard_s` of its RoleStatus."""
    # Read once: other threads change both while an actor is restarted.
    where, seen = self.where, self.seen
    if not where:
      return dict(where='starting' if self.answers else 'not started')
    return dict(where=f'{where["node"]} pid {where["pid"]}',
                heard_s=0.0 if seen is None else time.monotonic() - seen)

  def wait_ready(self, timeout_s: float, check: Callable[[], None] = lambda: None) -> None:
    """Returns when the role is built.

    Args:
      check: called every _LOOK_S while it waits; raises what is to end the wait.
    Raises:
      NotStarted: its process has not even answered within `timeout_s`.
      Lost: it could not be built, or not within `timeout_s`.
    """
    if self.where:
      return
    until = time.monotonic() + timeout_s
    while not self.arrivals([self.built], _LOOK_S)[0] and time.monotonic() < until:
      check()
    if self.arrived(self.built):
      self.where = self.get(self.built, _LOOK_S)
    elif self.arrived(self.greeting):
      raise Lost(f'{self.name} gave no answer within {timeout_s:.0f} s')
    else:
      raise NotStarted(f'{self.name} was not started within {timeout_s:.0f} s: it waits for its '
                       f'node')

  def call(self, method: str, *args, timeout_s: float):
    """The role's answer to a method.

    Raises:
      Lost: the process died or was killed, the method raised, or took longer than `timeout_s`.
      Exception: the method raised one of `final`.
    """
    return self.get(self.ask(method, *args), timeout_s)

  def ask(self, method: str, *args):
    """Calls a method of the role without waiting; returns a reference for `get`."""
    return self.actor.call.remote(method, *args)

  def ask_aside(self, method: str, *args):
    """Asks as `ask` does, for a method that may run beside the others."""
    return self.actor.aside.remote(method, *args)

  def ask_ping(self):
    """A reference to the answer of a ping."""
    return self.actor.ping.remote()

  def arrived(self, reference) -> bool:
    """Whether there is something to `get`, an answer or a failure."""
    return bool(ray.wait([reference], timeout=0)[0])

  def arrivals(self, references: Sequence, wait_s: float) -> list[bool]:
    """Says for each of several references whether it arrived; waits `wait_s` for the first."""
    if wait_s:
      ray.wait(references, timeout=wait_s)
    there = set(ray.wait(references, num_returns=len(references), timeout=0)[0])
    return [reference in there for reference in references]

  def get(self, reference, timeout_s: float):
    """The value of a reference of this actor; raises as `call`."""
    try:
      return ray.get(reference, timeout=timeout_s)
    except exceptions.GetTimeoutError as error:
      raise Lost(f'{self.name} gave no answer within {timeout_s:.0f} s') from error
    except exceptions.RayTaskError as error:
      if isinstance(error.cause, self._final):
        raise error.cause from error
      # The process may live on, but the state of its role after a failure is unknown.
      raise Lost(f'{self.name} failed: {error.cause!r}\n{error}') from error
    except exceptions.RayError as error:
      raise Lost(f'{self.name} died: {" ".join(str(error).split())[:1000]}') from error

  def mark_healthy(self) -> None:
    """Notes that it has done something useful since it was started."""
    self.lost_in_a_row = 0

  def restart(self, error: Lost) -> None:
    """Starts another process in place of the lost one.

    Raises:
      RuntimeError: it was lost too often in a row; with its name and its last output.
    """
    self.lost_in_a_row += 1
    if self.lost_in_a_row > self._restarts:
      self.kill()
      raise RuntimeError(
          f'{self.name} was lost {self.lost_in_a_row} times in a row (runtime.restarts='
          f'{self._restarts}). Its last output: {error}') from error
    self.replace(error)

  def replace(self, error: Lost) -> None:
    """Starts another process in place of this one, which does not count as lost in a row."""
    self.kill()
    self.lost += 1
    logging.warning('%s is started again (%d). %s', self.name, self.lost,
                    str(error).split('\n')[0][:300])
    self.start()

  def kill(self, actor: Any = None) -> None:
    """Ends a process at once, if it still runs: the one of now, or `actor`, which it may have
    replaced since."""
    with contextlib.suppress(exceptions.RayError):
      ray.kill(actor or self.actor, no_restart=True)


class Watchdog:
  """Pings all actors from one thread; kills those that give no answer for `heartbeat_s`.

  A context manager. An actor that waits for its resources is not started yet, and so not late.
  What fails while one actor is looked at is logged, and does not end the watch over the others.
  """

  def __init__(self, heartbeat_s: float):
    self._heartbeat_s = heartbeat_s
    self._handles: list[ActorHandle] = []
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._run, name='watchdog', daemon=True)

  def add(self, handle: ActorHandle) -> ActorHandle:
    """Watches one more; returns it."""
    self._handles.append(handle)
    return handle

  def __enter__(self) -> Watchdog:
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._ended.set()
    self._thread.join(self._heartbeat_s)

  @property
  def handles(self) -> list[ActorHandle]:
    """All that are watched."""
    return list(self._handles)

  def _run(self) -> None:
    asked: dict[int, tuple[Any, Any]] = {}      # By handle: its actor then, the open ping.
    while not self._ended.wait(min(1.0, self._heartbeat_s / 5)):
      for handle in self.handles:
        try:
          self._look(handle, asked)
        except Exception:   # The border of a thread: without it, frozen actors stay for ever.
          logging.exception('The watchdog failed at %s and goes on.', handle.name)

  def _look(self, handle: ActorHandle, asked: dict[int, tuple[Any, Any]]) -> None:
    """Asks one actor for a sign of life; kills it if it has given none for too long."""
    actor, ping = asked.get(id(handle), (None, None))
    if actor is not handle.actor:
      # The greeting is there before the actor is, so that it is never the one before's.
      actor = handle.actor
      asked[id(handle)] = actor, handle.greeting
      handle.seen = None                        # Not started yet.
    elif handle.arrived(ping):
      # Also when it is the news of a death: a caller of that actor hears of it.
      handle.seen = time.monotonic()
      asked[id(handle)] = actor, actor.ping.remote()
    elif handle.seen and time.monotonic() - handle.seen > self._heartbeat_s:
      logging.warning('%s has not answered for %.0f s: it is killed.', handle.name,
                      self._heartbeat_s)
      # The one that was asked: another may have taken its place meanwhile.
      handle.kill(actor)
      handle.seen = time.monotonic()
