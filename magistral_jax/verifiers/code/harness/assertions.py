"""Runs assertions and calls against a program in another jail, and judges the results.

The tests and their expected values arrive on stdin and stay in this process. A name that only the
program defines is a request to it here; the values that come back are plain data (wire.py), so `==`
is always Python's own. For each test a socket to a fresh process of the program arrives on the
control socket, and a verdict is sent back.
"""
import ast
import contextlib
import json
import math
import os
import socket
import sys

from known import is_known, library
from session import (
  NotPlainData,
  NotSendable,
  ProgramEnded,
  ProgramObject,
  ProgramSyntaxError,
  Session,
)
from wire import write

_MOST_DETAIL = 1000
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


class Names:
  """What test code reads and does not define.

  read: names. with_attributes: those of which it reads an attribute. called: those that it calls.
  missing: modules that it imports, at the level of the code, and that the jail does not have.
  judges: names of functions by whose word alone an assertion holds about what another one returned.
  """

  def __init__(self, code):
    tree = ast.parse(code)
    self.read, own, self.with_attributes, self.called = set(), set(), set(), set()
    for node in ast.walk(tree):
      if isinstance(node, ast.Name):
        (self.read if isinstance(node.ctx, ast.Load) else own).add(node.id)
      elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        self.called.add(node.func.id)
      elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        self.with_attributes.add(node.value.id)
      elif isinstance(node, ast.arg):
        own.add(node.arg)
      elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        own.add(node.name)
      elif isinstance(node, ast.alias):
        own.add((node.asname or node.name).split('.')[0])
    self.read, self.called = self.read - own, self.called - own
    self.judges = {name for node in ast.walk(tree) if isinstance(node, ast.Assert)
                   for name in _judges(node.test, own)} - own
    self.missing = [name for node in tree.body for name in _imported(node) if (
        name not in sys.stdlib_module_names)]


def _judges(test, own):
  """Names of the functions that an asserted expression asks about the value of another one.

  'same(f(1), 2)' asks same, and 'key(f(1)) == key(2)' key; 'decode(encode(1)) == 1' asks nobody.
  """
  while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
    test = test.operand
  if isinstance(test, ast.BoolOp):
    return set().union(*(_judges(part, own) for part in test.values))
  sides = [test.left, *test.comparators] if isinstance(test, ast.Compare) else [test]
  calls = [side for side in sides if _called(side)]
  says = all(_called(side) or isinstance(side, ast.Constant) and type(side.value) is bool
             for side in sides)
  if not calls or not says or len({_called(call) for call in calls}) > 1:
    return set()
  inner = {_called(n) for call in calls for a in (*call.args, *call.keywords) for n in ast.walk(a)}
  others = {name for name in inner - {'', _called(calls[0])} if name not in own and (
      not is_known(name))}
  return {_called(calls[0])} if others else set()


def _called(node):
  """The name of the function that a node calls; '' where it calls none by its name."""
  is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
  return node.func.id if is_call else ''


def _imported(node):
  """The modules that a statement imports."""
  if isinstance(node, ast.Import):
    return [alias.name.split('.')[0] for alias in node.names]
  return [node.module.split('.')[0]] if isinstance(node, ast.ImportFrom) and node.module else []


def subject(job):
  """The function under test where its name is well-known, so that it must be the program's.

  It is the entry point; or, where no test reads a name that only the program can define, the one
  function that all tests call. '' where the tests read names of the program's own, None where they
  call several well-known functions and nothing says which of them is meant.
  """
  if job['entry_point']:
    return job['entry_point']
  common = None
  for test in job['tests']:
    if 'call' in test:
      return ''
    try:
      names = Names(test['assert'])
    except _UNREADABLE:              # `fault_of` reports it when its turn comes.
      continue
    if not all(map(is_known, names.read)):
      return ''
    common = names.called if common is None else common & names.called
  return next(iter(common)) if common and len(common) == 1 else None


def bind(names, scope, session, asked):
  """Binds the names that code reads: from the tests, from libraries, and last from the program.

  Args:
    names: a Names.
    scope: what the tests have defined.
    asked: the function under test, as `subject` has it, which is always the program's.
  Raises:
    NameError: the program does not define the function under test.
    NotPlainData: a function of the program's would judge what another one returned.
  """
  wanted = []
  for name in sorted(names.read):
    if name == asked or not (name in scope or is_known(name)):
      wanted.append(name)
    elif name not in scope:
      with contextlib.suppress(KeyError):
        scope[name] = library(name, name in names.with_attributes)
  if by_itself := names.judges & set(wanted) - {asked}:
    raise NotPlainData(f'the test asks the program itself whether it is right, by '
                       f'{min(by_itself)!r}: define that in "setup"')
  if not wanted:
    return
  for name, there in zip(wanted, session.request('has', wanted), strict=True):
    if there is True:
      scope[name] = session.request('get', name)
    elif name == asked:
      raise NameError(f'the program defines no {name!r}')


