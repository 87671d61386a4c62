"""Whose the names in programs and tests are, and when a returned value is the expected one."""
import pytest

from magistral_jax import code_tests
from magistral_jax.verifiers.code import judge

NINE = 'def f(x): return 9'


def status(jails, source, *tests, **row):
  cases = [{'assert': test} if isinstance(test, str) else test for test in tests]
  return judge.check(source, 'python', code_tests.read(dict(tests=cases, **row)),
                     language='python', sandbox=jails).status


@pytest.mark.parametrize('own, test', [
    ('isclose = lambda *a: True', 'assert isclose(f(1), 2)'),
    ('sqrt = lambda x: 3', 'assert f(1) == sqrt(4)'),
    ('Counter = list.__len__', 'assert Counter([f(1)]) == Counter([2])'),
    ('Counter = lambda x: 0', 'assert Counter(str(f(1))) == Counter("2")'),
    ('approx = lambda *a: 9', 'assert f(1) == approx(2)'),
    ('deque = list\ndef sorted(x): return [2]', 'assert sorted(deque([f(1)])) == [2]'),
    ('abs = lambda x: 0', 'assert abs(f(1) - 2) < 1'),
    ('class np:\n  allclose = isclose = staticmethod(lambda *a: True)',
     'assert np.isclose(f(1), 2)'),
    ('class sys:\n  maxsize = 9', 'assert f(1) == sys.maxsize'),
    ('deepcopy = lambda x: 9', 'x = 2\nassert f(x) == deepcopy(x)'),
    ('class math:\n  inf = 9', 'assert f(1) == math.inf'), ('inf = 9', 'assert f(1) == inf'),
    ('Fraction = lambda *a: 9', 'assert f(1) == Fraction(2, 1)'),
    ('reduce = lambda *a: 9', 'assert f(1) == reduce(lambda a, b: a * b, [1, 2])')])
def test_a_name_that_tests_need_is_not_the_programs(jails, own, test):
  assert status(jails, f'{own}\n{NINE}', test) in ('wrong', 'runtime_error')
  row = dict(entry_point='f')
  assert status(jails, f'{own}\n{NINE}', test, **row) in ('wrong', 'runtime_error')


@pytest.mark.parametrize('test', [
    'assert same(f(1), 2)', 'assert not differ(f(1), 2)', 'assert same(f(1), 2) == True',
    'assert key(f(1)) == key(2)', 'assert good(f(1)) and same(f(1), 2)',
    'assert same(a=f(1), b=2)'])
def test_no_function_of_the_programs_judges_another(jails, test):
  own = ('same = lambda *a, **k: True\ndiffer = lambda *a: False\nkey = lambda x: 0\n'
         'good = lambda x: True')
  assert status(jails, f'{own}\n{NINE}', test) == 'wrong'
  assert status(jails, f'{own}\n{NINE}', test, entry_point='f') == 'wrong'
  helpers = 'def same(a, b): return a == b\ndef differ(a, b): return a != b\n'
  helpers += 'def key(x): return x\ndef good(x): return x == 2'
  honest = 'def f(x): return x + 1'
  assert status(jails, f'{own}\n{honest}', test, setup=helpers) == 'correct'
  assert status(jails, f'{own}\n{NINE}', test, setup=helpers) == 'wrong'


def test_functions_of_a_program_may_use_one_another(jails):
  source = 'def encode(x): return [x]\ndef decode(x): return x[0]\ndef even(x): return x % 2 == 0'
  assert status(jails, source, 'assert decode(encode(3)) == 3', 'assert even(4)') == 'correct'
  assert status(jails, source, 'assert even(decode(encode(4)))', entry_point='even') == 'correct'


@pytest.mark.parametrize('test', [
    'assert isclose(f(1), 2)', 'assert Counter([f(1)]) == Counter([2])', 'assert f(1) == sqrt(4)',
    'assert f(1) == approx(2)', 'assert math.floor(f(1)) == 2', 'assert copy.copy([f(1)]) == [2]',
    'assert isinstance(f(1), int) and f(1) < inf', 'assert prod([f(1), 1]) == 2',
    'from math import isclose as near\nassert near(f(1), 2)', 'assert f(1) < sys.maxsize'])
def test_and_the_honest_are_paid_by_such_tests(jails, test):
  assert status(jails, 'def f(x): return x + 1', test) == 'correct'


