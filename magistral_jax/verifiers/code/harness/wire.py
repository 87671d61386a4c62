"""How values cross between the jail of the tests and the jail of the program: as plain data.

A value becomes a tree of lists, text, numbers, booleans and None, in which every container names
its kind: [1, (2, 3)] is ['l', 1, ['t', 2, 3]]. Any other object stays in its process and crosses as
a number, ['o', 7]. So no object of the program with methods of its own ever reaches the tests.
"""
import os

MOST_BYTES = 8 << 20
MOST_ITEMS = 200000
# Of the containers and numbers in a message that take hundreds of bytes even if they are empty.
MOST_LARGE = 200000
_KINDS = {list: 'l', tuple: 't', set: 's', frozenset: 'z'}


class TooMuch(Exception):
  """Raised when a value is too large or too deep to cross."""


def pack(value, keep):
  """The tree of a value; `keep` turns an object that is not plain data into a number."""
  kind = type(value)
  if value is None or kind in (bool, int, float, str):
    return value
  if kind in _KINDS:
    return [_KINDS[kind], *[pack(v, keep) for v in value]]
  if kind is dict:
    return ['d', *[pack(v, keep) for item in value.items() for v in item]]
  if kind in (bytes, bytearray):
    return ['b' if kind is bytes else 'B', value.hex()]
  if kind is complex:
    return ['c', value.real, value.imag]
  if kind is range:
    return ['r', value.start, value.stop, value.step]
  return _pack_other(value, kind, keep)


def _pack_other(value, kind, keep):
  """The tree of a standard library type, a subclass of a plain type, a view or an iterator."""
  name = (kind.__module__, kind.__qualname__)
  if name[0] == 'collections' and name[1] in ('Counter', 'OrderedDict', 'defaultdict', 'deque'):
    if name[1] == 'deque':
      return ['q', *[pack(v, keep) for v in value]]
    letter = {'Counter': 'C', 'OrderedDict': 'O', 'defaultdict': 'd'}[name[1]]
    return [letter, *[pack(v, keep) for item in value.items() for v in item]]
  if name == ('decimal', 'Decimal'):
    return ['D', str(value)]
  if name == ('fractions', 'Fraction'):
    return ['F', value.numerator, value.denominator]
  # Named tuples, enumerations of numbers and other subclasses cross as their plain base type.
  for plain in (bool, int, float, str, tuple, list, dict, set):
    if isinstance(value, plain):
      return pack(plain(value), keep)
  if kind in (type({}.keys()), type({}.values()), type({}.items())):
    return ['v', *[pack(v, keep) for v in value]]
  if hasattr(kind, '__next__'):
    items = []
    for item in value:
      items.append(pack(item, keep))
      if len(items) > MOST_ITEMS:
        raise TooMuch(f'an iterator of more than {MOST_ITEMS} items')
    return ['g', *items]
  return ['o', keep(value)]


def unpack(tree, find):
  """The value of a tree; `find` turns a number into the object that stands for it.

  Raises:
    TooMuch: it has more than MOST_LARGE values that are neither lists, tuples, text nor numbers.
  """
  return _unpack(tree, find, iter(range(MOST_LARGE)))


def _unpack(tree, find, left):
  """The value of a tree; `left` counts down its large values."""
  if type(tree) is not list:
    return tree
  kind, rest = tree[0], tree[1:]
  if kind not in ('l', 't') and next(left, None) is None:
    raise TooMuch(f'more than {MOST_LARGE} containers')
  if kind == 'o':
    return find(rest[0])
  if kind in ('b', 'B'):
    return (bytes if kind == 'b' else bytearray).fromhex(rest[0])
  if kind == 'c':
    return complex(rest[0], rest[1])
  if kind == 'r':
    return range(*rest)
  if kind == 'D':
    from decimal import Decimal
    return Decimal(rest[0])
  if kind == 'F':
    from fractions import Fraction
    return Fraction(rest[0], rest[1])
  values = [_unpack(v, find, left) for v in rest]
  if kind in ('d', 'C', 'O'):
    pairs = dict(zip(values[::2], values[1::2], strict=True))
    if kind == 'd':
      return pairs
    import collections
    return collections.Counter(pairs) if kind == 'C' else collections.OrderedDict(pairs)
  if kind == 'q':
    import collections
    return collections.deque(values)
  if kind == 'v':
    return dict.fromkeys(values).keys()
  if kind == 'g':
    return iter(values)
  return {'l': list, 't': tuple, 's': set, 'z': frozenset}[kind](values)


def read(fd):
  """The next message of a descriptor, as bytes; EOFError at its end, TooMuch if it is too long."""
  size = int.from_bytes(_exactly(fd, 4), 'big')
  if size > MOST_BYTES:
    raise TooMuch(f'a message of {size} bytes')
  return _exactly(fd, size)


def write(fd, body):
  """Writes a message; TooMuch if it is too long."""
  if len(body) > MOST_BYTES:
    raise TooMuch(f'a message of {len(body)} bytes')
  data = memoryview(len(body).to_bytes(4, 'big') + body)
  while data:
    data = data[os.write(fd, data):]


def _exactly(fd, size):
  """The next `size` bytes of a descriptor; EOFError if there are fewer."""
  parts = []
  while size:
    part = os.read(fd, min(size, 1 << 20))
    if not part:
      raise EOFError
    parts.append(part)
    size -= len(part)
  return b''.join(parts)
