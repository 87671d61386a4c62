"""Cards of questions about images: published rows, their images, and what is an answer."""
import pytest

from magistral_jax.evaluation.card import Grade
from magistral_jax.evaluation.cards import CARDS
from tests.evaluation import cards


def test_rows_as_published_and_their_images(tmp_path):
  png = b'\x89PNG\r\n\x1a\nx'
  item = cards.item('mmmu', dict(
      id='v1', question='What is <image 1> beside <image 2>?', options="['a <image 1>', 'b']",
      answer='B', image_1=dict(bytes=png), image_2='two.png', subfield='Art'),
      path=str(tmp_path / 'mmmu.jsonl'))
  assert len(item.images) == 3 and item.images[0] == item.images[2]
  assert item.images[1] == str(tmp_path / 'two.png') and item.prompt.count('<image>') == 3
  with open(item.images[0], 'rb') as file:
    assert file.read() == png
  assert cards.statuses('mmmu', item, 'Final Answer: B', 'Final Answer: (B)', 'Final Answer: A',
                        'B', '') == ['correct', 'correct', 'wrong', 'no_answer', 'no_answer']
  lines = cards.judged('mmmu', item, 'Final Answer: B', '**Answer**: B', 'It is B.', 'Answer: A')
  found = cards.figures('mmmu', [item], lines, 4)
  assert [found[f'level_{level}'] for level in range(4)] == [0.25, 0.25, 0.5, 0.75]
  lines = cards.judged('mmmu', item, 'Final Answer: B', '')       # Nothing said is not right.
  found = cards.figures('mmmu', [item], lines, 2)
  assert [found['pass@1'], *(found[f'level_{level}'] for level in range(4))] == [0.5] * 5
  opened = cards.item('mmmu', dict(id='o', question='?', options='[]', answer="['3.5', '7/2']"))
  assert cards.statuses('mmmu', opened, 'Final Answer: 3.50', 'Final Answer: 7/2',
                        'Final Answer: 3') == ['correct', 'correct', 'wrong']


@pytest.mark.parametrize('answer', ['C', 'AB', '', '[', "['A'", '[]'])
def test_an_answer_that_is_no_choice_is_said(answer):
  with pytest.raises(ValueError, match='file.jsonl, line 1: "answer" '):
    cards.item('mmmu', dict(id='o', question='?', options="['x', 'y']", answer=answer))


def test_other_rows_about_images():
  pro = cards.item('mmmu_pro', dict(id='p', image='p.png', options="['x', 'y']", answer='A'))
  assert pro.group == 'vision' and pro.prompt.startswith('<image>')
  # Both parts are published with the same ids.
  other = cards.item('mmmu_pro', dict(id='p', question='<image 1>?', image_1='p.png',
                                      options="['x', 'y']", answer='A'))
  assert (other.group, other.id, pro.id) == ('standard', 'p', 'vision-p')
  math = cards.item('mathvista', dict(pid=3, question='How long?', choices=['4', '5'], answer='5',
                                      image='images/3.jpg'))
  assert math.id == '3' and math.data['targets'] == ['B']
  chart = cards.item('chartqa', dict(query='How much?', label=['14'], image='c.png'))
  assert cards.statuses('chartqa', chart, 'Final Answer: 14.5', 'Final Answer: 15') == [
      'correct', 'wrong']
  page = cards.item('docvqa', dict(questionId=9, question='Who?', answers=['Ann Lee'],
                                   image='d.png'))
  lines = cards.judged('docvqa', page, 'ann lee', 'Ann', '')
  assert [line.get('score') for line in lines] == [1.0, pytest.approx(3 / 7), None]
  assert cards.figures('docvqa', [page], lines[:2], 2)['pass@1'] == pytest.approx(5 / 7)
  photo = cards.item('vqav2', dict(question_id=1, question='What?', image='v.jpg',
                                   answers=[dict(answer='dog')] * 3 + [dict(answer='cat')] * 2))
  assert [line['score'] for line in cards.judged('vqav2', photo, 'dog', 'cat')] == [
      1.0, pytest.approx(2 / 3)]


@pytest.mark.parametrize('name', ['mmmu', 'mathvista', 'chartqa', 'docvqa', 'vqav2'])
def test_hostile_responses_get_a_verdict(name):
  rows = dict(
      mmmu=dict(question='?', answer='3.5'), mathvista=dict(question='?', answer='3', image='a'),
      chartqa=dict(query='?', label='3', image='a'),
      docvqa=dict(question='?', answers=['3'], image='a'),
      vqav2=dict(question='?', answers=['3'], image='a'))
  item = cards.item(name, rows[name])
  for text in ('answer:' * 60_000, '*' * 400_000, 'Final Answer: ' + '9' * 400_000, '(' * 1_000_000,
               'Final Answer: \x00\ud800', 'Final Answer: nan', '\n' * 400_000):
    assert isinstance(CARDS[name].grade(item, text), Grade)
