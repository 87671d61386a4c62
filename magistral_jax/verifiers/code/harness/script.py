"""Runs a program that reads stdin and writes stdout: `python script.py program.py DESCRIPTOR`.

The program is compiled once, and has a process of its own for every input. When such a process has
ended, all that it left in the jail is killed, its exit code and its largest memory are written to
the descriptor, a socket, and a byte from there begins the next one. The program's processes do not
have that descriptor; the first process of the jail is this one, which they cannot signal.

What is no program ends this process with SYNTAX_ERROR, which no program can bring about.
"""
import _signal
import builtins
import gc
import os
import sys

SYNTAX_ERROR = 97


def main(path, control):
  """The compiled program, in a process of its own for each input; never returns in this one."""
  with open(path, 'rb') as file:
    source = file.read()
  try:
    code = compile(source, path, 'exec', dont_inherit=True)
  except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
    sys.stderr.write(f'{type(error).__name__}: {error}')
    sys.stderr.flush()
    os._exit(SYNTAX_ERROR)
  # These come from the site module, which is not loaded.
  builtins.exit = builtins.quit = sys.exit
  sys.argv = [path]
  # Python handles this signal, so it would reach even the first process of a jail.
  interrupt = _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
  # Pages that a collection writes to would be copied in every process.
  gc.freeze()
  while child := forked():
    code_and_memory = waited_for(child)
    os.write(control, b'%d %d\n' % code_and_memory)
    if not os.read(control, 1):
      os._exit(0)
    # The process that has ended shared these with this one.
    os.lseek(0, 0, os.SEEK_SET)
    os.set_blocking(1, True)
    os.set_blocking(2, True)
  _signal.signal(_signal.SIGINT, interrupt)
  os.close(control)
  return code


def forked():
  """As os.fork; 0 in this process if it can make none, so that it runs the program itself."""
  try:
    return os.fork()
  except OSError:            # Linux before 5.14 counts all processes of the user that started it.
    return 0


def waited_for(child):
  """(exit code, or minus a signal; largest memory in kB) of a process, with nothing left of it."""
  pid = 0
  while pid != child:
    pid, status, used = os.wait4(-1, 0)
  if os.getpid() == 1:       # Of a PID namespace of its own; else whoever started this one kills.
    try:
      os.kill(-1, _signal.SIGKILL)
      while True:
        os.wait4(-1, 0)
    except (ProcessLookupError, ChildProcessError):
      pid = 1                # Alone.
  return os.waitstatus_to_exitcode(status), used.ru_maxrss


_code = main(sys.argv[1], int(sys.argv[2]))
for _name in ('main', 'forked', 'waited_for', 'SYNTAX_ERROR', '_signal', 'builtins', 'gc', 'os',
              'sys', '__doc__'):
  del globals()[_name]
del _name
exec(globals().pop('_code'))
