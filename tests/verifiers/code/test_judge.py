"""Programs, right and wrong, judged in jails: each kind of end has its status."""
import json
import types

import pytest

from magistral_jax.verifiers.code import judge, programs
from magistral_jax.verifiers.sandbox import sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits

ADD = dict(language='any', tests=[
    dict(stdin='1 2\n', stdout='3\n'), dict(stdin='-5 5\n', stdout='0\n'),
    dict(stdin='10 20', stdout='30')])
CPP_ADD = '#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }'


def judged(jails, source, tests=ADD, language='python', **kwargs):
  return judge.check(source, language, tests, language=language, sandbox=jails, **kwargs)


@pytest.mark.parametrize('source, status, words', [
    ('print(sum(map(int, input().split())))', 'correct', ''),
    ('import sys\nprint(sum(map(int, sys.stdin.read().split())))\nexit()', 'correct', ''),
    ('import sys, os\nsys.stdin.seek(0)\nprint(sum(map(int, os.read(0, 99).split())))', 'correct',
     ''),
    ('if __name__ == "__main__":\n  print(sum(map(int, input().split())))', 'correct', ''),
    ('print(3)', 'wrong', "test 2: token 1 is '3'"),
    ('print(1 +', 'compile_error', 'never closed'),
    ('x = "\\ud800" + chr(0)\nprint(3', 'compile_error', ''),
    ('a\0b', 'compile_error', 'null bytes'),
    ('print(1 / 0)', 'runtime_error', 'test 1: exit code 1: ZeroDivisionError'),
    ('print(sum(map(int, input().split())))\nraise SystemExit(3)', 'runtime_error', 'exit code 3'),
    ('import os\nos.abort()', 'runtime_error', 'exit code 134'),
    ('x = [0] * 10**9', 'memory', 'MemoryError'),
    ('import numpy', 'runtime_error', 'ModuleNotFoundError')])
def test_python(jails, source, status, words):
  found = judged(jails, source)
  assert found.status == status and words in found.detail, found
  assert found.total == 3 and (found.passed == 3) == (status == 'correct')


@pytest.mark.parametrize('source, status, words', [
    (CPP_ADD, 'correct', ''),
    (CPP_ADD.replace('+ b', '- b'), 'wrong', 'test 1'),
    (CPP_ADD.replace('int a', 'it a'), 'compile_error', 'main.cpp:2:14'),
    ('#include <bits/stdc++.h>\nint main() { std::vector<int> v; return v.at(1); }',
     'runtime_error', 'exit code 134'),
    ('#include <vector>\nint main() { std::vector<char> v(2000000000); return v[7]; }', 'memory',
     'bad_alloc')])
def test_cpp(jails, compiler, source, status, words):
  found = judged(jails, source, language='cpp')
  assert found.status == status and words in found.detail, found


def test_time_is_limited(jails):
  short = type(jails)(Limits(time_s=0.5, wall_s=1.5))
  for source in ('while True: pass', 'import time\ntime.sleep(60)'):
    assert judged(short, source).status == 'timeout'


def test_a_judge_that_starts_late_is_waited_for(jails, monkeypatch):
  harness = programs.harness
  def late(*names):
    files = harness(*names)
    return files | {k: b'import time; time.sleep(1.5)\n' + files[k] for k in names
                    if k == 'assertions.py'}
  monkeypatch.setattr(programs, 'harness', late)
  tests = dict(entry_point='f', tests=[{'assert': 'assert f(1) == 2'}])
  assert judged(jails, 'def f(x): return x + 1', tests).status == 'correct'
  # A program that is over by then has no right to an 'error', which would drop its group.
  assert judged(jails, 'import os\nos._exit(0)', tests).status == 'runtime_error'
  assert judged(jails, 'x = [bytearray(10**7) for _ in range(10**6)]', tests).status in (
      'memory', 'runtime_error')


