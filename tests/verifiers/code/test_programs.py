"""How a program ended, and what it finds in its jail."""
import os
import subprocess
import sys

import pytest

from magistral_jax.verifiers.code import judge, programs
from magistral_jax.verifiers.sandbox import sandbox
from magistral_jax.verifiers.sandbox.supervise import Limits, Outcome

TRACE = b'Traceback (most recent call last):\n  File "solution.py", line 1\nMemoryError\n'
ABORT = b"terminate called after throwing an instance of 'std::bad_alloc'\n"


@pytest.mark.parametrize('code, stderr, cpu_s, status, why', [
    (0, b'MemoryError', 0.1, '', 'it ended well, whatever it says'),
    (1, TRACE, 0.1, 'memory', 'an uncaught MemoryError'),
    (1, b'MemoryError', 0.1, 'runtime_error', 'the word alone'),
    (3, TRACE, 0.1, 'runtime_error', 'another exit code'),
    (134, ABORT, 0.1, 'memory', 'an uncaught bad_alloc'),
    (1, ABORT, 0.1, 'runtime_error', 'the words alone'),
    (152, b'', 3.6, 'timeout', "the kernel's limit of CPU time"),
    (137, b'', 5.2, 'timeout', 'its hard limit'),
    (152, b'', 0.1, 'runtime_error', 'it sent itself the signal'),
    (137, b'', 0.1, 'runtime_error', 'it killed itself'),
    (139, b'', 5.0, 'runtime_error', 'a crash'),
    (97, b'SyntaxError: x', 0.1, 'runtime_error', 'as the harness ends without a program')])
def test_the_end_of_a_program_has_a_status(code, stderr, cpu_s, status, why):
  outcome = Outcome('exited', code, stderr=stderr, cpu_s=cpu_s)
  assert programs.fault_of(outcome, Limits(time_s=4.0))[0] == status, why


@pytest.mark.parametrize('source, status, why', [
    ('print(open("/dev/stdin").read())', 'correct', 'stdin by its path'),
    ('print(input() and open("/dev/fd/0").read())', 'correct', 'from its beginning'),
    ('open("/dev/stdout", "w").write(input())', 'correct', 'stdout by its path'),
    ('import os\nos.close(1)\nfor _ in range(40000): open("/dev/fd/1", "w").write("\\n" * 4)\n'
     'open("/dev/stdout", "a").write("x y")', 'correct', 'stdout opened again and again'),
    ('print("x", file=open("/dev/stderr", "w"))\nprint(input())', 'correct', 'stderr by its path'),
    ('import threading\nthreading.stack_size(512 << 20)\n'
     'threading.Thread(target=lambda: print(input())).start()', 'correct', 'a large stack'),
    ('import sys\nsys.stderr.write("Error: x")\nsys.exit(97)', 'runtime_error', 'a feigned error'),
    ('def f(', 'compile_error', 'no program'), ('x = "\ud800"', 'compile_error', 'no UTF-8'),
    ('List[int]', 'runtime_error', 'no imports without starter code'),
    ('import os\nif "ONLINE_JUDGE" not in os.environ: open("in.txt")\nprint("x y")', 'correct',
     'a program that knows judges by their environment'),
    ('import time\ntime.sleep(60)', 'timeout', 'sleeps'), ('input()\nx = 0\nwhile 1: x += 1',
                                                         'timeout', 'never ends')])
def test_what_a_program_finds(jails, source, status, why):
  box = sandbox.Sandbox(Limits(time_s=2.0, idle_s=0.5)) if status == 'timeout' else jails
  tests = dict(tests=[dict(stdin='x y', stdout='x y')])
  found = judge.check(source, 'python', tests, language='python', sandbox=box)
  assert found.status == status, (why, found)


# What a program does before it reads a number and prints its successor, and how many jails three
# tests of it take.
@pytest.mark.parametrize('deed, taken', [
    ('', 1), ('import os\nif not os.fork(): os._exit(1)', 1),
    ('import os, time\nif not os.fork():\n  os.setsid()\n  while 1: time.sleep(.01), print(7)', 1),
    ('import os\nos.set_blocking(1, False)\nos.lseek(0, 3, 0)\nos.lseek(0, 0, 0)', 1),
    ('import os\nfor n in range(1, 65):\n  try: os.kill(1, n)\n  except OSError: pass', 1),
    ('import os\ntry: os.kill(-1, 9)\nexcept OSError: pass', 1),
    ('import signal\nsignal.signal(2, lambda *_: None)\nsignal.raise_signal(2)', 1),
    ('assert not __import__("os").path.exists("seen")\nopen("seen", "w").close()', 3),
    ('import os, sys\nos.mkdir("a")\nos.symlink("a", "b")', 3),
    ('open("a", "w").write("x")\nimport os\nos.unlink("a")', 1)])
def test_a_jail_serves_the_next_test_if_nothing_is_left_in_it(jails, monkeypatch, deed, taken):
  started = []
  start = jails.start
  monkeypatch.setattr(jails, 'start', lambda *a, **k: (started.append(1), start(*a, **k))[1])
  tests = dict(tests=[dict(stdin=f'{n}', stdout=f'{n + 1}') for n in (1, 22, 333)])
  found = judge.check(f'{deed}\nprint(int(input()) + 1)', 'python', tests, language='python',
                      sandbox=jails)
  assert found.status == 'correct' and len(started) == taken, (found, started)


