"""Programming problems: tests that solutions agree on, new inputs, one problem per language."""

import collections

import pytest

from magistral_jax import code_tests
from magistral_jax.curation.code import agreement, generate, inputs, languages, statements
from magistral_jax.curation.code.programs import (
  MOST_HANGS,
  ProgramRun,
  Runner,
  Solution,
  solutions_of,
)
from magistral_jax.curation.endpoint import Endpoint, EndpointSettings
from magistral_jax.verifiers.sandbox import sandbox
from tests.curation import planted_programs

STDIN = code_tests.read(dict(tests=[dict(stdin='1', stdout='2')]))
RIGHT = 'n = int(input())\nprint(n + 1)'


@pytest.fixture(scope='module')
def runner():
  isolation = sandbox.probe()
  if not isolation.ok:
    pytest.skip(f'no jail on this machine: {isolation.words} {isolation.install}')
  return Runner(time_s=1.0)


def problem(*tests, solutions=(RIGHT,), **more):
  return dict(id='a', problem='Print n + 1.', tests=[
      dict(stdin=i, stdout=o) for i, o in tests], solutions=list(solutions), **more)


def runs(*outputs):
  return [ProgramRun('exited', o) if o is not None else ProgramRun('timeout') for o in outputs]


@pytest.mark.parametrize('outputs, fate, output', [
    (['2', '2', '2'], 'kept', None), (['2', '3', '3'], 'kept', None),
    (['3', '3', '3'], 'repaired', '3'), (['3', '3', '4'], 'repaired', '3'),
    (['3', '4', '5'], 'disputed', None), (['3', None, None], 'disputed', None),
    ([None, None], 'disputed', None), (['3'], 'unconfirmed', None), (['2'], 'kept', None),
    ([' 3\n', '3', '3 '], 'repaired', ' 3\n')])
def test_the_fate_of_a_test(outputs, fate, output):
  case = dict(stdin='1', stdout='2')
  assert agreement.judge_test(case, runs(*outputs), STDIN, 0.6, 2) == (fate, output)


@pytest.mark.parametrize('statuses, fate', [
    (['correct', 'correct', 'wrong'], 'kept'), (['correct', 'wrong', 'wrong'], 'disputed')])
def test_assertions_vote_by_passing(statuses, fate):
  tests = code_tests.read(dict(tests=[{'assert': 'assert f()'}]))
  found = agreement.judge_test(
      {'assert': 'assert f()'}, list(map(ProgramRun, statuses)), tests, 0.6, 2)
  assert found == (fate, None)


def test_planted_tests_are_repaired_and_dropped(runner):
  rows, fates = planted_programs.problems(0, each=2)
  for row in rows:
    found = agreement.decide(row, runner, 0.6, 2, 32)
    note = found.notes['agreement']
    assert {n: fate for n, fate in enumerate(note['tests']) if fate != 'kept'} == {
        n: fate for (name, n), fate in fates.items() if name == row['id']}
    assert len(note['matrix']) == len(row['solutions'])
    # What is left is right: the task's own function says so.
    truth = planted_programs.TASKS[row['id'].split('-')[0]][0]
    for test in found.rows[0]['tests']:
      values = list(map(int, test['stdin'].split()[1:]))
      assert test['stdout'].strip() == str(truth(values))


def test_a_hanging_solution_costs_its_limit_and_nothing_else(runner):
  row = problem(*[(f'{n}\n', f'{n + 1}\n') for n in range(8)],
                solutions=[RIGHT, RIGHT + ' ', 'while True: pass'])
  found = agreement.decide(row, runner, 0.6, 2, 32)
  assert found.rows == (row,)
  assert found.notes['agreement']['matrix'][2] == ['timeout'] * MOST_HANGS + ['skipped'] * 5


