"""What belongs to a model beside its weights: tokenizer files, generation settings, its licence.

A workdir remembers where its tokenizer and its first weights came from; they are looked for there.
"""

import fnmatch
import os
import pathlib
import shutil

from magistral_jax import tokens
from magistral_jax.models.formats import checkpoint, gguf, workdir

TOKENIZER = ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json',
             'added_tokens.json', 'vocab.json', 'merges.txt', 'tokenizer.model*', 'tekken.json',
             'chat_template.*')
OTHERS = ('generation_config.json', 'preprocessor_config.json', 'processor_config.json',
          'SYSTEM_PROMPT.txt', 'LICENSE*')


def origins(path: str) -> list[str]:
  """Where the companions of the checkpoint at `path` stand: files and folders, the nearest first.

  Those that are no longer there are left out; see `lost`.
  """
  return [place for place in _places(path) if os.path.exists(place)]


def lost(path: str) -> list[str]:
  """Where more companions stood that are no longer there."""
  return [place for place in _places(path) if not os.path.exists(place)]


def _places(path: str) -> list[str]:
  if not os.path.exists(path) or checkpoint.kind(path) != 'workdir':
    return [path]
  experiment = workdir.read_experiment(path)
  found, first = [path, experiment['tokenizer']['path']], _first(experiment)
  return list(dict.fromkeys(filter(None, [*found, *(_places(first) if first else [])])))


def copy(path: str, folder: pathlib.Path) -> list[str]:
  """Copies all companions of the checkpoint at `path` into a folder; returns their names.

  Of a GGUF file the tokenizer is written as files, where it is of a kind that we can rebuild.
  """
  copied = set()
  for place in origins(path):
    # One set of tokenizer files, never a mixture of two.
    has_tokenizer = any(_matches(name, TOKENIZER) for name in copied)
    if tokens.kinds_at(place) == ['gguf']:
      copied |= set() if has_tokenizer else set(_unpack(place, folder))
      continue
    directory = pathlib.Path(place)
    wanted = OTHERS if has_tokenizer else TOKENIZER + OTHERS
    if not directory.is_dir():
      # Of a single file's neighbours only a tokenizer's are known to belong to it.
      directory, wanted = directory.parent, () if has_tokenizer else TOKENIZER
    for file in sorted(directory.iterdir()):
      if file.is_file() and _matches(file.name, wanted) and file.name not in copied:
        shutil.copyfile(file, folder / file.name)
        copied.add(file.name)
  return sorted(copied)


def _unpack(path: str, folder: pathlib.Path) -> list[str]:
  try:
    tokenizer = tokens.load_tokenizer('gguf', path)
  except ValueError:
    return []
  return tokenizer.save(str(folder), gguf.chat_template(path))


def tokenizer(path: str, target: str, copied: list[str]) -> dict[str, str]:
  """{kind, path} of the tokenizer of a checkpoint whose companions were copied to `target`."""
  if any(_matches(name, TOKENIZER) for name in copied):
    return dict(kind='auto', path=target)
  if checkpoint.kind(path) == 'workdir':
    return workdir.read_experiment(path)['tokenizer']
  return dict(kind='auto', path=path)


def fields(path: str) -> dict:
  """What a checkpoint's description says beside the shape, in the words of config.json.

  A workdir says what the checkpoint said that the run began with; {} if that is gone.
  """
  kind = checkpoint.kind(path)
  if kind != 'workdir':
    return checkpoint.FORMATS[kind].fields(path)
  experiment = workdir.read_experiment(path)
  if 'fields' in experiment:
    return experiment['fields']
  first = _first(experiment)
  return fields(first) if first and os.path.exists(first) else {}


def _first(experiment: dict) -> str | None:
  """The checkpoint that a run began with, if it had one."""
  return experiment['config'].get('model', {}).get('checkpoint') or None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
  return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
