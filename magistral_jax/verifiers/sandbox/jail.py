"""The command line that puts a program into a bubblewrap jail. Pure functions: nothing starts here.

What a jailed program sees:

    /usr/lib... /lib64   the system's libraries (and the interpreter or compiler), read-only
    /dev                 null, urandom; stdin, stdout, stderr and fd/0 to fd/2
    /files               its source, harness or binary; read-only
    /box                 its working directory, a tmpfs of bounded size; /tmp is a link to it

and no network, no /proc, no /etc, no other processes, ENVIRONMENT alone, user 65534. There is no
/dev/zero, since a shared mapping of it is memory that no limit counts.
"""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Sequence

NOBODY = '65534'
FILES, BOX = '/files', '/box'
# As judges of contests have it: programs open files of their own without it.
ENVIRONMENT = {'ONLINE_JUDGE': '1'}
_LINKS = ('/bin', '/lib', '/lib32', '/lib64', '/sbin')
_DEVICES = ('/dev/null', '/dev/urandom')


@dataclasses.dataclass(frozen=True)
class View:
  """The files of this machine that a jail shows, read-only.

  View(paths=('/usr/lib/python3.11', '/usr/bin/python3.11'), hidden=('/usr/lib/.../dist-packages',))
  """
  paths: tuple[str, ...]
  hidden: tuple[str, ...] = ()    # Folders inside `paths` that are shown empty.
  renamed: tuple[tuple[str, str], ...] = ()    # (path on this machine, path in the jail).


def outermost(paths: Sequence[str]) -> tuple[str, ...]:
  """Real paths, sorted, without repeats and without paths inside another one of them."""
  real = sorted({os.path.realpath(p) for p in paths if os.path.exists(p)})
  return tuple(p for p in real if not any(p.startswith(other + '/') for other in real))


def jail_argv(
    bwrap: str, view: View, *, files: Sequence[tuple[str, int]], streams: tuple[str, str, str],
    box_mb: int, seccomp_fd: int, status_fd: int, first: bool) -> list[str]:
  """The arguments of bubblewrap, up to but without those of the program.

  Args:
    files: (name, file descriptor with the content); each becomes /files/<name>.
    streams: paths of the file that it reads and of the named pipes that are its stdout and stderr.
    box_mb: size of the working directory.
    seccomp_fd: descriptor with the filter, or -1 for none.
    status_fd: descriptor to which bubblewrap reports its child's process id and exit code.
    first: whether the program is the first process of the jail; otherwise bubblewrap is.
  """
  argv = [bwrap, '--unshare-user', '--unshare-ipc', '--unshare-pid', '--unshare-net',
          '--unshare-uts', '--unshare-cgroup-try', '--uid', NOBODY, '--gid', NOBODY,
          '--hostname', 'box', '--cap-drop', 'ALL', '--die-with-parent', '--new-session',
          '--json-status-fd', str(status_fd), *(['--as-pid-1'] if first else [])]
  for path, inside in (*((p, p) for p in view.paths), *view.renamed):
    argv += ['--ro-bind', path, inside]
  for path in view.hidden:
    argv += ['--size', '4096', '--perms', '0555', '--tmpfs', path, '--remount-ro', path]
  for link in _LINKS:
    if os.path.islink(link):
      argv += ['--symlink', os.readlink(link), link]
  for device in _DEVICES:
    argv += ['--dev-bind', device, device]
  for number, path in enumerate(streams):
    argv += ['--bind' if number else '--ro-bind', path, f'/dev/fd/{number}']
  for number, name in enumerate(('stdin', 'stdout', 'stderr')):
    argv += ['--symlink', f'fd/{number}', f'/dev/{name}']
  for name, fd in files:
    argv += ['--perms', '0555', '--file', str(fd), f'{FILES}/{name}']
  argv += ['--size', str(box_mb << 20), '--perms', '0700', '--tmpfs', BOX,
           '--symlink', BOX.lstrip('/'), '/tmp', '--remount-ro', '/', '--chdir', BOX]
  return argv + (['--seccomp', str(seccomp_fd)] if seccomp_fd >= 0 else [])


def limit_argv(
    prlimit: str, *, memory_mb: int, cpu_s: int, file_mb: int, processes: int) -> list[str]:
  """The arguments of prlimit: limits of each process, and of the number of processes.

  prlimit runs inside the jail, where processes are counted per jail (since Linux 5.14).

  Args:
    memory_mb: address space. The stack may take all of it, as on the judges of contests.
    cpu_s: CPU time in whole seconds, after which a process is killed.
    file_mb: size of one file.
    processes: number of processes and threads.
  """
  own_stack = resource.getrlimit(resource.RLIMIT_STACK)[1]
  pairs = {
      'as': memory_mb << 20, 'cpu': f'{cpu_s}:{cpu_s + 1}', 'fsize': file_mb << 20,
      'nproc': processes, 'nofile': 64, 'core': 0, 'memlock': 0, 'msgqueue': 0,
      'stack': 'unlimited' if own_stack == resource.RLIM_INFINITY else own_stack}
  return [prlimit, *(f'--{name}={value}' for name, value in pairs.items()), '--']
