"""Questions answered by log-probabilities: what is asked, what counts, and a server beside us."""
import functools
import json

import numpy as np
import pytest

from magistral_jax.curation import served_benchmarks
from magistral_jax.curation.endpoint import Endpoint, EndpointError, EndpointSettings
from magistral_jax.evaluation import likelihood_sampler, likelihoods
from magistral_jax.evaluation.benchmark import Benchmark
from magistral_jax.evaluation.card import Continuation
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.orchestration import benchmark_run
from magistral_jax.tokens import load_tokenizer
from tests import tiny
from tests.curation.served import Served
from tests.evaluation import cards
from tests.serving.test_opening import serving, shrunk

HELLASWAG = dict(
    ind=7, activity_label='Baking', ctx_a='[header] How to bake [title] Mix.', ctx_b='the Cook',
    endings=['runs  off.', 'stirs [step] it.', 'é', 'sleeps.'], label='1')
PIQA = dict(goal='Open a jar.', sol1='Turn the lid.', sol2='Eat the lid.', label=0)
WINOGRANDE = dict(qID='w1', sentence='The cup fell off _ because it was full.', option1='the shelf',
                  option2='a cloud', answer='2')
ARC = dict(id='a1', question='Which is a planet?', answerKey='2',
           choices=dict(text=['Moon', 'Mars', 'Sun'], label=['1', '2', '3']))
AUTHORS = dict(id='a1', answerKey='B', question=dict(stem='Which is a planet?', choices=[
    dict(text='Moon', label='A'), dict(text='Mars', label='B'), dict(text='Sun', label='C')]))
ROWS = dict(hellaswag=HELLASWAG, piqa=PIQA, winogrande=WINOGRANDE, arc_easy=ARC, arc_challenge=ARC)


@functools.cache
def item(name):
  return cards.item(name, ROWS[name])


@pytest.mark.parametrize('name, contexts, texts, answer', [
    # Marks go, '[title]' ends a sentence, and only the first letter of the second part is capital.
    ('hellaswag', ['Baking: How to bake. Mix. The cook'], [
        ' runs off.', ' stirs it.', ' é', ' sleeps.'], 'B'),
    ('piqa', ['Question: Open a jar.\nAnswer:'], [' Turn the lid.', ' Eat the lid.'], 'A'),
    ('winogrande', ['The cup fell off the shelf', 'The cup fell off a cloud'],
     [' because it was full.'] * 2, 'B'),
    ('arc_easy', ['Question: Which is a planet?\nAnswer:'], [' Moon', ' Mars', ' Sun'], 'B')])
def test_what_is_asked_is_what_lm_eval_asks(name, contexts, texts, answer):
  found = item(name)
  assert list(dict.fromkeys(c.context for c in found.continuations)) == contexts
  assert [c.text for c in found.continuations] == texts and found.answer == answer


def test_arc_is_read_as_its_authors_publish_it():
  assert cards.item('arc_challenge', AUTHORS) == item('arc_challenge')


def mmlu(folder, examples=6):
  row = lambda n, subject: json.dumps(dict(
      question=f' {subject} {n}? ', subject=subject, choices=['w', 'x', 'y', 'z'], answer=n % 4))
  (folder / 'mmlu_dev.jsonl').write_text('\n'.join(
      row(n, subject) for subject in ('anatomy', 'world_religions') for n in range(examples)))
  (folder / 'mmlu_test.jsonl').write_text(row(11, 'world_religions'))


def test_mmlu_shows_five_examples_of_the_subject(tmp_path):
  mmlu(tmp_path)
  found, = cards.read('mmlu', tmp_path)
  shown = found.continuations[0].context.split('\n\n')
  assert shown[0] == ('The following are multiple choice questions (with answers) about world '
                      'religions.')
  assert len(shown) == 7 and shown[2] == 'world_religions 1?\nA. w\nB. x\nC. y\nD. z\nAnswer: B'
  assert shown[-1] == 'world_religions 11?\nA. w\nB. x\nC. y\nD. z\nAnswer:'
  assert [c.text for c in found.continuations] == [' A', ' B', ' C', ' D']
  assert (found.answer, found.group) == ('D', 'world_religions')
  mmlu(tmp_path, examples=4)
  with pytest.raises(ValueError, match='mmlu_dev.jsonl has 4 examples'):
    cards.read('mmlu', tmp_path)
  (tmp_path / 'mmlu_dev.jsonl').unlink()
  with pytest.raises(ValueError, match='line 1: the worked examples are not there'):
    cards.read('mmlu', tmp_path)


@pytest.mark.parametrize('name, row, words', [
    ('hellaswag', HELLASWAG | dict(label=4), '"label" 4 is none of the 4 "endings"'),
    ('piqa', PIQA | dict(label=2), '"label" must be 0 or 1'),
    ('winogrande', WINOGRANDE | dict(sentence='No gap.'), 'has no gap'),
    ('winogrande', WINOGRANDE | dict(answer=3), '"answer" must be 1 or 2'),
    ('arc_easy', ARC | dict(answerKey='D'), 'is none of the labels 1, 2, 3'),
    ('arc_easy', ARC | dict(choices=dict(text=['x'], label=[])), 'as many texts as labels')])
def test_bad_rows_are_said(name, row, words):
  with pytest.raises(ValueError, match='file.jsonl, line 1: ') as error:
    cards.item(name, row)
  assert words in str(error.value)


