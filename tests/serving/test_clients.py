"""Clients that others wrote, and our own, against a server of a fake engine."""
import pytest

from magistral_jax.curation.endpoint import Endpoint, EndpointError, EndpointSettings
from tests.serving.letters import Letters, drawn

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


@pytest.mark.long
def test_the_official_client_is_answered(served):
  openai = pytest.importorskip('openai')
  with openai.OpenAI(base_url=address(served), api_key='x', max_retries=0) as client:
    assert [model.id for model in client.models.list()] == ['fake']
    said = client.completions.create(model='fake', prompt='ab', seed=SEED, max_tokens=5, logprobs=1)
    assert said.choices[0].text == TEXT and said.usage.total_tokens == 7
    assert len(said.choices[0].logprobs.token_logprobs) == 5
    chat = client.chat.completions.create(**ASKED, n=2, logprobs=True,
                                          extra_body=dict(return_token_ids=True))
    assert chat.choices[0].message.content == TEXT and len(chat.choices) == 2
    assert len(chat.choices[0].logprobs.content) == len(chat.choices[0].token_ids) == 5
    chunks = client.chat.completions.create(**ASKED, stream=True)
    assert ''.join(chunk.choices[0].delta.content for chunk in chunks) == TEXT
    with pytest.raises(openai.NotFoundError, match='no model'):
      client.completions.create(model='other', prompt='a')
    with pytest.raises(openai.BadRequestError) as refused:
      client.completions.create(model='fake', prompt='a', top_p=2)
    assert refused.value.param == 'top_p'
