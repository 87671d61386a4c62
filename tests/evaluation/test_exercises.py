"""Exercises of Exercism: which files a response writes, and the program that runs their tests."""
import json

import pytest

from magistral_jax import evaluate
from magistral_jax.evaluation import exercises, grading
from magistral_jax.evaluation.benchmarks import aider_polyglot
from magistral_jax.evaluation.card import Check, Unanswered
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.metrics import read_lines
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox.sandbox import Sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits
from tests.curation.served import Served
from tests.evaluation import cards

TWICE_TEST = '''import unittest
from twice import Odd, twice

class TwiceTest(unittest.TestCase):
  def test_number(self):
    self.assertEqual(twice(2), 4)
  def test_error(self):
    with self.assertRaises(Odd) as error:
      twice('x')
    self.assertEqual(error.exception.args, ('no number',))

if __name__ == '__main__':
  unittest.main()
'''
TWICE = '''class Odd(Exception):
  pass

def twice(x):
  print('said in passing')
  if isinstance(x, str):
    raise Odd('no number')
  return 2 * x
'''
HALF_TEST = '''#include "half.h"
#ifdef EXERCISM_TEST_SUITE
#include <catch2/catch.hpp>
#else
#include "test/catch.hpp"
#endif
CATCH_REGISTER_ENUM(half::kind, half::kind::one)
TEST_CASE("even", "[tag]") {
  INFO("half of " << 4);
  REQUIRE(half::of(4) == 2);
  REQUIRE_FALSE(half::of(4) == 3);
  REQUIRE_THAT(half::exact(3), Catch::Matchers::WithinAbs(1.5, 0.01));
  REQUIRE(half::exact(3) == Approx(1.5));
}
#if defined(EXERCISM_RUN_ALL_TESTS)
TEST_CASE("odd") {
  REQUIRE_THROWS_AS(half::of(3), std::domain_error);
  REQUIRE_THROWS(half::of(3));
  CHECK_THROWS(half::of(1));
  CHECK_NOTHROW(half::of(2));
}
#endif
'''
HALF = {'half.h': '#pragma once\n#include <stdexcept>\nnamespace half {\nint of(int);\n'
                  'double exact(int);\n}\n',
        'half.cpp': '#include "half.h"\nnamespace half {\nint of(int x) {\n'
                    '  if (x % 2) throw std::domain_error("odd");\n  return x / 2;\n}\n'
                    'double exact(int x) { return x / 2.0; }\n}\n'}


def write(folder):
  """A benchmark of three exercises, one of them in a language that is not run."""
  made = dict(
      python=(dict(solution=['twice.py'], test=['twice_test.py'], example=['.meta/example.py']),
              {'twice.py': 'def twice(x):\n  pass\n', 'twice_test.py': TWICE_TEST}),
      cpp=(dict(solution=['half.cpp', 'half.h'], test=['half_test.cpp']),
           {'half.cpp': '#include "half.h"\n', 'half.h': '#pragma once\n',
            'half_test.cpp': HALF_TEST}),
      go=(dict(solution=['a.go'], test=['a_test.go']), {'a.go': '', 'a_test.go': ''}))
  for language, (named, files) in made.items():
    path = folder / language / 'exercises/practice/one'
    (path / '.meta').mkdir(parents=True)
    (path / '.docs').mkdir()
    (path / '.docs/instructions.md').write_text('Halve or double.')
    (path / '.docs/instructions.append.md').write_text('Raise errors.')
    (path / '.meta/config.json').write_text(json.dumps(dict(files=named), indent=2))
    for name, text in files.items():
      (path / name).write_text(text)


@pytest.fixture(scope='module')
def items(tmp_path_factory):
  folder = tmp_path_factory.mktemp('polyglot')
  write(folder)
  return {item.group: item for item in cards.read('aider_polyglot', folder)}


def blocks(**files):
  return 'Here:\n\n' + '\n\n'.join(
      f'**`{name}`**:\n```\n{text}```' for name, text in files.items())


def test_folders_are_items(items):
  assert {item.id for item in items.values()} == {'python/one', 'cpp/one'}
  prompt = items['cpp'].prompt
  assert 'Halve or double.\nRaise errors.' in prompt and 'half.h\n```\n#pragma once' in prompt
  assert 'TEST_CASE' not in prompt and 'half.cpp, half.h' in prompt
  assert CARDS['aider_polyglot'].about(list(items.values())) == dict(
      languages=dict(cpp=1, python=1))


