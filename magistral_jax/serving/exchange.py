"""One request and its answer: the job that it is, watched until it ends or its client goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from magistral_jax.records import Problem
from magistral_jax.serving.answers import AnswerForm
from magistral_jax.serving.bodies import Refused
from magistral_jax.serving.choices import Growth, OpenChoices
from magistral_jax.serving.host import HostFailed, SamplerHost
from magistral_jax.serving.jobs import SamplingJob
from magistral_jax.serving.measures import Measures
from magistral_jax.serving.queries import Query, ServedModel
from magistral_jax.serving.scores import ScoringThread

_ASKED = Problem('', '', '', 'served')      # What is asked has no answer that anybody knows.


class Gone(Exception):
  """The client went away before its answer was whole."""


class Exchange:
  """A query that answers itself, as an ASGI application.

  Args:
    form: makes its answer.
    longest_s: seconds after which it is ended.
  """

  def __init__(self, query: Query, form: type[AnswerForm], *, model: ServedModel, host: SamplerHost,
               scoring: ScoringThread, measures: Measures, longest_s: float):
    self._query, self._form, self._model, self._host = query, form, model, host
    self._scoring, self._measures, self._longest_s = scoring, measures, longest_s
    self._began = time.monotonic()

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    query, host = self._query, self._host
    if query.sampling.samples > 1:       # Also of answers that are copies of a prompt.
      host.check_fits(len(query.prompts) * query.sampling.samples)
    prompts = [host.prompt(prompt.tokens, _ASKED, prompt.images) for prompt in query.prompts]
    job = host.begin(prompts, query.sampling) if query.sampling.max_new_tokens else None
    self._measures.prompt_tokens.inc(query.prompt_tokens)
    try:
      scores = None
      if query.alternatives is not None:
        scores = await unless_gone(receive, self._in_time(self._scoring.score(
            query.prompts, query.alternatives)))
      answer = self._form(query, self._model, scores)
      if query.stream:
        await unless_gone(receive, self._stream(job, answer, send))
      else:
        whole = await unless_gone(receive, self._whole(job, answer))
        await JSONResponse(whole)(scope, receive, send)
    except Gone:
      self._measures.cancelled.inc()
    finally:
      if job is not None:
        host.drop(job, list(job.open))

  async def _in_time(self, work: Awaitable):
    """The result of some work; Refused, with 504, where the request takes too long."""
    try:
      return await asyncio.wait_for(work, self._began + self._longest_s - time.monotonic())
    except TimeoutError:
      raise Refused(f'The answer took longer than {self._longest_s:g} s.', status=504) from None

  async def _whole(self, job: SamplingJob | None, answer: AnswerForm) -> dict[str, Any]:
    found: dict[int, list[Growth]] = {}
    async for piece in self._pieces(job):
      found.setdefault(piece.index, []).append(piece)
    return answer.whole([_joined(found[index]) for index in sorted(found)])

  async def _stream(self, job: SamplingJob | None, answer: AnswerForm, send: Send) -> None:
    """Sends the answer as server-sent events."""
    await send(dict(type='http.response.start', status=200, headers=[
        (b'content-type', b'text/event-stream; charset=utf-8'), (b'cache-control', b'no-cache')]))
    drawn = 0
    try:
      async for piece in self._pieces(job):
        drawn += len(piece.tokens)
        await _event(send, json.dumps(answer.chunk(piece)))
      if self._query.stream_usage:
        await _event(send, json.dumps(answer.last_chunk(drawn)))
      await _event(send, '[DONE]')
    except (HostFailed, Refused) as error:      # It has begun: its status cannot be changed.
      code = error.status if isinstance(error, Refused) else 500
      await _event(send, json.dumps(dict(error=dict(message=str(error), code=code))))
    await send(dict(type='http.response.body', body=b'', more_body=False))

  async def _pieces(self, job: SamplingJob | None) -> AsyncIterator[Growth]:
    """The pieces of all completions as they come."""
    if job is None:       # Only prompts are asked about.
      for index in range(len(self._query.prompts) * self._query.sampling.samples):
        yield Growth(index, finish='length')
      return
    choices = OpenChoices(self._query, self._model, [prompt.ordinal for prompt in job.prompts])
    first = True
    while choices.open:
      news = await self._in_time(job.news())
      if first:
        self._measures.first_token.observe(time.monotonic() - self._began)
        first = False
      for piece in choices.grow(news):
        yield piece
      # A stop string may have ended what the sampler would go on with.
      self._host.drop(job, choices.ended)


async def unless_gone(receive: Receive, work: Awaitable):
  """The result of some work; Gone, and the work is cancelled, if the client goes away before."""
  working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
  try:
    await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
      raise Gone
    return working.result()
  finally:
    for task in (working, gone):
      task.cancel()
      with contextlib.suppress(asyncio.CancelledError):
        if not task.done():
          await task


async def _gone(receive: Receive) -> None:
  while (await receive())['type'] != 'http.disconnect':
    pass


async def _event(send: Send, text: str) -> None:
  await send(dict(type='http.response.body', body=f'data: {text}\n\n'.encode(), more_body=True))


def _joined(pieces: list[Growth]) -> Growth:
  """Pieces of one completion as one."""
  return Growth(pieces[0].index, ''.join(piece.text for piece in pieces),
               [token for piece in pieces for token in piece.tokens],
               [logp for piece in pieces for logp in piece.logps],
               [version for piece in pieces for version in piece.versions], pieces[-1].finish,
               [likeliest for piece in pieces for likeliest in piece.likeliest])
