"""Escapes and bombs: none succeeds, none leaves a process, and the next program runs normally."""
import contextlib
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

import pytest

from magistral_jax.verifiers.code import cpp, judge
from magistral_jax.verifiers.sandbox import sandbox, toolchain, usage
from tests.verifiers.sandbox import attacks_cpp, attacks_python

PRIZE = dict(tests=[dict(stdin='', stdout='ESCAPED')])
GOOD = dict(tests=[dict(stdin='', stdout='fine')])


@pytest.fixture(scope='module')
def boxes(jails):
  """{True: a sandbox with little time, for programs that use all of it; False: one with plenty}."""
  return {True: sandbox.Sandbox(sandbox.Limits(time_s=0.5, wall_s=1.5)),
          False: sandbox.Sandbox(sandbox.Limits(time_s=20.0, wall_s=60.0))}


def attack(boxes, source, language, statuses=()):
  box = boxes['timeout' in statuses]
  before = set(usage.tree(os.getpid()))
  found = judge.check(source, language, PRIZE, language=language, sandbox=box)
  assert set(usage.tree(os.getpid())) <= before
  assert _processes_of(box.uid) == []
  if found.status == 'wrong':
    assert "'held'" in found.detail or '0 tokens' in found.detail or 'source' in found.detail, found
  after = judge.check("print('fine')", 'python', GOOD, language='python', sandbox=boxes[False])
  assert after.status == 'correct', after
  return found


def _processes_of(uid):
  """Process ids of a user's processes."""
  found = []
  for status in pathlib.Path('/proc').glob('[0-9]*/status'):
    try:
      if uid is not None and f'\nUid:\t{uid}\t' in status.read_text():
        found.append(status.parent.name)
    except (FileNotFoundError, ProcessLookupError):
      continue
  return found


@pytest.mark.parametrize('source, statuses', [
    pytest.param(*row[1:], id=row[0]) for row in attacks_python.PROGRAMS])
def test_python_programs_are_held(boxes, source, statuses):
  found = attack(boxes, source, 'python', statuses)
  assert found.status in statuses, found


@pytest.mark.parametrize('source, statuses', [
    pytest.param(*row[1:], id=row[0]) for row in attacks_cpp.RUNNING + (
        attacks_cpp.X86 if platform.machine() == 'x86_64' else [])])
def test_cpp_programs_are_held(boxes, compiler, source, statuses):
  found = attack(boxes, source, 'cpp', statuses)
  assert found.status in statuses, found


@pytest.mark.parametrize('source', [
    pytest.param(row[1], id=row[0]) for row in attacks_cpp.COMPILING])
def test_compilers_are_held(boxes, compiler, source):
  found = attack(boxes, source, 'cpp')
  assert found.status == 'compile_error' and 0 < len(found.detail) <= 1000, found
  assert 'root:' not in found.detail


@pytest.mark.long
@pytest.mark.parametrize('source', [
    pytest.param(row[1], id=row[0]) for row in attacks_cpp.SLOW_COMPILING])
def test_compilers_are_held_before_they_use_up_the_machine(boxes, compiler, source):
  assert attack(boxes, source, 'cpp').status == 'compile_error'


def test_a_source_is_compiled_once_and_the_cache_is_bounded(jails, compiler, monkeypatch):
  runs = []
  run = jails.run
  monkeypatch.setattr(jails, 'run', lambda *a, **k: (runs.append(1), run(*a, **k))[1])
  source = 'int main() { return 7; }'
  first = cpp.compile_source(source, jails)
  assert first.program[:4] == b'\x7fELF' and cpp.compile_source(source, jails) is first
  assert len(runs) == 1
  small = sandbox.Cache(10)
  for n in range(5):
    small.put(b'%d' % n, n, 4)
  assert [small.get(b'%d' % n) for n in range(5)] == [None, None, None, 3, 4]
  small.get(b'3')
  small.put(b'5', 5, 4)
  assert [small.get(b'%d' % n) for n in (3, 4, 5)] == [3, None, 5]


def test_probe_says_what_there_is(jails):
  found = sandbox.probe()
  assert found.ok and 'bubblewrap' in found.words and 'no network' in found.words
  assert found.install == ''


