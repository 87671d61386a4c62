r"""Programs and answers of programs by the thousand: drawn from pieces, mutated, forged.

Seeded, so that what fails is found again by its number. None of them knows SECRET, which every test
expects, so none is right; `decorated` draws programs that are.
"""
import json
import random

SECRET = 918273645
_SOURCES = (
    'print(sum(map(int, input().split())))',
    'import sys\nfor line in sys.stdin:\n  print(line.strip()[::-1])',
    'def f(x):\n  return [x] * 3\ndef g(x): return x\nprint(f(1))',
    'class Solution:\n  def f(self, x: List[int]) -> int:\n    return Counter(x).most_common(1)',
    'from collections import deque\nq = deque([1, 2])\nwhile q:\n  print(q.popleft())',
    '@lru_cache(None)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)\nprint(f(30))')
# What a program does to those around it; `fd` and `n` are drawn.
_DEEDS = (
    'import os\nos._exit({n} % 256)', 'import sys\nsys.exit({n})', 'raise SystemExit("{n}")',
    'import os\nos.kill(os.getpid(), {n} % 65)', 'import os\nos.close({fd})',
    'import os\nos.write({fd}, b"\\x00\\x00\\x00\\x09" + b"[" * {n})',
    'import sys\nsys.stderr.write("MemoryError")\nsys.exit(1)', 'raise MemoryError',
    'import sys\nsys.stderr.write("Error: x")\nsys.exit(97)', 'raise KeyboardInterrupt',
    'import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.fork()',
    'import os\nif os.fork(): os._exit(0)', 'import sys\nsys.stdout.close()', 'x = [0] * 10**9',
    'import os\nos.dup2({fd}, 1)', 'import sys\ndel sys.modules["builtins"]',
    'import threading\nthreading.Thread(target=lambda: [0 for _ in range(10**5)]).start()',
    'import sys\nsys.setrecursionlimit(10**6)\nf = lambda: f()\nf()', 'print("\\ud800")',
    'import builtins\nbuiltins.print = None', 'print(chr({n}) * {n})', 'assert False',
    'import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))', 'while {n}: pass',
    'import time\ntime.sleep({n} % 3)', 'import sys\nsys.exit(*[{n}, {n}])', 'exit()',
    'import socket\nheld = socket.socketpair()\nheld[0].send(b"x")', 'f = g = print',
    'def f(x): return {n}', 'def f(*x): yield from x', 'def f(x): raise {kind}("{n}")',
    'import os\nos.rmdir(".")', 'open("/dev/stdout", "w").write("{n}")', 'print(input())')
_KINDS = ('ValueError', 'AssertionError', 'StopIteration', 'GeneratorExit', 'MemoryError',
          'BaseException', 'RecursionError', 'UnicodeError')
_BYTES = ('\0', '\ud800', '\udcff', '\r', '\x0c', '(', '\\', '"""', "'", '\t', '#', '\ufeff', 'é',
          '`', '{', ' ', '\n')


def program(seed: int) -> str:
  """The wrong program of a number."""
  rng = random.Random(f'program {seed}')
  deeds = [_filled(rng, rng.choice(_DEEDS)) for _ in range(rng.randint(1, 2))]
  kind = rng.random()
  if kind < 0.5:
    return '\n'.join([*deeds[:1], rng.choice(_SOURCES), *deeds[1:]])
  if kind < 0.8:
    return _mutated(rng, '\n'.join([rng.choice(_SOURCES), *deeds]))
  return ''.join(rng.choice(_BYTES + _SOURCES) for _ in range(rng.randint(1, 9)))


def decorated(seed: int) -> tuple[str, int]:
  """(a program that reads a number and prints its successor, among idle deeds; the number)."""
  rng = random.Random(f'right {seed}')
  before = rng.choice((
      '', 'import sys\nsys.setrecursionlimit(10**6)', 'x = bytearray(200 << 20)',
      'import threading\nthreading.stack_size(2**29)',
      'import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)',
      'import sys\nprint("MemoryError", "std::bad_alloc", file=sys.stderr)',
      'import asyncio\nasync def g(): await asyncio.sleep(0.01)\nasyncio.run(g())'))
  read = rng.choice(('int(input())', 'int(open("/dev/stdin").read())', 'int(open(0).read())',
                     'int(open("/dev/fd/0").readline())', 'int(__import__("os").read(0, 99))'))
  write = rng.choice(('print(x + 1)', 'open("/dev/stdout", "w").write(str(x + 1))',
                      'import sys\nsys.stdout.write(str(x + 1))',
                      'import os\nos.write(1, b"%d" % (x + 1))'))
  after = rng.choice(('', 'exit()', 'import threading\nthreading.Thread(target=print).start()',
                      'import atexit, gc\natexit.register(gc.collect)'))
  return '\n'.join([before, f'x = {read}', write, after]), rng.randint(0, 10**6)


