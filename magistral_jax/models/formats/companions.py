"""Companions of a model's weights: tokenizer files, generation settings, the licence.

A workdir records where its tokenizer and its first weights came from, and its companions are
copied from there.
"""

import fnmatch
import os
import pathlib
import shutil

from magistral_jax import tokens
from magistral_jax.models.formats import checkpoint, gguf, workdir
from magistral_jax.models.formats.export import write_json
from magistral_jax.models.formats.fields import read_json
from magistral_jax.tokens import ends

TOKENIZER = ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json',
             'added_tokens.json', 'vocab.json', 'merges.txt', 'tokenizer.model*', 'tekken.json',
             'chat_template.*')
OTHERS = ('generation_config.json', 'preprocessor_config.json', 'processor_config.json',
          'SYSTEM_PROMPT.txt', 'LICENSE*')


def origins(path: str) -> list[str]:
  """Files and folders that hold companions of the checkpoint at `path`, the nearest first.

  Paths that no longer exist are left out; `lost` returns them.
  """
  return [origin for origin in _recorded(path) if os.path.exists(origin)]


def lost(path: str) -> list[str]:
  """Files and folders that held more companions and no longer exist."""
  return [origin for origin in _recorded(path) if not os.path.exists(origin)]


def _recorded(path: str) -> list[str]:
  if not os.path.exists(path) or checkpoint.kind(path) != 'workdir':
    return [path]
  experiment = workdir.read_experiment(path)
  found, first = [path, experiment['tokenizer']['path']], _first(experiment)
  return list(dict.fromkeys(filter(None, [*found, *(_recorded(first) if first else [])])))


def copy(path: str, folder: pathlib.Path, *, spell_bytes: bool = True) -> list[str]:
  """Copies all companions of the checkpoint at `path` into a folder; returns their names.

  The tokenizer inside a GGUF file is written as files if it is of a kind that can be rebuilt.

  Args:
    spell_bytes: also write the byte tokenizer of a workdir, which has no files, as files.
  """
  copied = set()
  for origin in origins(path):
    # One set of tokenizer files, never a mixture of two.
    has_tokenizer = any(_matches(name, TOKENIZER) for name in copied)
    if tokens.kinds_at(origin) == ['gguf']:
      copied |= set() if has_tokenizer else set(_unpack(origin, folder))
      continue
    directory = pathlib.Path(origin)
    wanted = OTHERS if has_tokenizer else TOKENIZER + OTHERS
    if not directory.is_dir():
      # Of the files beside a single file, only those of a tokenizer are known to belong to it.
      directory, wanted = directory.parent, () if has_tokenizer else TOKENIZER
    for file in sorted(directory.iterdir()):
      if file.is_file() and _matches(file.name, wanted) and file.name not in copied:
        shutil.copyfile(file, folder / file.name)
        copied.add(file.name)
  if spell_bytes and _kind_of_tokenizer(path) == 'bytes':
    copied |= set(tokens.ByteTokenizer().save(str(folder)))
  return sorted(copied)


def prompt(path: str) -> dict[str, str]:
  """How a run's problems were put to its model: template and system prompt; {} of no run."""
  if checkpoint.kind(path) != 'workdir':
    return {}
  data = workdir.read_experiment(path)['config'].get('data', {})
  return {key: data[key] for key in ('template', 'system_prompt') if key in data}


def _kind_of_tokenizer(path: str) -> str | None:
  """The kind of tokenizer that a workdir records; None elsewhere."""
  if checkpoint.kind(path) != 'workdir':
    return None
  return workdir.read_experiment(path)['tokenizer']['kind']


def _unpack(path: str, folder: pathlib.Path) -> list[str]:
  try:
    tokenizer = tokens.load_tokenizer('gguf', path)
  except ValueError:
    return []
  return tokenizer.save(str(folder), gguf.chat_template(path))


def tokenizer(path: str, target: str, copied: list[str]) -> dict[str, str]:
  """Kind and path of the tokenizer of a checkpoint whose companions were copied to `target`."""
  if any(_matches(name, TOKENIZER) for name in copied):
    return dict(kind='auto', path=target)
  if checkpoint.kind(path) == 'workdir':
    return workdir.read_experiment(path)['tokenizer']
  return dict(kind='auto', path=path)


def fields(path: str) -> dict:
  """Fields of a checkpoint's description beside the shape, under the names of config.json.

  A workdir has the fields of the checkpoint that the run began with; {} if that no longer exists.
  """
  kind = checkpoint.kind(path)
  if kind != 'workdir':
    return checkpoint.FORMATS[kind].fields(path)
  experiment = workdir.read_experiment(path)
  if 'fields' in experiment:
    return experiment['fields']
  first = _first(experiment)
  return fields(first) if first and os.path.exists(first) else {}


def end_ids(path: str) -> tuple[int, ...]:
  """Tokens that end a text by what a checkpoint itself says beside its tokenizer.

  A folder says it in generation_config.json, a GGUF file in its metadata, and a workdir has the
  tokens at which the run's completions ended.
  """
  kind = checkpoint.kind(path)
  if kind == 'workdir':
    found = workdir.read_experiment(path).get('end_ids')
    return tuple(found) if found is not None else _ids(fields(path))
  return _ids(fields(path)) if kind == 'gguf' else ends.stated(path)


def state_end_ids(folder: pathlib.Path, path: str, kept: dict, *, in_config: bool) -> dict:
  """Makes the files of an export name every end token of the checkpoint at `path`.

  A generation_config.json that was copied and lacks some gets them. Without that file they go into
  config.json, or into a new one where the layout has no config.json.

  Args:
    kept: fields of the checkpoint, as `fields` returns them.
    in_config: whether the layout has a config.json.
  Returns:
    The fields to write into config.json.
  """
  file = folder / ends.GENERATION
  settings = read_json(file) if file.exists() else {}
  wanted = ends.joined(_ids(settings), _ids(kept), end_ids(path))
  if len(wanted) == len(_ids(settings)):
    return kept
  stated = {ends.KEY: list(wanted) if len(wanted) > 1 else wanted[0]}
  if settings or not in_config:
    # What follows is no longer what config.json says.
    write_json(file, {k: v for k, v in settings.items() if k != ends.DERIVED} | stated)
  return kept if settings else kept | stated


def _ids(fields: dict) -> tuple[int, ...]:
  return ends.listed(fields.get(ends.KEY), 'the checkpoint')


def _first(experiment: dict) -> str | None:
  """The checkpoint that a run began with, if it had one."""
  return experiment['config'].get('model', {}).get('checkpoint') or None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
  return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
