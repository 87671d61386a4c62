"""The compiler of C++20 programs: in a jail, once per source, with bits/stdc++.h precompiled.

The precompiled header is made once per machine and compiler, from trusted text, outside any jail.
Programs are linked statically, so that a jail starts without the dynamic loader's search.

Reference: arXiv:2506.10910 section 2.2.2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import subprocess
import tempfile

from magistral_jax.verifiers.sandbox import jail
from magistral_jax.verifiers.sandbox.sandbox import COMPILE, Sandbox
from magistral_jax.verifiers.sandbox.toolchain import shared_folder, tool

# ONLINE_JUDGE is what judges of contests define: programs write to files of their own without it.
FLAGS = ('-std=c++20', '-O2', '-pipe', '-w', '-DONLINE_JUDGE')
_HEADER = 'bits/stdc++.h'
_INSIDE = '/precompiled'
_SHOWN = ('/usr/bin', '/usr/lib', '/usr/lib64', '/usr/libexec', '/usr/include')
_ADVICE = 'Install it (Debian and Ubuntu: apt install g++), or take C++ out of the problems.'
_HEADER_TIMEOUT_S = 300.0
VIEW = jail.View(())         # A program linked statically needs no files of this machine.


@dataclasses.dataclass(frozen=True)
class Compiled:
  """The result of a compilation.

  Compiled(program=b'\\x7fELF...') or Compiled(b'', "main.cpp:3:1: error: 'x' was not ...")
  """
  program: bytes            # b'' if there is none.
  detail: str = ''
  failed: bool = False      # True if the sandbox failed and not the source.


def compile_source(source: str, sandbox: Sandbox) -> Compiled:
  """Compiles a program, or returns the result from the sandbox's cache."""
  data = source.encode('utf-8', 'surrogatepass')
  key = hashlib.sha256(data).digest()
  if (found := sandbox.cache.get(key)) is None:
    found = _compile(data, sandbox)
    if not found.failed:
      sandbox.cache.put(key, found, len(found.program) + len(found.detail) + 1000)
  return found


def check_compiler() -> None:
  """Raises ValueError where no C++ compiler is installed."""
  tool('g++', _ADVICE)


def start_argv(files: str) -> list[str]:
  """The command line of a compiled program in its jail."""
  return [f'{files}/program']


def _compile(data: bytes, sandbox: Sandbox) -> Compiled:
  """Compiles a source in a jail."""
  try:
    compiler, folder = tool('g++', _ADVICE), precompiled()
  except (ValueError, OSError, subprocess.SubprocessError) as error:
    return Compiled(b'', str(error), failed=True)
  inside = _INSIDE if sandbox.mode == 'bubblewrap' else folder
  # The program leaves the jail through stdout: no folder of the machine is ever writable there.
  script = f'{compiler} {" ".join(FLAGS)} -I{inside} main.cpp -o program -static && cat program'
  view = jail.View(_SHOWN, renamed=((folder, _INSIDE),))
  outcome = sandbox.run(
      lambda files: ['/bin/sh', '-c', f'export PATH=/usr/bin TMPDIR=. LC_ALL=C; '
                     f'cp {files}/main.cpp . && {script}'],
      view, files={'main.cpp': data}, limits=COMPILE)
  if outcome.status == 'error':
    return Compiled(b'', outcome.detail, failed=True)
  if outcome.status != 'exited':
    return Compiled(b'', f'the compiler was stopped: {outcome.detail}')
  if outcome.exit_code != 0 or not outcome.stdout:
    return Compiled(b'', outcome.stderr.decode(errors='replace')[:1000]
                    or f'the compiler ended with {outcome.exit_code}')
  return Compiled(outcome.stdout)


def precompiled() -> str:
  """Path of the folder with the precompiled header, which is made if it is missing."""
  compiler = tool('g++', _ADVICE)
  mark = _mark(compiler)
  folder = os.path.join(shared_folder(), f'c++-{mark}')
  if os.path.isdir(folder):
    return folder
  # One process makes the folder; the others wait for the lock.
  with open(os.path.join(shared_folder(), f'c++-{mark}.lock'), 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not os.path.isdir(folder):
      _precompile(compiler, folder)
  return folder


@functools.lru_cache
def _mark(compiler: str) -> str:
  """A hash of what the precompiled header depends on: the compiler and its flags."""
  version = subprocess.run([compiler, '-v'], capture_output=True, timeout=60).stderr
  return hashlib.sha256(version + ' '.join(FLAGS).encode()).hexdigest()[:16]


def _precompile(compiler: str, folder: str) -> None:
  """Makes the precompiled header and moves it to `folder`."""
  with tempfile.TemporaryDirectory(dir=shared_folder()) as made:
    os.makedirs(os.path.join(made, os.path.dirname(_HEADER)))
    with open(os.path.join(made, 'all.h'), 'w') as header:
      header.write(f'#include <{_HEADER}>\n')
    done = subprocess.run(
        [compiler, *FLAGS, '-x', 'c++-header', 'all.h', '-o', f'{_HEADER}.gch'], cwd=made,
        capture_output=True, text=True, timeout=_HEADER_TIMEOUT_S)
    if done.returncode:
      raise ValueError(f'g++ cannot precompile {_HEADER}: {done.stderr[:500]}')
    for parent, folders, files in os.walk(made):
      for name in (*folders, *files):
        os.chmod(os.path.join(parent, name), 0o755)
    os.chmod(made, 0o755)
    with contextlib.suppress(OSError):
      os.rename(made, folder)
    os.makedirs(made, exist_ok=True)     # The context manager removes it, and must find it.