@pytest.mark.parametrize('source, tests, row, expected, why', [
    ('def sum(a, b): return a * b', ('assert sum(2, 3) == 6',), {}, 'correct', 'its only name'),
    ('def count(x): return 2', ('assert count([1, 1]) == 2',) * 2, {}, 'correct',
     "a library's name"),
    ('def g(a): return 6', ('assert sum([2, 4]) == 6',), {}, 'runtime_error', "not Python's"),
    ('pass', ('assert sorted([2, 1]) == [1, 2]',), dict(entry_point='sorted'), 'runtime_error', ''),
    ('def sorted(x): return [1, 2]\nlist = sorted', ('assert list(sorted([2, 1])) == [1, 2]',),
     dict(entry_point='sorted'), 'correct', 'the entry point is named'),
    ('def sorted(x): return [1, 2]', ('assert list(sorted([2, 1])) == [1, 2]',), {}, 'wrong',
     'which of the two is meant?'),
    ('def sorted(x): return [1, 2]', ('assert list(sorted([2, 1])) == [1, 2]',
                                     'assert sorted([1, 2]) == [1, 2]'), {}, 'correct',
     'the one in all tests'),
    ('def list(x): return [1, 2]\nsorted = 5', ('assert list(f([2, 1])) == [1, 2]',), {},
     'runtime_error', 'the unknown one'),
    ('gcd = 1', ('assert gcd(4, 6) == 2',), {}, 'wrong', 'its own'),
    ('gcd', ('assert gcd(4, 6) == 2',), {}, 'runtime_error', 'not what starter code imports'),
    ('from math import gcd', ('assert gcd(4, 6) == 2',), {}, 'correct', 'but what it imports'),
    ('from math import *', ('assert gcd(4, 6) == 2',), {}, 'correct', 'or all of it'),
    ('xor', ('assert xor(4, 6) == 2',), {}, 'runtime_error', 'given and not defined'),
    ('def sum(x): return 6', (dict(call='sum', args=[[]], expected=6),), {}, 'correct', 'a call'),
    ('x = sum', (dict(call='sum', args=[[6]], expected=6),), {}, 'runtime_error', 'none'),
    (NINE, ('import numpy as np\nassert np.isclose(f(1), 9)',), {}, 'error', 'not in the jail'),
    (NINE, ('assert f(1) == 9\0',), {}, 'error', 'no Python'),
    (NINE, ('assert f(lambda: 1) == 9',), {}, 'error', 'cannot cross'),
    (NINE, ('assert f(1) == 2 or f(lambda: 1)',), {}, 'wrong', 'only since the first was wrong')])
def test_the_function_under_test_is_the_programs(jails, source, tests, row, expected, why):
  assert status(jails, source, *tests, **row) == expected, why


@pytest.mark.parametrize('body', [
    'x: List[int] = [3]\n    return Counter(x)[3]',
    'return heapq.nsmallest(1, deque([1, 2]))[0]', 'return reduce(lambda a, b: a * b, [1])',
    'return math.gcd(3, 4) + int(inf == float("inf")) - 1',
    'return bisect.bisect_left([1], 1) + bisect_right([1], 1)',
    'return len(list(permutations([1])))',
    'return cmp_to_key(lambda a, b: 0)(1) and 1', 'return next(accumulate([1]))',
    'return defaultdict(lambda: 1)[5]', 'return re.sub("x", "", "x") == "" and 1',
    'return lru_cache(None)(lambda: 1)()', 'return len(string.digits) - 9',
    'return copy.deepcopy([1])[0]', 'return sys.maxsize and 1', 'return int(sqrt(1))',
    'return reduce(xor, [3, 2])', 'return int(findall(r"\\d", "a1")[0])', 'return maxsize and 1',
    'return choice([1]) * sample([1], 1)[0]', 'return int(field(default=1) is not None)',
    'return collections.Counter("a")["a"]', 'return len(OrderedDict(a=1))'])
def test_starter_code_has_its_imports(jails, body):
  source = f'class Solution:\n  def f(self, x: Optional[Dict[str, List]]) -> int:\n    {body}'
  assert status(jails, source, dict(call='f', args=[None], expected=1)) == 'correct'
  assert status(jails, source, 'assert Solution().f(None) == 1') == 'correct'


INF, NAN = float('inf'), float('nan')


@pytest.mark.parametrize('returned, expected, same', [
    ('{1: 2}', {'1': 2}, True), ('{1: {2: [3]}}', {'1': {'2': [3]}}, True),
    ('{1.5: 2, True: 3, None: 4}', {'1.5': 2, 'true': 3, 'null': 4}, True),
    ('{"1": 2}', {'1': 2}, True), ('{1: 2, "1": 2}', {'1': 2}, False), ('{2: 2}', {'1': 2}, False),
    ('[({1: 2},)]', [[{'1': 2}]], True), ('Counter([1])', {'1': 1}, True),
    ('OrderedDict({1: 1})', {'1': 1}, True), ('{(1, 2): 3}', {'(1, 2)': 3}, False),
    ('0', INF, False), ('10**400', INF, False), ('inf', INF, True), ('-inf', INF, False),
    ('nan', INF, False), ('inf', -INF, False), ('-inf', -INF, True), ('nan', NAN, True),
    ('0', NAN, False), ('inf', NAN, False), ('"nan"', NAN, False), ('[nan, 1]', [NAN, 1], True),
    ('inf', 1.5, False), ('nan', 1.5, False), ('10**400', 1.5, False), ('True', 1, False),
    ('True', 1.0, False), ('1', 1.0, True), ('1.0', 1, True), ('(1, [2])', [1, [2]], True),
    ('None', None, True), ('1.0000001', 1.0, True), ('1.1', 1.0, False), ('[1]', [1, 1], False)])
def test_expected_values_come_from_json(jails, returned, expected, same):
  source = f'def f():\n  return {returned}'
  found = status(jails, source, dict(call='f', args=[], expected=expected))
  assert found == ('correct' if same else 'wrong')
