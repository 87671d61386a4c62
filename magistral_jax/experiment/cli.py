"""The command line of an experiment: the flag --config with its overrides, and a run's folder.

A mistake on the command line or in a config ends the program before anything is compiled, in one
sentence (command_line.py).
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import fcntl
import functools
import itertools
import os
import pathlib
import re
import runpy
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict

from magistral_jax import command_line, sharding
from magistral_jax.command_line import one_sentence
from magistral_jax.experiment import values
from magistral_jax.experiment.schema import KEYS, find, general

# A flag that is defined here belongs to the command that asks for it, whose --help then shows it.
flags.disclaim_key_flags()
# How the text of an override becomes a value, by the type that the schema gives the key.
PARSERS: dict[type, Callable[[str], Any]] = {
    int: flags.IntegerParser().parse, float: flags.FloatParser().parse,
    bool: flags.BooleanParser().parse, str: str}
# Last line of the help of a command that takes a config.
EXPERIMENT = '--config=FILE and --config.KEY=VALUE: the experiment.'


@functools.cache
def define_config():
  """The flag --config=FILE with overrides such as --config.loss.clip_high=0.3.

  Its value is the changed config: `parse_flags` reads it.
  """
  return flags.DEFINE_string(
      'config', None, 'The experiment, such as configs/quickstart.py; --config.KEY=VALUE changes '
      'one of its keys, which docs/config.md lists.')


def run(main, *, parse=None) -> None:
  """Runs `main` as `command_line.run`, with the flag --config among absl's flags."""
  sharding.leave_missing_tpu()
  command_line.run(main, parse=parse or parse_flags)


def parse_with_config(parser: command_line.ArgumentParser, argv: Sequence[str], *,
                      default: ConfigDict | None = None) -> argparse.Namespace:
  """A parser's arguments, with the config that --config and its overrides name as `config`.

  Args:
    default: as in `read_config`.
  """
  args, rest = parser.parse_known_args(argv[1:])
  others = [a for a in rest if a.startswith('-') and not re.match(r'--?(no)?config\b', a)]
  if others:
    parser.refuse(others[0])
  with command_line.one_sentence():
    args.config = read_config(argv, default=default)
  return args


def folder(flag: str, path: str | None) -> pathlib.Path:
  """The folder that a flag names, created if need be; ValueError if that fails."""
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
  """A context that keeps other runs out of a folder until it ends, however it ends.

  Raises:
    ValueError: another run uses the folder, or its files cannot be written.
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
    except OSError as error:     # Some network disks have no locks.
      logging.warning('%s cannot be kept from other runs (%s).', path, error)
    yield


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses absl's flags and the config out of `argv`; returns what is left, the program's name."""
  command_line.help_if_asked(argv)
  with one_sentence():
    try:
      argv = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
    except flags.Error as error:
      raise ValueError(f'{" ".join(str(error).removeprefix("ERROR::").split())}.') from None
    if 'config' not in flags.FLAGS:
      return command_line.parse_flags(argv)
    config = read_config(argv)
    left = command_line.parse_flags(split_config(argv)[1])
    flags.FLAGS['config'].value = config
  return left


def load_config(path: str) -> ConfigDict:
  """What get_config() of a config file returns.

  Raises:
    ValueError: there is no such file, or it is no config; says what its code raised, and where.
  """
  if os.path.isdir(path):
    raise ValueError(f'--config={path!r} is a folder: name a file in it, such as '
                     f'{os.path.join(path, "quickstart.py")}.')
  if not os.path.isfile(path):
    files = sorted(map(str, pathlib.Path(os.path.dirname(path) or '.').glob('*.py')))
    near = difflib.get_close_matches(path, files, n=1, cutoff=0.75)
    raise ValueError(f'--config={path!r} does not exist: name an experiment, such as '
                     f'{next(iter(near), "configs/quickstart.py")}.')
  try:
    get_config = runpy.run_path(path).get('get_config')
    config = get_config and get_config()
  except Exception as error:  # The user's own program: it may raise anything.
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == path]
    where = f', line {lines[-1]}' if lines else ''
    raise ValueError(f'--config={path!r}{where} cannot be loaded: it raised '
                     f'{type(error).__name__}: {error}.') from None
  if get_config is None:
    raise ValueError(f'--config={path!r} cannot be loaded: it has no function get_config().')
  if not isinstance(config, ConfigDict):
    raise ValueError(f'--config={path!r} cannot be loaded: its get_config() must return an '
                     f'ml_collections.ConfigDict, not {type(config).__name__}.')
  return config


