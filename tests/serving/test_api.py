"""Requests and answers, by a fake engine whose tokens are known."""
import concurrent.futures

import numpy as np
import pytest

from tests.sampler import conftest as sampling
from tests.serving.letters import EOS, Letters, drawn

SEED = 7
text_of = Letters().decode


def a_seed(condition, text, most=8):
  """The first seed by which what is drawn after a text has a property."""
  return next(seed for seed in range(1000) if condition(drawn(text, seed=seed, most=most)[0]))


def test_a_completion_has_the_sampler_s_tokens_log_probabilities_and_versions(served):
  said = served.post('/v1/completions', model='fake', prompt='abd', max_tokens=8, seed=SEED,
                     logprobs=1, return_token_ids=True, return_weight_versions=True)
  tokens, logps = drawn('abd', seed=SEED)
  choice, = said['choices']
  assert choice['token_ids'] == tokens and choice['text'] == text_of(tokens)
  np.testing.assert_allclose(choice['logprobs']['token_logprobs'], logps, rtol=1e-6)
  assert choice['weight_versions'] == [0] * len(tokens)
  assert choice['prompt_token_ids'] == [0, 1, 3]
  assert choice['finish_reason'] == ('stop' if tokens[-1] == EOS else 'length')
  assert said['usage'] == dict(prompt_tokens=3, completion_tokens=len(tokens),
                               total_tokens=3 + len(tokens))


def test_prompts_and_samples_are_answered_in_order(served):
  said = served.post('/v1/completions', prompt=['ab', 'de'], n=3, seed=SEED, max_tokens=4)
  assert [(choice['index'], choice['text']) for choice in said['choices']] == [
      (3 * i + sample, text_of(drawn(text, seed=SEED, sample=sample, most=4)[0]))
      for i, text in enumerate(('ab', 'de')) for sample in range(3)]
  ids = served.post('/v1/completions', prompt=[[0, 1], [3, 4]], n=3, seed=SEED, max_tokens=4)
  assert [c['text'] for c in ids['choices']] == [c['text'] for c in said['choices']]
  one = served.post('/v1/completions', prompt=[3, 4], seed=SEED, max_tokens=4)
  assert one['choices'][0]['text'] == said['choices'][3]['text']


def test_a_seed_gives_the_same_tokens_whatever_else_is_sampled(served):
  ask = lambda seed: served.post('/v1/completions', prompt='ab', seed=seed, max_tokens=20)
  alone = ask(SEED)['choices'][0]['text']
  with concurrent.futures.ThreadPoolExecutor(8) as threads:
    others = [threads.submit(ask, seed) for seed in (1, 2, SEED, 3, SEED, 2**40 + SEED, -1, 5)]
  found = [other.result()['choices'][0]['text'] for other in others]
  assert found[2] == found[4] == alone and found[0] != alone
  # Two prompts with one seed share no pages.
  both = served.post('/v1/completions', prompt=['abdefgh', 'xbdefgh'], seed=SEED, max_tokens=9)
  assert [c['text'] for c in both['choices']] == [
      text_of(drawn(text, seed=SEED, most=9)[0]) for text in ('abdefgh', 'xbdefgh')]


def test_without_a_seed_tokens_differ(served):
  texts = {served.post('/v1/completions', prompt='ab', max_tokens=20)['choices'][0]['text']
           for _ in range(4)}
  assert len(texts) > 1


@pytest.mark.parametrize('stream', [False, True])
def test_a_stop_string_ends_a_text_before_it_and_its_slot(served, stream):
  seed = a_seed(lambda tokens: len(set(tokens)) > 6 and EOS not in tokens, 'ab', most=20)
  tokens, _ = drawn('ab', seed=seed, most=20)
  stop = text_of(tokens[4:6])
  asked = dict(prompt='ab', seed=seed, max_tokens=20, stop=['zz', stop], return_token_ids=True)
  if stream:
    chunks = [event['choices'][0] for event in served.events('/v1/completions', **asked)]
    text = ''.join(chunk['text'] for chunk in chunks)
    ids = sum((chunk['token_ids'] for chunk in chunks), [])
    finish = [chunk['finish_reason'] for chunk in chunks]
    assert finish[:-1] == [None] * (len(finish) - 1) and finish[-1] == 'stop'
  else:
    choice, = served.post('/v1/completions', **asked)['choices']
    text, ids = choice['text'], choice['token_ids']
    assert choice['finish_reason'] == 'stop'
  at = text_of(tokens).index(stop)
  assert text == text_of(tokens)[:at] and ids == tokens[:at + 2]
  served.assert_all_returned()


