"""Runs assertions and calls against a program in another jail, and judges the results.

The tests and their expected values arrive on stdin and stay in this process. A name that only the
program defines is a request to it here; the values that come back are plain data (wire.py), so `==`
is always Python's own. For each test a socket to a fresh process of the program arrives on the
control socket, and a verdict is sent back.
"""
import ast
import builtins
import json
import marshal
import os
import socket
import sys

from wire import pack, read, unpack, write

# Tests use Python's own of these, whatever the program imported or replaced.
_MODULES = (
    'bisect', 'cmath', 'collections', 'copy', 'datetime', 'decimal', 'fractions', 'functools',
    'heapq', 'itertools', 'json', 'math', 'operator', 'random', 're', 'statistics', 'string')
_REFUSED_METHODS = (
    'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'hash', 'len', 'iter', 'contains', 'getitem', 'add',
    'radd', 'sub', 'rsub', 'mul', 'rmul', 'truediv', 'rtruediv', 'floordiv', 'rfloordiv', 'mod',
    'rmod', 'neg', 'pos', 'abs', 'int', 'float', 'index', 'round', 'str', 'repr', 'format', 'enter',
    'exit')


class ProgramEnded(BaseException):
  """Raised when the program ended or its socket failed."""


class NotPlainData(BaseException):
  """Raised where a test meets an object of the program's own instead of plain data."""


class NotSendable(BaseException):
  """Raised where a test passes an object that is not plain data, such as a function of its own."""


class ProgramError(Exception):
  """Stands for an exception of the program that is none of Python's own."""


class ProgramSyntaxError(BaseException):
  """Raised when the program cannot be compiled."""


class ProgramObject:
  """An object of the program as the tests see it: called, and its attributes read and set.

  It cannot be compared, iterated or counted, since that would ask the program whether it is right.
  It is true, as objects are (a match of `re`); a program could as well have returned True.
  """
  __slots__ = ('_session', '_number')

  def __init__(self, session, number):
    object.__setattr__(self, '_session', session)
    object.__setattr__(self, '_number', number)

  def __call__(self, *args, **kwargs):
    return self._session.call(self._number, args, kwargs)

  def __getattr__(self, name):
    if name.startswith('__'):
      raise NotPlainData('the program returned an object of its own, not plain data')
    return self._session.request('getattr', self._number, name)

  def __bool__(self):
    return True

  def __setattr__(self, name, value):
    self._session.request('setattr', self._number, name, pack(value, self._session.number))


def _refuse(self, *args):
  """Stands in for a method that would let the program decide a test."""
  raise NotPlainData('the program returned an object of its own, not plain data')


for _name in _REFUSED_METHODS:
  setattr(ProgramObject, f'__{_name}__', _refuse)


class Session:
  """The connection to one fresh process of the program."""

  def __init__(self, fd):
    self.fd, self.fault = fd, None
    self.receive()

  def receive(self):
    """The program's next answer, as a tree; None once it is ready."""
    try:
      return self._receive()
    except (ProgramEnded, NotPlainData, ProgramSyntaxError) as fault:
      self.fault = fault           # The test fails even if it catches the exception.
      raise

  def _receive(self):
    """The next answer; an exception of the program is raised here."""
    try:
      answer = json.loads(read(self.fd), object_hook=_number, parse_int=_small)
      kind = answer[0]
      if kind == 'ready':
        return None
      if kind == 'value':
        return answer[1]
      kinds, words = [str(k) for k in answer[1]], str(answer[2])
    except (EOFError, OSError):
      raise ProgramEnded('') from None
    except Exception as error:
      raise NotPlainData(f'the program returned what cannot be read: {error!r}') from None
    if kind == 'syntax':
      raise ProgramSyntaxError(f'{kinds[0]}: {words}')
    raise _exception(kinds, words)

  def request(self, *parts):
    """Sends a request and returns the value of the answer."""
    try:
      write(self.fd, marshal.dumps(parts))
    except OSError:
      raise ProgramEnded('') from None
    return self._value(self.receive())

  def _value(self, tree):
    """The value of a tree that the program sent."""
    try:
      return unpack(tree, self.stand_in)
    except Exception as error:
      self.fault = NotPlainData(f'the program returned what cannot be read: {error!r}')
      raise self.fault from None

  def stand_in(self, number):
    """The ProgramObject of a number that the program sent."""
    if type(number) is not int:
      raise ValueError('no object')
    return ProgramObject(self, number)

  def number(self, value):
    """The number of a ProgramObject, or the name of a type or function of Python's own."""
    name = getattr(value, '__name__', '') if type(value) is not ProgramObject else ''
    if name and getattr(builtins, name, None) is value:
      return name
    if type(value) is not ProgramObject:
      raise NotSendable(f'it passes {type(value).__name__!r} to the program, no plain data')
    return value._number

  def call(self, number, args, kwargs):
    """Calls a function of the program; arguments that it changed in place change here too."""
    answer = self.request(
        'call', number, pack(tuple(args), self.number), pack(kwargs, self.number))
    if type(answer) is not list or len(answer) != 1 + len(args):
      self.fault = NotPlainData('the program returned what cannot be read')
      raise self.fault
    if answer[0] is None:
      for old, new in zip(args, answer[1:], strict=True):
        if type(new) is type(old) and type(old) in (list, dict, set):
          old.clear()
          (old.extend if type(old) is list else old.update)(new)
    return answer[0]