@pytest.mark.parametrize('response, found', [
    ('a.py\n```python\n1\n```', {'a.py': '1\n'}), ('### `a.py`:\n\n```\n1\n```', {'a.py': '1\n'}),
    ('```python a.py\n1\n```', {'a.py': '1\n'}), ('a.py\n```\n1\n```\na.py\n```\n2\n```',
                                                  {'a.py': '2\n'}),
    ('So:\n```\n1\n```', {}), ('a.py\n```\n1', {}), ('', {}), ('c.py\n```\n1\n```', {}),
    ('b.py\n```\n1\n```\nand src/a.py\n```\n2\n```', {'a.py': '2\n', 'b.py': '1\n'})])
def test_files_stand_behind_their_names(response, found):
  assert exercises.written(response, ['a.py', 'b.py']) == found


def test_what_no_jail_can_run_is_no_item(tmp_path, monkeypatch):
  write(tmp_path)
  path = tmp_path / 'cpp/exercises/practice/one/half.h'
  path.write_text('#include <boost/date_time.hpp>\n')
  for there, count in ((False, 1), (True, 2)):
    monkeypatch.setattr(exercises, 'BOOST', str(tmp_path if there else tmp_path / 'nowhere'))
    assert len(cards.read('aider_polyglot', tmp_path)) == count
  (tmp_path / 'cpp/exercises/practice/one').rename(
      tmp_path / 'cpp/exercises/practice/bank-account')
  assert [item.group for item in cards.read('aider_polyglot', tmp_path)] == ['python']


def test_the_only_file_needs_no_name():
  assert exercises.written('So:\n```\n1\n```\n```\n2\n```', ['a.py']) == {'a.py': '2\n'}


@pytest.mark.parametrize('language, response, status', [
    ('python', blocks(**{'twice.py': TWICE}), 'correct'),
    ('python', f'```python\n{TWICE}```', 'correct'),
    ('python', blocks(**{'twice.py': TWICE.replace('2 * x', '3 * x')}), 'runtime_error'),
    ('python', blocks(**{'twice.py': TWICE + 'import sys\nsys.exit(0)\n'}), 'runtime_error'),
    ('python', blocks(**{'twice.py': 'def twice(\n'}), 'runtime_error'),
    ('cpp', blocks(**HALF), 'correct'),
    ('cpp', blocks(**{'half.h': HALF['half.h'] + HALF['half.cpp'].replace(
        '#include "half.h"', '').replace('int of(', 'inline int of(').replace(
            'double exact(int x)', 'inline double exact(int x)')}), 'correct'),
    ('cpp', blocks(**{**HALF, 'half.cpp': HALF['half.cpp'].replace('x / 2;', 'x;')}),
     'runtime_error'),
    ('cpp', blocks(**{**HALF, 'half.cpp': HALF['half.cpp'].replace('domain_', 'logic_')}),
     'runtime_error'),
    ('cpp', blocks(**{'half.cpp': HALF['half.cpp']}), 'compile_error'),
    ('cpp', 'No idea.', None), ('python', '', None), ('python', '<think>```\n1\n```', None)])
def test_a_program_passes_if_all_tests_do(items, language, response, status):
  item = items[language]
  found = CARDS['aider_polyglot'].grade(item, response)
  if status is None:
    assert found == grading.NOTHING
    return
  assert isinstance(found, Check)
  limits = Limits(time_s=20.0, idle_s=20.0, wall_s=120.0, memory_mb=512)
  result = judge.check(found.text, language, found.tests, language=language,
                       sandbox=Sandbox(limits, mode='bubblewrap'))
  assert (status == 'correct') == (result.status == 'correct'), result.detail
  assert result.status in (status, 'wrong'), result.detail


@pytest.mark.parametrize('named, words', [
    (dict(solution=['../x.py'], test=['a_test.py']), 'leads out of the folder'),
    (dict(solution=['a.py'], test=['a_test.py']), 'a.py cannot be read'),
    (dict(test=['twice_test.py']), '"files" needs "solution" and "test"'),
    (dict(solution='a.py', test=['twice_test.py']), 'must be a list of names')])
def test_wrong_folders_are_said(tmp_path, named, words):
  write(tmp_path)
  path = tmp_path / 'python/exercises/practice/one/.meta/config.json'
  path.write_text(json.dumps(dict(files=named)))
  with pytest.raises(ValueError, match='config.json, line 1: ') as error:
    cards.read('aider_polyglot', tmp_path)
  assert words in str(error.value)


