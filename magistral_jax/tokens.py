r"""Text to token ids and back, behind one small interface: bytes, Hugging Face, GGUF.

Two ways in, so that nobody can smuggle a control token into a prompt: `encode` is for text that
others wrote (problems, completions) and never yields a control token; `encode_specials` is for
template text that we wrote. `<think>` and `\boxed{` are ordinary text everywhere.

    load_tokenizer('bytes', '').encode('7+1') == [61, 49, 55]
"""
from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any, Protocol

import tokenizers
from tokenizers import pre_tokenizers


class Tokenizer(Protocol):
  """What the rest of the program knows of a tokenizer."""
  vocab_size: int           # One more than the largest id.
  eos_id: int               # Ends a completion.
  pad_id: int               # Fills places that nobody reads; may equal eos_id.
  bos_id: int | None        # Starts a prompt, where the model expects that; else None.

  def encode(self, text: str) -> list[int]: ...
  def encode_specials(self, text: str) -> list[int]: ...
  def special(self, name: str) -> int: ...
  def decode(self, ids: Sequence[int]) -> str: ...


class ByteTokenizer:
  r"""One token per UTF-8 byte, and one each for the three marks every response must write.

    0 pad '<pad>'    1 bos '<s>'    2 eos '</s>'
    3 '<think>'      4 '</think>'   5 '\boxed{'      6.. the 256 bytes

  The marks are text: `encode` finds them in any text and `decode` gives them back, so that decoding
  undoes encoding for every string.
  """
  CONTROLS = ('<pad>', '<s>', '</s>')
  MARKS = ('<think>', '</think>', '\\boxed{')

  def __init__(self):
    self.pad_id, self.bos_id, self.eos_id = 0, 1, 2
    self._bytes_from = len(self.CONTROLS) + len(self.MARKS)
    # A multiple of 8, so that the vocabulary divides over devices.
    self.vocab_size = -(-(self._bytes_from + 256) // 8) * 8

  def encode(self, text: str) -> list[int]:
    return self._encode(text, self.MARKS)

  def encode_specials(self, text: str) -> list[int]:
    return self._encode(text, self.CONTROLS + self.MARKS)

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""
    if name not in self.CONTROLS:
      raise ValueError(_no_special(name, 'byte'))
    return self.CONTROLS.index(name)

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids. Control tokens vanish; broken UTF-8 becomes replacement characters."""
    controls, first = len(self.CONTROLS), self._bytes_from
    pieces = []
    for token in map(int, ids):
      if first <= token < first + 256:
        pieces.append(bytes([token - first]))
      elif controls <= token < first:
        pieces.append(self.MARKS[token - controls].encode())
      elif token >= first:
        pieces.append(b'\xff')  # Ids that only round the vocabulary up: never valid text.
    return b''.join(pieces).decode('utf-8', errors='replace')

  def _encode(self, text: str, names: tuple[str, ...]) -> list[int]:
    ids = []
    for piece in re.split('(' + '|'.join(map(re.escape, names)) + ')', text):
      if piece in names:
        ids.append((self.CONTROLS + self.MARKS).index(piece))
      else:
        # A lone surrogate (possible in JSON) has no UTF-8 form; it becomes a question mark.
        ids.extend(self._bytes_from + byte for byte in piece.encode('utf-8', errors='replace'))
    return ids


class SubwordTokenizer:
  """A `tokenizers.Tokenizer` (tokenizer.json, or one rebuilt from a GGUF file).

  Args:
    template: reads control tokens where they stand in the text.
    eos, bos, pad: texts of the control tokens; no bos means none is put before a prompt, no pad
      means that eos fills.
  """

  def __init__(self, template: tokenizers.Tokenizer, *, eos: str, bos: str | None, pad: str | None):
    self._template = template
    self._template.no_padding()
    self._template.no_truncation()
    # A copy with a flag of its own: changing one tokenizer back and forth would not be thread-safe.
    self._text = tokenizers.Tokenizer.from_str(template.to_str())
    self._text.encode_special_tokens = True
    self._specials = {
        token.content: token_id for token_id, token in template.get_added_tokens_decoder().items()}
    self.vocab_size = max(template.get_vocab(with_added_tokens=True).values()) + 1
    self.eos_id = self.special(eos)
    self.bos_id = self.special(bos) if bos else None
    self.pad_id = self.special(pad) if pad else self.eos_id
    self._silent = {self.eos_id, self.bos_id, self.pad_id}

  def encode(self, text: str) -> list[int]:
    return self._text.encode(_encodable(text), add_special_tokens=False).ids

  def encode_specials(self, text: str) -> list[int]:
    return self._template.encode(_encodable(text), add_special_tokens=False).ids

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""
    if name not in self._specials:
      raise ValueError(_no_special(name, 'loaded'))
    return self._specials[name]

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids. Only eos, bos and pad vanish; other control tokens are shown."""
    shown = [int(token) for token in ids if int(token) not in self._silent]
    return self._text.decode(shown, skip_special_tokens=False)


def load_tokenizer(kind: str, path: str) -> Tokenizer:
  """A tokenizer of a kind named in TOKENIZERS; `path` is the file or folder it is read from."""
  if kind not in TOKENIZERS:
    raise ValueError(
        f'There is no tokenizer of kind {kind!r}: set tokenizer.kind to one of '
        f'{", ".join(TOKENIZERS)}.')
  if kind != 'bytes' and not os.path.exists(path):
    raise ValueError(
        f'The tokenizer {path!r} does not exist: set tokenizer.path to a file or folder for '
        f'tokenizer.kind={kind!r}.')
  return TOKENIZERS[kind](path)


def from_huggingface(path: str) -> SubwordTokenizer:
  """Reads a model folder, or its tokenizer.json alone.

  The end token is the `eos_token` of tokenizer_config.json, which in chat models ends a turn;
  without that file it is the first of END_TOKENS that the vocabulary knows.
  """
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  file = os.path.join(path, 'tokenizer.json') if os.path.isdir(path) else path
  if not os.path.exists(file):
    raise ValueError(
        f'There is no tokenizer.json in {path!r}: set tokenizer.path to a folder with one.')
  try:
    template = tokenizers.Tokenizer.from_file(file)
  except Exception as error:  # The library raises nothing narrower.
    raise ValueError(
        f'{file!r} is no tokenizer ({error}): set tokenizer.path to a tokenizer.json, or '
        f'tokenizer.kind to what it is.') from None
  config: dict[str, Any] = {}
  config_file = os.path.join(folder, 'tokenizer_config.json')
  if os.path.exists(config_file):
    with open(config_file, encoding='utf-8') as lines:
      config = json.load(lines)
  known = {token.content for token in template.get_added_tokens_decoder().values()}
  eos = _content(config.get('eos_token'))
  eos = eos or next((name for name in END_TOKENS if name in known), None)
  if eos is None:
    raise ValueError(
        f'The tokenizer {path!r} names no end-of-sequence token: put "eos_token" into a '
        f'tokenizer_config.json beside the file of tokenizer.path.')
  bos = _content(config.get('bos_token'))
  if not config.get('add_bos_token'):
    # Many tokenizers name a bos that no prompt begins with; the post-processor is what decides.
    first = template.encode('', add_special_tokens=True).tokens[:1]
    bos = first[0] if first and first[0] != eos else None
  return SubwordTokenizer(template, eos=eos, bos=bos, pad=_content(config.get('pad_token')))


def from_gguf(path: str) -> SubwordTokenizer:
  """Rebuilds the byte-level BPE tokenizer that a GGUF checkpoint describes.

  Reference: the keys tokenizer.ggml.* of the GGUF specification. Tokens of type 3 (control) and 4
  (user defined) are found whole in a text, everything else through the merges.
  """
  import gguf  # Costs time and memory that only this kind of run should pay.
  try:
    fields = gguf.GGUFReader(path).fields
  except (ValueError, IndexError, OSError) as error:
    raise ValueError(f'{path!r} is no GGUF file ({error}): set tokenizer.path to one, or '
                     f'tokenizer.kind to what it is.') from None
  read = lambda key, default=None: (
      fields[f'tokenizer.ggml.{key}'].contents() if f'tokenizer.ggml.{key}' in fields else default)
  model, pre = read('model'), read('pre')
  if model != 'gpt2' or pre not in PRE_TOKENIZERS:
    raise ValueError(
        f'The GGUF tokenizer of {path!r} is of model {model!r} and pre-tokenizer {pre!r}, but only '
        f"'gpt2' with one of {', '.join(PRE_TOKENIZERS)} is known: take its tokenizer.json with "
        f"tokenizer.kind='huggingface'.")
  tokens, types = read('tokens'), read('token_type')
  merges = [tuple(merge.split(' ', 1)) for merge in read('merges')]
  bpe = tokenizers.models.BPE(
      vocab={token: i for i, token in enumerate(tokens)}, merges=merges,
      ignore_merges=pre in ('llama-bpe', 'tekken'))
  template = tokenizers.Tokenizer(bpe)
  template.pre_tokenizer = PRE_TOKENIZERS[pre]()
  template.decoder = tokenizers.decoders.ByteLevel()
  whole = lambda kind: [
      tokenizers.AddedToken(token, special=kind == 3, normalized=False)
      for token, token_type in zip(tokens, types, strict=True) if token_type == kind]
  template.add_special_tokens(whole(3))
  template.add_tokens(whole(4))
  name = lambda key: None if read(key) is None else tokens[read(key)]
  return SubwordTokenizer(
      template, eos=name('eos_token_id'), pad=name('padding_token_id'),
      bos=name('bos_token_id') if read('add_bos_token', False) else None)


TOKENIZERS = {
    'bytes': lambda path: ByteTokenizer(),
    'huggingface': from_huggingface,
    'gguf': from_gguf,
}

END_TOKENS = ('<|im_end|>', '<|eot_id|>', '<end_of_turn>', '</s>', '<|endoftext|>', '<eos>')

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
_UPPER, _LOWER = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]', r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'
_TEKKEN = (
    rf'[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|'
    r'\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+')