def _small(digits):
  """The value of a decimal integer in JSON; larger ones are sent in hexadecimal."""
  if len(digits) > 20:
    raise ValueError(f'a number of {len(digits)} digits')
  return int(digits)


def _number(pair):
  """The value of an object in JSON: a large integer or a float."""
  if 'i' in pair:
    return int(pair['i'], 16)
  return float(pair['f'])


def _exception(kinds, words):
  """An instance of the nearest of Python's own exceptions, so that tests can expect one."""
  for kind in kinds:
    found = getattr(builtins, kind, None)
    # These would steer the tests: they end loops, or pass for the test's own.
    if isinstance(found, type) and issubclass(found, Exception) and not issubclass(
        found, (AssertionError, StopIteration, StopAsyncIteration)):
      try:
        error = found(words)
      except TypeError:          # UnicodeDecodeError and others need more arguments.
        continue
      error.program_words = f'{kinds[0]}: {words}'
      return error
  error = ProgramError(f'{kinds[0]}: {words}')
  error.program_words = str(error)
  return error


def names_of(code):
  """(names that test code reads and does not define, names whose attributes it reads)."""
  read_here, own, with_attributes = set(), set(), set()
  for node in ast.walk(ast.parse(code)):
    if isinstance(node, ast.Name):
      (read_here if isinstance(node.ctx, ast.Load) else own).add(node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
      with_attributes.add(node.value.id)
    elif isinstance(node, ast.arg):
      own.add(node.arg)
    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      own.add(node.name)
    elif isinstance(node, ast.alias):
      own.add((node.asname or node.name).split('.')[0])
  return read_here - own, with_attributes


def bind(names, with_attributes, scope, session, entry_point):
  """Binds the names of a test: from the tests, from Python, and last from the program.

  Python's own functions come before the program's, except the function under test: otherwise a
  program could bring the `abs` or `set` that judges it.
  """
  wanted = [n for n in sorted(names) if n == entry_point or not (
      n in scope or hasattr(builtins, n))]
  for name, there in zip(wanted, session.request('has', wanted), strict=True):
    if name in with_attributes and name in _MODULES:
      scope[name] = __import__(name)
    elif there is True:
      scope[name] = session.request('get', name)


def close(found, expected, tolerance):
  """Whether a returned value is the expected one; a list and a tuple of equal items are equal.

  Args:
    tolerance: absolute or relative, where a float is expected.
  """
  if type(found) in (list, tuple) and type(expected) in (list, tuple):
    return len(found) == len(expected) and all(
        close(f, e, tolerance) for f, e in zip(found, expected, strict=True))
  if type(found) is dict and type(expected) is dict:
    return found.keys() == expected.keys() and all(
        close(found[k], expected[k], tolerance) for k in expected)
  if type(expected) is float and type(found) in (int, float):
    return found == expected or abs(found - expected) <= tolerance * max(1, abs(expected))
  if type(expected) is bool or type(found) is bool:
    return found is expected
  return found == expected


def function(name, scope, session):
  """The function that a call names: the program's, or a method of its class Solution."""
  bind({name, 'Solution'}, (), scope, session, name)
  if name in scope:
    return scope[name]
  if 'Solution' in scope:
    return getattr(scope['Solution'](), name)
  raise NameError(f'the program defines no {name!r}')


def run_test(job, test, session):
  """Runs one test; returns if it passes and raises otherwise."""
  scope = {'__name__': '__main__'}
  entry_point = job['entry_point']
  if 'call' in test:
    found = function(test['call'], scope, session)(
        *test.get('args', ()), **test.get('kwargs', {}))
    if not close(found, test['expected'], job['tolerance']):
      raise AssertionError
    return
  for code in (job['prelude'], job['setup'], test['assert']):
    names, with_attributes = names_of(code)
    bind(names, with_attributes, scope, session, entry_point)
    if code is test['assert'] and not entry_point and all(
        hasattr(builtins, name) for name in names):
      # The test names only functions of Python's, so the function under test has such a name.
      for name in sorted(names):
        bind({name}, (), scope, session, name)
    exec(compile(code, 'test', 'exec', dont_inherit=True), scope)


def verdict(job, test, session_fd):
  """(status, detail) of one test; the status 'gone' leaves it to the caller to say why."""
  try:
    for text in (job['setup'], test.get('assert', '')):
      compile(text, 'test', 'exec')
  except SyntaxError as error:
    return 'error', f'the test itself is no Python: {error}'
  try:
    session = Session(session_fd)
    run_test(job, test, session)
    if session.fault:
      raise session.fault
    return 'correct', ''
  except NotSendable as error:
    return 'error', f'the test cannot be judged in a jail: {error}'
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
      return 'runtime_error', program_words
    if isinstance(error, NameError):
      return 'runtime_error', f'{type(error).__name__}: {error}'
    return 'wrong', f'the test met {type(error).__name__}: {str(error)[:200]}'


def serve(control_fd):
  """Judges the tests of the job on stdin, one for each socket that arrives."""
  if hasattr(sys, 'set_int_max_str_digits'):
    sys.set_int_max_str_digits(0)
  job = json.load(sys.stdin)
  control = socket.socket(fileno=control_fd)
  for test in job['tests']:
    _, fds, _, _ = socket.recv_fds(control, 1, 1)
    if not fds:
      return
    said = json.dumps(verdict(job, test, fds[0])).encode()
    os.close(fds[0])
    write(control_fd, said)

