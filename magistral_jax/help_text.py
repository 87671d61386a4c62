"""The text of --help, in lines that fit the terminal and break between words.

    prose               is filled anew
        examples        are indented, and stay as they are
        python -m ...   is broken before its flags, with a backslash, where it is longer
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import textwrap
from collections.abc import Iterable

_COMMAND = re.compile(r'(?:python3?|curl|bash|pip) ')
# A flag, perhaps one that may be left out, or the first of another choice of flags.
_BEFORE_FLAG = re.compile(r'(?<=\S) (?=(?:\| )?\[?-{1,2}[a-zA-Z])')
_BEHIND_LINE = ' \\'
_DEEPER = 4               # Columns by which the rest of a command is indented.


def columns() -> int:
  """Columns of the terminal; 80 where there is none."""
  return shutil.get_terminal_size().columns


def fitted(text: str, width: int) -> str:
  """`text` in lines of `width` columns, but for examples that cannot be broken."""
  lines: list[str] = []
  is_prose = lambda line: bool(line) and not line.startswith(' ')
  for prose, group in itertools.groupby(text.splitlines(), key=is_prose):
    if prose:
      lines += textwrap.wrap(' '.join(group), width, break_long_words=False,
                             break_on_hyphens=False)
    else:
      lines += _examples(group, width)
  return '\n'.join(lines)


def _examples(group: Iterable[str], width: int) -> list[str]:
  """Indented and empty lines; commands among them, of one line or several, fit into `width`."""
  lines: list[str] = []
  command = ''
  for line in group:
    if command:
      command += f' {line.strip()}'
    elif _COMMAND.match(line.strip()):
      command = line
    else:
      lines.append(line)
    if command.endswith(_BEHIND_LINE):
      command = command.removesuffix(_BEHIND_LINE)
    elif command:
      lines += _broken(command, width)
      command = ''
  return lines


def _broken(command: str, width: int) -> list[str]:
  """A command in lines of `width` columns; what has no flag in it is not broken."""
  if len(command) <= width:
    return [command]
  start = ' ' * (len(command) - len(command.lstrip()) + _DEEPER)
  first, *flags = _BEFORE_FLAG.split(command)
  lines = [first]
  for flag in flags:
    room = width - len(lines[-1]) - 1 - len(flag)
    # Behind the last flag stands no backslash.
    if room >= (0 if flag is flags[-1] else len(_BEHIND_LINE)):
      lines[-1] += f' {flag}'
    else:
      lines[-1] += _BEHIND_LINE
      lines.append(start + flag)
  return lines


class Formatter(argparse.HelpFormatter):
  """The formatter of argparse, with descriptions that keep their examples."""

  def _fill_text(self, text, width, indent):
    return textwrap.indent(fitted(text, width - len(indent)), indent)


def usage(parser: argparse.ArgumentParser) -> str:
  """The line that names what a command must be given, and no more: the rest is listed below."""
  needed = [action for action in parser._actions if action.required]
  words = [f'{action.option_strings[-1]}={action.dest.upper()}' if action.option_strings else
           '{' + ','.join(map(str, action.choices)) + '}' if action.choices else action.dest
           for action in needed]
  text = ' '.join(['usage:', parser.prog, *words, '[--flag=value ...]'])
  return '\n'.join(textwrap.wrap(text, columns(), subsequent_indent=' ' * _DEEPER,
                                 break_long_words=False, break_on_hyphens=False))
