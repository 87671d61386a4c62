"""The addresses of a server, as a Starlette application.

    POST /v1/completions  /v1/chat/completions  /inference/v1/generate
    GET  /v1/models  /health  /metrics  /weight_info  /is_paused
    POST /pause?mode=keep|wait|abort  /resume  /update_weights
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hmac
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magistral_jax.records import Problem
from magistral_jax.sampler.slots import Sampling
from magistral_jax.serving import bodies, dates, queries
from magistral_jax.serving.answers import AnswerForm, ChatAnswer, CompletionAnswer, GenerationAnswer
from magistral_jax.serving.bodies import Body, Refused
from magistral_jax.serving.control import Loaded, ServedWeights
from magistral_jax.serving.driver import MODES
from magistral_jax.serving.exchange import Exchange, Gone, unless_gone
from magistral_jax.serving.host import HostFailed, SamplerHost
from magistral_jax.serving.measures import Measures
from magistral_jax.serving.queries import Query, ServedModel
from magistral_jax.serving.scores import ScoringThread

# Answers to requests by their paths: how the body is read, and the form of the answer.
FORMS: dict[str, tuple[Callable[[Body, ServedModel], Query], type[AnswerForm]]] = {
    '/v1/completions': (queries.completion, CompletionAnswer),
    '/v1/chat/completions': (queries.chat, ChatAnswer),
    '/inference/v1/generate': (queries.generation, GenerationAnswer),
}
# What is answered while the server drains: it may be what lets open requests end.
_TO_THE_END = {'/metrics', '/weight_info', '/is_paused', '/pause', '/resume'}
_RETRY_S = 5              # After which another server may have taken the place of one that drains.
# A version of weights is an int32 on its way.
_MOST_VERSION = 2**31 - 1
_MOST_LETTERS = 1000      # Of an error, which may repeat what was sent.


@dataclasses.dataclass(frozen=True)
class RequestLimits:
  """What a request may take.

  RequestLimits(body_bytes=32 << 20, body_s=60., answer_s=3600., health_s=60.)
  """
  body_bytes: int           # Of its body.
  body_s: float             # Seconds in which the body must have come.
  answer_s: float           # ... in which the answer must be whole.
  health_s: float           # ... in which a token must be drawn.


class Api:
  """Answers requests; `app` is the ASGI application.

  Args:
    key: what clients must send as `Authorization: Bearer KEY`; '' for nothing.
    draining: says whether the server is to end, and begins nothing new.
  """

  def __init__(self, model: ServedModel, host: SamplerHost, scoring: ScoringThread,
               weights: ServedWeights, measures: Measures, limits: RequestLimits, *, key: str,
               draining: Callable[[], bool]):
    self._model, self._host, self._scoring, self._weights = model, host, scoring, weights
    self._measures, self._limits, self._created = measures, limits, int(dates.now())
    routes = [Route(path, functools.partial(self._answer, read=read, form=form), methods=['POST'])
              for path, (read, form) in FORMS.items()]
    routes += [Route(path, answer, methods=['GET']) for path, answer in {
        '/v1/models': self._models, '/v1/models/{name:path}': self._one_model,
        '/health': self._health, '/metrics': self._metrics,
        '/weight_info': self._weight_info, '/is_paused': self._is_paused}.items()]
    routes += [Route(path, answer, methods=['POST']) for path, answer in {
        '/pause': self._pause, '/resume': self._resume,
        '/update_weights': self._update_weights}.items()]
    app = Starlette(
        routes=routes, lifespan=self._lifespan,
        exception_handlers={Refused: _refused, HTTPException: _http_error, HostFailed: _failed,
                            Exception: _failed})
    self.app: ASGIApp = _Guarded(app, {route.path for route in routes}, key, measures,
                                draining)

  @contextlib.asynccontextmanager
  async def _lifespan(self, app):
    del app
    self._host.start()
    yield
    self._scoring.close()
    await self._host.close(within_s=self._limits.health_s)

  async def _body(self, request: Request) -> Body:
    return await bodies.read(request, most_bytes=self._limits.body_bytes,
                             within_s=self._limits.body_s)

  async def _answer(self, request: Request, read, form: type[AnswerForm]):
    body = await self._body(request)
    # Texts are tokenized beside the thread that answers.
    query = await asyncio.to_thread(read, body, self._model)
    return Exchange(query, form, model=self._model, host=self._host, scoring=self._scoring,
                    measures=self._measures, longest_s=self._limits.answer_s)

  async def _models(self, request: Request) -> Response:
    del request
    return JSONResponse(dict(object='list', data=[self._card()]))

  async def _one_model(self, request: Request) -> Response:
    if request.path_params['name'] != self._model.name:
      raise HTTPException(404)
    return JSONResponse(self._card())

  def _card(self) -> dict[str, Any]:
    return dict(id=self._model.name, object='model', created=self._created,
                owned_by='magistral_jax', root=self._weights.loaded.path,
                max_model_len=self._model.longest)

  async def _health(self, request: Request) -> Response:
    """Answers 200 when a token was drawn since the request came, or while it is paused."""
    try:
      await unless_gone(request.receive, asyncio.wait_for(self._draw_one(), self._limits.health_s))
    except TimeoutError:
      raise Refused(f'No token was drawn within {self._limits.health_s:g} s.',
                    status=503) from None
    return JSONResponse(dict(status='paused' if self._host.paused else 'ok'))

  async def _draw_one(self) -> None:
    """Returns when some sequence has drawn a token; begins one if there is none."""
    host, began = self._host, time.monotonic()
    while not host.paused and host.drawn_at < began:
      if host.failure is not None:
        raise HostFailed(str(host.failure))
      if host.open:
        await asyncio.sleep(0.01)
        continue
      prompt = host.prompt(np.zeros(1, np.int32), Problem('', '', '', 'health'))
      job = host.begin([prompt], Sampling(1, 0.0, 1.0, 1))
      try:
        while job.open and not host.paused:
          with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.news(), 0.1)
      finally:
        host.drop(job, list(job.open))

  async def _metrics(self, request: Request) -> Response:
    del request
    return Response(self._measures.text(), media_type='text/plain; version=0.0.4')

  async def _weight_info(self, request: Request) -> Response:
    """Which weights are in use; their SHA-256 takes a pass over all of them, once a version."""
    loaded, sha256 = await unless_gone(
        request.receive, self._in_time(self._weights.described()))
    return JSONResponse(_told(loaded) | dict(sha256=sha256))

  async def _is_paused(self, request: Request) -> Response:
    del request
    return JSONResponse(dict(is_paused=bool(self._host.paused), mode=self._host.paused or None))

  async def _pause(self, request: Request) -> Response:
    asked, flags = await self._body(request), {'true': True, 'false': False}
    asked.add({key: flags.get(value, value) for key, value in request.query_params.items()})
    mode, clear = asked.text('mode', 'abort'), asked.flag('clear_cache')
    if mode not in MODES:
      raise asked.wrong('mode', mode, f'one of {", ".join(MODES)}')
    asked.end()
    await unless_gone(request.receive, self._in_time(self._host.pause(mode, clear_cache=clear)))
    return JSONResponse(dict(status='paused', mode=mode))

  async def _resume(self, request: Request) -> Response:
    (await self._body(request)).end()
    await self._in_time(self._host.resume())
    return JSONResponse(dict(status='resumed'))

  async def _update_weights(self, request: Request) -> Response:
    body = await self._body(request)
    # Some clients call the folder so.
    key = 'weight_dir' if body.has('weight_dir') else 'path'
    path, step = body.text(key), body.text('step', 'newest')
    version = body.whole('version', None, 0, _MOST_VERSION)
    body.end()
    if not path:
      raise Refused('path is missing: name a workdir, a GGUF file or a published folder.',
                    param='path')
    loaded = await self._in_time(self._weights.update(path, step, version))
    return JSONResponse(dict(status='updated') | _told(loaded))

  async def _in_time(self, work):
    """The result of some work; Refused, with 504, if it takes longer than an answer may."""
    try:
      return await asyncio.wait_for(work, self._limits.answer_s)
    except TimeoutError:
      raise Refused(f'It took longer than {self._limits.answer_s:g} s.', status=504) from None


class _Guarded:
  """Asks for the key, keeps web pages out, begins nothing at the end, counts what was answered."""

  def __init__(self, app: ASGIApp, paths: set[str], key: str, measures: Measures,
               draining: Callable[[], bool]):
    self._app, self._paths, self._measures, self._draining = app, paths, measures, draining
    self._key = f'Bearer {key}'.encode() if key else b''

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope['type'] != 'http':
      await self._app(scope, receive, send)
      return
    began, status = time.monotonic(), [0]
    path = scope['path'] if scope['path'] in self._paths else 'other'

    async def noted(message: Message) -> None:
      if message['type'] == 'http.response.start':
        status[0] = message['status']
      await send(message)

    fault = self._fault(scope)
    with contextlib.suppress(ClientDisconnect, Gone):
      await (fault or self._app)(scope, receive, noted)
    self._measures.requests.labels(path, status[0] or 'gone').inc()
    self._measures.seconds.labels(path).observe(time.monotonic() - began)

  def _fault(self, scope: Scope) -> Response | None:
    headers = dict(scope['headers'])
    if self._key:
      given = headers.get(b'authorization', b'')
      if scope['path'] != '/health' and not hmac.compare_digest(given, self._key):
        return _error('The key is missing or wrong: send it as "Authorization: Bearer KEY".', 401)
    elif b'origin' in headers:
      # A page of the web, opened on this machine, could otherwise send requests.
      return _error('Without a key this server answers no web pages.', 403)
    if self._draining() and scope['path'] not in _TO_THE_END:
      return _error('The server is about to end and begins nothing new.', 503, Connection='close',
                    **{'Retry-After': str(_RETRY_S)})
    return None


def _told(loaded: Loaded) -> dict[str, Any]:
  return dict(version=loaded.version, path=loaded.path, step=loaded.step, loaded_at=loaded.at)


def _error(words: str, status: int, param: str | None = None, **headers: str) -> JSONResponse:
  """An error in the form that clients of /v1 read."""
  kind = 'invalid_request_error' if 400 <= status < 500 else 'server_error'
  said = dict(message=_cut(words), type=kind, param=param and _cut(param), code=status)
  return JSONResponse(dict(error=said), status, headers)


def _cut(words: str) -> str:
  half = _MOST_LETTERS // 2
  return words if len(words) <= _MOST_LETTERS else f'{words[:half]} ... {words[-half:]}'


async def _refused(request: Request, refused: Exception) -> Response:
  del request
  assert isinstance(refused, Refused)
  after = {} if refused.after_s is None else {'Retry-After': str(refused.after_s)}
  return _error(str(refused), refused.status, refused.param, **after)


async def _http_error(request: Request, error: Exception) -> Response:
  assert isinstance(error, HTTPException)
  words = f'This server has no {request.method} {request.url.path[:200]}.'
  return _error(words, error.status_code, **(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
  del request
  return _error(f'The server has failed: {error!r}.', 500)
