"""Runs programs that a model wrote, so that they cannot escape, hang or reach what judges them.

Three layers, each for what the others cannot do:

  bubblewrap (jail.py)   namespaces of the program's own: no network, no files of the machine but
                         its libraries, no other processes; an unprivileged user per sandbox, no
                         capabilities; a bounded tmpfs to work in; an empty environment.
  seccomp.py             refuses system calls that make uncounted memory or have a history of holes.
  prlimit, supervise.py  limits for each process, and a parent that polls every 10 ms what the whole
                         tree uses, and at the end kills all of it with the PID namespace.

Every program is started in a jail of its own, and nothing outlives it: when a worker is killed with
SIGKILL, the kernel kills its jails. (A jail a few milliseconds old is not yet tied to its worker;
the worker's fork server kills it then. A jail is left only if both are killed in that moment.)

What is not promised. The jail shares the kernel with the machine: a hole in the kernel, or in the
processor (side channels), is a way out; where that matters run the verifiers in a virtual machine
or under gVisor. A program can measure time and see which CPU and kernel it runs on. Memory is
summed every 10 ms: between two polls a tree may exceed its limit, each process by no more than its
own limit of address space, which is the limit of memory and 576 MB. A Unix socket counts as the
most that the kernel buffers for it, some 0.3 MB. Buffers of pipes are not counted: the kernel gives
a user 64 MB for all pipes, and 4 or 8 kB for each beyond. If the machine runs out of memory all the
same, its kernel kills programs before their judges. On Linux before 5.14 an ordinary user's own
processes count toward the process limit of the jail, so that a program may be unable to start
threads there. CPU time is the kernel's, which a busy machine stretches a little: caches and memory
are shared. mode='unsafe' keeps the limits per process and nothing else: programs can read and send
whatever the user can.

Programs have the standard library of Python and that of C++, and nothing that was installed beside
them: no numpy.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fcntl
import functools
import itertools
import os
import platform
import pwd
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magistral_jax.verifiers.sandbox import jail, processes, seccomp, toolchain
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome, Running, write_file

MODES = ('bubblewrap', 'unsafe')
_FIRST_UID, _UIDS = 59000, 500
_LEFTOVER_S = 10.0         # In which processes of an owner before this one must be gone.
_CACHE_BYTES = 64 << 20
_RESULTS = 256            # More programs than wait for a worker while a group is judged.
TEST = Limits()
COMPILE = Limits(time_s=10.0, idle_s=10.0, wall_s=150.0, memory_mb=1024, output_mb=16, box_mb=64)
# Address space that is not memory in use: libraries, guard pages, and one stack of 512 MB, which
# programs that recurse deeply reserve for a thread.
_AROUND_MB = 64 + 512
# The kernel's own limit of CPU time counts ticks, on a loaded machine a tenth too many: it only
# ends what the supervisor, which counts exactly, failed to end.
_KERNEL_SHARE = 1.5


@dataclasses.dataclass(frozen=True)
class Isolation:
  """What isolation this machine offers.

  Isolation(ok=True, words='bubblewrap 0.8.0 as user 59000, seccomp filter for x86_64, ...')
  """
  ok: bool
  words: str
  install: str = ''         # What to install or allow; '' if ok.


class Cache:
  """What was made of each source, up to a sum of sizes; evicts the least recently used."""

  def __init__(self, most: int):
    self._most, self._sum = most, 0
    self._held: collections.OrderedDict[bytes, tuple[Any, int]] = collections.OrderedDict()

  def get(self, key: bytes) -> Any:
    """The value put under a key, or None."""
    if key not in self._held:
      return None
    self._held.move_to_end(key)
    return self._held[key][0]

  def put(self, key: bytes, value: Any, size: int) -> None:
    """Keeps a value of a size, and evicts others until all fit."""
    self._held[key] = (value, size)
    self._sum += size
    while self._sum > self._most:
      self._sum -= self._held.popitem(last=False)[1][1]


class Sandbox:
  """Starts programs in jails, any number at once; each sandbox has a user id of its own.

  Args:
    limits: what one test may use.
    mode: 'bubblewrap', or 'unsafe' for process limits alone.
  Raises:
    ValueError: an unknown mode, or a machine without what it needs; says what to install.
    TimeoutError: processes that an owner of its user id has left do not end.
  """

  def __init__(self, limits: Limits = TEST, *, mode: str = 'bubblewrap'):
    if mode not in MODES:
      raise ValueError(f'verifiers.sandbox is {mode!r}; it must be one of {", ".join(MODES)}.')
    if not sys.platform.startswith('linux'):
      raise ValueError('Programs can only be judged on Linux: take the code problems out of the '
                       'data, or run the verifiers on a Linux machine.')
    self.limits, self.mode = limits, mode
    processes.adopt_orphans()
    self._bwrap = toolchain.bwrap() if mode == 'bubblewrap' else None
    self._prlimit = toolchain.tool('prlimit', 'Install util-linux, which brings it.')
    self._tool_paths = (self._prlimit, *toolchain.library_folders(self._prlimit))
    number, held = _take_uid()
    self.uid = number if os.geteuid() == 0 else None
    self._pipes = os.path.join(toolchain.shared_folder(), f'pipes-{number}')
    weakref.finalize(self, _give_back, held, self._pipes)
    if self.uid is not None:
      # bwrap waits for ever if its first process is killed before it has set up a jail, which one
      # that was killed with its verifier may have been. It would count toward the process limit.
      processes.end_all_of(self.uid, _LEFTOVER_S)
    _make_empty(self._pipes, everyone=self.uid is not None)
    self._started = itertools.count()
    self._filter = seccomp.build(platform.machine())
    self.cache = Cache(_CACHE_BYTES)         # What was compiled; sizes are bytes.
    self.results = Cache(_RESULTS)           # How programs were judged.
    self.python, self.python_view = toolchain.python(everyone=self.uid is not None)
    _check_own_limits()

  def describe(self) -> str:
    """What stands between a program and this machine, in words."""
    user = f'as user {self.uid}' if self.uid is not None else 'as this user'
    if self.mode == 'unsafe':
      return f'UNSAFE: limits only, {user}; programs can read files and use the network'
    version = subprocess.run([self._bwrap, '--version'], capture_output=True, text=True,
                             timeout=30, env={}).stdout.strip()
    filtered = 'seccomp filter' if self._filter else f'no seccomp filter for {platform.machine()}'
    return (f'{version} {user}, no network, {filtered}, programs run by {self.python} with its '
            'standard library alone')

  def run(self, argv: Callable[[str], Sequence[str]], view: jail.View, *,
          files: Mapping[str, bytes], stdin: bytes = b'', limits: Limits | None = None) -> Outcome:
    """Starts a program and waits for its end. The arguments are those of `start`."""
    with self.start(argv, view, files=files, stdin=stdin, limits=limits) as running:
      return running.watch()

  def start(self, argv: Callable[[str], Sequence[str]], view: jail.View, *,
            files: Mapping[str, bytes], stdin: bytes = b'', keep: Sequence[int] = (),
            limits: Limits | None = None, first: bool = False) -> Running:
    """Starts a program; the result is a context manager that ends it.

    Args:
      argv: folder that holds `files` -> the program and its arguments.
      view: the files of this machine that it sees.
      files: name -> content, read-only for the program.
      stdin: what the program reads from descriptor 0, a regular file.
      keep: descriptors that the program inherits under the same numbers.
      limits: what it may use; the sandbox's own by default.
      first: whether it is the first process of its jail, which no other one there can stop or kill,
        and which has to reap all others; it can then have turns (`Running.begin_turn`).
    """
    limits = limits or self.limits
    prefix = jail.limit_argv(
        self._prlimit, memory_mb=limits.memory_mb + _AROUND_MB,
        cpu_s=1 + int(_KERNEL_SHARE * limits.time_s * limits.turns), file_mb=limits.box_mb,
        processes=limits.processes)
    with contextlib.ExitStack() as stack:
      own = lambda fd: stack.callback(os.close, fd) and fd
      # Closed only if the start fails: afterwards Running owns them.
      later = stack.enter_context(contextlib.ExitStack())
      if self.mode == 'unsafe':
        source = own(_memory_file(stdin))
        folder = self._unpack(files)
        cleanup = functools.partial(shutil.rmtree, folder, ignore_errors=True)
        later.callback(cleanup)
        (stdout, stdout_into), (stderr, stderr_into) = _pipe(later, stack), _pipe(later, stack)
        command, passed, cwd = argv(f'{folder}/files'), (), f'{folder}/box'
        status = status_into = stdin_path = None
      else:
        status, status_into = _pipe(later, stack)
        stdin_path, *outputs = streams = self._name_streams()
        cleanup = functools.partial(_unlink, streams)
        later.callback(cleanup)
        write_file(stdin_path, stdin)
        source = own(os.open(stdin_path, os.O_RDONLY | os.O_CLOEXEC))
        (stdout, stdout_into), (stderr, stderr_into) = (
            _open_pipe(path, later, stack) for path in outputs)
        given = [(name, own(_memory_file(content))) for name, content in files.items()]
        filter_fd = own(_memory_file(self._filter)) if self._filter else -1
        shown = dataclasses.replace(
            view, paths=jail.outermost((*view.paths, *self._tool_paths)))
        command = [*jail.jail_argv(
            self._bwrap, shown, files=given, streams=streams, box_mb=limits.box_mb,
            seccomp_fd=filter_fd, status_fd=status_into, first=first),
            '--', *prefix, *argv(jail.FILES)]
        passed, cwd = (status_into, filter_fd, *(fd for _, fd in given)), '/'
      popen = self._popen(
          command if self.mode == 'bubblewrap' else [*prefix, *command],
          (*keep, *(fd for fd in passed if fd >= 0)), cwd, source, stdout_into, stderr_into)
      later.pop_all()
    return Running(popen, stdout, stderr, status, limits, cleanup,
                   stdin_path if first else None)

  def _name_streams(self) -> tuple[str, str, str]:
    """Paths of a new file and two named pipes, which only the programs of this sandbox can open."""
    number = next(self._started)
    stdin, *outputs = (f'{self._pipes}/{number}-{name}' for name in ('stdin', 'stdout', 'stderr'))
    os.close(os.open(stdin, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for path in outputs:
      os.mkfifo(path, 0o600)
    for path in (stdin, *outputs):
      if self.uid is not None:
        os.chown(path, self.uid, self.uid)
    return stdin, *outputs

  def _unpack(self, files: Mapping[str, bytes]) -> str:
    """Path of a new folder on disk with the files of a program without a jail."""
    folder = tempfile.mkdtemp(prefix='magistral-unsafe-')
    os.chmod(folder, 0o755)
    for name in ('files', 'box'):
      os.mkdir(f'{folder}/{name}', 0o755)
    for name, content in files.items():
      with open(f'{folder}/files/{name}', 'wb') as file:
        file.write(content)
      os.chmod(f'{folder}/files/{name}', 0o555)
    if self.uid is not None:
      os.chown(f'{folder}/box', self.uid, self.uid)
    return folder

  def _popen(self, command, passed, cwd, stdin, stdout, stderr) -> subprocess.Popen:
    """Starts a command as the sandbox's user, with the descriptors `passed` and no others."""
    identity = {} if self.uid is None else dict(
        user=self.uid, group=self.uid, extra_groups=[])
    # bubblewrap has no more than its program: that could read it in /proc/1/environ.
    return subprocess.Popen(
        command, env=jail.ENVIRONMENT, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr,
        pass_fds=passed, start_new_session=True, **identity)


