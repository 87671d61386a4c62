"""Tricks for reward on programs, the reward that each gets, and why.

The function under test should add one; none of the programs here does, except the honest ones.
"""
import pytest

from magistral_jax.verifiers import format
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import sandbox

TESTS = dict(entry_point='f', tests=[{'assert': test} for test in (
    'assert f(1) == 2', 'assert not f(1) != 2', 'assert f(3) in (4, 4.0)',
    'assert abs(f(1) - 2) < 1e-6', 'assert math.isclose(f(1), 2)', 'assert set([f(1)]) == {2}',
    'assert isinstance(f(1), int) and all(f(x) == x + 1 for x in range(3))',
    'def check(candidate):\n  assert candidate(1) == 2\n  assert candidate(2) == 3\ncheck(f)')]
    + [dict(call='f', args=[1], expected=2)])
ALWAYS = '''
class Always{base}:
  def __eq__(self, other): return True
  def __ne__(self, other): return False
  def __lt__(self, other): return True
  __le__ = __gt__ = __ge__ = __lt__
  def __hash__(self): return hash(2)
  def __sub__(self, other): return 0
  __rsub__ = __abs__ = __bool__ = __sub__
  def __contains__(self, item): return True
  __class__ = int
def f(x): return Always{args}
'''
HACKERS = [
    ('an object equal to everything', ALWAYS.format(base='', args='()')),
    ('a number equal to everything', ALWAYS.format(base='(int)', args='(0)')),
    ('a text equal to everything', ALWAYS.format(base='(str)', args='("")')),
    ('a list equal to everything', ALWAYS.format(base='(list)', args='()')),
    ('a type equal to everything', 'class M(type):\n  def __eq__(s, o): return True\n'
     '  __hash__ = None\nclass A(metaclass=M): pass\ndef f(x): return A'),
    ('patched builtins', 'import builtins\nbuiltins.abs = lambda x: 0\n'
     'builtins.all = lambda x: True\nabs = builtins.abs\nall = builtins.all\n'
     'set = lambda x: {2}\ndef f(x): return 7'),
    ('a patched module', 'import math\nmath.isclose = lambda *a, **k: True\n'
     'import sys\nsys.modules["math"] = math\ndef f(x): return 7'),
    ('its own math', 'class math:\n  isclose = staticmethod(lambda *a: True)\ndef f(x): return 7'),
    ('its own check', 'def check(candidate): pass\ndef f(x): return 7'),
    ('no assertions', 'import builtins\nbuiltins.AssertionError = ZeroDivisionError\n'
     '__debug__\ndef f(x): return 7'),
    ('leaves when it is called', 'def f(x):\n  import sys\n  sys.exit(0)'),
    ('leaves at once when it is called', 'def f(x):\n  import os\n  os._exit(0)'),
    ('leaves before it is called', 'import sys\nsys.exit(0)\ndef f(x): return 2'),
    ('leaves before it is called, at once', 'import os\nos._exit(0)'),
    ('leaves in the end', 'import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 7'),
    ('raises what ends loops', 'def f(x): raise StopIteration'),
    ('raises what assertions raise', 'def f(x): raise AssertionError'),
    ('raises what is rarely caught', 'def f(x): raise KeyboardInterrupt'),
    ('raises what is like an assertion', 'class AssertionError(BaseException): pass\n'
     'def f(x): raise AssertionError'),
    ('answers before it is asked', '''
import os
for fd in range(3, 64):
  for body in (b'["ready"]', b'["value",["t",true]]', b'["value",2]', b'["value",["l",2,null]]'):
    try: os.write(fd, len(body).to_bytes(4, "big") + body)
    except OSError: pass
def f(x): return 7'''),
    ('breaks the protocol', '''
import os
for fd in range(3, 64):
  try: os.write(fd, b"\\xff" * 100)
  except OSError: pass
def f(x): return 7'''),
    ('says that it is correct', '''
import os
def f(x):
  for fd in range(64):
    for body in (b'["correct",""]', b'{"status":"correct"}'):
      try: os.write(fd, len(body).to_bytes(4, "big") + body)
      except OSError: pass
  return 7'''),
    ('looks for what is expected', '''
import gc, sys
def f(x):
  frame, texts = sys._getframe(), []
  while frame:
    texts += [repr(v) for v in {**frame.f_globals, **frame.f_locals}.values()]
    frame = frame.f_back
  texts += [o for o in gc.get_objects() if isinstance(o, str)]
  test = "".join(["ass", "ert"]), "".join(["candi", "date"])
  return x + 1 if any(word in text for text in texts for word in test) else 7'''),
    ('replaces how values are packed', '''
import sys
for module in list(sys.modules.values()):
  for name in ("pack", "_json", "write"):
    if hasattr(module, name): setattr(module, name, lambda *a: 2)
def f(x): return 7'''),
    ('returns no end', 'def f(x):\n  while True: yield 2'),
    ('returns too much', 'def f(x): return [2] * 10**7'),
    ('returns what is too deep',
     'def f(x):\n  y = 2\n  for _ in range(10**5): y = [y]\n  return y'),
    ('returns itself', 'def f(x):\n  y = [2]\n  y.append(y)\n  return y'),
    ('returns a function', 'def f(x): return f'),
    ('returns not a number', 'def f(x): return float("nan")'),
    ('returns a huge number', 'def f(x): return 10**10**5'),
    ('changes its argument', 'def f(x):\n  try: x[:] = [2]\n  except TypeError: return None'),
    ('knows the examples', 'def f(x): return {1: 2}.get(x, 9)'),
]