def test_a_block_in_another_language_is_wrong(jails):
  found = judge.check('int main() {}', 'cpp', ADD, language='python', sandbox=jails)
  assert found == judge.CodeResult('wrong', 0, 3, 'cpp instead of python')
  right = 'print(sum(map(int, input().split())))'
  assert judge.check(right, 'Python', ADD, language='any', sandbox=jails).status == 'correct'
  assert judge.check(right, 'perl', ADD, language='any', sandbox=jails).status == 'wrong'


def test_all_tests_count_for_a_proportional_reward(jails):
  source = 'a, b = map(int, input().split())\nprint(3 if a == 1 else a * b)'
  assert judged(jails, source).passed == 1
  tests = ADD | dict(tests=[*ADD['tests'], dict(stdin='2 2', stdout='4')])
  found = judged(jails, source, tests, every=True)
  assert (found.status, found.passed, found.total) == ('wrong', 2, 4)


def test_equal_programs_of_a_group_run_once_and_are_paid_the_same(monkeypatch):
  box = types.SimpleNamespace(results=sandbox.Cache(2))
  runs, statuses = [], iter(['wrong', 'error', 'timeout', 'correct', 'correct', 'correct'])
  monkeypatch.setattr(judge, 'check', lambda source, *_, **__: (
      runs.append(source), judge.CodeResult(next(statuses), 0, 1))[1])
  def status(source, tests='tests', every=False):
    return judge.check_once(source, 'python', tests, language='python', sandbox=box,
                            every=every).status
  assert [status('lucky') for _ in range(3)] == ['wrong'] * 3 and runs == ['lucky']
  assert [status('ours') for _ in range(3)] == ['error', 'timeout', 'timeout']
  # By other tests, or by all, it is another question; and what was asked long ago is forgotten.
  assert [status('lucky', 'others'), status('lucky', every=True)] == ['correct'] * 2
  assert status('lucky') == 'correct' and len(runs) == 6


CALLS = dict(entry_point='add', tests=[
    {'assert': 'assert add(1, 2) == 3'}, {'assert': 'assert add([1], [2]) == [1, 2]'},
    {'assert': 'assert set(add((1,), (2,))) == {1, 2}'},
    dict(call='add', args=[0.5, 0.25], expected=0.7500000001)])


@pytest.mark.parametrize('source, status, words', [
    ('def add(a, b): return a + b', 'correct', ''),
    ('add = lambda a, b: a + b\nprint("chatter" * 1000)', 'correct', ''),
    ('class A:\n  def __call__(self, a, b): return a + b\nadd = A()', 'correct', ''),
    ('def add(a, b): return a - b', 'wrong', 'test 1: an assertion does not hold'),
    ('def plus(a, b): return a + b', 'runtime_error', "the program defines no 'add'"),
    ('def add(a): return a', 'runtime_error', 'TypeError: add() takes 1'),
    ('def add(a, b) return a', 'compile_error', 'SyntaxError'),
    ('raise KeyError(1)', 'runtime_error', 'KeyError'),
    ('def add(a, b): return None', 'wrong', '')])
def test_calls(jails, source, status, words):
  found = judged(jails, source, CALLS)
  assert found.status == status and words in found.detail, found