def test_a_problem_that_no_solution_solves_is_dropped(runner):
  halves = ['n = int(input())\nprint(n + 1 if n < 5 else 0)',
            'n = int(input())\nprint(n + 1 if n > 4 else 0)']
  row = problem(('1', '2'), ('7', '8'), solutions=halves)
  assert agreement.decide(row, runner, 0.5, 2, 32).reason == 'unsolved_tests'
  row = problem(('1', '5'), solutions=halves)
  assert agreement.decide(row, runner, 0.9, 2, 32).reason == 'no_test_left'


def test_cpp_and_assertions_run_too(runner):
  cpp = '#include <iostream>\nint main(){int n;std::cin>>n;std::cout<<n+1;}'
  row = problem(('1', '2'), solutions=[RIGHT, dict(language='cpp', code=cpp)])
  assert agreement.decide(row, runner, 1.0, 2, 32).rows == (row,)
  row = dict(id='b', problem='f', reference_solution='def f(x):\n  return x + 1', tests=[
      {'assert': 'assert f(1) == 2'}, {'assert': 'assert f(1) == 3'}])
  found = agreement.decide(row, runner, 0.6, 2, 32)
  assert found.rows[0]['tests'] == row['tests'][:1] and found.reason == 'dropped_tests'


def test_solutions_are_read_in_all_their_forms():
  row = dict(language='any', reference_solution='a', solutions=[
      'b', 'a', '', dict(language='C++17', code='c'), dict(code='d')])
  assert solutions_of(row) == [Solution('python', 'a'), Solution('python', 'b'),
                               Solution('cpp', 'c'), Solution('python', 'd')]
  assert solutions_of(dict(language='cpp', reference_solution='x')) == [Solution('cpp', 'x')]
  for bad in (dict(solutions='x'), dict(solutions=[5]), dict(solutions=[dict(
      language='rust', code='x')])):
    with pytest.raises(ValueError, match='solution'):
      solutions_of(bad)


GIVEN = ['3\n1 5 2\n', '5\n9 9 1 4 2\n', '4\n7 3 3 8\n']


def test_new_inputs_keep_what_holds_for_the_given_ones():
  found = list(inputs.mutations(GIVEN, 40, 'x'))
  assert len(found) == len(set(found)) == 40 and not set(found) & set(GIVEN)
  for text in found:
    first, second = text.splitlines()
    values = list(map(int, second.split()))
    assert len(values) == int(first) and 3 <= int(first) <= 5
    assert min(values) >= 1 and max(values) <= 9
  assert list(inputs.mutations(GIVEN, 40, 'x')) == found
  assert list(inputs.mutations(GIVEN, 40, 'y')) != found


@pytest.mark.parametrize('given, law', [
    (['3\n1 2 5\n', '4\n2 6 7 9\n'], lambda v: v == sorted(v)),
    (['3\n2 1 3\n', '4\n4 2 1 3\n'], lambda v: sorted(v) == list(range(1, len(v) + 1))),
    (['3\n9 1 5\n', '4\n2 8 7 3\n'], lambda v: len(set(v)) == len(v))])
def test_laws_of_lists_hold_for_new_inputs(given, law):
  found = list(inputs.mutations(given, 15, 'x'))
  assert found
  assert all(law(list(map(int, text.splitlines()[1].split()))) for text in found)


def test_words_keep_their_letters_and_their_length():
  found = list(inputs.mutations(['3\nabc\n', '5\nbacca\n'], 20, 'x'))
  assert found
  for text in found:
    number, word = text.split()
    assert len(word) == int(number) and set(word) <= set('abc')


def test_a_number_that_counts_the_letters_of_its_line_keeps_counting_them():
  given = ['3\n4 11111\n1 09\n5 110011\n', '2\n2 110\n3 0111\n']
  found = list(inputs.mutations(given, 10, 'x'))
  assert found
  for text in found:
    pairs = [line.split() for line in text.splitlines()[1:]]
    assert all(len(word) == int(number) + 1 for number, word in pairs)


