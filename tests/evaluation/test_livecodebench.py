"""LiveCodeBench: packed tests that run nothing, its two ways of comparing, dates and files."""
import base64
import json
import pickle
import zlib

import pytest

from magistral_jax.evaluation import livecodebench
from magistral_jax.evaluation.benchmarks import livecodebench_v5
from magistral_jax.evaluation.card import Check
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.evaluation.rows import Row
from magistral_jax.verifiers.code import compare, judge
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits
from tests.evaluation import cards


def packed(value):
  """As `private_test_cases` are published."""
  return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


def case(given, output, kind='stdin'):
  return dict(input=given, output=output, testtype=kind)


SUM = dict(question_id='abc1', question_content='Add.', starter_code='', difficulty='easy',
           contest_date='2024-08-03T00:00:00', platform='atcoder', metadata='{}',
           public_test_cases=json.dumps([case('1 2\n', '3\n')]),
           private_test_cases=packed([case('2 2\n', '4\n'), case('1 0', '1')]))
CALL = SUM | dict(
    question_id='77', difficulty='hard', contest_date='2025-01-11T00:00:00',
    starter_code='class Solution:\n    def ends(self, xs: List[int], k: int):\n        ',
    metadata=json.dumps(dict(func_name='ends')),
    public_test_cases=json.dumps([case('[1, 2, 3]\n2', '[1, 3]', 'functional')]),
    private_test_cases=packed([case('[4]\n0', '[4, 4]', 'functional')]))


def store(folder, *rows, name='livecodebench_v5.jsonl'):
  path = folder / name
  path.write_text('\n' + ''.join(json.dumps(row) + '\n' for row in rows))
  return path


def test_rows_as_published_are_read_and_their_tests_stay_on_disk(tmp_path):
  found = cards.read('livecodebench_v5', store(tmp_path, SUM, CALL).parent)
  assert [item.id for item in found] == ['abc1', '77'] and found[0].tests is None
  assert 'standard input' in found[0].prompt and 'def ends' in found[1].prompt
  assert [item.group for item in found] == ['easy', 'hard']
  check = livecodebench_v5.grade(found[0], '```python\nprint(3)\n```')
  assert [one['stdin'] for one in check.tests['cases']] == ['1 2\n', '2 2\n', '1 0']
  assert check.text.endswith('print(3)') and check.text.startswith('from string import *')
  assert CARDS['livecodebench_v6'].about(found) == dict(
      release='v6', contest_dates=['2024-08-03', '2025-01-11'])
  figures = cards.figures('livecodebench_v5', found, [], 1)
  assert figures['contest_dates'] == ['2024-08-03', '2025-01-11']


def test_a_release_is_its_published_parts(tmp_path):
  folder = tmp_path / 'code_generation_lite'
  folder.mkdir()
  for number in ('', 2, 5, 6):
    store(folder, SUM | dict(question_id=f'q{number}'), name=f'test{number}.jsonl')
  ids = lambda name: [item.id for item in cards.read(name, tmp_path)]
  assert ids('livecodebench_v5') == ['q', 'q2', 'q5'] and ids('livecodebench_v6')[-1] == 'q6'


def test_a_later_row_whose_tests_are_damaged_fails_by_its_line(tmp_path):
  path = store(tmp_path, SUM, SUM | dict(question_id='abc2', private_test_cases='eJx'))
  whole, damaged = cards.read('livecodebench_v5', path)
  response = '```python\nprint(3)\n```'
  assert isinstance(CARDS['livecodebench_v5'].grade(whole, response), Check)
  line, = cards.judged('livecodebench_v5', damaged, response)
  assert line['status'] == 'error' and f'{path}, line 3: "private_test_cases"' in line['detail']


def test_every_row_is_asked_for_its_tests(tmp_path):
  row = SUM | dict(question_id='abc2')
  del row['private_test_cases']
  with pytest.raises(ValueError, match='line 3: "private_test_cases" is missing'):
    cards.read('livecodebench_v5', store(tmp_path, SUM, row))


