"""What a process tree uses: every second of CPU time once, whoever waits for whom."""
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from magistral_jax.verifiers.sandbox import usage

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
_CHILDREN = '''
import os, signal, sys, time
{first}
def burn(seconds):
  while time.process_time() < seconds: pass
out, into = os.pipe()
for _ in range({count}):
  if os.fork() == 0:
    burn({each})
    os.write(into, b'%d,' % (time.process_time() * 1e6))
    os._exit(0)
  {then}
if {count}: os.close(into)
total = time.process_time()
while data := os.read(out, 9999) if {count} else b'':
  total += sum(map(int, data.split(b',')[:-1])) / 1e6
print(total, flush=True)
sys.stdin.read()
'''
_IGNORES = 'signal.signal(signal.SIGCHLD, signal.SIG_IGN)'


@pytest.mark.parametrize('first, each, count, then', [
    ('', 0.2, 3, 'os.wait()'), (_IGNORES, 0.2, 3, 'time.sleep(0)'), ('', 0.2, 3, 'time.sleep(0)'),
    ('', 0.002, 100, 'os.wait()')], ids=['waited for', 'ignored', 'never waited for', 'short'])
def test_children_count_once(first, each, count, then):
  with subprocess.Popen(
      [sys.executable, '-I', '-S', '-c', _CHILDREN.format(
          first=first, each=each, count=count, then=then)],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    meter = usage.Meter(process.pid)
    try:
      while not select.select([process.stdout], [], [], 0.01)[0]:
        meter.look()
      used_s = float(process.stdout.readline())
      meter.look()
    finally:
      process.stdin.close()
  # The start of the interpreter and of each child is in neither figure alone; ticks are 10 ms.
  assert 0.8 * used_s - 0.1 < meter.cpu_s < used_s + 0.3 + count * 0.005


@pytest.mark.parametrize('source, awake', [
    ('print(1, flush=True); import time; time.sleep(60)', False),
    ('print(1, flush=True)\nwhile True: pass', True),
    ('import threading\ndef burn():\n  while True: pass\n'
     'threading.Thread(target=burn).start()\nprint(1, flush=True)', True),
    ('import os\nif os.fork():\n  print(1, flush=True)\n  os.wait()\nwhile True: pass', True)],
    ids=['sleeps', 'runs', 'in a thread', 'in a child'])
def test_a_tree_is_awake_while_any_of_it_runs(source, awake):
  with subprocess.Popen([sys.executable, '-I', '-S', '-c', source],
                        stdout=subprocess.PIPE) as process:
    try:
      process.stdout.readline()
      time.sleep(0.1)
      meter, seen = usage.Meter(process.pid), []
      for _ in range(9):
        meter.look()
        seen.append(meter.awake)
    finally:
      for pid in reversed(usage.tree(process.pid)):
        os.kill(pid, signal.SIGKILL)
  assert (sum(seen) > 4) == awake, seen