@pytest.mark.parametrize('deed, status, passed', [
    ('', 'correct', 3), ('if n > 1: raise KeyError', 'runtime_error', 1),
    ('while n > 300: pass', 'timeout', 2), ('x = bytearray(n << 20)', 'memory', 2),
    ('n > 300 and print("x" * (16 << 20))', 'output_limit', 2)])
def test_every_test_of_a_program_has_the_limits_for_itself(jails, deed, status, passed):
  del jails
  box = sandbox.Sandbox(Limits(time_s=1.5, memory_mb=200))
  source = ('import time\nn = int(input())\nwhile time.process_time() < .6: pass\n'
            f'x = b"x" * (99 << 20)\nprint("x" * (6 << 20))\n{deed}')
  tests = dict(tests=[dict(stdin=f'{n}', stdout='x' * (6 << 20)) for n in (1, 22, 333)])
  found = judge.check(source, 'python', tests, language='python', sandbox=box)
  assert (found.status, found.passed) == (status, passed), (found.status, found.detail[:300])


def test_a_program_runs_although_the_harness_can_start_no_process(jails):
  del jails
  box = sandbox.Sandbox(Limits(processes=1))
  tests = dict(tests=[dict(stdin=f'{n}', stdout=f'{n + 1}') for n in (1, 22)])
  source = 'print(int(input()) + 1)'
  found = judge.check(source, 'python', tests, language='python', sandbox=box)
  assert found.status == 'correct', found
  found = judge.check(f'import os\nos.fork()\n{source}', 'python', tests, language='python',
                      sandbox=box)
  assert found.status == 'runtime_error' and 'BlockingIOError' in found.detail, found


def test_what_comes_of_a_test_does_not_depend_on_those_before(jails):
  source = 'n = int(input())\nprint(1 / n)\n' * 2
  with programs.prepare(source, 'python', jails) as program:
    outcomes = [program.run(b'%d\n%d' % (n, n)) for n in (1, 0, 2)]
  assert [o.exit_code for o in outcomes] == [0, 1, 0]
  assert [o.stdout for o in outcomes] == [b'1.0\n1.0\n', b'', b'0.5\n0.5\n']
  assert [b'ZeroDivisionError' in o.stderr for o in outcomes] == [False, True, False]
  program.close()


def test_cpp_programs_find_their_streams_too(jails, compiler):
  source = '''#include <bits/stdc++.h>
int main() {
#ifndef ONLINE_JUDGE
  return 1;
#endif
  if (!getenv("ONLINE_JUDGE")) return 2;
  freopen("/dev/stdin", "r", stdin);
  freopen("/dev/stdout", "w", stdout);
  char word[9];
  scanf("%8s", word);
  for (int i = 0; i < 300000; i++) putchar('\\n');
  puts(word);
}'''
  tests = dict(tests=[dict(stdin='x', stdout='x')])
  found = judge.check(source, 'cpp', tests, language='cpp', sandbox=jails)
  assert found.status == 'correct', found


def test_a_sandbox_leaves_no_pipes_and_removes_those_of_a_killed_one(jails):
  found = judge.check('print(1)', 'python', dict(tests=[dict(stdin='', stdout='1')]),
                      language='python', sandbox=jails)
  assert found.status == 'correct' and os.listdir(jails._pipes) == []
  script = ('import os, signal\nfrom magistral_jax.verifiers.sandbox import sandbox\n'
            'box = sandbox.Sandbox()\nbox._name_streams()\nprint(box._pipes, flush=True)\n'
            'os.kill(os.getpid(), signal.SIGKILL)')
  killed = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True,
                          timeout=120, check=False)
  left = killed.stdout.strip()
  assert len(os.listdir(left)) == 3
  boxes = [sandbox.Sandbox()]
  while not any(box._pipes == left for box in boxes) and len(boxes) < 20:
    boxes.append(sandbox.Sandbox())
  if boxes[-1]._pipes != left:
    pytest.skip('another process has taken its number')
  assert os.listdir(left) == []


@pytest.mark.long
def test_a_verdict_does_not_depend_on_the_load(jails):
  """Eight busy processes on every core: a program gets a ninth of one."""
  del jails
  box = sandbox.Sandbox(Limits(time_s=2.0, idle_s=2.0, wall_s=60.0))
  burn = 'import time\nwhile time.process_time() < {}: pass\n'
  call = dict(tests=[{'assert': 'assert f(1) == 2'}] * 2)
  pair = dict(tests=[dict(stdin='', stdout='1')] * 2)
  others = [subprocess.Popen([sys.executable, '-c', 'while True: pass'])
            for _ in range(8 * len(os.sched_getaffinity(0)))]
  try:
    for source, tests, status in (
        (burn.format(1.5) + 'print(1)', pair, 'correct'),
        (burn.format(1.5) + 'def f(x): return 2', call, 'correct'),
        ('def f(x):\n  ' + burn.format(1.5).replace('\n', '\n  ') + '\n  return 2', call,
         'correct'),
        (burn.format(3) + 'print(1)', pair, 'timeout'),
        ('import time\ntime.sleep(9)\nprint(1)', pair, 'timeout')):
      found = judge.check(source, 'python', tests, language='python', sandbox=box)
      assert found.status == status, (source, found)
  finally:
    for other in others:
      other.kill()
      other.wait()
