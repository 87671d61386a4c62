"""What a server refuses, and what it cuts: sizes, keys, slow clients, clients that go away."""
import contextlib
import json
import socket

import pytest

from magistral_jax.serving.server import PatientProtocol
from tests.serving.conftest import SlowEngine
from tests.serving.malformed import BODIES, HEADS

LONG = dict(prompt='ab', max_tokens=40)


@pytest.fixture
def slow(serve):
  """A server with one slot, whose dispatches wait."""
  served = serve(SlowEngine(slots=1, pages=40, page_tokens=4, slot_pages=12, decode_steps=2),
                 queue=2)
  served.engine.go.clear()
  return served


def request(served, path, body):
  """A socket on which a request was sent."""
  data = json.dumps(body).encode()
  found = socket.create_connection(served.address, timeout=20)
  found.sendall(f'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
                f'Content-Length: {len(data)}\r\n\r\n'.encode() + data)
  return found


def read_all(connection):
  """What comes until the other side closes."""
  parts = []
  with contextlib.suppress(ConnectionError):
    while part := connection.recv(1 << 16):
      parts.append(part)
  return b''.join(parts)


@pytest.mark.parametrize('name', BODIES)
def test_a_malformed_body_is_refused_with_what_is_wrong(served, name):
  path, body, status, words = BODIES[name]
  found, _, said = served.ask('POST', path, body)
  assert found == status, said
  assert words in said['error']['message'] and said['error']['code'] == status
  assert len(said['error']['message']) < (400 if 'long' not in name else 1100)


def test_a_key_that_is_null_asks_for_nothing(served):
  choice, = served.post('/v1/completions', prompt='ab', guided_json=None, top_k=None)['choices']
  assert choice['finish_reason'] in ('stop', 'length')   # Its first token may be the end.


@pytest.mark.parametrize('name', HEADS)
def test_a_malformed_request_is_refused(served, name):
  data, status = HEADS[name]
  with socket.create_connection(served.address, timeout=20) as connection:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    said = read_all(connection)
  assert said.startswith(f'HTTP/1.1 {status}'.encode())


@pytest.mark.parametrize('stream', [False, True])
def test_a_client_that_goes_away_frees_its_slot(slow, stream):
  with request(slow, '/v1/completions', LONG | dict(stream=stream)):
    slow.wait(lambda: slow.sampler.open == 1)
  slow.wait(lambda: slow.host.open == 0)
  slow.engine.go.set()
  slow.assert_all_returned()
  assert 'cancelled_requests_total 1.0' in slow.get('/metrics').decode()


def test_overload_is_refused_for_now_and_more_than_fits_for_ever(slow):
  with contextlib.ExitStack() as stack:
    for _ in range(3):
      stack.enter_context(request(slow, '/v1/completions', LONG))
    slow.wait(lambda: slow.host.open == 3)
    status, headers, said = slow.ask('POST', '/v1/completions', LONG)
    assert status == 429 and 1 <= int(headers['retry-after']) <= 60
    assert '3 completions are open' in said['error']['message']
    status, headers, said = slow.ask('POST', '/v1/completions', LONG | dict(n=4))
    assert status == 400 and 'room for 3' in said['error']['message']
  slow.wait(lambda: slow.host.open == 0)
  slow.engine.go.set()
  slow.assert_all_returned()


def test_health_fails_where_no_token_is_drawn(serve):
  served = serve(health_s=0.3)
  assert served.get('/health') == dict(status='ok')
  served.engine.go.clear()
  status, _, said = served.ask('GET', '/health')
  assert status == 503 and 'No token was drawn within 0.3 s' in said['error']['message']
  served.engine.go.set()
  served.wait(lambda: served.ask('GET', '/health')[0] == 200)
  served.assert_all_returned()


def test_an_answer_that_takes_too_long_is_ended(serve):
  served = serve(answer_s=0.3)
  served.engine.go.clear()
  status, _, said = served.ask('POST', '/v1/completions', LONG)
  assert status == 504 and 'longer than 0.3 s' in said['error']['message']
  status, _, said = served.ask('POST', '/v1/completions', LONG | dict(stream=True))
  assert status == 200 and b'"code": 504' in said
  served.engine.go.set()
  served.assert_all_returned()


def test_a_key_is_asked_for(serve):
  served = serve(key='correct horse battery')
  assert served.get('/v1/models')['data']
  for wrong in ('Bearer x', 'correct horse battery', 'Bearer correct horse batterz', ''):
    status, _, said = served.ask('GET', '/v1/models', Authorization=wrong)
    assert status == 401 and 'key' in said['error']['message']
  assert served.ask('GET', '/health', Authorization='')[0] == 200


def test_web_pages_are_kept_out_where_there_is_no_key(served):
  status, _, said = served.ask('POST', '/pause', Origin='https://example.org')
  assert status == 403 and not served.host.paused


def test_bodies_that_are_too_large_or_too_slow_are_refused(served):
  status, _, said = served.ask('POST', '/v1/completions', b' ' * (1 << 16) + b' ')
  assert status == 413 and 'more than 65536 bytes' in said['error']['message']
  head = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
  with socket.create_connection(served.address, timeout=20) as connection:
    connection.sendall(head + b'Content-Length: 99\r\n\r\n{')
    assert connection.recv(99).startswith(b'HTTP/1.1 408')
  with socket.create_connection(served.address, timeout=20) as connection:
    chunk = b'4000\r\n' + b' ' * 0x4000 + b'\r\n'
    with contextlib.suppress(ConnectionError):
      connection.sendall(head + b'Transfer-Encoding: chunked\r\n\r\n' + chunk * 5)
    assert connection.recv(99).startswith(b'HTTP/1.1 413')


def test_a_client_that_sends_no_request_is_cut(serve, monkeypatch):
  monkeypatch.setattr(PatientProtocol, 'headers_s', 0.2)
  served = serve()
  for answered, sent in ((False, b''), (False, b'POST /v1/comp'), (True, b'GET')):
    with socket.create_connection(served.address, timeout=20) as connection:
      if answered:
        connection.sendall(b'GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n')
        said = b''
        while not said.endswith(b']}'):     # The head may come before the body.
          said += connection.recv(1 << 16)
      connection.sendall(sent)
      assert read_all(connection) == b''
  # An answer that takes longer is none of that.
  served.engine.seconds = 0.02
  assert served.post('/v1/completions', **LONG)['choices']


def test_a_client_that_never_reads_holds_neither_slot_nor_connection(serve, monkeypatch):
  monkeypatch.setattr(PatientProtocol, 'read_s', 0.5)
  served = serve()
  # Accepted connections inherit it: otherwise megabytes fit between both sides.
  served.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
  body = dict(prompt=['abdefghijk'] * 8, echo=True, logprobs=5, max_tokens=20, stream=True)
  with contextlib.ExitStack() as stack:
    for _ in range(4):
      connection = stack.enter_context(socket.socket())
      connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
      connection.connect(served.address)
      data = json.dumps(body).encode()
      # Requests in a row, so that more is answered than the buffers between both sides hold.
      connection.setblocking(False)
      with contextlib.suppress(BlockingIOError):
        for _ in range(40):
          connection.send(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/'
                          b'json\r\nContent-Length: %d\r\n\r\n%s' % (len(data), data))
    served.wait(lambda: served.host.open == 0 and not served.server.server_state.connections,
                'connections are still open')
  served.assert_all_returned()
