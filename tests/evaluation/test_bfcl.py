"""BFCL: the published checker's verdicts, calls read without running anything, its files."""
import gzip
import hashlib
import json
from pathlib import Path

import pytest

from magistral_jax.evaluation.bfcl.calls import read_calls
from tests.evaluation import bfcl_responses, cards

GOLDEN = json.loads(gzip.decompress(
    (Path(__file__).parent.parent / 'golden/bfcl.json.gz').read_bytes()))
ADD = dict(name='add', description='Adds.', parameters=dict(
    type='dict', required=['a'], properties={
        'a': {'type': 'integer'}, 'b': {'type': 'float'}, 'd': {'type': 'dict'},
        'c': {'type': 'array', 'items': {'type': 'string'}}}))
ROW = dict(id='q', category='simple_python', messages=[{'role': 'user', 'content': 'Add.'}],
           tools=[ADD], ground_truth=[{'add': {
               'a': [1], 'b': [2.0, ''], 'c': [['x, y'], ''], 'd': [{'k': [1, '']}, '']}}])


def test_verdicts_are_those_of_the_published_checker():
  digest, count, right = hashlib.sha256(), 0, 0
  for row in GOLDEN['rows']:
    responses = list(bfcl_responses.responses(row, len(row['verdicts'])))
    for response in responses:
      digest.update(response.encode() + b'\0')
    item = cards.item('bfcl', row | dict(messages=[{'role': 'user', 'content': ''}]))
    for response, verdict in zip(responses, row['verdicts'], strict=True):
      status = cards.CARDS['bfcl'].grade(item, response).status
      # An empty response calls nothing, as it should; for us it is no answer.
      wanted = verdict if response.strip() else '0'
      assert str(int(status == 'correct')) == wanted, (row['id'], response)
      count, right = count + 1, right + int(verdict)
  assert digest.hexdigest() == GOLDEN['responses_sha256']
  assert count > 4000 and 0.3 < right / count < 0.6
  assert len({row['category'] for row in GOLDEN['rows']}) == 11


@pytest.mark.parametrize('text, status', [
    ('[add(a=1, b=2.0, c=["X y"], d={"k": 1})]', 'correct'), ('add(a=1)', 'correct'),
    ('<think>[add(a=2)]</think>[add(a=1)]', 'correct'), ('[add(a=1, b=2)]', 'correct'),
    ('[add(a=2 - 1)]', 'correct'), ('[add(a=1, d={})]', 'correct'),
    ('[add(a=1.0)]', 'wrong'), ('[add(a=True)]', 'wrong'), ('[add(a="1")]', 'wrong'),
    ('[add(a=1, c=["x", "y"])]', 'wrong'), ('[add(a=1, d={"j": 1})]', 'wrong'),
    ('[add(b=2)]', 'wrong'), ('[add(1)]', 'wrong'), ('[add(a=1, e=1)]', 'wrong'),
    ('[sub(a=1)]', 'wrong'), ('[add(a=1), add(a=1)]', 'wrong'), ('[]', 'wrong'),
    ('I add 1.', 'no_answer'), ('', 'no_answer'), ('<think>[add(a=1)]', 'no_answer'),
    ('[add(a=__import__("os"))]', 'wrong'), ('[add(a=__import__("os").x)]', 'no_answer'),
    ('[add(a=' + '9' * 400 + ')]', 'wrong'), ('[add(a=1, b=' + '9' * 400 + ')]', 'wrong')])
def test_calls_are_judged(text, status):
  assert cards.statuses('bfcl', cards.item('bfcl', ROW), text) == [status]


@pytest.mark.parametrize('category, text, status', [
    ('irrelevance', 'None of them fits.', 'correct'), ('irrelevance', '[]', 'correct'),
    ('irrelevance', '[add(a=1)]', 'wrong'), ('live_relevance', '[add(a=7)]', 'correct'),
    ('live_relevance', 'None of them fits.', 'no_answer'), ('live_relevance', '[]', 'no_answer')])
