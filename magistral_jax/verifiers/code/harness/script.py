"""Runs a program that reads stdin and writes stdout: `python script.py program.py DESCRIPTOR`.

It writes a byte to the descriptor and closes it once the program is compiled, before anything of
the program runs. So a syntax error is told from an error at run time, and no program can feign one.
"""
import builtins
import os
import sys

SYNTAX_ERROR = 97


def main(path, compiled):
  """The compiled program; exits with SYNTAX_ERROR where there is none."""
  with open(path, 'rb') as file:
    source = file.read()
  try:
    code = compile(source, path, 'exec', dont_inherit=True)
  except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
    sys.stderr.write(f'{type(error).__name__}: {error}')
    sys.stderr.flush()
    os._exit(SYNTAX_ERROR)
  os.write(compiled, b'.')
  os.close(compiled)
  # These come from the site module, which is not loaded.
  builtins.exit = builtins.quit = sys.exit
  sys.argv = [path]
  return code


_code = main(sys.argv[1], int(sys.argv[2]))
for _name in ('main', 'SYNTAX_ERROR', 'builtins', 'os', 'sys', '__doc__'):
  del globals()[_name]
del _name
exec(globals().pop('_code'))
