"""A served model behind any OpenAI-compatible endpoint: few requests at once, each with an end.

A request that times out, loses its connection, is refused for now (429, 408, 5xx) or is answered
with nonsense is tried again, after a pause that doubles; the server's Retry-After is obeyed within
limits. After `attempts` of them the command ends with one sentence, and what was done is kept.
A request that is refused while others are answered, say because it is too long for the server, is
told apart from a server that refuses all of them.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magistral_jax.data.escapes import SURROGATE

_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
# Nobody is asked there, or not by us; other refusals (400) may be of one request alone.
_FINAL = (401, 403, 404, 405)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_MOST_BYTES = 16 << 20
_MOST_TOKENS = 1 << 20     # A server that says more of an answer is wrong.
_OTHER = 'Say yes.'         # What no server refuses that answers at all.
# Of an answer, thoughts included: what 35 tokens a second write within the 120 s of a request.
MAX_TOKENS = 4096
KEY = 'OPENAI_API_KEY'      # The environment variable that holds a key, where one is needed.


class EndpointError(ValueError):
  """The endpoint cannot be used; the message is one sentence for people.

  Args:
    final: whether no other request would be answered either.
    refused: whether the server was asked and would not answer.
  """

  def __init__(self, words: str, final: bool = False, refused: bool = False):
    super().__init__(words)
    self.final, self.refused = final, refused


class RequestRefused(EndpointError):
  """The server refuses this request alone: it has answered another one since."""


class _Straight(urllib.request.HTTPRedirectHandler):
  """Follows no redirect, which would take the key with it and turn the request into another."""

  def redirect_request(self, req, fp, code, msg, headers, newurl):
    return None


class _Again(Exception):
  """A failure after which the same request may succeed."""

  def __init__(self, words: str, after_s: float = 0.0):
    super().__init__(words)
    self.after_s = after_s


@dataclasses.dataclass(frozen=True)
class EndpointSettings:
  """Settings of the requests.

  EndpointSettings('http://localhost:8000/v1', model='magistral')
  """
  url: str                  # Up to and without /chat/completions.
  model: str
  concurrency: int = 16     # Requests at the same time.
  timeout_s: float = 120.0  # Of one request, from its start to the last byte of its answer.
  attempts: int = 5
  max_tokens: int = MAX_TOKENS
  temperature: float = 0.3
  top_p: float = 1.0
  pause_s: float = _FIRST_PAUSE_S
  flag: str = 'endpoint'    # By which it is named in messages; that of the model has its end.
  key: str = KEY            # Environment variable with its key; KEY where that one is not set.

  @property
  def model_flag(self) -> str:
    """The flag that names the model."""
    return self.flag.replace('endpoint', 'model')


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a served model said, and what the server says of it.

  Answer('So \\boxed{4}.', finish='stop', tokens=9)
  """
  text: str
  finish: str               # As the server names it: 'stop', 'length', ...; '' if it does not.
  tokens: int               # That it drew; 0 if the server does not say.


