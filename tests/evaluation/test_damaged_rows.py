"""Rows in the published forms, damaged: a card reads a row, or says in a sentence what is wrong."""
import copy
import json

import pytest

from magistral_jax.evaluation.card import Item
from magistral_jax.evaluation.cards import CARDS
from tests.evaluation import cards

PROBLEM = dict(id=60, problem='Find x.', answer='204', year='2024')
FUNCTION = dict(task_id='HumanEval/0', prompt='def f(x):\n', entry_point='f',
                test='def check(f): f(1)', canonical_solution='  return x\n')
ROWS = dict(
    aime24=PROBLEM, aime24_multilingual=PROBLEM | dict(language='de'), humaneval=FUNCTION,
    humaneval_plus=FUNCTION | dict(base_input=[[1]], plus_input=[[2]], atol=1e-6),
    math=dict(problem='1+1?', solution='It is \\boxed{2}.'),
    gsm8k=dict(question='How many?', answer='3 + 4 = 7\n#### 7'),
    mbpp=dict(task_id=2, text='Add.', test_list=['assert add(1, 2) == 3'], test_setup_code=''),
    mgsm=dict(question='Combien ?', answer_number=3, language='fr'),
    gpqa_diamond={'Question': 'Which?', 'Correct Answer': 'a', 'Incorrect Answer 1': 'b',
                  'Incorrect Answer 2': 'c', 'Incorrect Answer 3': 'd', 'Record ID': 'rec'},
    ifeval=dict(key=1, prompt='Write.', kwargs=[{}, dict(num_highlights=3)], instruction_id_list=[
        'punctuation:no_comma', 'detectable_format:number_highlighted_sections']),
    hle_text=dict(id='a', question='Why?', image='', answer='D', category='Math'),
    mm_mt_bench=dict(category='charts', messages=[
        dict(role='user', content=[dict(type='text', text='Hi.')]),
        dict(role='assistant', content='Hello.')]),
    livecodebench_v5=dict(
        question_id='3000', question_content='Double.', contest_date='2024-08-03T00:00:00',
        starter_code='def twice(x):', difficulty='easy', metadata='{"func_name": "twice"}',
        public_test_cases=[dict(input='2', output='4')], private_test_cases='[]'),
    mmmu=dict(id='v', question='<image 1>?', options="['x', 'y']", answer='A', image_1='a.png'),
    mmmu_pro=dict(id='v', image='a.png', options="['x', 'y']", answer='A'),
    mathvista=dict(pid='1', question='When?', image='a.png', choices=None, precision=1.0,
                   answer='1.2', answer_type='float', metadata=dict(task='geometry')),
    chartqa=dict(query='How many?', label=['14'], image='a.png', human_or_machine=0),
    docvqa=dict(questionId='49153', question='Who?', image='a.png', answers=['Ann', 'Ann Lee']),
    vqav2=dict(question_id=1, question='What?', image='a.png', answers=[dict(answer='net')] * 10,
               answer_type='other'),
    hellaswag=dict(ind=4, activity_label='Chess', ctx_a='A man.', ctx_b='he', label='1',
                   endings=['a', 'b', 'c', 'd']),
    winogrande=dict(qID='q', sentence='A _ b.', option1='x', option2='y', answer='1'),
    piqa=dict(goal='To do it', sol1='a', sol2='b', label=1),
    arc_easy=dict(id='M', question='Which?', answerKey='B',
                  choices=dict(text=['a', 'b'], label=['A', 'B'])),
    arc_challenge=dict(id='M', answerKey='B', question=dict(
        stem='Which?', choices=[dict(text='a', label='A'), dict(text='b', label='B')])),
    bfcl=dict(id='simple_python_0', question=[[dict(role='user', content='Add.')]],
              ground_truth=[dict(add=dict(x=[1]))], function=[dict(
                  name='add', description='Adds.', parameters=dict(
                      type='dict', required=['x'], properties=dict(
                          x=dict(type='array', items=dict(type='integer')))))]))
# What stands in the place of a value; of None and '' a row may be as good as without the key.
WRONG = [None, '', 5, -1, 2.5, float('nan'), True, 'text', '[', '{"a": 1}', '[1]', [], [1], [[]],
         [None], {}, {'a': 1}, [{}], '\ud800', 10 ** 30, {'text': 5, 'label': ['A']}]


def places(value, before=()):
  """The path to every value in a row."""
  for key in value if isinstance(value, dict) else range(len(value)):
    yield (*before, key)
    if isinstance(value[key], dict | list):
      yield from places(value[key], (*before, key))


def changed(row, place, *values):
  """A copy of a row with another value in a place, or with none there."""
  row = inner = copy.deepcopy(row)
  for key in place[:-1]:
    inner = inner[key]
  del inner[place[-1]]
  if values:
    (inner.insert if isinstance(inner, list) else inner.__setitem__)(place[-1], values[0])
  return row


@pytest.mark.parametrize('name', ROWS)
def test_a_damaged_row_is_read_or_said_in_a_sentence(name, tmp_path):
  row = ROWS[name]
  assert cards.read(name, _stored(tmp_path, row))
  for place in places(row):
    for damaged in [changed(row, place), *(changed(row, place, wrong) for wrong in WRONG)]:
      try:
        found = cards.read(name, _stored(tmp_path, damaged))
      except ValueError as error:
        words = str(error)
        assert 'line 1' in words or 'holds no item' in words, (place, words)
        assert '\n' not in words and str(tmp_path) in words, (place, words)
      else:
        assert all(isinstance(item, Item) for item in found)


def _stored(folder, row):
  path = folder / 'rows.jsonl'
  path.write_text(json.dumps(row) + '\n')
  return path


@pytest.mark.parametrize('name, key', [
    (name, key) for name, keys in dict(
        aime24='problem answer', math='problem', gsm8k='question answer', mbpp='text test_list',
        humaneval='prompt test entry_point', hle_text='question answer', mgsm='question',
        livecodebench_v5='question_content', ifeval='prompt', mmmu='question answer',
        mmmu_pro='options answer', chartqa='query label', docvqa='question answers',
        vqav2='question answers', piqa='goal sol1 label', hellaswag='ctx_a endings',
        arc_easy='question answerKey', mm_mt_bench='category messages',
        bfcl='ground_truth').items() for key in keys.split()])
@pytest.mark.parametrize('wrong', [None, '', [], float('nan'), '\ud800'], ids=repr)
def test_what_a_card_needs_is_asked_for_by_its_name(name, key, wrong):
  with pytest.raises(ValueError, match=f'file.jsonl, line 1: .*"{key}'):
    cards.item(name, ROWS[name] | {key: wrong})


def test_all_cards_that_read_single_rows_are_here():
  alike = {'aime25', 'math500', 'mbpp_plus', 'livecodebench_v6'}         # They share a reader.
  folders = {'mmlu', 'bfcl_multi_turn', 'aider_polyglot'}
  assert ROWS.keys() | alike | folders == CARDS.keys()
