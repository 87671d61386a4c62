"""Mistral's tekken: byte-pair merges in the order of their ranks, and control tokens by name.

    id    0 .. 999     control tokens: <unk> <s> </s> [INST] [/INST] ..., as the file lists them
    id 1000 .. 131071  1000 + rank; the first 256 ranks are the single bytes

The file's regular expression splits a text into words; in each word the two neighbours whose union
has the lowest rank are merged, until no union has a rank. The library tiktoken, for which the
format was made, does this part. Control tokens are handled here: they are inserted by id and never
parsed from a text.

Reference: tekken.json as written by mistral-common (versions v3, v7, v11, v13, ...).
"""
from __future__ import annotations

import base64
import binascii
import codecs
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tiktoken

from magistral_jax.tokens import ends
from magistral_jax.tokens.interface import THOUGHTS, encodable, no_special

# The control tokens of files that list none: versions v3 and v7.
OLD_CONTROLS = (
    '<unk>', '<s>', '</s>', '[INST]', '[/INST]', '[AVAILABLE_TOOLS]', '[/AVAILABLE_TOOLS]',
    '[TOOL_RESULTS]', '[/TOOL_RESULTS]', '[TOOL_CALLS]', '[IMG]', '<pad>', '[IMG_BREAK]',
    '[IMG_END]', '[PREFIX]', '[MIDDLE]', '[SUFFIX]', '[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]',
    '[TOOL_CONTENT]')
VERSIONS_WITHOUT_LIST = ('v3', 'v7')
# In about a million consecutive white-space characters tiktoken's regular expressions end the whole
# process.
LONGEST_SPACE = 100_000


class TekkenTokenizer:
  """The tokenizer of one tekken.json.

  Args:
    ranks: [vocab_size - len(controls)] the bytes of each rank.
    pattern: the regular expression that splits a text into words.
    controls: names of the ids from 0 on.
    version: 'v3', 'v13', ...: the instruct template that the file's models were trained with.
    image: the file's image_patch_size, max_image_size and spatial_merge_size; {} if it has none.
    path: its file; the model beside it may name more end tokens.
  """

  def __init__(self, ranks: Sequence[bytes], pattern: str, controls: Sequence[str], *,
               version: str, image: dict[str, int], path: str):
    self.version, self.image = version, image
    self.vocab_size = len(controls) + len(ranks)
    self._ranks, self._first = ranks, len(controls)
    self._ids = {name: i for i, name in enumerate(controls)}
    self._merges = tiktoken.Encoding(
        'tekken', pat_str=pattern, special_tokens={},
        mergeable_ranks={token: rank for rank, token in enumerate(ranks)})
    self.bos_id, self.eos_id = self.special('<s>'), self.special('</s>')
    self.pad_id = self._ids.get('<pad>', self.eos_id)
    self.end_ids = ends.with_model(self.eos_id, path, range(self._first).__contains__)
    self._shown = [THOUGHTS.get(name, name) for name in controls]
    for silent in (self.bos_id, self.pad_id, *self.end_ids):
      if silent < self._first:
        self._shown[silent] = ''

  def encode(self, text: str) -> list[int]:
    """Ids of a text, none of them a control token.

    White space of more than LONGEST_SPACE characters is encoded in pieces of that length.
    """
    return [rank + self._first for piece in _encodable_pieces(encodable(text))
            for rank in self._merges.encode_ordinary(piece)]

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""
    if name not in self._ids:
      raise no_special(name, f'tekken {self.version}')
    return self._ids[name]

  def decode(self, ids: Iterable[int]) -> str:
    """Text of the ids, without <s>, </s> and <pad>.

    [THINK] and [/THINK] are shown as <think> and </think>, other control tokens by name. Bytes that
    are not UTF-8 become replacement characters.
    """
    return ''.join(self.stream(ids))

  def stream(self, ids: Iterable[int]) -> Iterator[str]:
    """Yields the text of the ids piece by piece; the pieces together are the result of `decode`.

    A character may take several tokens. It is yielded with the last of them, or as replacement
    characters where a control token or the end interrupts it.
    """
    decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')
    for token in map(int, ids):
      if 0 <= token < self._first:
        text = decoder.decode(b'', final=True) + self._shown[token]
      elif self._first <= token < self.vocab_size:
        text = decoder.decode(self._ranks[token - self._first])
      else:
        text = decoder.decode(b'\xff')  # Ids that round up a model's vocabulary.
      if text:
        yield text
    if text := decoder.decode(b'', final=True):
      yield text


