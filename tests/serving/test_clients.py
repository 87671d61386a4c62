"""Clients that others wrote, and our own, against a server of a fake engine.

`tests/clients.sh` installs those of others.
"""
import asyncio
import importlib.util
import types

import pytest

from magistral_jax.curation.endpoint import Endpoint, EndpointError, EndpointSettings
from tests.sampler import conftest as sampling
from tests.serving.letters import EOS, Letters, drawn

SEED = 3
TEXT = Letters().decode(drawn('ab', seed=SEED, most=5)[0])
ASKED = dict(model='fake', messages=[dict(role='user', content='ab')], seed=SEED, max_tokens=5)


def address(served):
  return f'http://127.0.0.1:{served.address[1]}/v1'


def test_our_own_client_is_answered_and_told_what_is_wrong(served):
  settings = EndpointSettings(address(served), 'fake', max_tokens=5, temperature=1.0, attempts=1)
  answer = Endpoint(settings).answer(ASKED['messages'], seed=SEED)
  assert (answer.text, answer.tokens) == (TEXT, 5) and answer.finish == 'length'
  other = EndpointSettings(address(served), 'other', max_tokens=5, attempts=1)
  with pytest.raises(EndpointError, match='no model'):
    Endpoint(other).answer(ASKED['messages'])


def without(package):
  return pytest.mark.skipif(not importlib.util.find_spec(package),
                            reason=f'tests/clients.sh installs {package}')


@pytest.mark.long
@without('openai')
def test_the_official_client_is_answered(served):
  import openai
  with openai.OpenAI(base_url=address(served), api_key='x', max_retries=0) as client:
    assert [model.id for model in client.models.list()] == ['fake']
    assert client.models.retrieve('fake').max_model_len == sampling.LONGEST
    said = client.completions.create(model='fake', prompt='ab', seed=SEED, max_tokens=5, logprobs=1)
    assert said.choices[0].text == TEXT and said.usage.total_tokens == 7
    assert len(said.choices[0].logprobs.token_logprobs) == 5
    chat = client.chat.completions.create(**ASKED, n=2, logprobs=True, top_logprobs=2,
                                          extra_body=dict(return_token_ids=True))
    assert chat.choices[0].message.content == TEXT and len(chat.choices) == 2
    assert len(chat.choices[0].logprobs.content) == len(chat.choices[0].token_ids) == 5
    assert [len(one.top_logprobs) for one in chat.choices[1].logprobs.content] == [2] * 5
    chunks = client.chat.completions.create(**ASKED, stream=True)
    assert ''.join(chunk.choices[0].delta.content for chunk in chunks) == TEXT
    with pytest.raises(openai.NotFoundError, match='no model'):
      client.completions.create(model='other', prompt='a')
    with pytest.raises(openai.BadRequestError) as refused:
      client.completions.create(model='fake', prompt='a', top_p=2)
    assert refused.value.param == 'top_p'


class Renderer:
  """What the client of `renderers` needs of one: it cuts texts into letters."""

  def render(self, messages, *, tools, add_generation_prompt):
    ids = Letters().encode(''.join(message['content'] for message in messages))
    return types.SimpleNamespace(token_ids=ids, multi_modal_data=None)

  def get_stop_token_ids(self):
    return [EOS]

  def parse_response(self, ids, *, prompt_ids, tools):
    return types.SimpleNamespace(content=Letters().decode(ids), reasoning_content=None,
                                 tool_calls=[], reasoning_complete=True)


@pytest.mark.long
@without('renderers')
def test_the_client_of_renderers_is_answered_token_by_token(served):
  import openai
  from renderers import client as renderers

  async def ask(text, **more):
    async with openai.AsyncOpenAI(base_url=address(served), api_key='x', max_retries=0) as client:
      return await renderers.generate(
          client=client, renderer=Renderer(), messages=[dict(role='user', content=text)],
          model='fake', cache_salt='x', priority=1, **more)

  said = asyncio.run(ask('ab', sampling_params=dict(max_tokens=5, seed=SEED, temperature=1.0,
                                                    top_k=-1, min_p=0.0)))
  tokens, logps = drawn('ab', seed=SEED, most=5)
  assert (said['prompt_ids'], said['completion_ids'], said['content']) == ([0, 1], tokens, TEXT)
  assert said['completion_logprobs'] == pytest.approx(logps, rel=1e-6)
  assert said['finish_reason'] == 'length' and said['request_id']
  # The longest prompt is asked of /v1/models, before anything is sent.
  with pytest.raises(renderers.OverlongPromptError):
    asyncio.run(ask('a' * (sampling.LONGEST + 1)))