@pytest.mark.parametrize('text, holds', [
    ('3\n1 5 2\n', True), ('4\n1 5 2\n', False), ('3\n1 50 2\n', False), ('3\n1 5 x\n', False),
    ('3\n1 5 2\n1 2\n', False), ('', False), ('3\n1 5 2.5\n', False), ('6\n1 1 1 1 1 1\n', False)])
def test_rules_refuse_what_breaks_them(text, holds):
  assert inputs.Rules(list(map(inputs.read, GIVEN))).hold(inputs.read(text)) == holds


@pytest.mark.parametrize('texts', [[], [''], ['\n\n'], ['x' * (1 << 17)], ['1'], ['é'], ['1e5 -3']])
def test_odd_inputs_make_no_trouble(texts):
  list(inputs.mutations(texts, 5, 'x'))


SUM = 'n = int(input())\nprint(sum(map(int, input().split())))'
OTHER = 'input()\nt = 0\nfor v in input().split(): t += int(v)\nprint(t)'
WRONG = 'input()\nprint(sum(map(int, input().split())) + 1)'


def few(solutions):
  return problem(*[(text, f'{sum(map(int, text.split()[1:]))}\n') for text in GIVEN],
                 solutions=solutions)


def test_few_tests_become_many_by_the_majority_of_right_solutions(runner):
  row = few([SUM, OTHER, WRONG])
  found = generate.decide(row, runner, None, 8, 0.6, 2, 32)
  tests = found.rows[0]['tests']
  assert found.reason == 'added_tests' and len(tests) == 8 and tests[:3] == row['tests']
  for test in tests:
    assert int(test['stdout']) == sum(map(int, test['stdin'].split()[1:]))
  assert all(test['generated'] for test in tests[3:])


@pytest.mark.parametrize('solutions', [[SUM], [SUM, WRONG], [WRONG]])
def test_without_enough_right_solutions_there_are_no_new_tests(runner, solutions):
  row = few(solutions)
  assert generate.decide(row, runner, None, 8, 0.6, 2, 32).rows == (row,)


class TellingRunner:
  """Solutions of `few` that add numbers up, but for those that hang on any input that is new."""

  def __init__(self, *hanging):
    self.hanging, self.inputs = hanging, collections.Counter()

  def outputs(self, solution, texts):
    self.inputs[solution.source] += len(texts)
    return [ProgramRun('timeout') if solution.source in self.hanging and text not in GIVEN else
            ProgramRun('exited', str(sum(map(int, text.split()[1:])))) for text in texts]

  def runs(self, solution, tests):
    return self.outputs(solution, [case['stdin'] for case in tests['cases']])


def test_a_solution_that_hangs_on_new_inputs_is_run_on_few_of_them():
  told = TellingRunner('c')
  found = generate.decide(few(['a', 'b', 'c']), told, None, 20, 0.6, 2, 32)
  assert len(found.rows[0]['tests']) == 20
  assert told.inputs['c'] == len(GIVEN) + MOST_HANGS < told.inputs['a']


def test_new_tests_end_where_too_few_solutions_do_not_hang():
  told = TellingRunner('b', 'c')
  row = few(['a', 'b', 'c'])
  assert generate.decide(row, told, None, 20, 0.6, 2, 32).rows == (row,)
  assert set(told.inputs.values()) == {len(GIVEN) + MOST_HANGS}


def test_new_tests_are_voted_on_by_no_more_solutions_than_are_run():
  told = TellingRunner()
  generate.decide(few(['a', 'b', 'c', 'd']), told, None, 8, 0.6, 2, 2)
  assert set(told.inputs) == {'a', 'b'}