def from_tekken(path: str) -> TekkenTokenizer:
  """Reads tekken.json: the file itself, or the folder of a model that holds it.

  Raises:
    ValueError: there is no such file, or it is not a tekken tokenizer.
  """
  file = os.path.join(path, 'tekken.json') if os.path.isdir(path) else path
  if not os.path.exists(file):
    raise ValueError(
        f'There is no tekken.json in {path!r}: set tokenizer.path to a folder with one.')
  wrong = lambda what: ValueError(
      f'{file!r} is no tekken tokenizer: {what}. Set tokenizer.path to a tekken.json, or '
      f'tokenizer.kind to what it is.')
  try:
    with open(file, encoding='utf-8') as lines:
      data = json.load(lines)
  except ValueError as error:  # The file is not UTF-8, or not JSON.
    raise wrong(f'it cannot be parsed ({error})') from None
  try:
    config = data['config']
    version, pattern = config['version'], config['pattern']
    controls = _controls(data.get('special_tokens'), config['default_num_special_tokens'], version)
    ranks = _ranks(data['vocab'], config['default_vocab_size'] - len(controls))
    # The key was 'multimodal' up to v11, 'image' since.
    image = dict(data.get('image') or data.get('multimodal') or {})
    return TekkenTokenizer(ranks, pattern, controls, version=version, image=image, path=file)
  except KeyError as error:
    raise wrong(f'the key {error} is missing') from None
  except (ValueError, TypeError, AttributeError) as error:
    raise wrong(str(error).rstrip('.')) from None


def _controls(listed: list[dict[str, Any]] | None, count: int, version: str) -> list[str]:
  """Names of the ids 0 .. count - 1."""
  if listed is None and version not in VERSIONS_WITHOUT_LIST:
    raise ValueError(f'its version is {version!r}, but it has no list special_tokens')
  if listed is None:
    names = list(OLD_CONTROLS)
  else:
    names = [token['token_str'] for token in listed]
    for i, token in enumerate(listed):
      if token['rank'] != i:
        raise ValueError(f'special_tokens[{i}] has rank {token["rank"]!r} instead of {i}')
  names += [f'<SPECIAL_{i}>' for i in range(len(names), count)]
  if len(names) > count or len(set(names)) < len(names):
    raise ValueError(f'it names {len(names)} special tokens, {len(set(names))} of them different, '
                     f'and default_num_special_tokens is {count}')
  return names


def _ranks(vocab: list[dict[str, Any]], size: int) -> list[bytes]:
  """Bytes of the ranks 0 .. size - 1; a file may hold more than its models use."""
  if not 256 <= size <= len(vocab):
    raise ValueError(f'default_vocab_size leaves {size} ranks, but it holds {len(vocab)}')
  ranks = []
  for i, token in enumerate(vocab[:size]):
    try:
      ranks.append(base64.b64decode(token['token_bytes'], validate=True))
    except (binascii.Error, TypeError):
      raise ValueError(f'vocab[{i}] has no base64 in token_bytes') from None
    if token['rank'] != i or (i < 256 and ranks[i] != bytes([i])):
      raise ValueError(f'vocab[{i}] has rank {token["rank"]!r} and bytes {ranks[i]!r}: ranks must '
                       f'count up from 0, and the first 256 be the bytes')
  if len(set(ranks)) < len(ranks):
    raise ValueError('two ranks have the same bytes')
  return ranks


def _encodable_pieces(text: str) -> list[str]:
  """Pieces of the text, cut wherever white space is longer than LONGEST_SPACE."""
  if len(text) <= LONGEST_SPACE:
    return [text]
  cuts = [cut for run in re.finditer(r'\s+', text)
          for cut in range(run.start() + LONGEST_SPACE, run.end(), LONGEST_SPACE)]
  return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