def test_a_stop_token_ends_a_text(served):
  seed = a_seed(lambda tokens: EOS not in tokens and len(set(tokens)) == 8, 'ab')
  tokens, _ = drawn('ab', seed=seed)
  choice, = served.post('/v1/completions', prompt='ab', seed=seed, max_tokens=8,
                        stop_token_ids=[tokens[3]], return_token_ids=True)['choices']
  assert choice['token_ids'] == tokens[:4] and choice['text'] == text_of(tokens[:3])
  assert choice['finish_reason'] == 'stop'


def test_a_stream_says_what_a_whole_answer_says(served):
  asked = dict(prompt=['ab', 'de'], n=2, seed=SEED, max_tokens=9, logprobs=0,
               return_weight_versions=True)
  whole = served.post('/v1/completions', **asked)
  *chunks, usage = served.events('/v1/completions', stream_options=dict(include_usage=True),
                                 **asked)
  assert usage['choices'] == [] and usage['usage'] == whole['usage']
  for choice in whole['choices']:
    own = [c['choices'][0] for c in chunks if c['choices'][0]['index'] == choice['index']]
    assert ''.join(c['text'] for c in own) == choice['text']
    for key in ('tokens', 'token_logprobs', 'text_offset', 'top_logprobs'):
      assert sum((c['logprobs'][key] for c in own), []) == choice['logprobs'][key]
    assert sum((c['weight_versions'] for c in own), []) == choice['weight_versions']
    assert own[-1]['finish_reason'] == choice['finish_reason']


def test_an_echo_has_the_scores_of_the_prompt(served):
  said = served.post('/v1/completions', prompt='abd', echo=True, logprobs=2, max_tokens=0)
  choice, = said['choices']
  assert choice['text'] == 'abd' and choice['finish_reason'] == 'length'
  assert choice['logprobs'] == dict(
      tokens=['a', 'b', 'd'], token_logprobs=[None, -1.0, -3.0], text_offset=[0, 1, 2],
      top_logprobs=[None, {'a': 0.0, 'b': -1.0}, {'a': 0.0, 'b': -1.0, 'd': -3.0}])
  drawn_too, = served.post('/v1/completions', prompt='abd', echo=True, logprobs=1, max_tokens=1,
                           seed=SEED)['choices']
  tokens, logps = drawn('abd', seed=SEED, most=1)
  assert drawn_too['text'] == 'abd' + text_of(tokens)
  np.testing.assert_allclose(drawn_too['logprobs']['token_logprobs'][1:], [-1, -3, logps[0]])
  plain, = served.post('/v1/completions', prompt='abd', echo=True, max_tokens=1,
                       seed=SEED)['choices']
  assert plain['text'] == drawn_too['text'] and plain['logprobs'] is None


def test_a_conversation_is_answered(served):
  asked = dict(messages=[dict(role='system', content='ab'),
                         dict(role='user', content=[dict(type='text', text='de')])],
               seed=SEED, max_tokens=6, logprobs=True, return_token_ids=True)
  said = served.post('/v1/chat/completions', **asked)
  tokens, logps = drawn('abde', seed=SEED, most=6)
  choice, = said['choices']
  assert choice['message'] == dict(role='assistant', content=text_of(tokens), refusal=None)
  assert choice['token_ids'] == tokens and said['prompt_token_ids'] == [0, 1, 3, 4]
  content = choice['logprobs']['content']
  np.testing.assert_allclose([one['logprob'] for one in content], logps, rtol=1e-6)
  assert content[0]['bytes'] == list(content[0]['token'].encode())
  chunks = served.events('/v1/chat/completions', **asked)
  deltas = [chunk['choices'][0]['delta'] for chunk in chunks]
  assert deltas[0]['role'] == 'assistant' and 'role' not in deltas[1]
  assert ''.join(delta['content'] for delta in deltas) == text_of(tokens)
  assert chunks[0]['prompt_token_ids'] == said['prompt_token_ids']


