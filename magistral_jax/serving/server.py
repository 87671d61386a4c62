"""Connections: uvicorn, with deadlines for clients that send or read too slowly."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds that a client may take to begin a request, and to read on where it has stopped.
HEADERS_S, READ_S = 30.0, 60.0
MOST_CONNECTIONS = 4096
_MOST_HEADER_BYTES = 64 << 10


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
  """A socket that listens; ValueError if the address cannot be had."""
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  found = socket.socket(family)
  try:
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((host, port))
  except OSError as error:
    found.close()
    raise ValueError(f'--host={host!r} --port={port} cannot be had ({error.strerror}): name '
                     f'another one.') from None
  return found


def make(app, *, drain_s: float) -> uvicorn.Server:
  """A server of an ASGI application, to be run on a socket.

  SIGTERM and SIGINT end it: it takes no more connections, and waits for the open requests.

  Args:
    drain_s: seconds after which requests that are still open are ended.
  """
  logging.getLogger('uvicorn.error').setLevel(logging.ERROR)
  return uvicorn.Server(uvicorn.Config(
      app, http=PatientProtocol, ws='none', loop='asyncio', lifespan='on', log_config=None,
      access_log=False, server_header=False, limit_concurrency=MOST_CONNECTIONS,
      timeout_keep_alive=30, timeout_graceful_shutdown=round(drain_s),
      h11_max_incomplete_event_size=_MOST_HEADER_BYTES))


def run(server: uvicorn.Server, listening: socket.socket) -> None:
  """Serves until a signal, whose default it then keeps from ending the process."""
  # uvicorn raises the signal once more when all requests have ended: that was asked for.
  before = signal.signal(signal.SIGTERM, lambda number, frame: None)
  try:
    server.run(sockets=[listening])
  finally:
    signal.signal(signal.SIGTERM, before)
