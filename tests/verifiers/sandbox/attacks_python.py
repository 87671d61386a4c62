"""Python programs that try to get out, to hang, to use up the machine: (name, source, statuses).

Each program prints ESCAPED if its attack succeeds, and its test expects ESCAPED, so 'correct' would
mean an escape. 'wrong' with the word held means that the attack was refused and the program went
on.
"""
_TRY = '''
import os, sys
def escaped():
  {body}
try:
  won = escaped()
except Exception as error:
  won = False
print('ESCAPED' if won else 'held')
'''


def attempt(body):
  """A program around the body of a function that returns something true if it succeeds."""
  return _TRY.format(body=body.strip().replace('\n', '\n  '))


SYSCALL = '''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
return libc.syscall({number}, {args}) >= 0'''

HELD = ('wrong',)
PROGRAMS = [
    # Endless and enormous.
    ('fork bomb', 'import os\nwhile True: os.fork()', ('runtime_error', 'timeout')),
    ('fork bomb that goes on', 'import os\nwhile True:\n  try: os.fork()\n  except OSError: pass',
     ('timeout',)),
    ('memory bomb', 'held = []\nwhile True: held.append(bytearray(10**7))', ('memory',)),
    ('memory at once', 'x = bytearray(10**9)', ('memory',)),
    ('memory in four children', 'import os, time\nfor _ in range(4):\n  if not os.fork():\n'
     '    x = b"x" * (120 << 20)\n    time.sleep(9)\ntime.sleep(9)', ('memory',)),
    ('memory of a parent and a child', 'import os, time\na = b"x" * (120 << 20)\n'
     'if not os.fork(): b = b"x" * (190 << 20)\ntime.sleep(9)', ('memory',)),
    ('memory that is shared without a file', attempt("""
import mmap
return mmap.mmap(-1, 1 << 20)"""), HELD),
    ('memory that is shared through a device', attempt("""
import mmap
return mmap.mmap(os.open('/dev/zero', os.O_RDWR), 1 << 20)"""), HELD),
    ('memory in sockets', '''
import os, socket, time
def fill(n):
  held = []
  for _ in range(n):
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
    a.setblocking(False)
    held += [a, b]
    try:
      while True: a.send(bytes(1 << 16))
    except BlockingIOError: pass
  return held
for _ in range(40):
  if not os.fork():
    held = fill(24)
    time.sleep(9)
time.sleep(9)''', ('memory',)),
    ('children that vanish uncounted', '''
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
  out, into = os.pipe()
  if os.fork() == 0:
    began = time.process_time()
    while time.process_time() - began < 0.02: pass
    os._exit(0)
  os.close(into)
  os.read(out, 1)
  os.close(out)''', ('timeout', 'runtime_error')),
    ('ends itself as the limit of CPU time would', 'import os, signal\n'
     'os.kill(os.getpid(), signal.SIGXCPU)', ('runtime_error',)),
    ('output bomb', 'while True: print("x" * 10**6)', ('output_limit',)),
    ('error output bomb', 'import sys\nwhile True: sys.stderr.write("x" * 10**6)',
     ('output_limit',)),
    ('one long line', 'print("x" * (17 << 20))', ('output_limit',)),
    ('many files', 'for n in range(10**6): open(str(n), "w").close()', ('output_limit',)),
    ('deep folders', 'import os\nwhile True:\n  os.mkdir("a")\n  os.chdir("a")', ('output_limit',)),
    ('disk fill', attempt('''
written = 0
for n in range(100):
  try:
    with open(str(n), 'wb') as file:
      for _ in range(64): written += file.write(bytes(1 << 20))
  except OSError:
    break
return written > 40 << 20'''), HELD),
    ('endless loop', 'while True: pass', ('timeout',)),
    ('sleep', 'import time\ntime.sleep(100)', ('timeout',)),
    ('stopped', 'import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)', ('timeout',)),
    ('ignores every signal', 'import signal, time\nfor n in range(1, 65):\n'
     '  try: signal.signal(n, signal.SIG_IGN)\n  except (OSError, ValueError): pass\n'
     'while True: pass', ('timeout',)),
    ('closes its output and sleeps', 'import os, time\nos.closerange(0, 64)\ntime.sleep(100)',
     ('timeout',)),
    ('waits for input', 'input()\ninput()', ('runtime_error',)),
    ('deep recursion', 'import sys\nsys.setrecursionlimit(10**9)\nf = lambda n: f(n + 1) + 1\nf(0)',
     ('runtime_error', 'memory')),
    ('many threads', 'import threading, time\nfor _ in range(1000):\n'
     '  threading.Thread(target=time.sleep, args=(99,), daemon=True).start()', ('runtime_error',)),
    ('endless number', 'print(9**9**9)', ('timeout', 'memory')),
    ('nested source', '(' * 100000, ('compile_error',)),
    ('endless source', 'x = 1\n' * 100000, HELD),
    ('many pipes', attempt('''
for _ in range(1000): os.pipe()
return True'''), HELD),
    # What lives on.
    ('daemon', 'import os, time\nif not os.fork():\n  os.setsid()\n  if not os.fork():\n'
     '    os.closerange(0, 3)\n    time.sleep(1000)\n  os._exit(0)\nprint("held")', HELD),
    ('daemon that holds the output', 'import os, time\nif not os.fork():\n  os.setsid()\n'
     '  time.sleep(1000)\nprint("held")', HELD),
    ('writes after its end', 'import os, time\nif os.fork(): os._exit(0)\ntime.sleep(1)\n'
     'print("ESCAPED", flush=True)', HELD),
    # Others.
    ('kills everybody', 'import os\ntry: os.kill(-1, 9)\nexcept OSError: print("held")', HELD),
    ('kills its group', 'import os\nos.kill(0, 9)', ('runtime_error',)),
    ('kills its parent', 'import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)\nprint("held")', HELD),
    ('traces its parent', attempt('import ctypes\nreturn ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0'
                                  ), HELD),
    # Files.
    ('reads the password file', attempt("return open('/etc/passwd').read()"), HELD),
    ('reads environments', attempt('''
import glob
return [open(path).read() for path in glob.glob('/proc/*/environ')]'''), HELD),
    ('has an environment', attempt(
        "return set(os.environ) - {'PWD', 'LC_CTYPE', 'ONLINE_JUDGE'}"), HELD),
    ('has open files', attempt('''
found = []
for fd in range(3, 64):
  try: found.append(os.fstat(fd))
  except OSError: pass
return found'''), HELD),
    ('looks around', attempt('''
seen = set(os.listdir('/')) - {'bin', 'box', 'dev', 'files', 'lib', 'lib32', 'lib64', 'sbin', 'tmp',
                               'usr'}
seen |= set(os.listdir('/files')) - {'script.py', 'solution.py'}
seen |= set(os.listdir('/dev')) - {'null', 'urandom', 'fd', 'stdin', 'stdout', 'stderr'}
return seen | (set(os.listdir('/dev/fd')) - set('012'))'''), HELD),
    ('looks for the tests', attempt('''
for folder, _, files in os.walk('/'):
  if any(name.endswith('.jsonl') or 'judge' in name or name == 'assertions.py'
         for name in files):
    return True'''), HELD),
    ('writes outside', attempt('''
for path in ('/x', '/usr/x', '/files/x', '/dev/x', '/dev/shm/x', '/lib/x', '/box/../x', '/etc/x'):
  try:
    open(path, 'w')
    return True
  except OSError: pass'''), HELD),
    ('replaces its harness', attempt('''
for name in os.listdir('/files'):
  try:
    os.chmod('/files/' + name, 0o777)
    return True
  except OSError: pass
  open('/files/' + name, 'w')'''), HELD),
    ('symbolic link', attempt("os.symlink('/etc/passwd', 'a')\nreturn open('a').read()"), HELD),
    ('hard link', attempt("os.link(sys.executable, 'a')\nreturn True"), HELD),
    ('device node', attempt("os.mknod('a', 0o60600, os.makedev(8, 0))\nreturn True"), HELD),
    ('writes its input', attempt('return os.write(0, b"x") or os.ftruncate(0, 99) is None'), HELD),
    ('shell', attempt("return os.system('true') == 0"), HELD),
    # Network.
    ('loopback', attempt('''
import socket
socket.create_server(('127.0.0.1', 0))
return True'''), HELD),
    ('outside', attempt('''
import socket
socket.create_connection(('1.1.1.1', 53), timeout=1)
return True'''), HELD),
    ('other families', attempt('''
import socket
for family in range(2, 46):
  for kind in (1, 2, 3):
    try:
      socket.socket(family, kind)
      return True
    except OSError: pass'''), HELD),
    ("the machine's sockets", attempt('''
import socket
for n in range(59000, 59010):
  try:
    socket.socket(socket.AF_UNIX).connect('\\0magistral-jax-sandbox-' + str(n))
    return True
  except ConnectionRefusedError: pass'''), HELD),
    # Powers.
    ('takes files of another process', attempt("""
import ctypes
libc = ctypes.CDLL(None)
return any(libc.syscall(438, os.pidfd_open(1), fd, 0) >= 0 for fd in range(64))"""), HELD),
    ('limits another process', attempt("""
import resource
return resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))"""), HELD),
    ('new system calls', attempt("""
import ctypes
libc = ctypes.CDLL(None)
return any(libc.syscall(number, 0, 0, 0, 0, 0) >= 0 for number in range(457, 500))"""), HELD),
    ('becomes root', attempt('os.setuid(0)\nreturn True'), HELD),
    ('changes its root', attempt("os.mkdir('r')\nos.chroot('r')\nreturn True"), HELD),
    ('raises its limits', attempt('''
import resource
for limit in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU):
  try:
    resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True
  except ValueError: pass'''), HELD),
    ('real-time priority', attempt('os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(9))\n'
                                   'return True'), HELD),
    ('unnamed memory', attempt("return os.memfd_create('a') >= 0"), HELD),
    ('new user namespace', attempt(
        'import ctypes\nreturn ctypes.CDLL(None).unshare(0x10000000) == 0'), HELD),
    ('mounts', attempt('''
import ctypes
return ctypes.CDLL(None).mount(b'none', b'/box', b'tmpfs', 0, None) == 0'''), HELD),
    ('shared memory', attempt('import ctypes\nreturn ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0'
                              ), HELD),
    # The output.
    ('leaves before its output', 'import os\nos._exit(0)', HELD),
    ('right, then an error', 'print("ESCAPED")\nraise SystemExit(1)', ('runtime_error',)),
    ('right, then a crash', 'print("ESCAPED", flush=True)\nimport ctypes\nctypes.string_at(0)',
     ('runtime_error',)),
    ('right, then endless', 'print("ESCAPED", flush=True)\nwhile True: pass', ('timeout',)),
]
