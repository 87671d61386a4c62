"""Cards of programs and of other languages: published formats, and what is an answer there."""
import dataclasses

import pytest

from magistral_jax.evaluation import grading
from magistral_jax.evaluation.benchmarks import mgsm
from magistral_jax.evaluation.card import Check
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits
from tests.evaluation import cards

HUMAN = dict(task_id='HumanEval/0', entry_point='twice', canonical_solution='  return 2 * x\n',
             prompt='def one():\n  return 1\n\ndef twice(x: float) -> float:\n  """Doubles."""\n',
             test='def check(candidate):\n  assert candidate(2) == 4 * one()\n')
PLUS = HUMAN | dict(base_input=[[1.5], [2]], plus_input=[[0.1], [10 ** 20], [-3.25]], atol=0,
                    contract='')
ROOT = dict(task_id='HumanEval/32', entry_point='find_zero', prompt='def find_zero(xs):\n',
            canonical_solution='  return -xs[0] / xs[1]\n', base_input=[[[1, 2]]],
            plus_input=[[[-6, 3]]], atol=1e-4)
MBPP = dict(task_id=7, text='Add two numbers.', code='def add(a, b):\n  return a + b',
            test_list=['assert add(1, 2) == 3', 'assert add(0.1, 0.2) == 0.1 + 0.2'],
            test_setup_code='', challenge_test_list=[])


def check(name, row, response):
  """What a card makes of a response: a program, or a grade."""
  item = cards.item(name, row)
  return item, CARDS[name].grade(item, response)


@pytest.mark.parametrize('response, program', [
    ('```python\ndef twice(x):\n  return 2 * x\n```', '\ndef twice(x):\n  return 2 * x'),
    ('So:\n```\n  return 2 * x\n```', '  return 2 * x'),
    ('  return 2 * x\n', '  return 2 * x\n'),
    ('<think>```python\n1\n```</think>\n  return x\n', '\n  return x\n'),
    ("I can't.", None), ('', None), ('<think>```\n  return x\n```', None), ('```\n\n```', None)])
def test_a_program_that_continues_the_prompt(response, program):
  item, found = check('humaneval', HUMAN, response)
  if program is None:
    assert found == grading.NOTHING
  else:
    assert isinstance(found, Check)
    assert found.text.replace(HUMAN['prompt'], '').strip('\n') == program.strip('\n')
  assert item.id == 'HumanEval/0' and HUMAN['prompt'].strip() in item.prompt


def test_mbpp_reads_its_published_rows_and_shows_three_assertions():
  item, found = check('mbpp', MBPP, f'```python\n{MBPP["code"]}\n```')
  assert item.id == 'Mbpp/7' and 'assert add(1, 2) == 3' in item.prompt
  assert found.text == MBPP['code'] and len(found.tests['cases']) == 1
  sanitized = {'task_id': 7, 'prompt': 'Add.', 'test_list': MBPP['test_list'],
               'test_imports': ['import math']}
  assert cards.item('mbpp', sanitized).tests['setup'].startswith('import math')


@pytest.mark.parametrize('name, row, words', [
    ('mbpp', MBPP | dict(test_list=[]), 'must be assertions'),
    ('mbpp', MBPP | dict(test_list='no'), '"test_list" must be a list'),
    ('humaneval', {**HUMAN, 'entry_point': None}, '"entry_point" is missing'),
    ('humaneval_plus', PLUS | dict(base_input=[1]), 'a list of lists of arguments'),
    ('mgsm', dict(problem='?', answer='1'), "its language is ''"),
    ('mgsm', dict(problem='?', answer='1', language='xx'), "its language is 'xx'"),
    ('aime24_multilingual', dict(problem='?', answer='1'), 'its language is missing')])
def test_bad_rows_of_programs_and_languages(name, row, words):
  with pytest.raises(ValueError, match='file.jsonl, line 1: ') as error:
    cards.item(name, row)
  assert words in str(error.value)


