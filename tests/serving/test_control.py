"""Pauses and other weights while requests go on."""
import concurrent.futures
import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax.profiling import Profile
from magistral_jax.serving import control
from tests.serving.conftest import SlowEngine
from tests.serving.letters import EOS, drawn
from tests.test_profiling import names

SEED = next(s for s in range(1000) if EOS not in drawn('ab', seed=s, most=40)[0])
LONG = dict(prompt='ab', max_tokens=40, seed=SEED, return_token_ids=True,
            return_weight_versions=True)


@pytest.fixture
def open_request(serve):
  """A server, and a request that has drawn some tokens and waits in its slot."""
  engine = SlowEngine(slots=1, pages=40, page_tokens=4, slot_pages=12, decode_steps=2)
  engine.seconds = 0.02
  served = serve(engine)
  with concurrent.futures.ThreadPoolExecutor(4) as threads:
    ask = lambda: threads.submit(served.post, '/v1/completions', **LONG)
    future = ask()
    served.wait(lambda: served.sampler.counts['tokens'] >= 4)
    yield served, future, ask


def test_new_weights_draw_from_the_next_token_on(open_request):
  served, future, _ = open_request
  said = served.post('/update_weights', path='5', version=5)
  assert said['version'] == 5 and said['path'] == '5'
  choice, = future.result()['choices']
  versions = choice['weight_versions']
  assert versions == sorted(versions) and set(versions) == {0, 5}
  assert choice['token_ids'] == drawn('ab', seed=SEED, most=40)[0]
  status, _, said = served.ask('POST', '/update_weights', dict(path='6', version=5))
  assert status == 400 and 'above 5' in said['error']['message']
  status, _, said = served.ask('POST', '/update_weights', dict(path='nowhere'))
  assert status == 400 and 'there is nothing' in said['error']['message']
  assert served.get('/weight_info')['version'] == 5


@pytest.mark.parametrize('asked, body, cleared', [
    ('?mode=keep&clear_cache=false', {}, False),
    ('?mode=keep&clear_cache=true', {}, True),
    ('?mode=keep', dict(mode='abort'), False),
    ('', dict(mode='keep', clear_cache=True), True),
])
def test_keep_goes_on_where_it_stopped(open_request, asked, body, cleared):
  served, future, ask = open_request
  served.post(f'/pause{asked}', **body)
  before = served.sampler.counts['tokens']
  later = ask()
  assert served.get('/is_paused') == dict(is_paused=True, mode='keep')
  assert served.get('/health') == dict(status='paused')
  served.post('/update_weights', path='3')
  assert served.sampler.counts['tokens'] == before and not future.done()
  served.post('/resume')
  for one, versions in ((future, {0, 1}), (later, {1})):
    choice, = one.result()['choices']
    assert choice['token_ids'] == drawn('ab', seed=SEED, most=40)[0]
    assert set(choice['weight_versions']) == versions
  # The engine's pages say who wrote them: with a cleared cache the new weights wrote all.
  assert served.engine.prefills[-1 if cleared else 0] == (3 if cleared else 0)


def test_wait_ends_what_is_open_and_holds_what_comes(open_request):
  served, future, ask = open_request
  served.post('/pause?mode=wait')
  assert future.done() or future.result(1)
  later = ask()
  served.wait(lambda: served.host.open == 1)
  assert not served.sampler.open and not later.done()
  served.post('/resume')
  assert later.result()['choices'][0]['token_ids'] == drawn('ab', seed=SEED, most=40)[0]


def test_abort_ends_all_with_what_they_have(open_request):
  served, future, ask = open_request
  waiting = ask()
  served.wait(lambda: served.host.open == 2)
  served.post('/pause?mode=abort')
  choice, = future.result()['choices']
  tokens, _ = drawn('ab', seed=SEED, most=40)
  assert choice['finish_reason'] == 'abort'
  assert choice['token_ids'] == tokens[:len(choice['token_ids'])] and choice['token_ids']
  assert waiting.result()['choices'][0]['finish_reason'] == 'abort'
  served.post('/resume')
  served.assert_all_returned()
  assert served.post('/v1/completions', prompt='ab', max_tokens=2, seed=1)['choices'][0]['text']


def test_an_abort_ends_a_pause_that_waits(open_request):
  served, future, _ = open_request
  served.engine.go.clear()
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    waiting = threads.submit(served.post, '/pause?mode=wait')
    served.wait(lambda: not served.host._driver._calls.empty() or served.host.paused)
    aborting = threads.submit(served.post, '/pause?mode=abort')
    served.engine.go.set()
    assert waiting.result(20)['mode'] == 'wait' and aborting.result(20)['mode'] == 'abort'
  assert future.result()['choices'][0]['finish_reason']
  served.post('/resume')


def test_a_pause_in_an_unknown_mode_is_refused(serve):
  served = serve()
  status, _, said = served.ask('POST', '/pause?mode=stop')
  assert status == 400 and 'keep, wait, abort' in said['error']['message']


def test_the_first_dispatches_are_traced(serve, tmp_path):
  said = []
  served = serve(profile=Profile(str(tmp_path), 2, name='dispatch', done=said.append))
  for _ in range(3):
    served.post('/v1/completions', prompt='ab', max_tokens=2)
  served.wait(lambda: said)
  found = names(tmp_path)
  assert found['dispatch'] == found['EngineSampler.step'] == found['EngineSampler._collect'] == 2


def test_the_digest_covers_names_types_and_bytes_and_no_layout():
  tree = dict(b=jnp.arange(6, dtype=jnp.float32).reshape(2, 3), a=jnp.float32(1))
  text = (b"['a'] float32 ()\n" + np.float32(1).tobytes() + b"['b'] float32 (2, 3)\n"
          + np.arange(6, dtype=np.float32).tobytes())
  assert control.digest(tree) == hashlib.sha256(text).hexdigest()


def test_an_engine_that_fails_ends_requests_and_the_server(open_request):
  served, future, _ = open_request
  served.engine.failure = RuntimeError('the device is gone')
  with pytest.raises(AssertionError, match='the device is gone'):
    future.result()
  served.thread.join(20)
  assert not served.thread.is_alive() and 'gone' in str(served.host.failure)
