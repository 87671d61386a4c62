"""Stands between a program and the tests that call it.

Runs in the program's jail, in the program's own process: nothing here is trusted by the tests. It
answers requests: a name's value, a call, an attribute.
"""
import builtins
import marshal
import sys
from _json import encode_basestring_ascii

from wire import MOST_BYTES, TooMuch, pack, read, unpack, write

_TEXT_OF = {True: 'true', False: 'false', None: 'null'}


def _json(tree):
  """A packed value as JSON, without importing json, which takes as long as starting Python."""
  if tree is None or tree is True or tree is False:
    return _TEXT_OF[tree]
  if type(tree) is int:
    # Hexadecimal: exact and fast for any size.
    return repr(tree) if -2**53 < tree < 2**53 else f'{{"i":"{tree:x}"}}'
  if type(tree) is float:
    return f'{{"f":"{tree!r}"}}'
  if type(tree) is str:
    return encode_basestring_ascii(tree)
  return '[' + ','.join([_json(v) for v in tree]) + ']'


class _Session:
  """The objects that the tests hold by number, and the answers to their requests."""

  def __init__(self, names):
    self.names, self.objects = names, []

  def keep(self, value):
    self.objects.append(value)
    return len(self.objects) - 1

  def find(self, key):
    return getattr(builtins, key) if type(key) is str else self.objects[key]

  def answer(self, request):
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
    result = self.pack(target(*args, **kwargs))
    # A function that returns nothing does something to its arguments.
    return ['l', result, *[
        self.pack(v) if result is None and type(v) in (list, dict, set) else None for v in args]]

  def pack(self, value):
    return pack(value, self.keep)


def serve(path, fd):
  """Runs the program, then answers until the descriptor ends."""
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
  try:
    exec(code, module.__dict__)
  except BaseException as error:
    _say(fd, 'raised', error)
    raise
  session = _Session(module.__dict__)
  write(fd, b'["ready"]')
  while True:
    try:
      request = read(fd)
    except EOFError:
      return
    try:
      body = f'["value",{_json(session.answer(request))}]'.encode()
      if len(body) > MOST_BYTES:
        raise TooMuch(f'a value of {len(body)} bytes')
    except BaseException as error:
      _say(fd, 'raised', error)
      continue
    write(fd, body)


def _say(fd, what, error):
  kinds = [kind.__name__ for kind in type(error).__mro__]
  try:
    words = str(error)[:500]
  except BaseException:
    words = ''
  write(fd, _json([what, kinds, words]).encode())

