"""What all commands share: flags, --help, and mistakes of the user in one sentence.

A mistake on the command line ends the program with one line on standard error that begins with
'error: ', and exit status 2. --help prints the docstring of the command and its flags, and ends
with 0.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import inspect
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from absl import app, flags

from magistral_jax import help_text
from magistral_jax.durable import WriteError


def run(main: Callable[[Any], Any], *, parse: Callable[[Sequence[str]], Any] | None = None) -> None:
  """Runs `main` with the parsed command line.

  Args:
    main: takes what `parse` returns.
    parse: arguments -> argument of `main`; None parses absl's flags and returns the rest.
  """
  def parse_others(argv):
    flags.FLAGS(argv[:1])  # absl asks that its own flags be parsed in any case.
    return (parse or parse_flags)(argv)

  # A terminal without some letters shows replacements instead of failing.
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='replace')
  try:
    with writing():
      app.run(main, flags_parser=parse_others if parse else parse_flags)
  except KeyboardInterrupt:
    print('Interrupted.', file=sys.stderr)
    raise SystemExit(130) from None
  except BrokenPipeError:
    if not _reader_is_gone():
      raise
    raise SystemExit(128 + signal.SIGPIPE) from None
  finally:
    _reader_is_gone()


def _reader_is_gone() -> bool:
  """Whether what read standard output, such as `head`, has ended; then nothing is written there."""
  try:
    output = sys.stdout.fileno()
  except (OSError, ValueError):      # It is no file.
    return False
  look = select.poll()
  look.register(output, 0)           # Errors are told without being asked for.
  if not look.poll(0):
    return False
  os.dup2(os.open(os.devnull, os.O_WRONLY), output)
  return True


def tell(sentence: str, file: TextIO | None = None) -> None:
  """Prints a sentence: one line of a file, or lines of a terminal that end between words.

  Args:
    file: standard output by default.
  """
  file = file or sys.stdout
  if file.isatty():
    sentence = help_text.fitted(sentence, help_text.columns())
  with contextlib.suppress(BrokenPipeError):      # Who does not read any more costs no run.
    print(sentence, file=file, flush=True)


@contextlib.contextmanager
def one_sentence(mistake: type[ValueError] = ValueError):
  """Turns a ValueError, or one of a kind, into its sentence and exit status 2."""
  try:
    yield
  except mistake as error:
    tell(f'error: {" ".join(str(error).split())}', sys.stderr)
    raise SystemExit(2) from None


@contextlib.contextmanager
def writing():
  """Turns a file that cannot be written into a sentence and exit status 1; other errors pass."""
  try:
    yield
  except WriteError as error:
    tell(f'error: {error.filename} cannot be written ({error.strerror}): repair that, or make '
         f'room there, and give the same command again.', sys.stderr)
    raise SystemExit(1) from None


def check_output(path: str, *inputs: str, new: bool = False, flag: str = 'output') -> None:
  """Checks the file of --output before the work that it is to hold.

  Args:
    inputs: files that are read.
    new: whether it must not be there yet.
    flag: that names the file, where it is another than --output.
  Raises:
    ValueError: it is one of `inputs`, is there already, or cannot be written.
  """
  for other in inputs:
    if os.path.realpath(path) == os.path.realpath(other):
      raise ValueError(f'--{flag}={path!r} is the file {other!r}, which is read: name another one.')
  if new and os.path.exists(path):
    raise ValueError(f'--{flag}={path!r} is there already: take it away, or name another file.')
  folder = os.path.dirname(path) or '.'
  reason = (errno.EISDIR if os.path.isdir(path) else
            errno.ENOENT if not os.path.isdir(folder) else
            0 if os.access(path if os.path.exists(path) else folder, os.W_OK) else errno.EACCES)
  if reason:
    raise ValueError(f'--{flag}={path!r} cannot be written ({os.strerror(reason)}): name another '
                     f'file.')


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses absl's flags out of `argv`; returns what is left, the program's name."""
  help_if_asked(argv)
  with one_sentence():
    try:
      left = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
      raise ValueError(no_flag(error.flagname, flags.FLAGS)) from None
    except flags.Error as error:
      raise ValueError(_no_value(error, flags.FLAGS)) from None
    if len(left) > 1:
      raise ValueError(stands_alone(left[1]))
  return left