WRONG = TWICE.replace('2 * x', '3 * x')


def test_what_the_tests_say_is_said_to_the_model(items):
  again = lambda name, *texts: aider_polyglot.reply(items[name], [texts], 'bubblewrap')
  said = again('python', blocks(**{'twice.py': WRONG}))
  assert 'AssertionError: 6 != 4' in said and 'Correct twice.py' in said and 'Ran 2' not in said
  assert 'SyntaxError' in again('python', blocks(**{'twice.py': 'def twice(\n'}))
  assert 'cannot import name' in again('python', 'No idea.')            # Of the beginning.
  half = {**HALF, 'half.cpp': HALF['half.cpp'].replace('x / 2;', 'x;')}
  assert 'half::of(4) == 2' in again('cpp', blocks(**half)) and 'half.cpp, half.h' in again(
      'cpp', blocks(**half))
  assert 'error' in again('cpp', blocks(**{'half.cpp': 'int'}))
  long = 'import sys\nfor n in range(99):\n  print("n" * 999, file=sys.stderr)\n' + WRONG
  assert len(again('python', blocks(**{'twice.py': long}))) < 21_000
  for texts in ([blocks(**{'twice.py': TWICE})], [blocks(**{'twice.py': WRONG})] * 2):
    assert again('python', *texts) is None
  assert again('cpp', blocks(**HALF)) is None


def test_a_jail_that_fails_is_no_failure_of_the_model(items, monkeypatch):
  broken = exercises.programs.Runnable(None, fault=('error', 'no g++'))
  monkeypatch.setattr(exercises.programs, 'prepare', lambda *_: broken)
  with pytest.raises(Unanswered, match='could not be run .no g'):
    aider_polyglot.reply(items['cpp'], [['x']], 'bubblewrap')


def test_the_second_try_builds_on_the_first(items):
  first = blocks(**{'half.h': HALF['half.h'], 'half.cpp': 'int'})
  second = blocks(**{'half.cpp': HALF['half.cpp']})
  grade = lambda response: CARDS['aider_polyglot'].grade(items['cpp'], response)
  assert grade(json.dumps([[first, second]])) == grade(blocks(**HALF))
  assert grade(json.dumps([['No.', '<think>Hm.']])) == grading.NOTHING
  # What is no list of one or two texts is one text.
  for response in ('x', '[["a", "b", "c"]]', '[[]]', '[["a"], ["b"]]', '[[1]]', '[' * 9999):
    assert aider_polyglot.tries(response) == [response]


def test_a_served_model_has_two_tries(tmp_path):
  write(tmp_path / 'data')
  right = dict(python=blocks(**{'twice.py': TWICE}), cpp=blocks(**HALF))
  def said(text, number):
    if 'AssertionError' in text:
      return f'<think>So 2.</think>{right["python"]}'
    return f'<think>Hm.</think>{blocks(**{"twice.py": WRONG})}' if 'twice' in text else right['cpp']
  server = Served(said)
  flags = ['evaluate', '--benchmark=aider_polyglot', f'--data={tmp_path}/data',
           '--config.runtime.verifier_workers=1']
  evaluate.main(evaluate.parse([*flags, f'--output={tmp_path}/out', f'--endpoint={server.url}',
                                '--model=m']))
  server.close()
  found = json.loads((tmp_path / 'out/results.json').read_text())['aider_polyglot']
  assert (found['pass@1'], found['first_try'], found['second_tries']) == (1.0, 0.5, 1)
  sent = [request['messages'] for request in server.requests]
  assert sorted(map(len, sent)) == [1, 1, 3]
  again = next(messages for messages in sent if len(messages) == 3)
  assert 'Hm.' not in again[1]['content'] and 'twice.py' in again[1]['content']
  lines = read_lines(tmp_path / 'out/responses.jsonl')
  assert {line['id']: (line['correct'], line['tries']) for line in lines} == {
      'python/one': (True, 2), 'cpp/one': (True, 1)}
  # The file that was written is judged again to the same bytes.
  evaluate.main(evaluate.parse([*flags, f'--output={tmp_path}/again',
                                f'--responses={tmp_path}/out/responses.jsonl']))
  same = [(tmp_path / name / 'responses.jsonl').read_bytes() for name in ('out', 'again')]
  assert same[0] == same[1]