def test_without_bubblewrap_programs_are_refused(monkeypatch, tmp_path):
  monkeypatch.setenv('PATH', str(tmp_path))
  monkeypatch.setattr(toolchain, 'bwrap', toolchain.bwrap.__wrapped__)
  monkeypatch.setattr(toolchain.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r'(?s)bubblewrap is not.*apt install.*sandbox=.unsafe'):
    sandbox.Sandbox()
  found = sandbox.probe()
  assert not found.ok and 'apt install bubblewrap' in found.install
  with pytest.raises(ValueError, match='must be one of bubblewrap, unsafe'):
    sandbox.Sandbox(mode='docker')


def test_unsafe_keeps_the_limits_and_says_what_it_is():
  box = sandbox.Sandbox(sandbox.Limits(time_s=20.0, wall_s=60.0), mode='unsafe')
  short = sandbox.Sandbox(sandbox.Limits(time_s=0.5, wall_s=1.5), mode='unsafe')
  assert box.describe().startswith('UNSAFE')
  check = lambda source, box=box: judge.check(
      source, 'python', GOOD, language='python', sandbox=box).status
  assert check("print('fine')") == 'correct'
  assert check('x = [0] * 10**9') == 'memory'
  assert check('while True: pass', short) == 'timeout'
  calls = dict(tests=[{'assert': 'assert f(2) == 3'}])
  source = 'def f(x): return x + 1'
  assert judge.check(source, 'python', calls, language='python', sandbox=box).status == 'correct'


def test_jails_die_with_the_process_that_started_them(jails):
  mark = f'jail-of-{os.getpid()}'
  script = (
      'from magistral_jax.verifiers.sandbox import sandbox\nbox = sandbox.Sandbox()\n'
      'box.run(lambda files: '
      f'[box.python, "-I", "-S", "-c", "import time; print(1); time.sleep(99)", "{mark}"], '
      'box.python_view, files={})')
  owner = subprocess.Popen([sys.executable, '-c', script])
  try:
    _wait_for(lambda: _running(mark))
  finally:
    owner.kill()
    owner.wait()
  _wait_for(lambda: not _named(mark))


def test_the_kernel_kills_programs_first_if_memory_runs_out(jails):
  with jails.start(lambda files: [jails.python, '-I', '-S', '-c', 'import time; time.sleep(60)'],
                   jails.python_view, files={}) as running:
    _wait_for(lambda: running._read_reports() or running._init_pid)
    own = pathlib.Path('/proc/self/oom_score_adj').read_text()
    theirs = pathlib.Path(f'/proc/{running._init_pid}/oom_score_adj').read_text()
  assert int(theirs) == 1000 > int(own)


def _named(mark):
  """Process ids of the processes with a word in their arguments, bubblewrap included."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
      if f'\0{mark}\0'.encode() in path.read_bytes():
        found.append(path.parent.name)
  return found


def _running(mark):
  """Process ids of the program itself; its jail is tied to the owner by the time that it runs."""
  found = []
  for pid in _named(mark):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
      line = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
      if b'bwrap' not in line and b'prlimit' not in line:
        found.append(pid)
  return found


def _wait_for(condition):
  deadline = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason='sandboxes have users of their own only as root')
def test_what_a_killed_owner_left_is_ended_with_the_next_one():
  uid = sandbox.Sandbox(mode='unsafe').uid           # Given back at once.
  left = subprocess.Popen(['sleep', '600'], user=uid, group=uid, extra_groups=[])
  taken = []
  try:
    while uid not in (box.uid for box in taken) and left.poll() is None:
      taken.append(sandbox.Sandbox(mode='unsafe'))   # Another process may have a lower id.
    assert left.wait(timeout=30) == -signal.SIGKILL
  finally:
    left.kill()


def test_without_a_compiler_nothing_is_said_of_a_program(jails, monkeypatch):
  def missing(name, advice):
    raise ValueError(f'The program {name} is not on this machine. {advice}')
  monkeypatch.setattr(cpp, 'tool', missing)
  found = judge.check('int main() { return 5; }', 'cpp', GOOD, language='cpp', sandbox=jails)
  assert found.status == 'error' and 'apt install g++' in found.detail
  with pytest.raises(ValueError, match='take C\\+\\+ out of the problems'):
    cpp.check_compiler()


def test_limits_that_are_too_low_for_a_jail_are_told(monkeypatch):
  hard = sandbox.resource.getrlimit
  monkeypatch.setattr(sandbox.resource, 'getrlimit', lambda name: (
      (10**6, 10**6) if name == sandbox.resource.RLIMIT_AS else hard(name)))
  with pytest.raises(ValueError, match=r'RLIMIT_AS is 1000000 here.*ulimit'):
    sandbox.Sandbox(mode='unsafe')
