"""Cards that a model judges: what it is shown, what it says, and what counts if it says nothing."""
import json

import pytest

from magistral_jax import evaluate
from magistral_jax.curation import served_benchmarks
from magistral_jax.data import prompts
from magistral_jax.evaluation.benchmarks import hle_text, mm_mt_bench
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.metrics import read_lines
from magistral_jax.tokens import load_tokenizer
from tests.curation.served import Served
from tests.evaluation import cards

PART = lambda text: dict(type='text', text=text)
IMAGE = dict(type='image', image_path='images/a.png')
CONVERSATION = dict(category='charts', messages=[
    dict(role='user', content=[IMAGE, PART('Which bar is red?')]),
    dict(role='assistant', content='The first.'),
    dict(role='user', content='And blue?'), dict(role='assistant', content='The second.')])
HLE = [dict(id=f'h{n}', question=f'Question {n}?', answer=str(n), category='Math', image='')
       for n in range(4)]


def write(folder, name, rows):
  path = folder / name
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


def test_every_turn_is_an_item_behind_the_reference_answers(tmp_path):
  (tmp_path / 'images').mkdir()
  (tmp_path / 'images/a.png').write_bytes(b'png')
  (tmp_path / 'data').mkdir()
  first, second = cards.read('mm_mt_bench', write(
      tmp_path / 'data', 'mm_mt_bench.jsonl', [CONVERSATION]))
  assert (first.id, second.id) == ('mm_mt_bench-0-0', 'mm_mt_bench-0-1')
  assert first.images == second.images == (str(tmp_path / 'images/a.png'),)
  assert second.history == (('<image>\nWhich bar is red?', 'The first.'),)
  asked = served_benchmarks.messages(second, '')
  assert [turn['role'] for turn in asked] == ['user', 'assistant', 'user']
  assert asked[0]['content'][0]['image_url']['url'] == 'data:image/png;base64,cG5n'
  assert asked[2]['content'] == 'And blue?'
  question = CARDS['mm_mt_bench'].grade(second, '<think>Hm.</think>The third.')
  order = ['Which bar is red?', 'The first.', 'And blue?', 'The second.', 'The third.']
  places = [question.text.index(words) for words in order]
  assert places == sorted(places) and 'Hm.' not in question.text
  content = served_benchmarks.content(question.text, question.images)
  assert [part['type'] for part in content] == ['text', 'image_url', 'text']


def test_a_local_model_reads_the_turns_before():
  how = dict(template='chatml', system_prompt='Be brief.')
  tokenizer = load_tokenizer('bytes', '')
  tokenizer.special = lambda name: 0
  render = lambda *args, **more: prompts.render(tokenizer, *args, **how, **more)
  text = tokenizer.decode(render('b?', history=[('a?', 'a!')]))
  assert [text.index(words) for words in ('Be brief.', 'a?', 'a!', 'b?')] == sorted(
      text.index(words) for words in ('Be brief.', 'a?', 'a!', 'b?'))
  assert render('b?', history=[]) == render('b?')


@pytest.mark.parametrize('messages, words', [
    ([dict(role='assistant', content='x')] * 2, 'beginning with the user'),
    ([dict(role='user', content='x')], 'beginning with the user'),
    ([dict(role='user', content=3), dict(role='assistant', content='x')], 'must be text'),
    ([dict(role='user', content=[dict(type='audio')]), dict(role='assistant', content='x')],
     "has the type 'audio'")])
def test_bad_conversations_are_said(messages, words):
  with pytest.raises(ValueError, match='file.jsonl, line 1: ') as error:
    cards.item('mm_mt_bench', dict(messages=messages, category='c'))
  assert words in str(error.value)


@pytest.mark.parametrize('said, rating', [
    ('Good. Rating: [[7]]', 7), ('[[6.5]] or [[9]]', 6.5), ('[[0]]', None), ('[[11]]', None),
    ('Rating: 7', None), ('', None), ('[[ten]]', None)])
def test_a_rating_stands_in_double_brackets(said, rating):
  found = mm_mt_bench.rating(said)
  assert (found and found.more['rating']) == rating
  assert rating is None or found.value == rating / 10


@pytest.mark.parametrize('said, status', [
    ('extracted_final_answer: 4\nreasoning: same\ncorrect: yes\nconfidence: 80', 'correct'),
    ('**correct:** no', 'wrong'), ('Correct: Yes', 'correct'),
    ('correct: yes\ncorrect: no', 'wrong'),
    ('It is correct: yes it is.', None), ('correct', None), ('', None)])
def test_a_verdict_is_the_line_that_begins_with_it(said, status):
  found = hle_text.judged(said)
  assert (found and found.status) == status
  if said.startswith('extracted'):
    assert (found.answer, found.more) == ('4', dict(confidence=80))