def test_nothing_and_anything_can_be_what_is_expected(category, text, status):
  item = cards.item('bfcl', ROW | dict(category=category, ground_truth=None))
  assert cards.statuses('bfcl', item, text) == [status]


@pytest.mark.parametrize('text', [
    '[f(a=9**9**9)]', '[f(a="a" * 999999999)]', '[f(a="%999999999d" % 1)]', '[f(a=1/0)]',
    '[f(a=open("x").read() + "")]', '[f(a=-x)]', '[f(a=[*b])]', '[f(a={**b})]', '[f(a={[]: 1})]',
    '(' * 100_000, '[f(a=' + '1+' * 40_000 + '1)]', '[f(a=' + '-' * 90_000 + '1)]', '\x00',
    '\ud800', '[f(a=' + '9' * 90_000 + ')]', '[f(a=1)]' + ' ' * 1_000_000 + '.', 'a' * 1_000_000])
def test_what_is_hostile_is_no_call(text):
  assert read_calls(text) is None


def test_arithmetic_and_names_are_values():
  assert read_calls('f(a=2**3 / 4, b=-1, c=+1, d=x, e=g(1), h=g(k=1), i=(1, "a" "b"), **j)') == [
      ('f', {'a': 2.0, 'b': -1, 'c': 1, 'd': 'x', 'e': 'g(1)', 'h': {'g': {'k': 1}},
             'i': (1, 'ab'), None: 'j'})]


def test_published_files_have_their_answers_beside_them(tmp_path):
  question = dict(id='simple_python_0', question=[[
      {'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Add.'}]],
                  function=[ADD])
  path = tmp_path / 'BFCL_v4_simple_python.json'
  path.write_text(json.dumps(question))
  with pytest.raises(ValueError, match=r'line 1: simple_python_0 has no "ground_truth"'):
    cards.read('bfcl', tmp_path)
  (tmp_path / 'possible_answer').mkdir()
  (tmp_path / 'possible_answer' / path.name).write_text(json.dumps(
      dict(id='simple_python_0', ground_truth=ROW['ground_truth'])))
  java = tmp_path / 'BFCL_v4_simple_java.json'
  java.write_text(json.dumps(question | dict(id='simple_java_0')))
  item, = cards.read('bfcl', tmp_path)
  assert item.prompt.endswith('Be brief.\n\nAdd.') and '"Adds."' in item.prompt
  assert cards.statuses('bfcl', item, 'add(a=1)') == ['correct']


@pytest.mark.parametrize('change, words', [
    (dict(tools=[ADD | dict(name=None)]), 'needs a "name"'),
    (dict(tools=[dict(name='f', parameters=dict(properties={'x': {'type': 'set'}}))]), "'set'"),
    (dict(ground_truth=[{'sub': {}}]), 'sub has not'),
    (dict(messages=[{'role': 'user'}]), '"content"'),
    (dict(question=[[{'content': 'a'}], [{'content': 'b'}]]), 'this has 2'),
    (dict(ground_truth=[{'add': {'a': 1}}]), 'lists of values')])
def test_wrong_rows_are_named(change, words):
  with pytest.raises(ValueError, match=words):
    cards.item('bfcl', ROW | change)


def test_the_leaderboards_means():
  items = [cards.item('bfcl', ROW | dict(id=f'{category}{i}', category=category))
           for category, count in (('simple_python', 3), ('multiple', 1), ('live_simple', 1),
                                   ('live_multiple', 3)) for i in range(count)]
  lines = [line for item in items for line in cards.judged(
      'bfcl', item, 'add(a=2)' if item.id.endswith('0') else 'add(a=1)')]
  found = cards.figures('bfcl', items, lines, 1)
  assert found['non_live'] == pytest.approx((2 / 3 + 0) / 2)
  assert found['live'] == 2 / 4
  assert 'irrelevance' not in found