class Harmful:
  def __reduce__(self):
    return (print, ('ran',))


@pytest.mark.parametrize('text, words', [
    (base64.b64encode(zlib.compress(pickle.dumps(Harmful()))).decode(), 'asks for builtins.print'),
    ('not base64!', 'neither JSON nor'), ('', 'neither JSON nor'),
    (base64.b64encode(b'no zlib').decode(), 'neither JSON nor'),
    (base64.b64encode(zlib.compress(b'no pickle')).decode(), 'neither JSON nor'),
    (base64.b64encode(zlib.compress(pickle.dumps('no json'))).decode(), 'neither JSON nor'),
    ('[1]', '"input" and "output"'), ('{"a": 1}', '"input" and "output"'),
    ('5', '"input" and "output"'), (False, '"input" and "output"'), (None, 'is missing'),
    (packed([dict(input='1')]), '"input" and "output"')])
def test_a_pack_that_is_none_is_refused_and_runs_nothing(text, words, capsys):
  row = Row(SUM | dict(private_test_cases=text), 'a.jsonl', 3)
  with pytest.raises(ValueError, match='a.jsonl, line 3: "private_test_cases"') as error:
    livecodebench.tests_of(row)
  assert words in str(error.value) and capsys.readouterr().out == ''


@pytest.mark.parametrize('found, expected, same', [
    ('1 2\n3', '1 2\n3\n', True), (' 1 2 \n 3', '1 2\n3', True), ('1  2', '1 2', True),
    ('1\n2', '1 2', False), ('1.0 2', '1 2', True), ('1e1', '10', True), ('0.1', '0.10', True),
    ('0.1000000001', '0.1', False), ('yes', 'YES', False), ('a  b', 'a b', False), ('', '', True),
    ('1', '', False), ('nan', 'nan', True), ('nan x', 'nan  x', False), ('sNaN', 'sNaN ', True),
    ('NaN  1', 'NaN 1', False), ('1\r\n2\r', '1\n2', True), ('1\n\n2', '1\n2', False),
    ('1_0', '10', True), ('1' * 10_000, '1' * 10_000 + '.0', True), ('Infinity', 'inf', True)])
def test_lines_are_the_same_as_text_or_as_exact_numbers(found, expected, same):
  assert compare.same_output(found.encode(), expected, checker='lines', tolerance=0.0)[0] == same


@pytest.mark.parametrize('row, source, status', [
    (SUM, 'print(sum(map(int, input().split())))', 'correct'),
    (SUM, 'print(float(sum(map(int, stdin.read().split()))))', 'correct'),   # Imports are there.
    (SUM, 'print(3)', 'wrong'),
    (CALL, 'class Solution:\n  def ends(self, xs: List[int], k):\n    return xs[0], xs[-1]',
     'correct'),                                                             # A tuple is a list.
    (CALL, 'def ends(xs, k):\n  return [xs[0], xs[-1]]', 'correct'),
    (CALL, 'class Solution:\n  def ends(self, xs, k):\n    return [[x] for x in xs]', 'wrong'),
    (CALL, 'class Solution:\n  def end(self, xs, k):\n    return xs', 'runtime_error'),
])
def test_programs_are_judged_as_there(row, source, status):
  item = cards.item('livecodebench_v5', row)
  check = livecodebench_v5.grade(item, f'Try\n```\nno\n```\nor\n```python\n{source}\n```\n')
  limits = Limits(time_s=5.0, idle_s=5.0, wall_s=60.0, memory_mb=512)
  found = judge.check(check.text, 'python', check.tests, language='python',
                      sandbox=Sandbox(limits, mode='bubblewrap'))
  assert (found.status != 'correct') == (status != 'correct'), found.detail
  assert found.status == status, found.detail