def read_config(argv: Sequence[str], *, optional: bool = False,
                default: ConfigDict | None = None) -> ConfigDict | None:
  """The config that --config names in `argv`, changed by the overrides there, and locked.

  An override that chooses another section, such as --config.data.source=jsonl, brings its keys
  (`values.change`).

  Args:
    optional: give None where `argv` says nothing of a config.
    default: what is changed where `argv` names no config; None if it must name one.
  Raises:
    ValueError: a config that cannot be loaded, or an override that does not fit it.
  """
  found, others = split_config(argv)
  for name in (argument.lstrip('-').partition('=')[0] for argument in others):
    if '.' in name and find(name):
      raise ValueError(f'{name} is a key of the config: write --config.{name}=VALUE.')
  if optional and not found:
    return None
  paths = [text for key, text in found if key == 'config']
  if not paths and default is not None:
    config = default
  elif paths and paths[-1]:
    config = load_config(paths[-1])
  else:
    raise ValueError('--config is missing: name an experiment, such as '
                     '--config=configs/quickstart.py.')
  for name in [] if paths else [name.removeprefix('config.') for name, _ in found]:
    if find(name) and name.partition('.')[0] not in config:
      raise ValueError(f'--config.{name} changes what only a whole config has: add --config=FILE.')
  known = dict(values.flat(config))
  values.change(config, {
      key: _parse(key, text, known)
      for key, text in ((name.removeprefix('config.'), text) for name, text in found)
      if key != 'config'})
  return config.lock()


def split_config(argv: Sequence[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
  """([(name, text)] of the arguments --config..., the other arguments).

  --config.key=text and --config.key text are one flag; --config.key alone has no text, and
  --noconfig.key is --config.key=false.
  """
  found, others, following = [], [], False
  for argument, after in itertools.zip_longest(argv, argv[1:]):
    match = re.match(r'--?(no)?(config(?:\.[^=]*)?)(?:=(.*))?$', argument, re.DOTALL)
    if following or not match:
      others += [] if following else [argument]
      following = False
      continue
    no, name, text = match.groups()
    following = text is None and not no and after is not None and after[:2] != '--'
    found.append((name, 'false' if no else after if following else text))
  return found, others


def config_arguments(argv: Sequence[str]) -> str:
  """The arguments --config... of a command, as a shell takes them again."""
  return shlex.join(f'--{name}' + ('' if text is None else f'={text}')
                    for name, text in split_config(argv)[0])


def _parse(key: str, text: str | None, known: Mapping[str, Any]) -> Any:
  """The value of an override, by the type that the schema gives the key."""
  shown = key if text is None else f'{key}={text}'
  described = find(key)
  if described is None:
    inside = [name for name in KEYS if name.startswith(f'{general(key)}.')]
    if inside:
      raise ValueError(f'--config.{shown} would replace a whole section: set its keys one by one, '
                       f'such as --config.{inside[0].replace("*", "NAME")}=...')
    raise ValueError(f'--config.{shown} changes a key that the config does not have'
                     f'{command_line.did_you_mean(key, KEYS)}: correct its name.')
  limit = described.limit
  # '=' stands there alone where there are spaces around it.
  if text == '=' or (text is None and limit.type is not bool):
    example = known.get(key, described.start)
    raise ValueError(f'--config.{key} has no value: write --config.{key}={example}, for example, '
                     f'without spaces.')
  try:
    return True if text is None else PARSERS[limit.type](text)
  except (ValueError, TypeError):
    raise ValueError(f'--config.{shown} must be {limit.words}.') from None