def _no_value(error: flags.Error, known: flags.FlagValues) -> str:
  """What is wrong with the value of one of absl's flags, or that it has none."""
  found = re.match(r'flag --(\w+)=(.*?): (.*)', str(error), re.DOTALL)
  if not found or found[1] not in known:
    return f'{str(error).rstrip(".")}.'
  name, value, reason = found.groups()
  if value == 'None':
    return f'--{name} is missing: {known[name].help.rstrip(".")}; --help lists all flags.'
  parser = known[name].parser
  wanted = parser.syntactic_help or 'true or false' * isinstance(parser, flags.BooleanParser)
  return f'--{name}={value} must be {wanted}.' if wanted else f'--{name}={value}: {reason}.'


def help_if_asked(argv: Sequence[str]) -> None:
  """Prints the docstring of the program, its examples as they are, its flags, and ends with 0."""
  if not any(re.match(r'--?(help\w*|h|\?)$', argument) for argument in argv[1:]):
    return
  text = inspect.cleandoc(sys.modules['__main__'].__doc__ or '')
  print(help_text.fitted(text, help_text.columns()))
  listed = flags.FLAGS.main_module_help().strip()
  print(listed.replace(listed.partition('\n')[0], '\nflags:', 1))
  raise SystemExit(0)


class ArgumentParser(argparse.ArgumentParser):
  """An argparse parser that keeps examples, and reports mistakes in one sentence, too."""

  def __init__(self, **how):
    spec = sys.modules['__main__'].__spec__
    named = dict(prog=f'python -m {spec.name}') if spec else {}
    super().__init__(**named | dict(formatter_class=help_text.Formatter, allow_abbrev=False) | how)

  def format_help(self) -> str:
    self.usage = self.usage or help_text.usage(self).removeprefix('usage: ')
    return super().format_help()

  def add_flags(self, known: Mapping[str, tuple[Any, str]]) -> None:
    """Adds flags: {name: (default, what it is)}; the default also says the type."""
    for name, (default, words) in known.items():
      shown = '' if default == '' else ' (default: %(default)s)'
      self.add_argument(f'--{name}', type=type(default), default=default, help=words + shown)

  def parse_args(self, args=None, namespace=None):
    parsed, left = self.parse_known_args(args, namespace)
    if left:
      self.refuse(left[0])
    return parsed

  def error(self, message: str):
    with one_sentence():
      raise ValueError(f'{message}; --help lists the arguments.')

  def refuse(self, argument: str):
    """Ends the program with what is wrong with an argument that no flag takes."""
    name, dashed = argument.partition('=')[0].lstrip('-'), argument.startswith('-')
    known = [flag.lstrip('-') for action in self._actions for flag in action.option_strings]
    with one_sentence():
      raise ValueError(no_flag(name, known) if dashed else stands_alone(argument))


def no_flag(name: str, known: Iterable[str]) -> str:
  """What is wrong with a flag that is none of the known ones."""
  return f'--{name} is no flag of this command{did_you_mean(name, known)}; --help lists them.'


def stands_alone(argument: str) -> str:
  """What is wrong with an argument without a flag."""
  return (f'{argument!r} stands alone on the command line: write --flag=value, without spaces '
          f'around the equals sign.')


def did_you_mean(name: str, known: Iterable[str]) -> str:
  """' (did you mean ...?)' with the most similar of the known names; '' if none is similar.

  A name with dots is also found when it was written without its beginning.
  """
  known = list(known)
  last = {one.rsplit('.', 1)[-1]: one for one in reversed(known)}
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
  near = near or [last[one] for one in difflib.get_close_matches(
      name.rsplit('.', 1)[-1], last, n=1, cutoff=0.75)]
  return f' (did you mean {near[0]}?)' if near else ''
