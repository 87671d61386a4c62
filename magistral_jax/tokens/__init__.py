r"""Text to token ids and back, behind one small interface.

    load_tokenizer('bytes', '').encode('7+1') == [61, 49, 55]
    load_tokenizer('auto', 'Magistral-Small-2507').special('[INST]') == 3

`encode` is for untrusted text (problems, completions): whatever it contains, no control token comes
out. `special` returns a control token by its name. `<think>` and `\boxed{` are ordinary text
everywhere. Where a vocabulary has control tokens for thoughts, `decode` shows them as `<think>` and
`</think>`, so that every reader of completions sees one notation.
"""
from __future__ import annotations

import os

from magistral_jax.tokens.interface import THOUGHTS, Tokenizer
from magistral_jax.tokens.sentencepiece import SentencePieceTokenizer, from_sentencepiece
from magistral_jax.tokens.subword import SubwordTokenizer, from_gguf, from_huggingface
from magistral_jax.tokens.tekken import TekkenTokenizer, from_tekken
from magistral_jax.tokens.utf8 import ByteTokenizer

__all__ = [
    'ByteTokenizer', 'SentencePieceTokenizer', 'SubwordTokenizer', 'TekkenTokenizer', 'Tokenizer',
    'THOUGHTS', 'TOKENIZERS', 'kinds_at', 'load_tokenizer']


def kinds_at(path: str) -> list[str]:
  """Kinds of tokenizer that can be read at `path`, the preferred one first.

  A folder published by Mistral may hold one tokenizer as tekken.json and as a conversion of it.
  """
  if os.path.isdir(path):
    names = sorted(os.listdir(path))
    found = {
        'tekken': 'tekken.json' in names, 'huggingface': 'tokenizer.json' in names,
        'sentencepiece': any(name.startswith('tokenizer.model') for name in names)}
    return [kind for kind, there in found.items() if there]
  if not os.path.isfile(path):
    return []
  name = os.path.basename(path)
  with open(path, 'rb') as file:
    if file.read(4) == b'GGUF':
      return ['gguf']
  if name.endswith('.json'):
    return ['tekken' if 'tekken' in name else 'huggingface']
  return ['sentencepiece'] if '.model' in name else []


def load_tokenizer(kind: str, path: str) -> Tokenizer:
  """A tokenizer of a kind named in TOKENIZERS, read from the file or folder `path`.

  Raises:
    ValueError: the kind is unknown, or `path` holds no tokenizer of that kind.
  """
  if kind not in TOKENIZERS:
    raise ValueError(
        f'There is no tokenizer of kind {kind!r}: set tokenizer.kind to one of '
        f'{", ".join(TOKENIZERS)}.')
  if kind != 'bytes' and not os.path.exists(path):
    raise ValueError(
        f'The tokenizer {path!r} does not exist: set tokenizer.path to a file or folder for '
        f'tokenizer.kind={kind!r}.')
  return TOKENIZERS[kind](path)


def _preferred(path: str) -> Tokenizer:
  kinds = kinds_at(path)
  if not kinds:
    raise ValueError(
        f'There is no tokenizer at {path!r}: set tokenizer.path to a folder with tekken.json, '
        f'tokenizer.json or tokenizer.model, or to such a file or a GGUF file.')
  return TOKENIZERS[kinds[0]](path)


TOKENIZERS = {
    'bytes': lambda path: ByteTokenizer(),
    'huggingface': from_huggingface,
    'gguf': from_gguf,
    'tekken': from_tekken,
    'sentencepiece': from_sentencepiece,
    'auto': _preferred,
}
