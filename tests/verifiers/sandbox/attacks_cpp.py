"""C++ programs that try the same, while they run or while they are compiled."""
HELD = ('wrong',)
_HEAD = '''#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
'''


def program(body):
  return _HEAD + 'int main() {\n' + body + '\n}\n'


def attempt(condition):
  return program(f'puts({condition} ? "ESCAPED" : "held");')


RUNNING = [
    ('fork bomb', program('for (;;) fork();'), ('timeout',)),
    ('memory bomb', program('for (;;) memset(malloc(1 << 20), 1, 1 << 20);'),
     ('runtime_error', 'memory')),
    ('memory in four children', program(
        'for (int i = 0; i < 4; i++) if (!fork()) { memset(malloc(120 << 20), 1, 120 << 20); '
        'sleep(9); }\nsleep(9);'), ('memory',)),
    ('ignores every signal', program('for (int i = 1; i < 65; i++) signal(i, SIG_IGN);\n'
                                     'for (volatile int i = 0;; i = i + 1);'), ('timeout',)),
    ('output bomb', program('for (;;) puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");'),
     ('output_limit',)),
    ('daemon', program('if (!fork()) { setsid(); if (!fork()) sleep(1000); _exit(0); }\n'
                       'puts("held");'), HELD),
    ('kills everybody', program('kill(-1, 9); kill(1, 9); puts("held");'), HELD),
    ('files, sockets, powers', attempt(
        'open("/etc/passwd", 0) >= 0 || open("/proc/1/environ", 0) >= 0 || '
        'open("/x", O_CREAT | O_WRONLY, 0600) >= 0 || open("/files/program", O_WRONLY) >= 0 || '
        'socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_NETLINK, SOCK_RAW, 0) >= 0 || '
        'setuid(0) == 0 || ptrace(PTRACE_ATTACH, 1, 0, 0) == 0 || syscall(SYS_memfd_create, "a", 0)'
        ' >= 0 || syscall(SYS_unshare, 0x10000000) == 0 || syscall(SYS_io_uring_setup, 8, 0) >= 0'
        ' || syscall(SYS_bpf, 0, 0, 0) >= 0 || syscall(SYS_add_key, "user", "a", "b", 1, -4) >= 0'),
     HELD),
    ('deep recursion', _HEAD + 'int f(volatile int n) { return n < 0 ? 0 : f(n + 1) + n; }\n'
     'int main() { return f(1) & 1; }', ('runtime_error', 'memory', 'timeout')),
    ('crash', program('raise(SIGSEGV);'), ('runtime_error',)),
    ('leaves before its output', program('printf("ESCAPED"); _exit(0);'), HELD),
]
# Only on x86: system calls by other numbers, around a filter that knows one set.
X86 = [
    ('32-bit system calls', program('long r; asm volatile("int $0x80" : "=a"(r) : "a"(20)); '
                                    'puts(r > 0 ? "ESCAPED" : "held");'), ('runtime_error',)),
    ('x32 system calls', attempt('syscall(0x40000000 | 39) > 0'), ('runtime_error',)),
]
COMPILING = [
    ('includes the password file', '#include "/etc/passwd"\nint main() {}'),
    ('includes itself', '#include "main.cpp"\nint main() {}'),
    ('takes in a file as data', 'asm(".incbin \\"/etc/passwd\\"");\nint main() {}'),
    ('template recursion', 'template <int N> struct A { static const int v = A<N + 1>::v; };\n'
     'int main() { return A<0>::v; }'),
    ('gigantic errors', '#define A x x x x x x x x\n#define B A A A A A A A A\n'
     '#define C B B B B B B B B\nint main() { C C C C C C C C; }\n'),
    ('not C++', 'def main(): pass'),
]
SLOW_COMPILING = [
    ('endless constant', 'constexpr int f(int n) { for (;;) n = n * 5 + 1; return n; }\n'
     'constexpr int x = f(1);\nint main() { return x; }'),
    ('endless input', '#include "/dev/zero"\nint main() {}'),
    ('gigantic object', 'char a[1 << 30] = {1};\nint main() { return a[5]; }'),
    ('explosion of macros', '#define A 1+1+1+1+1+1+1+1+1+1\n' + ''.join(
        f'#define {b} {a}+{a}+{a}+{a}+{a}+{a}+{a}+{a}+{a}+{a}\n'
        for a, b in zip('ABCDEFGH', 'BCDEFGHI', strict=True)) + 'int main() { return I; }'),
]