def test_questions_with_images_are_no_items():
  assert cards.item('hle_text', HLE[0] | dict(image='data:...')) is None


def run(folder, server, responses, *flags, card='hle_text', rows=HLE):
  evaluate.main(evaluate.parse([
      'evaluate', f'--benchmark={card}', f'--output={folder / "out"}',
      f'--data={write(folder, "data.jsonl", rows)}',
      f'--responses={write(folder, "responses.jsonl", responses)}',
      '--config.runtime.verifier_workers=1',
      *([f'--judge_endpoint={server.url}', '--judge_model=j'] if server else []),
      '--endpoint_attempts=1', '--endpoint_concurrency=2', *flags]))
  return json.loads((folder / 'out/results.json').read_text())[card]


def test_what_the_judge_does_not_say_is_failed_and_not_wrong(tmp_path):
  asked = []
  def judge(text, number):
    asked.append(text)
    if 'Question 2' in text:
      return 'I cannot tell.'
    if 'Question 3' in text:
      return dict(status=400, body='too long')
    return f'extracted_final_answer: x\ncorrect: {"yes" if "[response]: 0" in text else "no"}'
  server = Served(judge)
  responses = [dict(id=f'h{n}', sample=0, response=text) for n, text in enumerate(
      ['<think>Hm</think>0', 'It is 7.', '2', '3'])]
  found = run(tmp_path, server, responses)
  assert (found['pass@1'], found['failed'], found['items_judged']) == (0.5, 2, 2)
  assert sum('Question 2' in text for text in asked) == 3        # Bounded, and then given up.
  temperatures = [r['temperature'] for r in server.requests if 'Question 2' in str(r['messages'])]
  assert temperatures[0] == 0.0 and min(temperatures[1:]) > 0
  lines = read_lines(tmp_path / 'out/responses.jsonl')
  assert [line['status'] for line in lines] == ['correct', 'wrong', 'error', 'error']
  assert 'could not be read' in lines[2]['detail'] and 'too long' in lines[3]['detail']
  assert json.loads((tmp_path / 'out/settings.json').read_text())['model']['judge'] == 'j'
  server.close()


def test_what_the_judge_said_before_it_failed_is_kept(tmp_path, capsys):
  responses = [dict(id=f'h{n}', sample=0, response=str(n)) for n in range(4)]
  server = Served(lambda text, number: dict(status=401, body='no key') if number > 1 else
                  'correct: yes')
  with pytest.raises(SystemExit):
    run(tmp_path, server, responses, '--endpoint_concurrency=1')
  server.close()
  assert 'HTTP 401' in capsys.readouterr().err
  assert len(read_lines(tmp_path / 'out/responses.jsonl.partial')) == 2
  asked = []
  server = Served(lambda text, number: asked.append(text) or 'correct: yes')
  found = run(tmp_path, server, responses, '--endpoint_concurrency=1')
  server.close()
  assert (found['pass@1'], found['responses']) == (1.0, 4)
  assert [f'Question {n}' in text for n, text in zip((2, 3), asked, strict=True)] == [True, True]


def test_an_empty_response_is_not_shown_to_the_judge(tmp_path):
  server = Served(lambda text, number: 'Rating: [[5]]')
  rows = [dict(CONVERSATION, messages=[dict(role='user', content='Hi.'),
                                       dict(role='assistant', content='Hello.')])]
  found = run(tmp_path, server, [
      dict(id='mm_mt_bench-0-0', sample=n, response=text)
      for n, text in enumerate(['Hello!', '', '<think>Hm'])], card='mm_mt_bench', rows=rows)
  assert len(server.requests) == 1 and found['no_answer'] == 2 and found['truncated'] == 1
  assert (found['rating'], found['pass@1']) == (5.0, pytest.approx(0.5 / 3))
  server.close()


@pytest.mark.parametrize('reply, flags, words', [
    (None, [], 'hle_text is judged by a model: name it with --judge_endpoint'),
    ('x', ['--judge_model='], '--judge_endpoint needs --judge_model'),
    ('x', ['--judge_endpoint=nowhere'], "--judge_endpoint='nowhere' is no URL"),
    (dict(status=401, body='no key'), [], 'HTTP 401'),
    (dict(hang_up=True), [], 'gave no usable answer in 1 attempts'),
    (dict(hang_up=True), ['--endpoint_concurrency=64'], 'gave no usable answer in 1 attempts')])
def test_a_judge_that_cannot_be_asked_ends_the_command(tmp_path, capsys, reply, flags, words):
  server = reply and Served(lambda text, number: reply)
  with pytest.raises(SystemExit) as ended:
    run(tmp_path, server, [dict(id=f'h{n}', sample=0, response='0') for n in range(4)], *flags)
  shown = capsys.readouterr().err
  assert ended.value.code == 2 and words in ' '.join(shown.split())
  if server:
    server.close()