@pytest.mark.parametrize('name, response, status, answer', [
    ('piqa', '[-1.0, -2.0]', 'correct', 'A'), ('piqa', '[-2.0, -1.0]', 'wrong', 'B'),
    ('piqa', '[-1, -1]', 'correct', 'A'),                 # The first of two equal ones.
    ('piqa', '[-1.0]', 'no_answer', ''), ('piqa', 'A', 'no_answer', ''),
    ('piqa', '', 'no_answer', ''), ('piqa', '[-1.0, "x"]', 'no_answer', ''),
    ('piqa', '[NaN, -1.0]', 'error', ''), ('piqa', '[-Infinity, -1.0]', 'wrong', 'B'),
    ('winogrande', '[-9.5, -9.25]', 'correct', 'B')])
def test_the_likeliest_continuation_is_the_answer(name, response, status, answer):
  line, = cards.judged(name, item(name), response)
  assert (line['status'], line['answer']) == (status, answer)


def test_figures_divide_by_letters_and_bytes():
  # Of 9, 9, 1 and 7 letters; 'é' has two bytes.
  line, = cards.judged('hellaswag', item('hellaswag'), '[-8.0, -8.5, -1.0, -7.0]')
  assert (line['acc'], line['acc_norm'], line['acc_bytes']) == (False, False, False)
  line, = cards.judged('hellaswag', item('hellaswag'), '[-9.0, -7.2, -0.9, -7.7]')
  assert (line['answer'], line['acc_norm'], line['acc_bytes']) == ('B', True, False)
  found = cards.figures('hellaswag', [item('hellaswag')], [line], 1)
  assert (found['pass@1'], found['acc_norm'], found['acc'], found['acc_bytes']) == (1, 1, 0, 0)
  lines = cards.judged('hellaswag', item('hellaswag'), '[-9.0, -7.2, -0.9, -7.7]', 'B', '', '[]')
  found = cards.figures('hellaswag', [item('hellaswag')], lines, 4)
  assert (found['pass@1'], found['acc_norm'], found['no_answer']) == (0.25, 0.25, 3)


def test_tokens_of_a_continuation_begin_with_its_space():
  tokenizer = load_tokenizer('bytes', '')
  for context, text in (('ab', ' c'), ('ab ', 'c'), ('ab', ' é')):
    tokens, count = likelihoods.encoded(tokenizer, Continuation(context, text))
    assert tokenizer.decode(tokens) == context + text
    assert tokenizer.decode(tokens[-count:]) == (context + text)[2:]
  assert likelihoods.encoded(tokenizer, Continuation('', ' c'))[1] == 2


def logps_of(tokens):
  """Log-probabilities that depend on every token before."""
  return [-(sum(tokens[:i]) * 7 + tokens[i] * 3) % 101 / 16 for i in range(1, len(tokens))]


def scored(text):
  """What a server says of a prompt."""
  tokenizer = load_tokenizer('bytes', '')
  tokens = [tokenizer.bos_id, *tokenizer.encode(text)]
  return dict(token_logprobs=[None, *logps_of(tokens)])


def test_a_server_gives_what_the_own_policy_gives(tmp_path):
  def reply(prompts, number):
    choices = [dict(index=i, text=text, logprobs=scored(text)) for i, text in enumerate(prompts)]
    return dict(body=json.dumps(dict(choices=choices[::-1])))    # In whatever order.
  server = Served(reply)
  endpoint = Endpoint(EndpointSettings(server.url, 'm', attempts=1))
  items = {name: item(name) for name in ROWS}
  sampler = likelihood_sampler.LikelihoodSampler(
      lambda sequences: [np.array(logps_of(tokens), np.float32) for tokens in sequences],
      load_tokenizer('bytes', ''), {found.id: found for found in items.values()})
  for name, found in items.items():
    sampler.submit(likelihood_sampler.likelihood_prompt(-1, found, name),
                   CARDS[name].sampling)
    own, = sampler.step()
    assert served_benchmarks.likelihoods(endpoint, found).text == own.text
    assert len(json.loads(own.text)) == len(found.continuations)
    assert len(own.tokens) and not sampler.open
  assert server.requests[0]['max_tokens'] == 0 and server.requests[0]['echo'] is True
  assert server.requests[0]['path'] == '/v1/completions'
  server.close()


@pytest.mark.parametrize('body', [
    '{}', '{"choices": [{"index": 0, "text": "x"}]}',
    '{"choices": [{"index": 0, "logprobs": {"token_logprobs": []}}]}',
    '{"choices": [{"index": 0, "logprobs": {"token_logprobs": [null, null]}}]}'])
def test_a_server_without_log_probabilities_is_said(body):
  server = Served(lambda prompts, number: dict(body=body))
  with pytest.raises(EndpointError, match='log-probabilities of'):
    Endpoint(EndpointSettings(server.url, 'm', attempts=1)).prompt_logps(['ab'])
  server.close()


@pytest.mark.long
def test_a_checkpoint_says_the_same_alone_and_behind_its_server(tmp_path):
  folder = tiny.write_folder(tmp_path)
  words = dict(PIQA, goal='one two', sol1='two one two', sol2='one')
  found = cards.item('piqa', words)
  benchmark = Benchmark(CARDS['piqa'], [found], CARDS['piqa'].sampling)
  model = benchmark_run.loaded(shrunk(folder), folder, 'newest', [benchmark])
  sampler, = model.samplers(benchmark)
  sampler.submit(model.prompts(benchmark)(-1, found), benchmark.sampling)
  own, = sampler.step()
  with serving(shrunk(folder), folder) as (client, _):
    url = 'http://{}:{}/v1'.format(*client.address)
    said = served_benchmarks.likelihoods(Endpoint(EndpointSettings(url, 'tiny')), found)
  np.testing.assert_allclose(json.loads(own.text), json.loads(said.text), atol=1e-4)
  assert len(set(json.loads(own.text))) == 2
