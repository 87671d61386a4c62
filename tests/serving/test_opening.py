"""A server of a real engine, made of a config and a checkpoint."""
import base64
import contextlib
import io
import shutil
import threading
import time
import weakref

import jax
import numpy as np
import pytest
from PIL import Image

from magistral_jax.experiment import build, values
from magistral_jax.models import decoder
from magistral_jax.models.formats import export
from magistral_jax.serving import control, opening, server
from magistral_jax.serving.api import RequestLimits
from tests import tiny
from tests.serving.conftest import Client

pytestmark = pytest.mark.long


@contextlib.contextmanager
def serving(c, path):
  """A client of a server of the checkpoint at a path."""
  opened = opening.load(c, path, 'newest', 'tiny')
  opening.warm_up(opened)
  found, host = opening.serve(opened, queue=8, key='', drain_s=10.0,
                              limits=RequestLimits(1 << 20, 5.0, 60.0, 60.0))
  listening = server.bind('127.0.0.1', 0)
  thread = threading.Thread(target=lambda: found.run([listening]))
  thread.start()
  try:
    while not found.started:
      time.sleep(0.01)
    yield Client(listening.getsockname()), opened
  finally:
    found.should_exit = True
    thread.join(60)
    assert not thread.is_alive() and host.failure is None


def shrunk(folder, **overrides):
  return tiny.shrink(tiny.load('smollm2_math'), **{
      'tokenizer.path': '', 'model.checkpoint': folder, 'data.template': 'chatml',
      'sampler.slots': 4, 'data.source': 'arithmetic'} | overrides)


@pytest.fixture(scope='module')
def served(tmp_path_factory):
  path = tmp_path_factory.mktemp('model')
  folder = tiny.write_folder(path)
  with serving(shrunk(folder), folder) as found:
    yield *found, path


def test_log_probabilities_are_those_of_the_tokens_and_nothing_is_compiled_again(served):
  client, opened, _ = served
  compiled = opened.engine.compilations()
  for temperature, top_p in ((1.0, 1.0), (0.0, 1.0), (0.7, 0.5), (1.0, 1.0)):
    said = client.post('/v1/completions', prompt='one two three', n=2, max_tokens=6, logprobs=0,
                       temperature=temperature, top_p=top_p, return_token_ids=True)
  assert opened.engine.compilations() == compiled
  for choice in said['choices']:
    whole = choice['prompt_token_ids'] + choice['token_ids']
    scored, = client.post('/v1/completions', prompt=whole, max_tokens=0, echo=True,
                          logprobs=1)['choices']
    logps = scored['logprobs']['token_logprobs'][len(choice['prompt_token_ids']):]
    np.testing.assert_allclose(choice['logprobs']['token_logprobs'], logps, atol=1e-4)


def test_a_greedy_answer_is_the_likeliest_at_every_position(served):
  client, _, _ = served
  said = client.post('/v1/chat/completions', temperature=0, max_tokens=5, return_token_ids=True,
                     messages=[dict(role='user', content='one two')])
  prompt, tokens = said['prompt_token_ids'], said['choices'][0]['token_ids']
  scored, = client.post('/v1/completions', prompt=prompt + tokens, max_tokens=0, echo=True,
                        logprobs=3, return_tokens_as_token_ids=True)['choices']
  likeliest = [max(top, key=top.get) for top in scored['logprobs']['top_logprobs'][1:]]
  assert likeliest[len(prompt) - 1:] == [f'token_id:{token}' for token in tokens]
  assert all(len(top) in (3, 4) for top in scored['logprobs']['top_logprobs'][1:])


def test_weights_come_from_a_path_and_their_digest_says_which(served):
  client, opened, path = served
  before = client.get('/weight_info')
  assert before['sha256'] == control.digest(opened.sampler.snapshot.params)
  other = jax.jit(lambda: decoder.init(opened.model.config, 1))()
  export.save_huggingface(other, opened.model.config, path / 'other')
  said = client.post('/update_weights', path=str(path / 'other'))
  after = client.get('/weight_info')
  assert said['version'] == after['version'] == 1 and after['sha256'] == control.digest(other)
  assert after['sha256'] != before['sha256']
  choice, = client.post('/v1/completions', prompt='one', max_tokens=2,
                        return_weight_versions=True)['choices']
  assert set(choice['weight_versions']) == {1}
  client.post('/update_weights', path=str(path))
  assert client.get('/weight_info')['sha256'] == before['sha256']