def _bytes_after(*first: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
  return pre_tokenizers.Sequence(
      [*first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
  return _bytes_after(pre_tokenizers.Split(tokenizers.Regex(pattern), 'isolated'))


def _gpt2(*first: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
  return pre_tokenizers.Sequence([*first, pre_tokenizers.ByteLevel(add_prefix_space=False)])


# How text falls into words before the merges, by the name in tokenizer.ggml.pre.
PRE_TOKENIZERS = {
    'gpt-2': _gpt2,
    'smollm': lambda: _gpt2(pre_tokenizers.Digits(individual_digits=True)),
    'qwen2': lambda: _split(_WORDS + r'\p{N}' + _REST),
    'llama-bpe': lambda: _split(_WORDS + r'\p{N}{1,3}' + _REST),
    'tekken': lambda: _split(_TEKKEN),
}


def _content(token: str | dict | None) -> str | None:
  """tokenizer_config.json writes a token as its text or as a dict that holds it."""
  return token['content'] if isinstance(token, dict) else token


def _encodable(text: str) -> str:
  return text.encode('utf-8', errors='replace').decode('utf-8')


def _no_special(name: str, which: str) -> str:
  return (f'The {which} tokenizer has no control token {name!r}: choose the data.template that '
          f'belongs to the tokenizer of tokenizer.path.')
