"""Runs a program and answers the requests of the tests: a name's value, a call, an attribute.

This runs in the program's jail and in its process, so the tests trust nothing that it sends.
"""
import builtins
import marshal
import sys
from _json import encode_basestring_ascii

from known import given
from structures import called
from wire import MOST_BYTES, TooMuch, pack, read, unpack, write

_TEXT_OF = {True: 'true', False: 'false', None: 'null'}


def _json(tree):
  """A packed value as JSON. Importing json would take as long as starting Python."""
  if tree is None or tree is True or tree is False:
    return _TEXT_OF[tree]
  if type(tree) is int:
    # Large numbers are hexadecimal: exact, and fast to read at any size.
    return repr(tree) if -2**53 < tree < 2**53 else f'{{"i":"{tree:x}"}}'
  if type(tree) is float:
    return f'{{"f":"{tree!r}"}}'
  if type(tree) is str:
    return encode_basestring_ascii(tree)
  return '[' + ','.join([_json(v) for v in tree]) + ']'


class _Objects:
  """The program's names, the objects that the tests hold by number, and answers to requests."""

  def __init__(self, names):
    self.names, self.objects = names, []

  def keep(self, value):
    """Keeps an object and returns its number."""
    self.objects.append(value)
    return len(self.objects) - 1

  def find(self, key):
    """The object with a number, or Python's own with a name."""
    return getattr(builtins, key) if type(key) is str else self.objects[key]

  def answer(self, request):
    """The answer to one request, as a packed value."""
    action, *rest = marshal.loads(request)
    if action == 'has':
      return ['t', *[name in self.names for name in rest[0]]]
    if action == 'get':
      return self.pack(self.names[rest[0]])
    target = self.objects[rest[0]]
    if action == 'getattr':
      return self.pack(getattr(target, rest[1]))
    if action == 'setattr':
      setattr(target, rest[1], unpack(rest[2], self.find))
      return None
    args, kwargs = unpack(rest[1], self.find), unpack(rest[2], self.find)
    result = self.pack(called(target, args, kwargs, self.names) if action == 'call of JSON' else
                       target(*args, **kwargs))
    # A function that returns None may have changed its arguments, so those are sent back.
    return ['l', result, *[
        self.pack(v) if result is None and type(v) in (list, dict, set) else None for v in args]]

  def pack(self, value):
    """The tree of a value; objects that are not plain data are kept here."""
    return pack(value, self.keep)


def give_names(code):
  """Gives a program the well-known names that it reads, or may read; see known.py.

  They become builtins, so that only what the program itself defines or imports is its own.
  """
  codes = [code]
  for code in codes:
    codes += [c for c in code.co_consts if type(c) is type(code)]
    for name in code.co_names:
      try:
        if not hasattr(builtins, name):
          setattr(builtins, name, given(name))
      except (KeyError, AttributeError):    # A library may be older than a name.
        continue


def serve(path, fd):
  """Runs the program, then answers requests until the descriptor is at its end."""
  sys.argv = [path]
  builtins.exit = builtins.quit = sys.exit
  module = sys.modules['solution'] = type(sys)('solution')
  with open(path, 'rb') as file:
    source = file.read()
  try:
    code = compile(source, path, 'exec', dont_inherit=True)
  except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
    _say(fd, 'syntax', error)
    return
  write(fd, b'["compiled"]')
  give_names(code)
  try:
    exec(code, module.__dict__)
  except BaseException as error:
    _say(fd, 'raised', error)
    raise
  objects = _Objects(module.__dict__)
  write(fd, b'["ready"]')
  while True:
    try:
      request = read(fd)
    except EOFError:
      return
    try:
      body = f'["value",{_json(objects.answer(request))}]'.encode()
      if len(body) > MOST_BYTES:
        raise TooMuch(f'a value of {len(body)} bytes')
    except BaseException as error:
      _say(fd, 'raised', error)
      continue
    write(fd, body)


def _say(fd, what, error):
  """Sends an exception: its kinds, most specific first, and its text."""
  kinds = [kind.__name__ for kind in type(error).__mro__]
  try:
    words = str(error)[:500]
  except BaseException:
    words = ''
  write(fd, _json([what, kinds, words]).encode())