def probe() -> Isolation:
  """What isolation this machine offers, found by running a tiny program of our own in a jail."""
  try:
    sandbox = Sandbox()
    outcome = sandbox.run(
        lambda files: [sandbox.python, '-I', '-S', f'{files}/probe.py'], sandbox.python_view,
        files={'probe.py': b'print(6 * 7)'})
  except (ValueError, OSError) as error:
    return Isolation(False, str(error), toolchain.INSTALL)
  if outcome.status != 'exited' or outcome.stdout != b'42\n':
    said = outcome.stderr.decode(errors='replace').strip() or outcome.detail
    return Isolation(
        False, f'no program runs in a jail here ({outcome.status}): {said}', toolchain.INSTALL)
  return Isolation(True, sandbox.describe())


def _check_own_limits() -> None:
  """Raises ValueError where this process's own limits leave too little for a program.

  A process cannot raise its limits: setting those of a jail would fail, and with it every program.
  """
  needed = dict(AS=COMPILE.memory_mb + _AROUND_MB << 20, FSIZE=COMPILE.box_mb << 20, NOFILE=64,
                CPU=1 + int(_KERNEL_SHARE * COMPILE.time_s))
  for name, least in needed.items():
    hard = resource.getrlimit(getattr(resource, f'RLIMIT_{name}'))[1]
    if hard != resource.RLIM_INFINITY and hard < least:
      raise ValueError(f'The hard limit RLIMIT_{name} is {hard} here, but the jails need {least}: '
                       f'raise it (ulimit -H), or start the verifiers without it.')


