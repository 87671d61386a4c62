"""Connections: uvicorn, with deadlines for slow clients, and an end that lets open requests end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds that a client may take to begin a request, and to read on where it has stopped.
HEADERS_S, READ_S = 30.0, 60.0
MOST_CONNECTIONS = 4096
_MOST_HEADER_BYTES = 64 << 10
# Seconds in which answers that have ended are written, once nothing else is waited for.
_WRITE_S = 5.0


class PatientProtocol(H11Protocol):
  """A connection that is cut where its client is too slow.

  Without that, a client that sends half a header, or never reads, would hold it for ever.
  """
  headers_s, read_s = HEADERS_S, READ_S

  def __init__(self, *arguments, **named):
    super().__init__(*arguments, **named)
    self._timers: dict[str, asyncio.TimerHandle] = {}

  def connection_made(self, transport) -> None:
    super().connection_made(transport)
    self._cut('headers', self.headers_s)

  def data_received(self, data: bytes) -> None:
    before = self.cycle
    super().data_received(data)
    if self.cycle is not before:
      self._keep('headers')
    elif 'headers' not in self._timers and (before is None or before.response_complete):
      self._cut('headers', self.headers_s)

  def on_response_complete(self) -> None:
    super().on_response_complete()
    # The rest of a short answer may never be read, either.
    if self.transport.get_write_buffer_size():
      self._cut('rest', self.read_s, only_unsent=True)

  def pause_writing(self) -> None:
    super().pause_writing()
    self._cut('read', self.read_s)

  def resume_writing(self) -> None:
    super().resume_writing()
    self._keep('read')

  def connection_lost(self, exc: Exception | None) -> None:
    for reason in list(self._timers):
      self._keep(reason)
    super().connection_lost(exc)

  def _cut(self, reason: str, seconds: float, *, only_unsent: bool = False) -> None:
    """Cuts the connection after some time, unless it is kept before."""
    def cut() -> None:
      self._timers.pop(reason, None)
      if not only_unsent or self.transport.get_write_buffer_size():
        self.transport.abort()
    self._keep(reason)
    self._timers[reason] = self.loop.call_later(seconds, cut)

  def _keep(self, reason: str) -> None:
    timer = self._timers.pop(reason, None)
    if timer is not None:
      timer.cancel()


def bind(host: str, port: int) -> socket.socket:
  """A socket to `listen` on later; ValueError if the address cannot be had."""
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  found = socket.socket(family)
  try:
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
  except OSError as error:
    found.close()
    raise _taken(host, port, error) from None
  return found


def listen(found: socket.socket) -> None:
  """Lets clients come; ValueError if another process does so at that address since `bind`.

  Two sockets may be bound to one address while neither listens.
  """
  try:
    found.listen()
  except OSError as error:
    host, port = found.getsockname()[:2]
    raise _taken(host, port, error) from None


def _taken(host: str, port: int, error: OSError) -> ValueError:
  return ValueError(f'--host={host!r} --port={port} cannot be had ({error.strerror}): name another '
                    f'one.')


class DrainingServer(uvicorn.Server):
  """A server that ends in two steps.

  SIGTERM or SIGINT makes it drain: it listens on, so that new requests can be told so, until those
  that are open have ended or `drain_s` has passed. A second signal ends the process at once.

  Args:
    ready: called when the port answers.
    draining_began: called with the number of open requests.
    expired: called when `drain_s` has passed; it ends what is open.
  """

  def __init__(self, config: uvicorn.Config, *, drain_s: float, ready: Callable[[], None],
               draining_began: Callable[[int], None], expired: Callable[[], None]):
    super().__init__(config)
    self._drain_s, self._ready = drain_s, ready
    self._draining_began, self._expired = draining_began, expired
    self._deadline: float | None = None
    self._told = False

  @property
  def draining(self) -> bool:
    """Whether new requests are to be refused, since it is to end."""
    return self._deadline is not None

  def drain(self) -> None:
    """Begins to drain; once is enough."""
    if self._deadline is None:
      self._deadline = time.monotonic() + self._drain_s

  def handle_exit(self, sig: int, frame) -> None:
    """Handles a signal, in the main thread."""
    if self.draining:
      signal.signal(sig, signal.SIG_DFL)
      os.kill(os.getpid(), sig)
    self.drain()

  @contextlib.contextmanager
  def capture_signals(self):
    # Not uvicorn's, which raises them once more when all has ended: that was asked for.
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = {number: signal.signal(number, self.handle_exit)
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  async def startup(self, sockets: list[socket.socket] | None = None) -> None:
    await super().startup(sockets)
    self._ready()

  async def on_tick(self, counter: int) -> bool:
    if self._deadline is not None and not self._told:
      # Here and not in the signal's handler, which may interrupt anything.
      self._told = True
      self._draining_began(len(self.server_state.tasks))
    if self._deadline is not None and not self.should_exit:
      late = time.monotonic() > self._deadline
      if late:
        self._expired()
      self.should_exit = late or not self.server_state.tasks
    return await super().on_tick(counter)


def make(app, *, drain_s: float, ready: Callable[[], None] = lambda: None,
         draining_began: Callable[[int], None] = lambda requests: None,
         expired: Callable[[], None] = lambda: None) -> DrainingServer:
  """A server of an ASGI application, to be run on a socket; arguments as in `DrainingServer`."""
  logging.getLogger('uvicorn.error').setLevel(logging.ERROR)
  return DrainingServer(uvicorn.Config(
      app, http=PatientProtocol, ws='none', loop='asyncio', lifespan='on', log_config=None,
      access_log=False, server_header=False, limit_concurrency=MOST_CONNECTIONS,
      timeout_keep_alive=30, timeout_graceful_shutdown=round(_WRITE_S),
      h11_max_incomplete_event_size=_MOST_HEADER_BYTES),
      drain_s=drain_s, ready=ready, draining_began=draining_began, expired=expired)
