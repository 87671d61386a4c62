"""A server of a fake engine, on a port of this machine, and a client of few words."""
import contextlib
import http.client
import json
import threading
import time

import numpy as np
import pytest

from magistral_jax.evaluation.scoring import Alternatives
from magistral_jax.profiling import NO_PROFILE
from magistral_jax.records import WeightSnapshot
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.serving import opening, server
from magistral_jax.serving.api import RequestLimits
from magistral_jax.serving.control import Loaded
from magistral_jax.serving.queries import ServedModel
from tests.sampler import conftest as sampling
from tests.serving.letters import Letters


class SlowEngine(sampling.FakeEngine):
  """A fake engine whose dispatches take `seconds`, and wait while `held` is set."""
  seconds, failure, alternatives = 0.0, None, 4

  def __init__(self, **values):
    super().__init__(**values)
    self.go = threading.Event()
    self.go.set()
    self.prefills = []        # The weights that wrote each prompt.

  def prefill(self, params, *arguments):
    self.prefills.append(int(params))
    return super().prefill(params, *arguments)

  def generate(self, params, state, table, **how):
    assert self.go.wait(60)
    time.sleep(self.seconds)
    if self.failure:
      raise self.failure
    return super().generate(params, state, table, **how)


class FakeScorer:
  """Gives each token minus its id, and as alternatives the ids from 0 on."""

  def __call__(self, sequences, images=None):
    return [-np.array(tokens[1:], np.float32) for tokens in sequences]

  def with_alternatives(self, sequences, alternatives, images=None):
    ids = np.arange(alternatives)
    return [(logps, Alternatives(*(np.tile(x, (len(logps), 1)) for x in (ids, -ids.astype('f4')))))
            for logps in self(sequences)]


def load_version(path, step):
  """The weights of a fake engine: the number that the path names."""
  if not path.isdigit():
    raise ValueError('there is nothing.')
  return step, np.int32(path)


class Client:
  """Requests to a server at an address (host, port)."""

  def __init__(self, address, key=''):
    self.address, self.key = address, key

  def ask(self, method, path, body=None, **headers):
    """(status, headers, body) of a request; a body of JSON is parsed."""
    with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=60)) as connection:
      headers = {name.replace('_', '-'): value for name, value in headers.items()}
      if self.key:
        headers.setdefault('Authorization', f'Bearer {self.key}')
      data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
      connection.request(method, path, data, {'Content-Type': 'application/json'} | headers)
      response = connection.getresponse()
      said = response.read()
      kind = response.headers.get('content-type', '')
      return response.status, response.headers, json.loads(said) if 'json' in kind else said

  def get(self, path):
    """The body of a request that is answered with 200."""
    status, _, body = self.ask('GET', path)
    assert status == 200, body
    return body

  def post(self, path, /, **body):
    """Likewise, of one with a body."""
    status, _, said = self.ask('POST', path, body)
    assert status == 200, said
    return said

  def events(self, path, /, **body):
    """The parsed events of a stream."""
    status, headers, said = self.ask('POST', path, body | dict(stream=True))
    assert status == 200 and headers['content-type'].startswith('text/event-stream'), said
    lines = said.decode().split('\n\n')
    assert lines[-2:] == ['data: [DONE]', '']
    return [json.loads(line.removeprefix('data: ')) for line in lines[:-2]]


class Served(Client):
  """A server of a fake engine in a thread, and requests to it."""

  def __init__(self, engine, *, key='', queue=8, tokenizer=None,
               profile=NO_PROFILE, **limits):
    self.engine = engine
    # The weights of a fake engine are their version.
    self.sampler = EngineSampler(engine, WeightSnapshot(0, 0), decode=lambda ids: '',
                                 end_ids=(sampling.EOS,))
    model = ServedModel('fake', tokenizer or Letters(), 'plain', sampling.CONFIG,
                        engine.slot_pages * engine.page_tokens, (sampling.EOS,))
    opened = opening.Opened(model, engine, self.sampler, FakeScorer(),
                            Loaded(0, 'nowhere', 'newest', 0.0), load_version)
    how = dict(body_bytes=1 << 16, body_s=1.0, answer_s=60.0, health_s=20.0) | limits
    self.server, self.host = opening.serve(
        opened, queue=queue, limits=RequestLimits(**how), key=key, drain_s=10.0,
        profile=profile)
    self.socket = server.bind('127.0.0.1', 0)
    super().__init__(self.socket.getsockname(), key)
    self.thread = threading.Thread(target=lambda: self.server.run([self.socket]))

  def wait(self, condition, words='nothing happened', seconds=20.0):
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
      assert time.monotonic() < deadline, words
      time.sleep(0.005)

  def assert_all_returned(self):
    """Asserts that no slot, page or job is left of requests that have ended."""
    self.wait(lambda: not self.host.open and not self.sampler.open, 'sequences are still open')
    self.wait(lambda: self.sampler.free_pages + len(self.cached()) == self.engine.pages - 1,
              'pages are lost')
    assert not self.host._jobs and not self.host._driver._told

  def cached(self):
    """Pages of prompts that may be read again."""
    return [page for known in self.sampler._prompts.values() for page in known.pages]


@contextlib.contextmanager
def running(engine=None, **how):
  """A server that answers, until the context ends."""
  engine = engine or SlowEngine(slots=4, pages=73, page_tokens=4, slot_pages=12, decode_steps=2)
  served = Served(engine, **how)
  served.thread.start()
  try:
    served.wait(lambda: served.server.started)
    yield served
  finally:
    engine.go.set()
    served.server.should_exit = True
    served.thread.join(30)
    assert not served.thread.is_alive()


@pytest.fixture
def serve():
  """serve(engine, **how): a server for one test."""
  with contextlib.ExitStack() as stack:
    yield lambda *arguments, **how: stack.enter_context(running(*arguments, **how))


@pytest.fixture(scope='module')
def served():
  """A server for the tests of a file."""
  with running() as found:
    yield found
    found.assert_all_returned()
