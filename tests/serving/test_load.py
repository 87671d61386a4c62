"""Two hundred clients at once, many ill-behaved: right answers, nothing lost, memory flat."""
import collections
import contextlib
import gc
import json
import random
import socket
import threading

import psutil
import pytest

from magistral_jax.serving.server import PatientProtocol
from tests.serving.conftest import SlowEngine
from tests.serving.letters import EOS, Letters, drawn
from tests.serving.malformed import BODIES, HEADS
from tests.serving.test_limits import read_all, request

pytestmark = pytest.mark.long
CLIENTS, ROUNDS, TURNS = 200, 4, 10
# Bytes that the process may grow by between the first round and the last.
GROWTH = 16 << 20


def test_two_hundred_clients(serve, monkeypatch):
  monkeypatch.setattr(PatientProtocol, 'read_s', 2.0)
  engine = SlowEngine(slots=32, pages=32 * 12, page_tokens=4, slot_pages=12, decode_steps=2)
  served = serve(engine, queue=96)
  served.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
  statuses, sizes, faults = collections.Counter(), [], []
  for round_ in range(ROUNDS):
    clients = [threading.Thread(target=client, args=(served, 1000 * round_ + i, statuses, faults))
               for i in range(CLIENTS)]
    for one in clients:
      one.start()
    for one in clients:
      one.join(300)
    assert not any(one.is_alive() for one in clients) and not faults, faults[:3]
    served.wait(lambda: not served.server.server_state.connections, 'connections are open', 60)
    served.assert_all_returned()
    assert not served.server.server_state.tasks
    gc.collect()
    sizes.append(psutil.Process().memory_info().rss)
  print(dict(statuses), [size >> 20 for size in sizes], dict(served.sampler.counts))
  assert set(statuses) <= {'200', '429', 'cancelled', 'malformed', 'slow', 'unread'}
  assert statuses['200'] > CLIENTS and statuses['429'] and statuses['cancelled'] > CLIENTS
  assert sizes[-1] - sizes[0] < GROWTH
  assert served.get('/health') == dict(status='ok')


def client(served, seed, statuses, faults):
  rng = random.Random(seed)
  try:
    for _ in range(TURNS):
      kind = rng.choices([asks, streams, cancels, malforms, reads_slowly, never_reads],
                         [6, 4, 5, 3, 1, 1])[0]
      statuses[kind(served, rng)] += 1
  except Exception as error:      # Told by the test.
    faults.append(repr(error))


def body(rng, **more):
  text = ''.join(rng.choices('abdefgh', k=rng.randint(1, 20)))
  return dict(prompt=text, seed=rng.getrandbits(31), max_tokens=rng.randint(1, 27),
              n=rng.randint(1, 3), return_token_ids=True) | more


def check(asked, choices):
  """Tokens are those of each request's own seed, whatever else was in the slots."""
  for sample in range(asked['n']):
    tokens, _ = drawn(asked['prompt'], seed=asked['seed'], sample=sample,
                      most=asked['max_tokens'])
    assert choices[sample] == (tokens, Letters().decode(tokens),
                               'stop' if tokens[-1] == EOS else 'length')


def asks(served, rng):
  asked = body(rng)
  status, headers, said = served.ask('POST', '/v1/completions', asked)
  if status == 429:
    assert int(headers['retry-after']) >= 1
    return '429'
  assert status == 200, said
  check(asked, [(c['token_ids'], c['text'], c['finish_reason']) for c in said['choices']])
  return '200'


def streams(served, rng):
  asked = body(rng, stream=True)
  status, _, said = served.ask('POST', '/v1/completions', asked)
  if status == 429:
    return '429'
  events = said.decode().split('\n\n')
  assert status == 200 and events[-2:] == ['data: [DONE]', '']
  found = [([], '', None)] * asked['n']
  for event in events[:-2]:
    c = json.loads(event.removeprefix('data: '))['choices'][0]
    ids, text, _ = found[c['index']]
    found[c['index']] = ids + c['token_ids'], text + c['text'], c['finish_reason']
  check(asked, found)
  return '200'


def cancels(served, rng):
  with request(served, '/v1/completions', body(rng, stream=rng.random() < 0.5)) as connection:
    if rng.random() < 0.5:
      connection.settimeout(rng.random() * 0.2 + 0.001)
      with contextlib.suppress(TimeoutError):
        connection.recv(10)
  return 'cancelled'


def malforms(served, rng):
  if rng.random() < 0.2:
    data, status = rng.choice(list(HEADS.values()))
    with socket.create_connection(served.address, timeout=60) as connection:
      connection.sendall(data)
      said = read_all(connection)
    assert said.startswith(f'HTTP/1.1 {status}'.encode())
    return 'malformed'
  path, sent, status, words = rng.choice([one for one in BODIES.values() if 'n=13' not in one[3]
                                          and 'room for 12' not in one[3]])
  found, _, said = served.ask('POST', path, sent)
  assert found == status and words in said['error']['message']
  return 'malformed'


def reads_slowly(served, rng):
  with request(served, '/v1/completions', body(rng, stream=True)) as connection:
    said = b''
    while not said.endswith(b'0\r\n\r\n') and not said.startswith(b'HTTP/1.1 429'):
      said += connection.recv(400)
      threading.Event().wait(0.01)
  return 'slow'


def never_reads(served, rng):
  asked = json.dumps(body(rng, stream=True, logprobs=1)).encode()
  with socket.socket() as connection:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(served.address)
    connection.settimeout(3)
    with contextlib.suppress(OSError):
      for _ in range(20):
        connection.sendall(
            b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
            b'Content-Length: %d\r\n\r\n%s' % (len(asked), asked))
      threading.Event().wait(3)
  return 'unread'
