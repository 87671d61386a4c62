"""Runs a program that reads stdin and writes stdout: `python script.py program.py`.

Unlike `python program.py` it tells a syntax error from an error at run time.
"""
import builtins
import os
import sys

SYNTAX_ERROR = 97


def main(path):
  """The compiled program; exits with SYNTAX_ERROR where there is none."""
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
  return code


_code = main(sys.argv[1])
for _name in ('main', 'SYNTAX_ERROR', 'builtins', 'os', 'sys', '__doc__'):
  del globals()[_name]
del _name
exec(globals().pop('_code'))