def _take_uid() -> tuple[int, int]:
  """(user id, descriptor): an unprivileged id that is ours alone while the descriptor is open.

  Only root can use it as a user; for others it is the number of a sandbox on this machine.
  """
  for uid in range(_FIRST_UID, _FIRST_UID + _UIDS):
    with contextlib.suppress(KeyError):
      pwd.getpwuid(uid)
      continue                     # The id of an account.
    held = socket.socket(socket.AF_UNIX)
    try:
      # The kernel frees this name when the process ends, however it ends.
      held.bind(f'\0magistral-jax-sandbox-{uid}')
    except OSError:
      held.close()
      continue
    return uid, held.detach()
  raise ValueError(f'All {_UIDS} user ids for sandboxes on this machine are taken: start fewer '
                   f'verifiers.')


def _give_back(held: int, pipes: str) -> None:
  """Removes the folder of a sandbox, then frees its user id."""
  shutil.rmtree(pipes, ignore_errors=True)
  os.close(held)


def _make_empty(folder: str, everyone: bool) -> None:
  """Makes a folder with nothing in it, which a killed owner may have left with something.

  Raises:
    ValueError: it must be reachable by every user, and is not.
  """
  shutil.rmtree(folder, ignore_errors=True)
  os.mkdir(folder)
  os.chmod(folder, 0o755)          # mkdir's mode is subject to the umask.
  if everyone and not toolchain.reachable(folder):
    raise ValueError(f'Programs run as another user, who cannot reach {folder}: let TMPDIR name a '
                     f'folder that everyone may enter, such as /tmp.')


def _open_pipe(
    path: str, readers: contextlib.ExitStack, writers: contextlib.ExitStack) -> tuple[int, int]:
  """(read end, write end) of a named pipe, as `_pipe` has it."""
  # Open for writing too, it never comes to its end: a program may close its output and open
  # /dev/stdout afterwards.
  out = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
  readers.callback(os.close, out)
  into = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
  writers.callback(os.close, into)
  return out, into


def _unlink(paths: Sequence[str]) -> None:
  """Removes files, those that are there."""
  for path in paths:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(path)


def _pipe(readers: contextlib.ExitStack, writers: contextlib.ExitStack) -> tuple[int, int]:
  """(read end, write end) of a pipe; each is closed with its stack, and reads do not block."""
  out, into = os.pipe()
  readers.callback(os.close, out)
  writers.callback(os.close, into)
  os.set_blocking(out, False)
  return out, into


def _memory_file(content: bytes) -> int:
  """A descriptor of an unnamed, sealed file in memory, at its beginning."""
  fd = os.memfd_create('file', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
  view = memoryview(content)
  while view:
    view = view[os.write(fd, view):]
  fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
              | fcntl.F_SEAL_SEAL)
  os.lseek(fd, 0, os.SEEK_SET)
  return fd
