"""The system calls that a jailed program is refused, as a filter in the form that bubblewrap takes.

A call is refused if it makes memory that no limit counts (memfd_create, shared memory without a
file, System V and POSIX shared memory, socket families other than AF_UNIX), if it reaches into
another process (ptrace, pidfd_getfd, prlimit of another), or if it has a history of holes in the
kernel and no use in a solution (io_uring, bpf, user namespaces, keyrings, mounts). Calls newer than
this list are refused as unknown. All others are allowed: namespaces, limits and the supervising
parent bound what they can do.

Two calls succeed and do nothing: a program that ignores SIGCHLD would make the CPU time of its
children vanish uncounted, and one that asks for larger socket buffers would get memory that is
counted by the number of sockets.
"""

from __future__ import annotations

import errno
import struct

_ALLOW, _KILL, _ERRNO = 0x7fff0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Offsets in struct seccomp_data, little-endian: low and high half of 64-bit arguments.
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_LOW, _HIGH = 0, 4
_SUCCESS = 0                       # An errno of 0: the call returns 0 and does nothing.
_AF_UNIX = 1
# The first is a bit of MAP_SHARED_VALIDATE too; huge pages are no part of resident memory.
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x01, 0x20, 0x40000
_SIGCHLD = 17
_SOL_SOCKET, _SO_SNDBUF = 1, 7
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NEW_NAMESPACES = 0x7e020000

# platform.machine() -> AUDIT_ARCH_...
_ARCHITECTURES = dict(x86_64=0xc000003e, aarch64=0xc00000b7)
# Name -> number on x86_64, number on aarch64.
_REFUSED = dict(
    memfd_create=(319, 279), memfd_secret=(447, 447), shmget=(29, 194), shmat=(30, 196),
    msgget=(68, 186), semget=(64, 190), mq_open=(240, 180),
    io_uring_setup=(425, 425), io_uring_enter=(426, 426), io_uring_register=(427, 427),
    userfaultfd=(323, 282), bpf=(321, 280), perf_event_open=(298, 241), ptrace=(101, 117),
    process_vm_readv=(310, 270), process_vm_writev=(311, 271), kcmp=(312, 272),
    pidfd_getfd=(438, 438), process_madvise=(440, 440), process_mrelease=(448, 448),
    add_key=(248, 217), request_key=(249, 218), keyctl=(250, 219),
    unshare=(272, 97), setns=(308, 268), mount=(165, 40), umount2=(166, 39),
    pivot_root=(155, 41), chroot=(161, 51), open_tree=(428, 428), move_mount=(429, 429),
    fsopen=(430, 430), fsconfig=(431, 431), fsmount=(432, 432), fspick=(433, 433),
    mount_setattr=(442, 442), swapon=(167, 224), swapoff=(168, 225), reboot=(169, 142),
    kexec_load=(246, 104), kexec_file_load=(320, 294), init_module=(175, 105),
    finit_module=(313, 273), delete_module=(176, 106), name_to_handle_at=(303, 264),
    open_by_handle_at=(304, 265), fanotify_init=(300, 262), quotactl=(179, 60),
    quotactl_fd=(443, 443), acct=(163, 89), vmsplice=(278, 75))
# The flags of clone3 lie in memory that a filter cannot read; the C library falls back to clone.
_CLONE3 = 435
_UNKNOWN = 457                     # statmount, and all calls added after it.
_X32 = 0x40000000

_IS, _NOT, _HAS_BIT = 'is', 'not', 'has bit'
# (numbers, conditions on arguments that must all hold, errno); a condition is (argument, half, how,
# value).
_CONDITIONAL = (
    ((56, 220), ((0, _LOW, _HAS_BIT, _NEW_NAMESPACES),), errno.EPERM),               # clone
    ((41, 198), ((0, _LOW, _NOT, _AF_UNIX),), errno.EPERM),                          # socket
    ((9, 222), ((3, _LOW, _HAS_BIT, _MAP_SHARED),                                    # mmap
                (3, _LOW, _HAS_BIT, _MAP_ANONYMOUS)), errno.EPERM),
    ((9, 222), ((3, _LOW, _HAS_BIT, _MAP_HUGETLB),), errno.EPERM),
    ((302, 261), ((0, _LOW, _NOT, 0),), errno.EPERM),                                # prlimit64
    # rt_sigaction with an action; without one it only asks for the present one.
    ((13, 134), ((0, _LOW, _IS, _SIGCHLD), (1, _LOW, _NOT, 0)), _SUCCESS),
    ((13, 134), ((0, _LOW, _IS, _SIGCHLD), (1, _HIGH, _NOT, 0)), _SUCCESS),
    ((54, 208), ((1, _LOW, _IS, _SOL_SOCKET), (2, _LOW, _IS, _SO_SNDBUF)), _SUCCESS))  # setsockopt


def build(machine: str) -> bytes:
  """The filter for an architecture, a sequence of struct sock_filter; b'' for an unknown one."""
  if machine not in _ARCHITECTURES:
    return b''
  column = list(_ARCHITECTURES).index(machine)
  program = [
      (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL),
      (_LOAD, 0, 0, _NUMBER)]
  if machine == 'x86_64':        # x32 has the same calls under other numbers.
    program += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
  program += [(_AT_LEAST, 0, 1, _UNKNOWN), _refusal(errno.ENOSYS)]
  for numbers in _REFUSED.values():
    program += [(_EQUAL, 0, 1, numbers[column]), _refusal(errno.EPERM)]
  program += [(_EQUAL, 0, 1, _CLONE3), _refusal(errno.ENOSYS)]
  for numbers, conditions, code in _CONDITIONAL:
    program += _conditional(numbers[column], conditions, code)
  program += [(_RETURN, 0, 0, _ALLOW)]
  return b''.join(struct.pack('<HBBI', *instruction) for instruction in program)


def _conditional(number: int, conditions, code: int) -> list[tuple[int, int, int, int]]:
  """The instructions that refuse a call if all conditions hold; the number is loaded afterwards."""
  program = []
  for left, (argument, half, how, value) in zip(
      reversed(range(len(conditions))), conditions, strict=True):
    past = 2 * left + 1            # Instructions up to the last one, which loads the number again.
    skips = (past, 0) if how == _NOT else (0, past)
    program += [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument + half),
                (_ANY_BIT if how == _HAS_BIT else _EQUAL, *skips, value)]
  program += [_refusal(code), (_LOAD, 0, 0, _NUMBER)]
  return [(_EQUAL, 0, len(program), number), *program]


def _refusal(code: int) -> tuple[int, int, int, int]:
  """The instruction by which a call returns an error."""
  return _RETURN, 0, 0, _ERRNO | code
