"""Tests of programs in their one form, read from the forms that problem files have."""
import pytest

from magistral_jax import code_tests


def test_pairs():
  tests = code_tests.read(dict(
      problem='Add.', language='any', meta=dict(checker='float', float_tolerance=1e-4),
      tests=[dict(stdin='1 2\n', stdout='3\n', public=True, group='sample')]))
  assert tests == dict(kind='stdin', language='any', checker='float', tolerance=1e-4,
                       cases=[dict(stdin='1 2\n', stdout='3\n')])
  assert code_tests.read(tests) == tests
  assert code_tests.read(dict(tests=[dict(stdin='', stdout='')]))['language'] == 'any'


@pytest.mark.parametrize('meta, checker, tolerance', [
    ({}, 'tokens', 0), (dict(checker=None), 'tokens', 0),
    (dict(checker='tokens', float_tolerance=1e-3), 'tokens', 0),
    (dict(checker='float_1e-6'), 'float', 1e-6), (dict(checker='float'), 'float', 1e-6),
    (dict(checker='case_insensitive_tokens'), 'case_insensitive_tokens', 0)])
def test_checkers(meta, checker, tolerance):
  found = code_tests.read(dict(tests=[dict(stdin='', stdout='')], meta=meta))
  assert (found['checker'], found['tolerance']) == (checker, tolerance)


def test_assertions_and_calls():
  tests = code_tests.read(dict(language='python', setup='n = 1', entry_point='f', tests=[
      {'assert': 'assert f(n) == 2'}, dict(call='f', args=[1], expected=2)]))
  assert tests['cases'] == [
      {'assert': 'assert f(n) == 2'}, dict(call='f', args=[1], kwargs={}, expected=2)]
  assert (tests['setup'], tests['entry_point'], tests['prelude']) == ('n = 1', 'f', '')


def test_helpers_of_a_problem_that_is_code_come_from_the_problem():
  problem = 'import math\n\ndef poly(x):\n  return x * x\n\ndef root(y):\n  """Finds x."""\n'
  row = dict(problem=problem, entry_point='root', tests=[{'assert': 'assert poly(root(4)) == 4'}])
  prelude = code_tests.read(row)['prelude']
  assert 'def poly' in prelude and 'import math' in prelude and 'root' not in prelude
  assert code_tests.read(row | dict(problem='Find the root.'))['prelude'] == ''
  assert code_tests.read(row | dict(problem='def root(y):\n  pass'))['prelude'] == ''


@pytest.mark.parametrize('kind', ['interactive', 'stdin', 'assert', '', 3, ['stdin'], None])
def test_a_line_may_have_a_kind_of_its_own(kind):
  """Its tests are read all the same, whatever else it has."""
  tests = [dict(stdin='1', stdout='2')]
  row = dict(problem='Add.', kind=kind, tests=tests, cases=3, language='python')
  assert code_tests.read(row)['cases'] == tests
  with pytest.raises(ValueError, match='"tests" must be a list'):
    code_tests.read(dict(kind=kind, cases=tests))


def test_tests_in_the_one_form_may_stand_in_a_line():
  tests = code_tests.read(dict(tests=[dict(stdin='1', stdout='2')]))
  assert code_tests.read(dict(problem='Add.', kind='x', tests=tests)) == tests


@pytest.mark.parametrize('row, name', [
    (dict(tests=[dict(call='f', expected=1)]), 'f'),
    (dict(tests=[{'assert': 'assert set(similar((1, 2), (2,))) == {2}'}]), 'similar'),
    (dict(tests=[{'assert': 'assert f(g(1)) == 2'}]), 'f'),
    (dict(tests=[{'assert': 'assert len([1]) == 1'}]), ''),
    (dict(tests=[{'assert': 'assert f('}]), ''),
    (dict(tests=[{'assert': 'assert f(1)'}], entry_point='g'), 'g'),
    (dict(tests=[dict(stdin='', stdout='')]), '')])
def test_the_function_under_test_is_told_from_the_tests(row, name):
  assert code_tests.called(code_tests.read(row)) == name


@pytest.mark.parametrize('row, words', [
    ({}, '"tests" must be a list'), (dict(tests=[]), 'not an empty one'),
    (dict(tests=['assert f']), 'a list of objects'),
    (dict(tests=[dict(stdin='')]), 'test 1 has no "stdout"'),
    (dict(tests=[dict(stdin='', stdout=''), dict(stdin=1, stdout='')]), '"stdin" of test 2 must'),
    (dict(tests=[{}]), 'test 1 has neither'),
    (dict(tests=[dict(call='f')]), 'test 1 calls \'f\', but has no "expected"'),
    (dict(tests=[dict(call='f', args=3, expected=1)]), '"args" must be a list'),
    (dict(tests=[{'assert': 'assert f'}], language='cpp'), 'only judge Python'),
    (dict(tests=[dict(stdin='', stdout='')], language='rust'), '"language" is \'rust\''),
    (dict(tests=[dict(stdin='', stdout='')], meta=dict(checker='x')), '"checker" is \'x\''),
    (dict(tests=[dict(stdin='', stdout='')], meta=dict(checker=dict(name='x'))), '"checker" is {'),
    (dict(tests=[dict(stdin='', stdout='')], meta=dict(checker='float_x')), "is 'float_x'"),
    (dict(tests=[dict(stdin='', stdout='')], meta=['x']), '"meta" must be an object'),
    (dict(tests=[dict(stdin='', stdout='')], meta=dict(checker='float', float_tolerance=2)),
     '"float_tolerance" is 2')])
def test_mistakes_are_named(row, words):
  with pytest.raises(ValueError, match=words):
    code_tests.read(row)