@pytest.mark.parametrize('language, response, number', [
    ('en', 'Answer: 18', '18'), ('en', 'Answer: 1,018.50 dollars', '1018.5'), ('en', '18', ''),
    ('en', 'Answer: 3 Answer: 5 of 7.', '7'), ('en', 'Answer: none', ''), ('fr', 'Réponse: 9', '9'),
    ('zh', '因此\n答案:12', '12'), ('bn', 'উত্তর: 12', '12'), ('de', 'Answer: 3', ''),
    ('en', '<think>Answer: 3', ''), ('en', 'Answer: 18.00', '18'), ('en', '', '')])
def test_mgsm_takes_the_last_number_behind_the_word_of_the_language(language, response, number):
  assert mgsm.number(response, mgsm.REQUESTS[language][1]) == number


def test_mgsm_reads_tables_without_names(tmp_path):
  (tmp_path / 'mgsm_fr.tsv').write_text('Combien font "1+1"?\t2\nEt 1000+1?\t1,001\n')
  found = cards.read('mgsm', tmp_path)
  assert [(item.id, item.answer, item.group) for item in found] == [
      ('mgsm-fr-0', '2', 'fr'), ('mgsm-fr-1', '1001', 'fr')]
  assert found[0].prompt.startswith('Résous') and '"1+1"' in found[0].prompt


def test_a_translated_aime_says_which_responses_stay_in_its_language(tmp_path):
  (tmp_path / 'aime24_fr.jsonl').write_text('{"problem": "Combien font 1+1?", "answer": 2}\n')
  item, = cards.read('aime24_multilingual', tmp_path)
  french = '<think>Je calcule la somme de un et un, ce qui fait deux.</think>Donc \\boxed{2}.'
  english = '<think>I compute the sum of one and one, and this makes two.</think>\\boxed{2}.'
  lines = cards.judged('aime24_multilingual', item, french, english, '')
  assert [line['in_language'] for line in lines] == [True, False, False]
  assert [line['status'] for line in lines] == ['correct', 'correct', 'no_answer']
  found = cards.figures('aime24_multilingual', [item], lines, 3)
  assert found['in_language'] == pytest.approx(1 / 3) and item.group == 'fr'


@pytest.mark.parametrize('name, row, source, status', [
    ('humaneval', HUMAN, '  return 2 * x', 'correct'),
    ('humaneval', HUMAN, 'def twice(x):\n  return x + 2', 'correct'),     # Its test is weak ...
    ('humaneval_plus', PLUS, 'def twice(x):\n  return x + 2', 'wrong'),   # ... these are not.
    ('humaneval_plus', PLUS, '  return x + x', 'correct'),
    ('humaneval_plus', PLUS, '  return 2 * x + 5e-7 * (type(x) is float)', 'correct'),
    ('humaneval_plus', PLUS, '  return 2 * x + 5e-7', 'wrong'),           # A whole number is exact.
    ('humaneval_plus', PLUS, '  return 2 * x + 5e-5', 'wrong'),
    ('humaneval_plus', PLUS, '  return str(2 * x)', 'wrong'),
    ('humaneval_plus', ROOT, '  return -xs[0] / xs[1] + 1e-6', 'correct'),
    ('humaneval_plus', ROOT, '  return 0.1', 'wrong'),
    ('humaneval_plus', ROOT, '  return None', 'wrong'),
    ('mbpp', MBPP, MBPP['code'], 'correct'),
    ('mbpp', MBPP, 'def add(a, b):\n  return 3', 'wrong'),
])
def test_programs_are_judged_by_all_their_tests(name, row, source, status):
  item, found = check(name, row, f'```python\n{source}\n```')
  limits = Limits(time_s=5.0, idle_s=5.0, wall_s=60.0, memory_mb=512)
  result = judge.check(found.text, 'python', found.tests, language='python',
                       sandbox=Sandbox(limits, mode='bubblewrap'))
  assert (result.status, result.total) == (status, 1), result.detail
  assert dataclasses.is_dataclass(item)