def close(found, expected, tolerance):
  """Whether a returned value is the expected one, which comes from JSON.

  A list and a tuple of equal items are equal. JSON writes every key as text: the key 1 is '1'.

  Args:
    tolerance: absolute or relative, where a finite float is expected.
  """
  if type(found) in (list, tuple) and type(expected) in (list, tuple):
    return len(found) == len(expected) and all(
        close(f, e, tolerance) for f, e in zip(found, expected, strict=True))
  if isinstance(found, dict) and type(expected) is dict:
    texts = {_key(k): v for k, v in found.items()}
    return len(texts) == len(found) and texts.keys() == expected.keys() and all(
        close(texts[k], expected[k], tolerance) for k in expected)
  if type(expected) is float and type(found) in (int, float):
    if not math.isfinite(expected):
      return found == expected or (found != found and expected != expected)
    return found == expected or abs(found - expected) <= tolerance * max(1, abs(expected))
  if type(expected) is bool or type(found) is bool:
    return found is expected
  return found == expected


def _key(key):
  """The key of a dict as JSON writes it; one that JSON cannot write stays."""
  if key is None or type(key) in (bool, int, float):
    return json.dumps(key)
  return key


def function(name, session):
  """The function that a call names: the program's, or a method of its class Solution."""
  for wanted, there in zip(
      (name, 'Solution'), session.request('has', [name, 'Solution']), strict=True):
    if there is True:
      found = session.request('get', wanted)
      return found if wanted == name else getattr(found(), name)
  raise NameError(f'the program defines no {name!r}')


def run_test(job, test, session):
  """Runs one test; returns if it passes and raises otherwise."""
  if 'call' in test:
    target = function(test['call'], session)
    if type(target) is not ProgramObject:
      raise TypeError(f'{test["call"]!r} is no function')
    found = session.call(session.number(target), test.get('args', ()), test.get('kwargs', {}),
                         'call of JSON')
    if not close(found, test['expected'], job['tolerance']):
      raise AssertionError
    return
  asked = job['asked']
  if asked is None:
    raise NotPlainData('the tests call functions of Python alone: name the one that is tested in '
                       '"entry_point"')
  scope = {'__name__': '__main__'}
  for code in (job['prelude'], job['setup'], test['assert']):
    bind(Names(code), scope, session, asked)
    exec(compile(code, 'test', 'exec', dont_inherit=True), scope)


def fault_of(job, test):
  """Why a test cannot be judged in a jail, whatever the program is; '' if it can."""
  for code in (job['setup'], test.get('assert', '')):
    try:
      compile(code, 'test', 'exec', dont_inherit=True)
      missing = Names(code).missing
    except _UNREADABLE as error:
      return f'the test itself is no Python: {error}'
    if missing:
      return f'the test imports {missing[0]}, and the jail has the standard library alone'
  return ''


def verdict(job, test, session_fd):
  """(status, detail) of one test; the status 'gone' leaves it to the caller to say why.

  'error' means that the test passes to the program what cannot be passed, before the program has
  returned anything that could have brought it there.
  """
  session = None
  try:
    session = Session(session_fd)
    run_test(job, test, session)
    if session.fault:
      raise session.fault
    return 'correct', ''
  except NotSendable as error:
    # Once the program has returned something, it may be why the test went on to here.
    return 'wrong' if session.values else 'error', f'the test cannot be judged in a jail: {error}'
  except ProgramEnded:
    return 'gone', 'the program ended before it answered'
  except ProgramSyntaxError as error:
    return 'compile_error', str(error)
  except NotPlainData as error:
    return 'wrong', str(error)
  except AssertionError:
    return 'wrong', 'an assertion does not hold'
  except BaseException as error:
    program_words = getattr(error, 'program_words', '')
    if program_words:
      return 'memory' if isinstance(error, MemoryError) else 'runtime_error', program_words
    if isinstance(error, NameError):
      return 'runtime_error', f'{type(error).__name__}: {error}'
    return 'wrong', f'the test met {type(error).__name__}: {str(error)[:200]}'


def serve(control_fd):
  """Judges the tests of the job on stdin, one for each socket that arrives.

  For each it writes ["started", ""] before it hears the program, and then the verdict.
  """
  if hasattr(sys, 'set_int_max_str_digits'):
    sys.set_int_max_str_digits(0)
  job = json.load(sys.stdin)
  job['asked'] = subject(job)
  control = socket.socket(fileno=control_fd)
  for test in job['tests']:
    _, fds, _, _ = socket.recv_fds(control, 1, 1)
    if not fds:
      return
    fault = fault_of(job, test)
    write(control_fd, b'["started",""]')
    status, detail = ('error', fault) if fault else verdict(job, test, fds[0])
    os.close(fds[0])
    write(control_fd, json.dumps([status, detail[:_MOST_DETAIL]]).encode())
