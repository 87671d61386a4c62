"""Byte-pair tokenizers of the `tokenizers` library, from tokenizer.json and from GGUF files."""
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import groupby

import tokenizers
from tokenizers import pre_tokenizers

from magistral_jax.tokens import ends
from magistral_jax.tokens.interface import THOUGHTS, encodable, no_special


class SubwordTokenizer:
  """A `tokenizers.Tokenizer`, read from tokenizer.json or rebuilt from a GGUF file.

  Args:
    template: the tokenizer; its settings are changed so that control tokens in a text stay text.
    eos, bos, pad: texts of the control tokens. Without bos, prompts begin with none; without pad,
      eos is used for padding.
    end_ids: more tokens that end a completion.
  """

  def __init__(self, template: tokenizers.Tokenizer, *, eos: str, bos: str | None, pad: str | None,
               end_ids: Sequence[int] = ()):
    template.no_padding()
    template.no_truncation()
    template.encode_special_tokens = True   # Encoded as text; only `special` gives control tokens.
    self._template = template
    self._specials = {
        token.content: token_id for token_id, token in template.get_added_tokens_decoder().items()}
    self.vocab_size = max(template.get_vocab(with_added_tokens=True).values()) + 1
    self.eos_id = self.special(eos)
    self.bos_id = self.special(bos) if bos else None
    self.pad_id = self.special(pad) if pad else self.eos_id
    self.end_ids = ends.joined((self.eos_id,), end_ids)
    self._silent = {self.bos_id, self.pad_id, *self.end_ids}
    self._thoughts = {
        self._specials[name]: text for name, text in THOUGHTS.items() if name in self._specials}

  def encode(self, text: str) -> list[int]:
    """Ids of a text, none of them a control token."""
    return self._template.encode(encodable(text), add_special_tokens=False).ids

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""
    if name not in self._specials:
      raise no_special(name, 'loaded')
    return self._specials[name]

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids, without ends, bos and pad; [THINK] is shown as <think>, others by name."""
    shown = [int(token) for token in ids if int(token) not in self._silent]
    text = lambda part: self._template.decode(part, skip_special_tokens=False)
    pieces = []
    for is_thought, part in groupby(shown, self._thoughts.__contains__):
      part = list(part)
      pieces += [self._thoughts[token] for token in part] if is_thought else [text(part)]
    return ''.join(pieces)

  def save(self, folder: str, chat_template: str | None = None) -> list[str]:
    """Writes files that `from_huggingface` and transformers read; returns their names."""
    text = {token_id: name for name, token_id in self._specials.items()}
    config = dict(
        tokenizer_class='PreTrainedTokenizerFast', eos_token=text[self.eos_id],
        bos_token=text.get(self.bos_id), pad_token=text[self.pad_id],
        add_bos_token=self.bos_id is not None, clean_up_tokenization_spaces=False)
    if chat_template:
      config['chat_template'] = chat_template
    self._template.save(os.path.join(folder, 'tokenizer.json'))
    with open(os.path.join(folder, 'tokenizer_config.json'), 'w', encoding='utf-8') as file:
      json.dump(config, file, indent=2, ensure_ascii=False)
    return ['tokenizer.json', 'tokenizer_config.json']


def from_huggingface(path: str) -> SubwordTokenizer:
  """Reads a model folder, or its tokenizer.json alone.

  The end token is the `eos_token` of tokenizer_config.json, or of special_tokens_map.json, which
  older folders have; without either it is the first of END_TOKENS in the vocabulary.

  Raises:
    ValueError: the file is missing or unreadable, or no end token is known.
  """
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  file = os.path.join(path, 'tokenizer.json') if os.path.isdir(path) else path
  if not os.path.exists(file):
    raise ValueError(
        f'There is no tokenizer.json in {path!r}: set tokenizer.path to a folder with one.')
  try:
    template = tokenizers.Tokenizer.from_file(file)
  except Exception as error:  # The library raises no narrower exception.
    raise ValueError(
        f'{file!r} is no tokenizer ({error}): set tokenizer.path to a tokenizer.json, or '
        f'tokenizer.kind to what it is.') from None
  config = ends.read_object(os.path.join(folder, 'tokenizer_config.json'))
  if not config.get('eos_token'):
    older = ends.read_object(os.path.join(folder, 'special_tokens_map.json'))
    config |= dict(eos_token=older.get('eos_token'))
  known = {token.content for token in template.get_added_tokens_decoder().values()}
  eos = _content(config.get('eos_token'))
  eos = eos or next((name for name in END_TOKENS if name in known), None)
  if eos is None:
    raise ValueError(
        f'The tokenizer {path!r} names no end-of-sequence token: put "eos_token" into a '
        f'tokenizer_config.json beside the file of tokenizer.path.')
  bos = _content(config.get('bos_token'))
  if not config.get('add_bos_token'):
    # Many tokenizers name a bos that no prompt begins with; the post-processor decides.
    first = template.encode('', add_special_tokens=True).tokens[:1]
    bos = first[0] if first and first[0] != eos else None
  control = {i for i, token in template.get_added_tokens_decoder().items() if token.special}
  return SubwordTokenizer(
      template, eos=eos, bos=bos, pad=_content(config.get('pad_token')),
      end_ids=ends.with_model(template.token_to_id(eos), path, control.__contains__))


def from_gguf(path: str) -> SubwordTokenizer:
  """Rebuilds the byte-level BPE tokenizer that a GGUF checkpoint describes.

  Tokens of type 3 (control) and 4 (user defined) are matched whole, all others by merges.

  Raises:
    ValueError: the file is unreadable, or its kind of tokenizer is not implemented.
  Reference: the keys tokenizer.ggml.* of the GGUF specification.
  """
  import gguf  # Imported here, since only this kind of run should pay its time and memory.
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
  tokens = read('tokens')
  if not tokens:
    raise ValueError(f'The GGUF tokenizer of {path!r} has no tokenizer.ggml.tokens: take its '
                     f"tokenizer.json with tokenizer.kind='huggingface'.")
  types = read('token_type', [1] * len(tokens))
  merges = [tuple(merge.split(' ', 1)) for merge in read('merges', [])]
  bpe = tokenizers.models.BPE(
      vocab={token: i for i, token in enumerate(tokens)}, merges=merges,
      ignore_merges=pre in LIKE_LLAMA3)
  template = tokenizers.Tokenizer(bpe)
  template.pre_tokenizer = PRE_TOKENIZERS[pre]()
  template.decoder = tokenizers.decoders.ByteLevel()
  whole = lambda kind: [
      tokenizers.AddedToken(token, special=kind == 3, normalized=False)
      for token, token_type in zip(tokens, types, strict=True) if token_type == kind]
  template.add_special_tokens(whole(3))
  template.add_tokens(whole(4))
  first = lambda key: next(
      (tokens[i] for i in ends.gguf_ids(key, read(key), len(tokens), path)), None)
  end_ids = ends.of_gguf(read, path)
  if not end_ids:
    raise ValueError(f'The GGUF tokenizer of {path!r} has no tokenizer.ggml.eos_token_id: take its '
                     f"tokenizer.json with tokenizer.kind='huggingface'.")
  return SubwordTokenizer(
      template, eos=tokens[end_ids[0]], end_ids=end_ids, pad=first('padding_token_id'),
      bos=first('bos_token_id') if read('add_bos_token', pre in LIKE_LLAMA3) else None)


END_TOKENS = ('<|eot_id|>', '<|im_end|>', '<|end|>', '<end_of_turn>', '<|endoftext|>',
                   '<|end_of_text|>', '<|eom_id|>', '<EOT>', '_<EOT>')
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


# Whole words of the vocabulary are encoded without merges; bos comes first unless the file denies
# it.
LIKE_LLAMA3 = ('llama-bpe', 'tekken')

# Splitting of a text into words before the merges, by the name in tokenizer.ggml.pre.
PRE_TOKENIZERS = {
    'gpt-2': _gpt2,
    'smollm': lambda: _gpt2(pre_tokenizers.Digits(individual_digits=True)),
    'qwen2': lambda: _split(_WORDS + r'\p{N}' + _REST),
    'llama-bpe': lambda: _split(_WORDS + r'\p{N}{1,3}' + _REST),
    'tekken': lambda: _split(_TEKKEN),
}


def _content(token: str | dict | None) -> str | None:
  """Text of a token, which tokenizer_config.json has as such or in a dict."""
  return token['content'] if isinstance(token, dict) else token
