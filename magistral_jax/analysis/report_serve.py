"""A report that refreshes itself, on this machine alone.

    /        the page, made again when a file of a run has changed
    /state   what the files were when they were last looked at: the page asks for it every 4 s

The page is made by the request that finds a file changed, or the run ended, at most every
REFRESH_S. While a run cannot be read the last page stands, and /state says why. Requests that name
another host than this machine are refused: a page of the internet could send them.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from magistral_jax.analysis import report_page, report_run

REFRESH_S = 5.0
_FILES = ('metrics.jsonl', 'stages.jsonl', 'starts.jsonl', 'summary.json', 'experiment.json')
_HEADERS = {'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff',
            'Referrer-Policy': 'no-referrer', 'X-Frame-Options': 'DENY'}


class LivePage:
  """The page of some runs, made again when their files have changed; any thread may call it.

  Args:
    runs: their workdirs.
    clock: seconds.
  Raises:
    ValueError: one of them is no run.
  """

  def __init__(self, runs: Sequence[str], clock: Callable[[], float] = time.monotonic):
    self._runs, self._clock, self._lock = runs, clock, threading.Lock()
    self._looked, self._why_not = clock(), ''
    self._seen = self._state = state(runs)
    self._html = self._made()

  def look(self) -> tuple[str, bytes, str]:
    """(state, page, ''); the last ones, and why there are no newer, of a run that cannot be read.

    Both are REFRESH_S old at most where files have changed.
    """
    with self._lock:
      now = state(self._runs)
      if now != self._seen and self._clock() - self._looked >= REFRESH_S:
        self._seen, self._looked = now, self._clock()
        before, self._state = self._state, now
        try:
          self._html, self._why_not = self._made(), ''
        except ValueError as error:
          self._state, self._why_not = before, str(error)
      return self._state, self._html, self._why_not

  def _made(self) -> bytes:
    return report_page.page(report_run.read_all(self._runs), live=self._state)


def state(runs: Sequence[str]) -> str:
  """A digest of the sizes of the files of runs, of their times, and of which runs go on."""
  digest = hashlib.sha256()
  for run in map(Path, runs):
    digest.update(f'{run}:{report_run.running(run)};'.encode())
    for path in [*(run / name for name in _FILES), *sorted(run.glob('rollouts*.jsonl'))]:
      try:
        found = os.stat(path)
      except OSError:          # Not there, or what reads it says why it cannot.
        continue
      digest.update(f'{path}:{found.st_size}:{found.st_mtime_ns};'.encode())
  return digest.hexdigest()[:16]


def make_server(page: LivePage, port: int) -> http.server.ThreadingHTTPServer:
  """A server of the page on 127.0.0.1; port 0 takes any. Raises ValueError if it is taken."""

  class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 30

    def do_GET(self):
      host = self.headers.get('Host', '').partition(':')[0]
      if host not in ('127.0.0.1', 'localhost'):
        self._answer(403, 'text/plain', b'This page is for its own machine.\n')
        return
      path = self.path.partition('?')[0]
      if path not in ('/', '/state'):
        self._answer(404, 'text/plain', b'There are / and /state.\n')
        return
      found, html, why_not = page.look()
      if path == '/':
        self._answer(200, 'text/html; charset=utf-8', html)
      else:
        self._answer(503 if why_not else 200, 'text/plain; charset=utf-8',
                     (why_not or found).encode())

    def _answer(self, code: int, kind: str, body: bytes) -> None:
      self.send_response(code)
      for name, value in {**_HEADERS, 'Content-Type': kind, 'Content-Length': len(body)}.items():
        self.send_header(name, str(value))
      self.end_headers()
      self.wfile.write(body)

    def log_message(self, format, *args):
      """Says nothing: the terminal has the address."""

  class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
      if not isinstance(sys.exception(), ConnectionError):     # A browser that has gone on.
        super().handle_error(request, client_address)

  try:
    server = Server(('127.0.0.1', port), Handler)
  except OSError as error:
    raise ValueError(f'--port={port} cannot be taken ({error.strerror}): name another one.'
                     ) from None
  return server


def serve(runs: Sequence[str], port: int) -> None:
  """Shows the report of runs until it is interrupted. Raises ValueError as the above."""
  server = make_server(LivePage(runs), port)
  print(f'The report is at http://127.0.0.1:{server.server_address[1]}/ until Ctrl-C.', flush=True)
  with server:
    server.serve_forever()
