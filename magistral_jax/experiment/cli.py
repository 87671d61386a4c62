"""What entry points share: the flag --config, and user mistakes told in one sentence.

A mistake on the command line or in a config ends the program before anything is compiled, with one
line on standard error that begins with 'error: ', and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import fcntl
import functools
import io
import os
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from magistral_jax.experiment.schema import did_you_mean, keys

# How the text of an override becomes a value, by the type that the config file gave the key.
PARSERS = {
    int: (flags.IntegerParser(), 'a whole number'), float: (flags.FloatParser(), 'a number'),
    bool: (flags.BooleanParser(), 'true or false')}


@functools.cache
def define_config():
  """The flag --config=FILE with overrides such as --config.loss.clip_high=0.3."""
  return config_flags.DEFINE_config_file('config', None, 'The experiment.', lock_config=True)


def run(main, *, parse=None) -> None:
  """Runs `main` with the parsed command line; a command line that cannot work is one sentence.

  Args:
    main: takes what is left of the arguments, or what `parse` made of them.
    parse: arguments -> what `main` takes; None: absl's flags.
  """
  def parse_others(argv):
    flags.FLAGS(argv[:1])  # absl asks that its own flags be parsed in any case.
    return parse(argv)

  # A terminal that knows fewer letters shows others in their place.
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='replace')
  try:
    app.run(main, flags_parser=parse_others if parse else parse_flags)
  except KeyboardInterrupt:
    print('Interrupted.', file=sys.stderr)
    raise SystemExit(130) from None


@contextlib.contextmanager
def one_sentence():
  """Turns a ValueError of checking and building into its sentence and exit status 2."""
  try:
    yield
  except ValueError as error:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    raise SystemExit(2) from None


class ArgumentParser(argparse.ArgumentParser):
  """argparse whose mistakes are one sentence, too."""

  def error(self, message: str):
    with one_sentence():
      raise ValueError(f'{message}; --help lists the arguments.')


def folder(flag: str, path: str | None) -> pathlib.Path:
  """The folder that a flag names, made if need be; ValueError if it cannot be."""
  if not path:
    raise ValueError(f'--{flag} is missing: name a folder for the files of this run.')
  try:
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(f'--{flag}={path!r} cannot be made ({error.strerror}): name another '
                     f'folder.') from None
  return pathlib.Path(path)


@contextlib.contextmanager
def claimed(flag: str, path: pathlib.Path):
  """Keeps other runs out of a folder for as long as this one is in it, however it ends.

  Raises:
    ValueError: another run is in it, or its files cannot be written.
  """
  try:
    lock = open(path / '.lock', 'a')
    for file in filter(pathlib.Path.is_file, path.iterdir()):
      if not os.access(file, os.W_OK):
        lock.close()
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file.name)
  except OSError as error:
    raise ValueError(f'--{flag}={str(path)!r} cannot be written ({error.strerror}: '
                     f'{error.filename}): name another folder.') from None
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f'--{flag}={str(path)!r} is in use by another run: wait for its end, or '
                       f'name another folder.') from None
    except OSError as error:     # Some network disks know no locks.
      logging.warning('%s cannot be kept from other runs (%s).', path, error)
    yield


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses absl's flags out of `argv`; returns what is left, the program's name."""
  with one_sentence():
    argv = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
    if 'config' in flags.FLAGS and not any(re.match(r'--?(help\w*|\?)$', a) for a in argv):
      check_overrides(argv)
    try:
      left = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
      raise ValueError(
          f'--{error.flagname} is no flag of this command'
          f'{did_you_mean(error.flagname, list(flags.FLAGS))}; --help lists them.') from None
    except flags.Error as error:
      raise ValueError(f'{error}.') from None
    if len(left) > 1:
      raise ValueError(f'{left[1]!r} stands alone on the command line: write --flag=value, '
                       f'without spaces around the equals sign.')
  return left


