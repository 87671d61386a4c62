"""The tests' side of the socket to one fresh process of the program: requests and their answers.

What comes back is plain data (wire.py) or a number that stands for an object of the program's. All
of it may be forged: whatever cannot be read fails the test, and is never an error of ours.
"""
import builtins
import json
import marshal

from wire import pack, read, unpack, write

_REFUSED_METHODS = (
    'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'hash', 'len', 'iter', 'contains', 'getitem', 'add',
    'radd', 'sub', 'rsub', 'mul', 'rmul', 'truediv', 'rtruediv', 'floordiv', 'rfloordiv', 'mod',
    'rmod', 'neg', 'pos', 'abs', 'int', 'float', 'index', 'round', 'str', 'repr', 'format', 'enter',
    'exit')
_UNREADABLE = 'the program returned what cannot be read'


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
  """The connection to one fresh process of the program.

  fault: the first exception by which the program failed the test, or None. values: how many values
  it has returned.
  """

  def __init__(self, fd):
    self.fd, self.fault, self.values = fd, None, 0
    # Its harness says this before anything of the program runs, or that it does not compile.
    self._expect(('compiled', 'syntax'))
    self._expect(('ready', 'raised'))

  def _expect(self, kinds):
    """Receives a message that is no value; an exception that it reports is raised here."""
    self._kinds = kinds
    self.receive()
    self._kinds = ('value', 'raised')

  def receive(self):
    """The program's next answer, as a tree; None for a message without a value."""
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
      if kind not in self._kinds:
        raise ValueError(f'the message {str(kind)[:40]!r}')
      if kind == 'value':
        return answer[1]
      if kind in ('compiled', 'ready'):
        return None
      kinds, words = [str(k) for k in answer[1]] or ['Exception'], str(answer[2])
    except (EOFError, OSError):
      raise ProgramEnded('') from None
    except Exception as error:
      raise NotPlainData(f'{_UNREADABLE}: {error!r}') from None
    if kind == 'syntax':
      raise ProgramSyntaxError(f'{kinds[0]}: {words}')
    raise _exception(kinds, words)

  def request(self, *parts):
    """Sends a request and returns the value of the answer."""
    try:
      write(self.fd, marshal.dumps(parts))
    except OSError:
      raise ProgramEnded('') from None
    value = self._value(self.receive())
    self.values += parts[0] not in ('has', 'get')
    return value

  def _value(self, tree):
    """The value of a tree that the program sent."""
    try:
      return unpack(tree, self.stand_in)
    except Exception as error:
      self.fault = NotPlainData(f'{_UNREADABLE}: {error!r}')
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

  def call(self, number, args, kwargs, action='call'):
    """Calls a function of the program; arguments that it changed in place change here too.

    Args:
      action: 'call of JSON' where lists may stand for trees and linked lists (structures.py).
    """
    answer = self.request(
        action, number, pack(tuple(args), self.number), pack(kwargs, self.number))
    if type(answer) is not list or len(answer) != 1 + len(args):
      self.fault = NotPlainData(_UNREADABLE)
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