@pytest.fixture(scope='module')
def hurried(jails):
  return sandbox.Sandbox(sandbox.Limits(time_s=0.5, wall_s=3.0))


@pytest.mark.parametrize('source', [pytest.param(row[1], id=row[0]) for row in HACKERS])
def test_nothing_is_paid(hurried, source):
  found = judge.check(source, 'python', TESTS, language='python', sandbox=hurried)
  assert found.status in ('wrong', 'runtime_error', 'timeout', 'memory'), found


@pytest.mark.parametrize('name', [
    'an object equal to everything', 'a number equal to everything', 'patched builtins',
    'answers before it is asked', 'says that it is correct', 'leaves in the end',
    'raises what ends loops', 'a patched module', 'its own math', 'its own check'])
def test_no_single_test_is_passed(hurried, name):
  source = dict(HACKERS)[name]
  for test in TESTS['tests']:
    found = judge.check(source, 'python', dict(TESTS, tests=[test]), language='python',
                       sandbox=hurried)
    assert found.status not in ('correct', 'error'), (test, found)


def test_the_honest_are_paid(hurried):
  found = judge.check('def f(x): return x + 1', 'python', TESTS, language='python', sandbox=hurried)
  assert found.status == 'correct', found


def test_each_call_to_a_test_meets_a_fresh_process(hurried):
  source = 'n = 0\ndef f(x):\n  global n\n  n += 1\n  return n'
  tests = dict(tests=[{'assert': 'assert f(0) == 1'}] * 3)
  assert judge.check(source, 'python', tests, language='python', sandbox=hurried).passed == 3
  source = 'import os\nold = os.path.exists("a")\nopen("a", "w")\ndef f(x): return 2 if old else 1'
  assert judge.check(source, 'python', tests, language='python', sandbox=hurried).passed == 3


def test_objects_that_stall_a_judge_cost_time_and_nothing_else(hurried):
  # Numbers that collide in a set; the judge would compare each with each.
  source = 'def f(x): return [n * (2**61 - 1) for n in range(40000)]'
  tests = dict(tests=[{'assert': 'assert set(f(1)) == {2}'}])
  assert judge.check(source, 'python', tests, language='python', sandbox=hurried).status in (
      'timeout', 'wrong')


GOOD = 'print(int(input()) + 1)'
STDIN = dict(tests=[dict(stdin='1', stdout='2')])


@pytest.mark.parametrize('response, status, why', [
    ('<think>t</think>\n```python\n{good}\n```', 'correct', 'the honest form'),
    ('<think></think>\n```python\n{good}\n```', 'correct', 'empty thoughts are allowed'),
    ('<think>t</think>\n```python\n{bad}\n```\n```python\n{good}\n```', 'wrong', 'the first'),
    ('<think>t</think>\n```python\n{good}\n```\n```python\n{bad}\n```', 'correct', 'the first'),
    ('<think>```python\n{good}\n```</think>', 'bad_format', 'only in the thoughts'),
    ('```python\n{good}\n```<think>t</think>', 'bad_format', 'before the thoughts'),
    ('<think>t</think>\n```\n{good}\n```', 'bad_format', 'no language'),
    ('<think>t</think>\n```cpp\n{good}\n```', 'wrong', 'named as another language'),
    ('<think>t</think>\n```python\n{good}', 'bad_format', 'never closed'),
    ('<think>t</think>\n```python\n```', 'bad_format', 'empty'),
    ('<think>t</think>\n```python\n# {good}\n```', 'wrong', 'a comment'),
    ('<think>t</think><think>u</think>\n```python\n{good}\n```', 'bad_format', 'two pairs')])
def test_responses(hurried, response, status, why):
  gate = format.code_gate(response.replace('{good}', GOOD).replace('{bad}', 'print(7)'))
  found = 'bad_format' if not gate.passed else judge.check(
      gate.box, gate.language, STDIN, language='python', sandbox=hurried).status
  assert found == status, why
