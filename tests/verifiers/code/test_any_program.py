"""Whatever a program is and says, it is judged: no exception, no error, no credit, bounded use.

Programs and answers are drawn with seeds (tests/fuzz/programs.py); tests/fuzz/test_programs.py has
many more of them.
"""
import json
import pathlib
import socket
import sys
import time

import pytest

from magistral_jax import code_tests
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox import sandbox
from tests.fuzz import programs

HARNESS = pathlib.Path(judge.__file__).parent / 'harness'
PROGRAMS, DECORATED, ANSWERS = 24, 8, 2000
FAILURES = {'wrong', 'runtime_error', 'compile_error', 'timeout', 'memory', 'output_limit'}
LIMITS = sandbox.Limits(time_s=0.5, idle_s=0.5)
JUDGE_S = 2.5              # Of CPU time for one test; calls.py gives a judge as much.


@pytest.fixture(scope='module')
def hurried(jails):
  return sandbox.Sandbox(LIMITS)


@pytest.fixture(scope='module')
def assertions():
  """The harness of the judge, in this process."""
  sys.path.insert(0, str(HARNESS))
  try:
    import assertions
  finally:
    sys.path.remove(str(HARNESS))
  yield assertions
  for name in ('assertions', 'session', 'known', 'wire'):
    del sys.modules[name]


def check_programs(box, seeds):
  """Fails for the first wrong program that is paid, or is not judged."""
  for seed in seeds:
    tests = dict(tests=[dict(stdin='1 2\n3', stdout=str(programs.SECRET))]) if seed % 2 else (
        dict(tests=[programs.TESTS[seed // 2 % len(programs.TESTS)]]))
    source = programs.program(seed)
    found = judge.check(source, 'python', tests, language='python', sandbox=box)
    assert found.status in FAILURES and len(found.detail) <= 1000, (seed, source, found)


def check_decorated(box, seeds):
  """Fails for the first right program that is not paid."""
  for seed in seeds:
    source, number = programs.decorated(seed)
    tests = dict(tests=[dict(stdin=f'{n}\n', stdout=str(n + 1)) for n in (number, number + 7)])
    found = judge.check(source, 'python', tests, language='python', sandbox=box)
    assert found.status == 'correct', (seed, source, found)


def check_answers(assertions, seeds):
  """Fails for the first forged conversation that is paid, blamed on the test, or takes long."""
  for seed in seeds:
    job = code_tests.read(dict(tests=[programs.TESTS[seed % len(programs.TESTS)]]))
    job = job | dict(tests=job['cases'])
    job['asked'] = assertions.subject(job)
    ours, theirs = socket.socketpair()
    with ours, theirs:
      for body in (b'["compiled"]', b'["ready"]', *programs.answers(seed)):
        theirs.sendall(len(body).to_bytes(4, 'big') + body)
      theirs.shutdown(socket.SHUT_WR)
      began = time.process_time()
      status, detail = assertions.verdict(job, job['tests'][0], ours.fileno())
      assert time.process_time() - began < JUDGE_S, seed
    assert status in FAILURES | {'gone'}, (seed, job['tests'], status, detail)
    json.dumps([status, detail])


def test_no_program_is_an_error_or_paid_though_it_is_wrong(hurried):
  check_programs(hurried, range(PROGRAMS))


def test_right_programs_are_paid_whatever_they_do_besides(hurried):
  check_decorated(sandbox.Sandbox(sandbox.Limits(time_s=4.0)), range(DECORATED))


def test_no_answers_are_an_error_or_paid(assertions):
  check_answers(assertions, range(ANSWERS))


# What costs the judge time or memory: answered by a forged harness, to a test that works on it.
_ANSWER = '''
import marshal, os, sys, time
fd = int(sys.orig_argv[-1])
def say(body):
  data = len(body).to_bytes(4, "big") + body
  while data: data = data[os.write(fd, data):]
def hear():
  return marshal.loads(os.read(fd, int.from_bytes(os.read(fd, 4), "big")))
say(b'["ready"]')
while (request := hear())[0] != "call":
  say(b'["value",["t"' + b",true" * len(request[1]) + b"]]" if request[0] == "has" else
      b'["value",["o",0]]')
say({body})
time.sleep(9)
'''


_COLLIDING = 'b",".join(b\'{"i":"%x"}\' % (n * (2**61 - 1)) for n in range(1, 150001))'


@pytest.mark.parametrize('body, test', [
    ('b\'["raised",["ValueError"],"\' + "\u4e2d".encode() * 2600000 + b\'"]\'', 'f(1)'),
    ('b\'["raised",[\' + b\'"ValueError",\' * 600000 + b\'"x"],""]\'', 'f(1)'),
    (('b\'["s"\' + b\',{"i":"1fffffffffffffff"}\' * 300000 + b"]"',), 'f(1)'),
    pytest.param((f'b\'["s",\' + {_COLLIDING} + b"]"',), 'f(1)', marks=pytest.mark.long),
    ((f'b\'["l",\' + {_COLLIDING} + b"]"',), 'set(f(1))'),
    (('b\'["l"\' + b\',["q"]\' * 1300000 + b"]"',), 'f(1)'),
    pytest.param(('b\'["l"\' + b\',["l"]\' * 1300000 + b"]"',), 'f(1)', marks=pytest.mark.long),
    (('b\'["F",{"i":"\' + b"3" * 3900000 + b\'"},{"i":"\' + b"7" * 3900000 + b\'"}]\'',), 'f(1)'),
    pytest.param(('b\'["r",0,10000000000000000,1]\'',), 'sum(f(1))', marks=pytest.mark.long),
    (('b\'["r",0,1000000000000,1]\'',), 'list(f(1))'),
    ('b"x"', 'f(1)'), ('b"[" * 8000000', 'f(1)'),
], ids=['wide text', 'many kinds', 'one in a set', 'colliding in a set', 'colliding in a list',
        'deques', 'lists', 'a fraction', 'a long sum', 'a long list', 'no JSON', 'nesting'])
def test_an_answer_that_costs_the_judge_is_the_programs_failure(hurried, body, test):
  if isinstance(body, tuple):            # A value in the answer to a call with one argument.
    body = f'b\'["value",["l",\' + {body[0]} + b",null]]"'
  tests = dict(tests=[{'assert': f'assert {test} == 2'}])
  found = judge.check(_ANSWER.replace('{body}', body), 'python', tests, language='python',
                      sandbox=hurried)
  assert found.status in FAILURES and 'zip' not in found.detail, found
