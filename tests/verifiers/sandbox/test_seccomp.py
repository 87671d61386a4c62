"""The filter, interpreted step by step as by the kernel, and its numbers beside the kernel's."""
import errno
import pathlib
import re
import struct

import pytest

from magistral_jax.verifiers.sandbox import seccomp

ARCH = dict(x86_64=0xc000003e, aarch64=0xc00000b7)
ALLOW, KILL, ERRNO = 0x7fff0000, 0x80000000, 0x00050000


def decide(machine, number, *arguments, arch=None):
  """The filter's decision on one system call."""
  data = struct.pack('<iIQ6Q', number, ARCH[machine] if arch is None else arch, 0,
                     *(*arguments, *[0] * 6)[:6])
  program = list(struct.iter_unpack('<HBBI', seccomp.build(machine)))
  at, held = 0, 0
  while True:
    code, yes, no, k = program[at]
    at += 1
    if code == 0x20:
      held, = struct.unpack_from('<I', data, k)
    elif code == 0x06:
      return k
    else:
      holds = {0x15: held == k, 0x35: held >= k, 0x45: held & k != 0}[code]
      at += yes if holds else no


CALLS = dict(x86_64=dict(read=0, write=1, mmap=9, clone=56, fork=57, socket=41, socketpair=53,
                         execve=59, openat=257, prlimit64=302),
             aarch64=dict(read=63, write=64, mmap=222, clone=220, socket=198, socketpair=199,
                          execve=221, openat=56, prlimit64=261))


@pytest.mark.parametrize('machine', ARCH)
def test_what_programs_need_is_allowed(machine):
  for name, number in CALLS[machine].items():
    assert decide(machine, number, name != 'prlimit64') == ALLOW, name
  # Threads, and fork as the C library does it.
  for flags in (0x3d0f00, 0x1200011):
    assert decide(machine, CALLS[machine]['clone'], flags) == ALLOW


@pytest.mark.parametrize('machine', ARCH)
def test_the_rest_is_refused(machine):
  column = list(ARCH).index(machine)
  for name, numbers in seccomp._REFUSED.items():
    assert decide(machine, numbers[column]) == ERRNO | errno.EPERM, name
  for number in range(457, 600):
    assert decide(machine, number) == ERRNO | errno.ENOSYS
  assert decide(machine, 435) == ERRNO | errno.ENOSYS
  for bit in (17, 25, 26, 27, 28, 29, 30):       # The namespaces.
    assert decide(machine, CALLS[machine]['clone'], 1 << bit | 17) == ERRNO | errno.EPERM
  for family in (0, 2, 10, 16, 17, 38, 40):
    assert decide(machine, CALLS[machine]['socket'], family) == ERRNO | errno.EPERM


@pytest.mark.parametrize('machine', ARCH)
def test_arguments_decide(machine):
  column = list(ARCH).index(machine)
  mmap, prlimit, sigaction, setsockopt = (
      numbers[column] for numbers in ((9, 222), (302, 261), (13, 134), (54, 208)))
  refused, nothing = ERRNO | errno.EPERM, ERRNO
  private, shared, validated, anonymous = 2, 1, 3, 0x20
  for flags, decision in ((private | anonymous, ALLOW), (private, ALLOW), (shared, ALLOW),
                          (shared | anonymous, refused), (validated | anonymous, refused),
                          (private | anonymous | 0x4000, ALLOW),
                          (private | anonymous | 0x40000, refused)):
    assert decide(machine, mmap, 0, 4096, 3, flags) == decision, flags
  assert decide(machine, prlimit, 0) == ALLOW
  assert decide(machine, prlimit, 1) == refused
  sigchld, sigint = 17, 2
  assert decide(machine, sigaction, sigchld, 0, 8) == ALLOW, 'it only asks'
  for action in (8, 1 << 32):
    assert decide(machine, sigaction, sigchld, action) == nothing
    assert decide(machine, sigaction, sigint, action) == ALLOW
  assert decide(machine, setsockopt, 3, 1, 7) == nothing
  assert decide(machine, setsockopt, 3, 1, 8) == decide(machine, setsockopt, 3, 6, 7) == ALLOW


def test_other_architectures_and_numbers_are_killed():
  assert decide('x86_64', 0, arch=0x40000003) == KILL     # 32-bit calls.
  assert decide('x86_64', 0x40000000) == KILL             # x32.
  assert decide('aarch64', 0, arch=ARCH['x86_64']) == KILL
  assert seccomp.build('riscv64') == b''


def test_numbers_are_those_of_the_kernel_headers():
  header = pathlib.Path('/usr/include/x86_64-linux-gnu/asm/unistd_64.h')
  if not header.exists():
    pytest.skip('the kernel headers of x86_64 are not here')
  known = dict(re.findall(r'#define __NR_(\w+)\s+(\d+)', header.read_text()))
  for name, (number, _) in seccomp._REFUSED.items():
    assert known.get(name, str(number)) == str(number), name