TESTS = (
    {'assert': f'assert f(1) == {SECRET}'}, {'assert': f'assert set(f(1)) == {{{SECRET}}}'},
    {'assert': f'assert sorted(f(1)) == [{SECRET}]'}, {'assert': f'assert f(g(1)) == {SECRET}'},
    {'assert': f'x = [3]\nf(x)\nassert x == [{SECRET}]'},
    {'assert': f'assert abs(f(1) - {SECRET}) < 1e-6'}, {'assert': f'assert f(1).v == {SECRET}'},
    {'assert': f'a, b = f(1)\nassert a + b == {SECRET}'}, {'assert': f'assert f(1)[0] == {SECRET}'},
    {'assert': f'assert not f(1) != {SECRET}'}, {'assert': f'assert "{SECRET}" in str(f(1))'},
    {'assert': f'assert math.isclose(f(1), {SECRET})'}, {'assert': f'assert {SECRET} in f(1)'},
    {'assert': f'assert f(1) == approx({SECRET})'}, {'assert': f'assert max(f(1)) == {SECRET}'},
    {'assert': 'try:\n  f(1)\nexcept ZeroDivisionError as e:\n'
               f'  assert str(e) == "{SECRET}"\nelse:\n  assert False'},
    {'assert': f'assert len(f(1)) == {SECRET}'}, {'assert': f'assert f(f)(g)(1) == {SECRET}'},
    dict(call='f', args=[1], expected=SECRET), dict(call='f', args=[[1]], expected=[SECRET]),
    dict(call='f', args=[], expected={str(SECRET): 1.5}),
    dict(call='f', args=[1], expected=[[SECRET, None], {'a': float(SECRET)}]))
_LEAVES = (0, 1, -1, 2.5, True, False, None, '', 'x', '1' * 50, 10**19, 10**30, -2**63, 'Infinity',
           float('nan'), float('inf'), {'i': 'ff'}, {'f': 'nan'}, {'f': 'inf'}, {'f': ''}, {},
           {'i': ''}, {'x': 1}, '\ud800', [], ['o', 0], ['o', -1], ['o', 'x'], ['o'], ['o', [1]])
_LETTERS = ('l', 't', 's', 'z', 'd', 'C', 'O', 'b', 'B', 'c', 'r', 'D', 'F', 'q', 'v', 'g', 'o',
            'x', '', 0, None)


def answers(seed: int) -> list[bytes]:
  """The bodies of the messages that a program of this number sends."""
  rng = random.Random(f'answers {seed}')
  return [_answer(rng) for _ in range(rng.randint(1, 6))]


def _answer(rng: random.Random) -> bytes:
  """A message: well-formed, of another form, or no JSON at all."""
  kind = rng.random()
  if kind < 0.5:
    value = ['value', rng.choice((
        ['t', True, True], ['l', _tree(rng, 3), None], ['l', ['o', 0]], _tree(rng, 3)))]
  elif kind < 0.7:
    value = [rng.choice(('raised', 'syntax', 'ready', 'compiled')),
             rng.choice((list(_KINDS), ['ZeroDivisionError'], [], 'x', None, [['l']], ['print'])),
             rng.choice(('', 'x' * 900, None, ['l'], 5))]
  elif kind < 0.85:
    value = rng.choice((_tree(rng, 3), [], ['value'], [['value'], 1], {'value': 1}))
  else:
    return rng.choice((b'', b'{', b'\xff' * 9, b'[' * 5000, b'["value",' + b'[' * 3000,
                       b'["value",NaN]', b'["value",-Infinity]', b'["value",' + b'9' * 5000 + b']',
                       b'null', b'"value"', b'["value",["l",1,1]] x', b'["value",1,2]'))
  return json.dumps(value).encode()


def _tree(rng: random.Random, depth: int):
  """A packed value, as wire.py has it, with mistakes."""
  if depth == 0 or rng.random() < 0.4:
    return rng.choice(_LEAVES)
  return [rng.choice(_LETTERS), *[_tree(rng, depth - 1) for _ in range(rng.randint(0, 4))]]


def _filled(rng: random.Random, deed: str) -> str:
  return deed.replace('{n}', str(rng.randint(0, 300))).replace(
      '{fd}', str(rng.randint(0, 20))).replace('{kind}', rng.choice(_KINDS))


def _mutated(rng: random.Random, text: str) -> str:
  """A text with a few characters or lines dropped, doubled or put in."""
  for _ in range(rng.randint(1, 4)):
    i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    text = rng.choice((text[:i] + text[min(j, i + 5):], text[:i] + rng.choice(_BYTES) + text[i:],
                       text[:j] + text[i:j][:40] + text[j:]))
  return text