def test_a_served_generator_runs_in_the_jail(runner, served):
  server = served(lambda text, n: (
      'Here:\n```python\nimport random\nrandom.seed(int(input()))\nn = random.randint(1, 90)\n'
      'print(n)\nprint(*[random.randint(-9, 999) for _ in range(n)])\n```'))
  endpoint = Endpoint(EndpointSettings(server.url, 'm'))
  found = generate.decide(few([SUM, OTHER]), runner, endpoint, 6, 0.6, 2, 32)
  tests = found.rows[0]['tests'][3:]
  assert len(tests) == 3 and any(int(test['stdin'].split()[0]) > 5 for test in tests)
  for test in tests:
    assert int(test['stdout']) == sum(map(int, test['stdin'].split()[1:]))


@pytest.mark.parametrize('row, reason', [
    (dict(problem='x', tests=[dict(stdin='1', stdout='1')]), 'no_solution'),
    (dict(problem='x', reference_solution='y', tests=[]), 'no_test'),
    (dict(problem='x', reference_solution='y'), 'no_test'),
    (dict(problem='', reference_solution='y', tests=[dict(stdin='', stdout='')]), 'no_statement'),
    (dict(problem='x', reference_solution='y', tests=[dict(stdin='1')]), 'broken_test'),
    (dict(problem='x', solutions=[7], tests=[dict(stdin='1', stdout='1')]), 'broken_test'),
    (dict(problem='Print the path. If there are several answers, print any of them.',
          reference_solution='y', tests=[dict(stdin='1', stdout='1')]), 'several_outputs'),
    (dict(problem='This is an interactive problem.', reference_solution='y',
          tests=[dict(stdin='1', stdout='1')]), 'interactive'),
    (dict(problem='[image: a.png] See the picture above and count.', reference_solution='y',
          tests=[dict(stdin='1', stdout='1')]), 'missing_image'),
    (dict(problem='Print the number of pairs; all of them are counted, in any order of visits.',
          reference_solution='y', tests=[dict(stdin='1', stdout='1')]), '')])
def test_problems_that_cannot_be_judged_are_dropped(row, reason):
  assert statements.decide(dict(row, id='a')).reason == reason


def test_planted_statements_are_found_and_nothing_else():
  rows, truth = planted_programs.statements(0)
  found = {row['id']: statements.decide(row).reason for row in rows}
  assert {name: reason for name, reason in found.items() if reason} == {
      name: reason for name, reason in truth.items() if reason != 'too_few_tests'}


def test_stdin_problems_are_asked_in_both_languages():
  cpp = dict(language='cpp', code='c')
  row = problem(('1', '2'), solutions=['p', 'q', cpp])
  python, in_cpp = languages.decide(row).rows
  assert (python['id'], python['language'], in_cpp['id'], in_cpp['language']) == (
      'a-python', 'python', 'a-cpp', 'cpp')
  assert python['reference_solution'] == 'p' and in_cpp['reference_solution'] == 'c'
  assert python['solutions'] == [dict(language='python', code='q')] and 'solutions' not in in_cpp
  assert '```python' in python['problem'] and '```cpp' in in_cpp['problem']
  for new in (python, in_cpp):
    assert new['problem'].startswith(row['problem']) and new['tests'] == row['tests']
    assert code_tests.read(new)['language'] == new['language']


@pytest.mark.parametrize('statement, test, words', [
    ('Add one.', {'assert': 'assert set(add_one(1)) == {2}'}, '`assert set(add_one(1)) == {2}`'),
    ('Write add_one.', {'assert': 'assert add_one(1) == 2'}, '```python.'),
    ('Add one.', dict(call='add_one', args=[1], expected=2), 'called `add_one`.')])
def test_functions_are_asked_in_python_and_named(statement, test, words):
  row = dict(id='a', problem=statement, tests=[test], reference_solution='x')
  found = languages.decide(row).rows
  assert len(found) == 1 and found[0]['id'] == 'a' and found[0]['problem'].endswith(words)


def test_too_few_tests_are_too_few():
  with languages.enough(2)('unused') as decide:
    assert decide(0, problem(('1', '2'))).reason == 'too_few_tests'
    assert not decide(0, problem(('1', '2'), ('2', '3'))).reason
