"""End tokens that the files of a model name beside its tokenizer.

Many chat models end in more than one way: Llama 3 Instruct writes <|eot_id|> after a turn and
<|end_of_text|> after a document. generation_config.json lists all of them under `eos_token_id`, a
number or a list. Where it does not, transformers takes config.json's `eos_token_id`, which in many
folders is a default that nobody chose: there an id counts only if it is a control token.

A GGUF file has keys for the end of a text, of a turn and of a message, and as in llama.cpp some
control tokens end a text by their very names.
"""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

GENERATION, CONFIG, KEY = 'generation_config.json', 'config.json', 'eos_token_id'
DERIVED = '_from_model_config'      # Set in a generation_config.json made from config.json.
GGUF_KEYS = ('eos_token_id', 'eot_token_id', 'eom_token_id')
GGUF_NAMES = ('<|eot_id|>', '<|im_end|>', '<|end|>', '<end_of_turn>', '<|endoftext|>',
              '<|end_of_text|>', '<|eom_id|>', '<EOT>', '_<EOT>')
GGUF_CONTROL = 3                    # Type of a control token.
GGUF_NO_TOKEN = (-1, 2**32 - 1)     # -1, also as an unsigned number.


def with_model(eos_id: int, path: str, is_control: Callable[[int], bool]) -> tuple[int, ...]:
  """End tokens of the tokenizer at `path`: its own and those of the model in the same folder.

  Args:
    path: the tokenizer's folder or file.
    is_control: whether an id is a control token.
  Returns:
    `eos_id` first, no id twice.
  Raises:
    ValueError: a file is damaged, or an id is no whole number.
  """
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  found = stated(folder)
  if not found:
    file = os.path.join(folder, CONFIG)
    fields = read_object(file)
    inner = fields.get('text_config') or {}
    said = [section.get(KEY) for section in (fields, inner) if section.get(KEY) is not None]
    found = tuple(filter(is_control, listed(said[0] if said else None, file)))
  return joined((eos_id,), found)


def stated(folder: str) -> tuple[int, ...]:
  """End tokens in a folder's generation_config.json; () without the file or the key.

  A file that transformers derived from config.json says no more than that one.
  """
  file = os.path.join(folder, GENERATION)
  settings = read_object(file)
  return () if settings.get(DERIVED) else listed(settings.get(KEY), file)


def of_gguf(read: Callable[[str], Any], path: str) -> tuple[int, ...]:
  """End tokens of a GGUF file, that of the end of a text first.

  Args:
    read: the value of a key without 'tokenizer.ggml.', None if the file has none.
    path: of the file, for errors.
  Raises:
    ValueError: an id is no token of the file.
  """
  tokens = read('tokens') or ()
  named = [i for i, (token, kind) in enumerate(zip(tokens, read('token_type') or (), strict=False))
           if kind == GGUF_CONTROL and token in GGUF_NAMES]
  return joined(*(gguf_ids(key, read(key), len(tokens), path) for key in GGUF_KEYS), named)


def gguf_ids(key: str, value: Any, size: int, path: str) -> list[int]:
  """The ids in the value of a GGUF file's key: one, a list of them, or none.

  Args:
    size: tokens of the file's vocabulary; 0 if it has none.
    path: of the file, for errors.
  Raises:
    ValueError: an id is no token of the vocabulary.
  """
  ids = value if isinstance(value, list) else [] if value in (None, *GGUF_NO_TOKEN) else [value]
  for i in ids:
    if not isinstance(i, int) or i < 0 or (size and i >= size):
      raise ValueError(f'{path}: tokenizer.ggml.{key}={value!r} is no token of the {size} in '
                       f'tokenizer.ggml.tokens.')
  return ids


def joined(*several: Iterable[int]) -> tuple[int, ...]:
  """All ids in their order, none twice."""
  return tuple(dict.fromkeys(i for ids in several for i in ids))


def listed(value: Any, file: str) -> tuple[int, ...]:
  """The ids in a value of `eos_token_id`: a number, a list or null; a negative number is none.

  Args:
    file: where the value was found, for the error.
  Raises:
    ValueError: it is something else.
  """
  ids = value if isinstance(value, list) else [] if value is None else [value]
  for i in ids:
    if isinstance(i, bool) or not isinstance(i, int):
      raise ValueError(f'{file}: {KEY}={value!r} must be a whole number or a list of them.')
  return joined(i for i in ids if i >= 0)


def read_object(file: str) -> dict[str, Any]:
  """The object in a JSON file, {} if there is none; ValueError if the file holds no object."""
  if not os.path.isfile(file):
    return {}
  try:
    with open(file, encoding='utf-8') as lines:
      fields = json.load(lines)
  except ValueError as error:
    raise ValueError(f'{file}: no valid JSON ({error}).') from None
  if not isinstance(fields, dict):
    raise ValueError(f'{file}: it holds {type(fields).__name__} instead of an object.')
  return fields
