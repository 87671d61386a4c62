"""The system calls that a jailed program is refused, as a filter in the form that bubblewrap takes.

A call is refused if it makes memory that no process limit counts (memfd_create, System V and POSIX
shared memory, socket families other than AF_UNIX) or if it has a history of holes in the kernel and
no use in a solution (io_uring, bpf, user namespaces, keyrings, ptrace, mounts). All others are
allowed: namespaces, limits and the supervising parent bound what they can do.
"""

from __future__ import annotations

import errno
import struct

_ALLOW, _KILL, _ERRNO = 0x7fff0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16     # Offsets in struct seccomp_data, little-endian.
_AF_UNIX = 1
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
    process_vm_readv=(310, 270), process_vm_writev=(311, 271),
    add_key=(248, 217), request_key=(249, 218), keyctl=(250, 219),
    unshare=(272, 97), setns=(308, 268), mount=(165, 40), umount2=(166, 39),
    pivot_root=(155, 41), chroot=(161, 51), open_tree=(428, 428), move_mount=(429, 429),
    fsopen=(430, 430), fsconfig=(431, 431), fsmount=(432, 432), fspick=(433, 433),
    mount_setattr=(442, 442), swapon=(167, 224), swapoff=(168, 225), reboot=(169, 142),
    kexec_load=(246, 104), kexec_file_load=(320, 294), init_module=(175, 105),
    finit_module=(313, 273), delete_module=(176, 106), name_to_handle_at=(303, 264),
    open_by_handle_at=(304, 265), fanotify_init=(300, 262), quotactl=(179, 60), acct=(163, 89),
    vmsplice=(278, 75))
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_X32 = 0x40000000


def build(machine: str) -> bytes:
  """The filter for an architecture, a sequence of struct sock_filter; b'' for an unknown one."""
  if machine not in _ARCHITECTURES:
    return b''
  column = list(_ARCHITECTURES).index(machine)
  refuse = lambda code: [(_RETURN, 0, 0, _ERRNO | code)]
  program = [
      (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL),
      (_LOAD, 0, 0, _NUMBER)]
  if machine == 'x86_64':        # x32 has the same calls under other numbers.
    program += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
  for numbers in _REFUSED.values():
    program += [(_EQUAL, 0, 1, numbers[column]), *refuse(errno.EPERM)]
  # The flags of clone3 lie in memory that a filter cannot read; the C library falls back to clone.
  program += [(_EQUAL, 0, 1, _CLONE3[column]), *refuse(errno.ENOSYS)]
  program += [(_EQUAL, 0, 3, _CLONE[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT),
              (_ANY_BIT, 0, 1, _NEW_NAMESPACES), *refuse(errno.EPERM), (_LOAD, 0, 0, _NUMBER)]
  program += [(_EQUAL, 0, 3, _SOCKET[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT),
              (_EQUAL, 1, 0, _AF_UNIX), *refuse(errno.EPERM)]
  program += [(_RETURN, 0, 0, _ALLOW)]
  return b''.join(struct.pack('<HBBI', *instruction) for instruction in program)