def test_a_conversation_without_a_limit_has_the_room_that_there_is(served):
  seed = a_seed(lambda tokens: EOS not in tokens, 'ab', most=46)
  said = served.post('/v1/chat/completions', messages=[dict(role='user', content='ab')], seed=seed)
  assert said['usage']['total_tokens'] == 48 and said['choices'][0]['finish_reason'] == 'length'


def test_tokens_in_and_out(served):
  said = served.post('/inference/v1/generate', model='fake', token_ids=[0, 1, 3],
                     return_weight_versions=True, sampling_params=dict(
                         max_tokens=8, seed=SEED, logprobs=1, prompt_logprobs=1, n=2))
  for sample, choice in enumerate(said['choices']):
    tokens, logps = drawn('abd', seed=SEED, sample=sample)
    assert choice['token_ids'] == tokens and choice['weight_versions'] == [0] * len(tokens)
    content = choice['logprobs']['content']
    assert [one['token'] for one in content] == [f'token_id:{token}' for token in tokens]
    np.testing.assert_allclose([one['logprob'] for one in content], logps, rtol=1e-6)
  assert said['request_id'] and 'prompt_token_ids' not in said
  # As the client of `renderers` asks: whatever says how text is made says nothing of tokens.
  same = served.post('/inference/v1/generate', model='fake', token_ids=[0, 1, 3], request_id='mine',
                     cache_salt='salt', priority=0, return_token_ids=True, sampling_params=dict(
                         max_tokens=8, seed=SEED, logprobs=1, n=2, stop_token_ids=[EOS], top_k=-1,
                         min_p=0.0, skip_special_tokens=False, spaces_between_special_tokens=False))
  assert [c['token_ids'] for c in same['choices']] == [c['token_ids'] for c in said['choices']]
  assert same['request_id'] == 'mine' and same['prompt_token_ids'] == [0, 1, 3]
  none, second, third = said['prompt_logprobs']
  assert none is None and second['1']['logprob'] == -1 and third['0']['logprob'] == 0


def test_the_likeliest_tokens_are_told_where_they_are_asked_for(served):
  tokens, logps = drawn('abd', seed=SEED)
  likeliest = [sampling.hashed_likeliest(*one, 3) for one in zip(tokens, logps, strict=True)]
  asked = dict(seed=SEED, max_tokens=8)
  said = served.post('/v1/completions', prompt='abd', logprobs=3, return_tokens_as_token_ids=True,
                     **asked)
  for found, (ids, values) in zip(said['choices'][0]['logprobs']['top_logprobs'], likeliest,
                                  strict=True):
    assert list(found) == [f'token_id:{token}' for token in ids]
    np.testing.assert_allclose(list(found.values()), values, rtol=1e-6)
  bodies = {'/v1/chat/completions': dict(messages=[dict(role='user', content='abd')], logprobs=True,
                                         top_logprobs=3, return_tokens_as_token_ids=True, **asked),
            '/inference/v1/generate': dict(token_ids=[0, 1, 3],
                                           sampling_params=dict(logprobs=3, **asked))}
  for path, body in bodies.items():
    content = served.post(path, **body)['choices'][0]['logprobs']['content']
    assert [[one['token'] for one in place['top_logprobs']] for place in content] == [
        [f'token_id:{token}' for token in ids] for ids, _ in likeliest]
    chunks = [one for event in served.events(path, **body) for choice in event['choices']
              for one in choice['logprobs']['content']]
    assert chunks == content
  served.assert_all_returned()


def test_the_model_and_the_measures_are_told(served):
  model, = served.get('/v1/models')['data']
  assert model['id'] == 'fake' and model['max_model_len'] == 48
  assert served.get('/v1/models/fake') == model
  assert served.ask('GET', '/v1/models/other')[0] == 404
  assert served.get('/health') == dict(status='ok')
  served.post('/v1/completions', prompt='ab', max_tokens=3)
  said = served.get('/metrics').decode()
  assert 'magistral_jax_slots 4.0' in said and 'magistral_jax_weight_version 0.0' in said
  assert 'magistral_jax_requests_total{path="/v1/completions",status="200"}' in said
  assert 'magistral_jax_generated_tokens_total' in said