def test_rounded_weights_are_served_scored_and_replaced(tmp_path):
  folder = tiny.write_folder(tmp_path)
  c = shrunk(folder, **{'sampler.weight_dtype': 'int8'})
  with serving(c, folder) as (client, opened):
    compiled, before = opened.engine.compilations(), opened.sampler.snapshot.params
    other = jax.jit(lambda: decoder.init(opened.model.config, 1))()
    export.save_huggingface(other, opened.model.config, tmp_path / 'other')
    for version in (0, 1):
      choice, = client.post('/v1/completions', prompt='one two three', max_tokens=6, logprobs=0,
                            return_token_ids=True, return_weight_versions=True)['choices']
      assert set(choice['weight_versions']) == {version}
      scored, = client.post('/v1/completions', prompt=choice['prompt_token_ids']
                            + choice['token_ids'], max_tokens=0, echo=True, logprobs=1)['choices']
      logps = scored['logprobs']['token_logprobs'][len(choice['prompt_token_ids']):]
      np.testing.assert_allclose(choice['logprobs']['token_logprobs'], logps, atol=1e-4)
      if not version:
        client.post('/update_weights', path=str(tmp_path / 'other'))
    assert opened.engine.compilations() == compiled
    held = opened.sampler.snapshot.params
    assert jax.tree.structure(held) == jax.tree.structure(before)
    assert held['layers']['ffn']['w1'].values.dtype == np.int8
    assert client.get('/weight_info')['sha256'] == control.digest(held) != control.digest(before)


def test_weights_that_are_not_finite_are_refused(served):
  client, opened, path = served
  before = client.get('/weight_info')
  params = jax.tree.map(np.array, opened.sampler.snapshot.params)
  max(jax.tree.leaves(params), key=np.size).flat[-1] = np.inf
  export.save_huggingface(params, opened.model.config, path / 'spoilt')
  shutil.copy(path / 'tokenizer.json', path / 'spoilt')
  status, _, said = client.ask('POST', '/update_weights', dict(path=str(path / 'spoilt')))
  assert status == 400 and 'not finite' in said['error']['message']
  assert client.get('/weight_info') == before
  with pytest.raises(ValueError, match='not finite'):
    opening.load(shrunk(str(path / 'spoilt')), str(path / 'spoilt'), 'newest', '')


def test_weights_that_others_have_replaced_take_no_memory(served):
  client, opened, path = served

  def update():
    client.post('/update_weights', path=str(path))
    return [weakref.ref(x) for x in jax.tree.leaves(opened.sampler.snapshot.params)]
  first = update()
  client.post('/v1/completions', prompt='one', max_tokens=0, echo=True, logprobs=1)
  update()
  client.get('/health')     # The thread that took them does something else.
  assert first and not any(x() is not None for x in first)


def test_weights_of_another_model_are_refused(served, tmp_path):
  client, _, _ = served
  experts = tiny.write_folder(tmp_path, **tiny.EXPERTS)
  status, _, said = client.ask('POST', '/update_weights', dict(path=experts))
  assert status == 400 and 'family is mixtral and not mistral' in said['error']['message']


def test_an_image_changes_the_answer_and_its_pixels_arrive(tmp_path):
  c = tiny.load('pixtral_12b_rl')
  values.change(c, tiny.write_images(tmp_path))
  c = tiny.shrink(c, **{'data.template': 'mistral-v3', 'model.checkpoint': '',
                        'model.vision': 'trained'})
  config, folder = build.model_config(c, len(tiny.IMAGE_WORDS)), tmp_path / 'model'
  export.save_huggingface(jax.jit(lambda: decoder.init(config, 0))(), config, folder)
  with serving(c, str(folder)) as (client, opened):
    logps = []
    for shade in (0, 255):
      said = client.post('/v1/chat/completions', max_tokens=1, temperature=0, logprobs=True,
                         return_token_ids=True, messages=[dict(role='user', content=[
                             dict(type='text', text='one'), picture(shade)])])
      logps.append(said['choices'][0]['logprobs']['content'][0]['logprob'])
    assert said['prompt_token_ids'].count(opened.model.config.vision.image_token) == 4
    assert abs(logps[0] - logps[1]) > 1e-5
    broken = dict(type='image_url', image_url=dict(url='data:image/png;base64,AAAA'))
    status, _, said = client.ask('POST', '/v1/chat/completions', dict(messages=[
        dict(role='user', content=[broken])]))
    assert status == 400 and 'no image that can be read' in said['error']['message']


def picture(shade):
  """A part of a message: an image of 4 x 4 pixels of one shade."""
  file = io.BytesIO()
  Image.new('RGB', (4, 4), (shade,) * 3).save(file, 'PNG')
  data = base64.b64encode(file.getvalue()).decode()
  return dict(type='image_url', image_url=dict(url=f'data:image/png;base64,{data}'))