class Endpoint:
  """Asks a served model; any number of threads may call it.

  Raises:
    EndpointError: a URL that is none, or settings that cannot work.
  """

  def __init__(self, settings: EndpointSettings):
    parts = urllib.parse.urlsplit(settings.url)
    if parts.scheme not in ('http', 'https') or not parts.netloc:
      raise EndpointError(f'--{settings.flag}={settings.url!r} is no URL: write it as '
                          f'http://host:port/v1.')
    if not settings.model:
      raise EndpointError(f'--{settings.flag} needs --{settings.model_flag}: the name of the model '
                          f'that it serves.')
    for name in ('concurrency', 'timeout_s', 'attempts', 'max_tokens'):
      if not getattr(settings, name) > 0:
        raise EndpointError(f'--endpoint_{name}={getattr(settings, name)} must be above 0.')
    self._settings = settings
    self._url = settings.url.rstrip('/')
    self._free = threading.BoundedSemaphore(settings.concurrency)
    self._opener = urllib.request.build_opener(_Straight)

  @property
  def longest_s(self) -> float:
    """Seconds that an answer may take, with all attempts and the pauses between them."""
    s = self._settings
    return s.attempts * (s.timeout_s + _LONGEST_PAUSE_S)

  def ask(self, text: str, *, seed: int = 0, system: str = '', may_be_empty: bool = False) -> str:
    """The text of the model's answer to one message; arguments and errors as `answer`.

    Raises:
      RequestRefused: this text is refused, and others are not; or its answer was cut off, unless
        it may be empty.
    """
    messages = [dict(role='system', content=system)] if system else []
    try:
      said = self.answer([*messages, dict(role='user', content=text)], seed=seed,
                         may_be_empty=may_be_empty)
    except EndpointError as error:
      if not error.refused or error.final:
        raise
      self.answer([dict(role='user', content=_OTHER)], may_be_empty=True)
      raise RequestRefused(str(error), refused=True) from None
    if said.finish == 'length' and not may_be_empty:
      raise RequestRefused(f'its answer was cut off after {self._settings.max_tokens} tokens '
                           f'(--endpoint_max_tokens)')
    return said.text

  def answer(self, messages: Sequence[Mapping[str, Any]], *, seed: int = 0,
             may_be_empty: bool = False, temperature: float | None = None) -> Answer:
    """The model's answer to a conversation.

    Args:
      seed: differs where another answer to the same text is wanted.
      may_be_empty: take an empty answer for one: thoughts that a server leaves out may take all
        the room.
      temperature: in the place of that of the settings.
    Raises:
      EndpointError: no usable answer within the attempts, or a refusal that is final.
    """
    s = self._settings
    fields = dict(
        messages=list(messages), seed=seed, top_p=s.top_p, max_tokens=s.max_tokens,
        temperature=s.temperature if temperature is None else temperature)
    return self._post('chat/completions', fields, lambda body: _content(body, may_be_empty))

  def prompt_logps(self, prompts: Sequence[str]) -> list[list[float]]:
    """Log-probabilities (nats) of the tokens of texts, each given those before it; nothing drawn.

    The server cuts the texts into tokens. The first token of each has none and is left out.

    Raises:
      EndpointError: as `answer`; the server does not give log-probabilities of prompts.
    """
    fields = dict(prompt=list(prompts), max_tokens=0, temperature=0.0, echo=True, logprobs=1)
    return self._post('completions', fields, lambda body: _logps(body, len(prompts)))

  def _post(self, path: str, fields: Mapping[str, Any], read: Callable[[bytes], Any]) -> Any:
    """What `read` makes of an answer; it raises _Again for one that is nonsense."""
    s = self._settings
    body = json.dumps(dict(model=s.model, stream=False) | dict(fields)).encode()
    with self._free:
      for attempt in range(1, s.attempts + 1):
        try:
          return read(self._request(path, body))
        except _Again as error:
          if attempt == s.attempts:
            raise EndpointError(
                f'--{s.flag}={s.url} gave no usable answer in {s.attempts} attempts (last: '
                f'{" ".join(str(error).split())}): see that it serves, then repeat the command, '
                f'which continues from here.') from None
          pause = min(_LONGEST_PAUSE_S, s.pause_s * 2 ** (attempt - 1))
          # Spread, so that requests refused together do not come back together.
          time.sleep(min(_LONGEST_PAUSE_S, max(error.after_s, pause * (0.5 + random.random()))))
    raise AssertionError('unreachable')

  def _request(self, path: str, body: bytes) -> bytes:
    """The body of the answer to one request; _Again or EndpointError."""
    s, began = self._settings, time.monotonic()
    headers = {'Content-Type': 'application/json'}
    if key := os.environ.get(s.key) or os.environ.get(KEY):
      headers['Authorization'] = f'Bearer {key}'
    request = urllib.request.Request(f'{self._url}/{path}', body, headers)
    try:
      with self._opener.open(request, timeout=s.timeout_s) as response:
        return _read(response, began + s.timeout_s)
    except urllib.error.HTTPError as error:
      with error:
        said = error.read(300).decode(errors='replace').strip()
      if 300 <= error.code < 400:
        raise EndpointError(
            f'--{s.flag}={s.url} answers with HTTP {error.code}, a redirect to '
            f'{error.headers.get("Location", "")[:200]!r}: name where it serves.',
            final=True, refused=True) from None
      if error.code in _AGAIN:
        raise _Again(f'HTTP {error.code}', _seconds(error.headers.get('Retry-After'))) from None
      raise EndpointError(
          f'--{s.flag}={s.url} refuses the request with HTTP {error.code} '
          f'({" ".join(said.split())[:200]}): correct --{s.flag}, --{s.model_flag} or the '
          f'key in {s.key}.', final=error.code in _FINAL, refused=True) from None
    except TimeoutError:
      raise _Again(f'no answer within {s.timeout_s:g} s') from None
    except (OSError, http.client.HTTPException) as error:
      raise _Again(str(getattr(error, 'reason', error)) or repr(error)) from None


def _read(response, deadline: float) -> bytes:
  """The body of a response; TimeoutError past the deadline, however slowly it drips."""
  parts, size = [], 0
  while part := response.read1(1 << 16):
    parts.append(part)
    size += len(part)
    if time.monotonic() > deadline:
      raise TimeoutError
    if size > _MOST_BYTES:
      raise _Again(f'an answer of more than {_MOST_BYTES >> 20} MiB')
  return b''.join(parts)


def _content(body: bytes, may_be_empty: bool) -> Answer:
  """The answer in a response; _Again if it has none, unless it may be empty."""
  try:
    said = json.loads(body)
    choice = said['choices'][0]
    content = choice['message']['content']
  except (ValueError, LookupError, TypeError, RecursionError):
    raise _Again(f'nonsense: {body[:80].decode(errors="replace")!r}') from None
  if may_be_empty and content is None:
    content = ''
  if not isinstance(content, str) or not (content.strip() or may_be_empty):
    raise _Again('an empty answer')
  if SURROGATE.search(content):
    raise _Again('an answer with half of a surrogate pair')
  finish, usage = choice.get('finish_reason'), said.get('usage')
  tokens = usage.get('completion_tokens') if isinstance(usage, dict) else None
  return Answer(content, finish if isinstance(finish, str) else '',
                tokens if type(tokens) is int and 0 <= tokens <= _MOST_TOKENS else 0)


def _logps(body: bytes, count: int) -> list[list[float]]:
  """The log-probabilities of `count` prompts in a response; _Again if it has none."""
  try:
    choices = sorted(json.loads(body)['choices'], key=lambda choice: choice['index'])
    found = [choice['logprobs']['token_logprobs'] for choice in choices]
  except (ValueError, LookupError, TypeError, RecursionError):
    raise _Again(f'no log-probabilities of the prompt: {body[:80].decode(errors="replace")!r}'
                 ) from None
  if len(found) != count or not all(
      isinstance(own, list) and own and all(type(logp) in (int, float) for logp in own[1:])
      for own in found):
    raise _Again(f'log-probabilities of {len(found)} prompts, not of all tokens of {count}')
  return [list(map(float, own[1:])) for own in found]


def _seconds(text: str | None) -> float:
  """The seconds of a Retry-After header; 0 for a date or none."""
  try:
    return max(0.0, min(_LONGEST_PAUSE_S, float(text or 0)))
  except ValueError:
    return 0.0
