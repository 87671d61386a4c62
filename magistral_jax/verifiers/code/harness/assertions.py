"""Runs assertions and calls against a program that sits in another jail.

The tests, with what they expect, come on stdin and stay in this process. A name that only the
program defines stands here for a request to it; the values that come back are plain data
(wire.py), so `==` is always Python's own. For each test a socket to a fresh process of the program
arrives on the control socket, and a verdict goes back.
"""
import ast
import builtins
import json
import marshal
import os
import socket
import sys

from wire import pack, read, unpack, write

# What tests use of these is Python's own, whatever the program imported or replaced.
_MODULES = (
    'bisect', 'cmath', 'collections', 'copy', 'datetime', 'decimal', 'fractions', 'functools',
    'heapq', 'itertools', 'json', 'math', 'operator', 'random', 're', 'statistics', 'string')
_REFUSED = (
    'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'hash', 'len', 'iter', 'contains', 'getitem', 'add',
    'radd', 'sub', 'rsub', 'mul', 'rmul', 'truediv', 'rtruediv', 'floordiv', 'rfloordiv', 'mod',
    'rmod', 'neg', 'pos', 'abs', 'int', 'float', 'index', 'round', 'str', 'repr', 'format', 'enter',
    'exit')


class Gone(BaseException):
  """The program ended, or said something that no program of ours says."""


class Refused(BaseException):
  """The tests met an object of the program's own making where plain data was expected."""


class Unsendable(BaseException):
  """A test passes to the program what is no plain data, such as a function of its own."""


class Raised(Exception):
  """The program raised an exception that is none of Python's own."""


class SyntaxFault(BaseException):
  """The program is no Python."""


class Own:
  """An object of the program, seen from the tests: it can be called, read and written to.

  It can not be compared, walked through or counted: that would ask the program whether it is right.
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
      raise Refused('the program returned an object of its own, not plain data')
    return self._session.request('getattr', self._number, name)

  def __bool__(self):
    return True

  def __setattr__(self, name, value):
    self._session.request('setattr', self._number, name, pack(value, self._session.number))


def _refuse(self, *args):
  raise Refused('the program returned an object of its own, not plain data')


for _name in _REFUSED:
  setattr(Own, f'__{_name}__', _refuse)


class Session:
  """One fresh process of the program."""

  def __init__(self, fd):
    self.fd, self.fault = fd, None
    self.receive()

  def receive(self):
    """What the program answers, as a tree."""
    try:
      return self._receive()
    except (Gone, Refused, SyntaxFault) as fault:
      self.fault = fault           # Whatever a test makes of it, it does not pass.
      raise

  def _receive(self):
    try:
      answer = json.loads(read(self.fd), object_hook=_number, parse_int=_small)
      kind = answer[0]
      if kind == 'ready':
        return None
      if kind == 'value':
        return answer[1]
      kinds, words = [str(k) for k in answer[1]], str(answer[2])
    except (EOFError, OSError):
      raise Gone('') from None
    except Exception as error:
      raise Refused(f'the program returned what cannot be read: {error!r}') from None
    if kind == 'syntax':
      raise SyntaxFault(f'{kinds[0]}: {words}')
    raise _exception(kinds, words)

  def request(self, *parts):
    try:
      write(self.fd, marshal.dumps(parts))
    except OSError:
      raise Gone('') from None
    return self._value(self.receive())

  def _value(self, tree):
    try:
      return unpack(tree, self.own)
    except Exception as error:
      self.fault = Refused(f'the program returned what cannot be read: {error!r}')
      raise self.fault from None

  def own(self, number):
    if type(number) is not int:
      raise ValueError('no object')
    return Own(self, number)

  def number(self, value):
    """How an object is sent: its number, or the name of a type or function of Python's own."""
    name = getattr(value, '__name__', '') if type(value) is not Own else ''
    if name and getattr(builtins, name, None) is value:
      return name
    if type(value) is not Own:
      raise Unsendable(f'it passes {type(value).__name__!r} to the program, no plain data')
    return value._number

  def call(self, number, args, kwargs):
    answer = self.request(
        'call', number, pack(tuple(args), self.number), pack(kwargs, self.number))
    if type(answer) is not list or len(answer) != 1 + len(args):
      self.fault = Refused('the program returned what cannot be read')
      raise self.fault
    if answer[0] is None:
      for old, new in zip(args, answer[1:], strict=True):
        if type(new) is type(old) and type(old) in (list, dict, set):
          old.clear()
          (old.extend if type(old) is list else old.update)(new)
    return answer[0]


def _small(digits):
  if len(digits) > 20:             # Those that are larger come in hexadecimal: fast to read.
    raise ValueError(f'a number of {len(digits)} digits')
  return int(digits)


def _number(pair):
  if 'i' in pair:
    return int(pair['i'], 16)
  return float(pair['f'])


def _exception(kinds, words):
  """The nearest of Python's own exceptions, so that tests can expect one."""
  for kind in kinds:
    found = getattr(builtins, kind, None)
    # Some would steer the tests: they end loops, or are taken for the test's own.
    if isinstance(found, type) and issubclass(found, Exception) and not issubclass(
        found, (AssertionError, StopIteration, StopAsyncIteration)):
      try:
        error = found(words)
      except TypeError:          # UnicodeDecodeError and the like want more.
        continue
      error.of_the_program = f'{kinds[0]}: {words}'
      return error
  error = Raised(f'{kinds[0]}: {words}')
  error.of_the_program = str(error)
  return error


def names_of(code):
  """(names that test code reads and nowhere defines; those it reads attributes of)."""
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
  """Gives the tests what they name: from the tests, from Python, and last from the program.

  Python's own functions come before the program's, or a program could bring its own `abs` or
  `set` to be judged with; but for the function under test.
  """
  wanted = [n for n in sorted(names) if n == entry_point or not (
      n in scope or hasattr(builtins, n))]
  for name, there in zip(wanted, session.request('has', wanted), strict=True):
    if name in with_attributes and name in _MODULES:
      scope[name] = __import__(name)
    elif there is True:
      scope[name] = session.request('get', name)


def close(found, expected, tolerance):
  """Equal for a test that gives its expected value as data: lists and tuples alike."""
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
  """What a call names: a function of the program, or a method of its class Solution."""
  bind({name, 'Solution'}, (), scope, session, name)
  if name in scope:
    return scope[name]
  if 'Solution' in scope:
    return getattr(scope['Solution'](), name)
  raise NameError(f'the program defines no {name!r}')


def run_test(job, test, session):
  """Runs one test; returns if it passes."""
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
      # It calls nothing but Python's own: then the function under test has such a name.
      for name in sorted(names):
        bind({name}, (), scope, session, name)
    exec(compile(code, 'test', 'exec', dont_inherit=True), scope)


def verdict(job, test, session_fd):
  """(status, detail) of one test."""
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
  except Unsendable as error:
    return 'error', f'the test cannot be judged in a jail: {error}'
  except Gone:
    return 'gone', 'the program ended before it answered'
  except SyntaxFault as error:
    return 'compile_error', str(error)
  except Refused as error:
    return 'wrong', str(error)
  except AssertionError:
    return 'wrong', 'an assertion does not hold'
  except BaseException as error:
    of_the_program = getattr(error, 'of_the_program', '')
    if of_the_program:
      return 'runtime_error', of_the_program
    if isinstance(error, NameError):
      return 'runtime_error', f'{type(error).__name__}: {error}'
    return 'wrong', f'the test met {type(error).__name__}: {str(error)[:200]}'


def serve(control_fd):
  """Judges the tests of the job on stdin, one for every socket that arrives."""
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