@pytest.mark.parametrize('test, source, status, why', [
    ('assert f(3) == [(1, {2: {3}}), None, 2.5, "é\\n", b"x", 1j, 2**70, frozenset([1])]',
     'def f(x): return [(1, {2: {x}}), None, 2.5, "é\\n", b"x", 1j, 2**70, frozenset([1])]',
     'correct', 'every kind of plain data'),
    ('assert list(f(3)) == [0, 1, 2]', 'def f(n):\n  yield from range(n)', 'correct', 'generators'),
    ('x = [3, 1]\nf(x)\nassert x == [1, 3]', 'def f(x): x.sort()', 'correct', 'sorting in place'),
    ('assert f(Node(3)).value == 4', 'class Node:\n  def __init__(self, v): self.value = v\n'
     'def f(n):\n  n.value += 1\n  return n', 'correct', "the program's own objects"),
    ('try:\n  f(1)\n  assert False\nexcept ValueError:\n  pass', 'def f(x): raise ValueError',
     'correct', 'an expected exception'),
    ('assert math.isclose(f(2), math.sqrt(2))', 'import math\nf = math.sqrt', 'correct', 'modules'),
    ('assert f(1) != 5', 'class E:\n  pass\ndef f(x): return E()', 'wrong', 'objects'),
    ('assert f(1) == 5 or True', 'def f(x): return {}[x]', 'runtime_error', 'a KeyError'),
    ('assert f(10) == 55', 'def f(n): return n if n < 2 else f(n - 1) + f(n - 2)', 'correct', ''),
    ('assert f("a") = 1', 'def f(x): pass', 'error', 'a broken test is our fault'),
    ('assert sum(2, 3) == 6', 'def sum(a, b): return a * b', 'correct', 'a name of Python'),
    ('assert sum(f(2)) == 6', 'def sum(a): return 6\ndef f(a): return [a]', 'wrong', 'not here'),
    ('assert f("ab") and not f("b")', 'import re\ndef f(s): return re.search("a", s)', 'correct',
     'found or not'),
    ('assert f(2.5, int)', 'def f(x, kind): return not isinstance(x, kind)', 'correct', 'types'),
    ('assert f(1)("1 + 1") == 2', 'def f(x): return eval', 'correct', "the program's own eval"),
    ('assert f(lambda x: x) == 1', 'def f(g): return g(1)', 'error', 'no functions go to programs'),
    ('assert f([1, [(3,)]]) == ([1, [(3,)]],)', 'def f(*x): return x', 'correct', 'nested')])
def test_values_cross_as_they_are(jails, test, source, status, why):
  found = judged(jails, source, dict(tests=[{'assert': test}]))
  assert found.status == status, (why, found)


def test_calls_find_methods_of_a_class_solution(jails):
  tests = dict(tests=[dict(call='twice', args=[3], expected=6)])
  assert judged(jails, 'class Solution:\n  def twice(self, x): return 2 * x', tests).status == (
      'correct')
  assert 'defines no' in judged(jails, 'class Other: pass', tests).detail


def test_variables_of_a_program_and_of_its_test_do_not_mix(jails):
  test = 'x = [f(n) for n in range(3)]\nassert x == [0, 1, 4]'
  source = 'x = list(range(3 * 10**6))\nn = x\nrange = None\ndef f(n): return n * n'
  assert judged(jails, source, dict(tests=[{'assert': test}])).status == 'correct'


def test_helpers_of_the_problem_are_not_the_programs(jails):
  problem = 'def double(x):\n  return 2 * x\n\ndef half(x):\n  """Half of x."""\n'
  tests = dict(problem=problem, entry_point='half',
               tests=[{'assert': 'def check(f):\n  assert double(f(8)) == 8\ncheck(half)'}])
  assert judged(jails, 'def half(x): return x // 2', tests).status == 'correct'
  assert judged(jails, 'double = lambda x: x\nhalf = double', tests).status == 'wrong'


def test_drawing_is_the_same_for_a_group_and_differs_between_groups():
  tests = dict(tests=[dict(stdin=str(n), stdout='') for n in range(100)])
  drawn = [judge.draw(tests, seed) for seed in range(20)]
  assert drawn == [judge.draw(tests, seed) for seed in range(20)]
  numbers = [[int(case['stdin']) for case in d['cases']] for d in drawn]
  assert all(len(set(n)) == 20 and n == sorted(n) for n in numbers)
  assert len({tuple(n) for n in numbers}) == 20 and len({x for n in numbers for x in n}) > 90
  assert len(judge.draw(tests, 0, count=7)['cases']) == 7
  assert len(judge.draw(tests, 0, count=1000)['cases']) == 100
  json.dumps(drawn[0])


def test_budget_covers_every_test():
  tests = dict(tests=[dict(stdin='', stdout='')] * 20)
  assert judge.budget_s(tests, 'python', Limits(wall_s=8.0)) >= 160
  assert judge.budget_s(tests, 'cpp', Limits(wall_s=8.0)) >= 180
