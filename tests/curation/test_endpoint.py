"""Whatever a server does, a request ends: with an answer, or with one sentence."""
import concurrent.futures
import json
import socket
import time

import pytest

from magistral_jax.curation.endpoint import (
  Endpoint,
  EndpointError,
  EndpointSettings,
  RequestRefused,
)


def endpoint(url, **settings):
  return Endpoint(EndpointSettings(url, 'tiny', **dict(timeout_s=5.0, attempts=3, pause_s=0.001)
                           | settings))


def test_the_request_is_a_chat_completion(served, monkeypatch):
  monkeypatch.setenv('OPENAI_API_KEY', 'secret')
  server = served(lambda text, n: f'{text}!')
  assert endpoint(server.url + '/').ask('hello', seed=3, system='be brief') == 'hello!'
  request = server.requests[0]
  assert request['path'] == '/v1/chat/completions' and request['model'] == 'tiny'
  assert request['messages'] == [dict(role='system', content='be brief'),
                                 dict(role='user', content='hello')]
  assert request['seed'] == 3 and not request['stream']


@pytest.mark.parametrize('first', [
    dict(status=500), dict(status=503), dict(status=429, headers={'Retry-After': '0.01'}),
    dict(status=429, headers={'Retry-After': 'Wed, 21 Oct 2015 07:28:00 GMT'}),
    dict(body='<html>'), dict(body='{}'), dict(body='{"choices": []}'), dict(body='[1'),
    dict(body='{"choices": [{"message": {"content": null}}]}'), '   ', dict(hang_up=True)],
    ids=str)
def test_what_may_pass_is_tried_again(served, first):
  server = served(lambda text, n: first if n < 2 else 'fine')
  assert endpoint(server.url).ask('x') == 'fine'
  assert len(server.requests) == 3


@pytest.mark.parametrize('answer', [
    dict(status=500), dict(status=429), dict(body='nonsense'), dict(body='[' * 100_000), '',
    'a \ud800', dict(body='no\nsense'), dict(hang_up=True)],
    ids=lambda answer: ascii(answer)[:20])
def test_attempts_are_bounded(served, answer):
  server = served(lambda text, n: answer)
  with pytest.raises(EndpointError, match='no usable answer in 3 attempts') as error:
    endpoint(server.url).ask('x')
  assert len(server.requests) == 3 and '\n' not in str(error.value)


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_the_key_follows_no_redirect(served, monkeypatch, status):
  monkeypatch.setenv('OPENAI_API_KEY', 'secret')
  other = served(lambda text, n: 'fine')
  server = served(lambda text, n: dict(
      status=status, headers={'Location': f'{other.url}/chat/completions'}))
  with pytest.raises(EndpointError, match=f'HTTP {status}, a redirect to .http') as error:
    endpoint(server.url).ask('x')
  assert error.value.final and not other.requests


@pytest.mark.parametrize('status', [400, 401, 404])
def test_a_refusal_is_final(served, status):
  server = served(lambda text, n: dict(status=status, body='{"error": "no such\\nmodel"}'))
  with pytest.raises(EndpointError, match=f'HTTP {status}') as error:
    endpoint(server.url).ask('x')
  # Of one that may be of the request alone, another request tells.
  assert len(server.requests) == (2 if status == 400 else 1)
  assert not isinstance(error.value, RequestRefused) and '\n' not in str(error.value)


def test_a_text_that_is_refused_while_others_are_answered_is_told_apart(served):
  server = served(lambda text, n: dict(status=413) if text == 'long' else 'fine')
  client = endpoint(server.url)
  with pytest.raises(RequestRefused, match='HTTP 413'):
    client.ask('long')
  assert client.ask('short') == 'fine'


def test_an_answer_that_is_cut_off_is_none(served):
  """The first half of a translation may pass every check of a translation."""
  server = served(lambda text, n: dict(body=json.dumps(dict(choices=[dict(
      message=dict(content='Der Anfang'), finish_reason='length')]))))
  client = endpoint(server.url, max_tokens=2)
  with pytest.raises(RequestRefused, match=r'cut off after 2 tokens \(--endpoint_max_tokens\)'):
    client.ask('x')
  assert server.requests[0]['max_tokens'] == 2 and len(server.requests) == 1
  assert client.ask('x', may_be_empty=True) == 'Der Anfang'      # One that is judged as it is.


@pytest.mark.parametrize('slow', [dict(wait_s=5.0, body='{}'), dict(drip_s=0.05, body='x' * 900)],
                         ids=['silent', 'dripping'])
def test_a_slow_server_costs_its_time_and_no_more(served, slow):
  server = served(lambda text, n: slow)
  began = time.monotonic()
  with pytest.raises(EndpointError, match='no answer within 0.3 s'):
    endpoint(server.url, timeout_s=0.3, attempts=2).ask('x')
  assert time.monotonic() - began < 4.0


def test_a_server_that_is_gone_is_told():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    url = f'http://127.0.0.1:{free.getsockname()[1]}/v1'
  with pytest.raises(EndpointError, match='see that it serves'):
    endpoint(url).ask('x')


def test_requests_at_once_are_bounded(served):
  server = served(lambda text, n: dict(
      wait_s=0.03, body=json.dumps(dict(choices=[dict(message=dict(content=text))]))))
  client = endpoint(server.url, concurrency=3)
  with concurrent.futures.ThreadPoolExecutor(12) as pool:
    assert list(pool.map(client.ask, map(str, range(24)))) == list(map(str, range(24)))
  assert server.most_at_once <= 3


@pytest.mark.parametrize('settings, words', [
    (dict(url='localhost:8000'), 'is no URL'), (dict(model=''), 'needs --model'),
    (dict(concurrency=0), 'endpoint_concurrency=0'), (dict(attempts=0), 'endpoint_attempts=0'),
    (dict(timeout_s=0.0), 'endpoint_timeout_s=0.0'), (dict(max_tokens=0), 'endpoint_max_tokens=0')])
def test_settings_that_cannot_work(settings, words):
  with pytest.raises(EndpointError, match=words):
    Endpoint(EndpointSettings(**dict(url='http://a/v1', model='m') | settings))