def check_overrides(argv: Sequence[str]) -> None:
  """Raises ValueError for a --config that cannot be loaded, or an override that does not fit it."""
  paths = [text for key, text in _flags(argv) if key == 'config']
  if not paths or not paths[-1]:
    raise ValueError('--config is missing: name an experiment, such as '
                     '--config=configs/quickstart.py.')
  config = load_config(paths[-1])
  for key, text in _flags(argv):
    if key.startswith('config.'):
      _check_override(config, key.removeprefix('config.'), text)


def load_config(path: str) -> ConfigDict:
  """What get_config() of a config file returns.

  Raises:
    ValueError: there is no such file, or it is no config; says what its code raised, and where.
  """
  if not os.path.isfile(path):
    files = sorted(map(str, pathlib.Path(os.path.dirname(path) or '.').glob('*.py')))
    near = difflib.get_close_matches(path, files, n=1, cutoff=0.75)
    raise ValueError(f'--config={path!r} does not exist: name an experiment, such as '
                     f'{next(iter(near), "configs/quickstart.py")}.')
  try:
    config = runpy.run_path(path)['get_config']()
  except Exception as error:  # The user's own program: it may raise anything.
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == path]
    where = f', line {lines[-1]}' if lines else ''
    raise ValueError(f'--config={path!r}{where} cannot be loaded: it raised '
                     f'{type(error).__name__}: {error}.') from None
  if not isinstance(config, ConfigDict):
    raise ValueError(f'--config={path!r} cannot be loaded: its get_config() must return an '
                     f'ml_collections.ConfigDict, not {type(config).__name__}.')
  return config


def read_config(argv: Sequence[str]) -> ConfigDict | None:
  """What --config and its overrides in `argv` come to; None if there are none.

  For entry points that parse their command line without absl. Raises ValueError as
  `check_overrides` does.
  """
  found = _flags(argv)
  if not found:
    return None
  check_overrides(argv)
  config = load_config([text for key, text in found if key == 'config'][-1])
  changes = {}
  for key, text in found:
    name = key.removeprefix('config.')
    if key != name:
      value = functools.reduce(lambda section, part: section[part], name.split('.'), config)
      parser, _ = PARSERS.get(type(value), (None, ''))
      changes[name] = (f'--no{key}' not in argv if text is None else
                       parser.parse(text) if parser else text)
  config.update_from_flattened_dict(changes)
  return config


def flat(tree, path: str = ''):
  """(dotted key, value) of every leaf of nested dicts."""
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from flat(value, f'{path}{key}.')
    else:
      yield f'{path}{key}', value


def _check_override(config: ConfigDict, key: str, text: str | None) -> None:
  shown = key if text is None else f'{key}={text}'
  value = config
  for name in key.split('.'):
    if not isinstance(value, ConfigDict) or name not in value:
      raise ValueError(f'--config.{shown} changes a key that the config does not have'
                       f'{did_you_mean(key, keys(config))}: correct its name.')
    value = value[name]
  if isinstance(value, ConfigDict):
    raise ValueError(f'--config.{shown} would replace a whole section: set its keys one by one, '
                     f'such as --config.{key}.{next(iter(value), "key")}=...')
  parser, words = PARSERS.get(type(value), (None, 'text'))
  if text is None and type(value) is not bool:
    raise ValueError(f'--config.{key} has no value: write --config.{key}={value}, for example.')
  try:
    if parser and text is not None:
      parser.parse(text)
  except (ValueError, TypeError):
    raise ValueError(f'--config.{shown} must be {words}: the config has {key}={value}.') from None


def _flags(argv: Sequence[str]) -> list[tuple[str, str | None]]:
  """(name, text) of the arguments --config... of a command line; text None where there is none."""
  found = []
  for i, argument in enumerate(argv):
    match = re.match(r'--?(no)?(config(?:\.[^=]*)?)(?:=(.*))?$', argument, re.DOTALL)
    if match:
      no, name, text = match.groups()
      # `--name value` is one flag, too.
      following = argv[i + 1] if i + 1 < len(argv) and argv[i + 1][:2] != '--' else None
      found.append((name, text if text is not None or no else following))
  return found
