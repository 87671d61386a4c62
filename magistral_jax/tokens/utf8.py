"""The byte tokenizer, which needs no file: one token per byte of UTF-8."""
from __future__ import annotations

import re
from collections.abc import Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from magistral_jax.tokens.interface import no_special
from magistral_jax.tokens.subword import SubwordTokenizer


class ByteTokenizer:
  r"""One token per UTF-8 byte, and one for each of the three marks that every response must write.

    0 pad '<pad>'    1 bos '<s>'    2 eos '</s>'
    3 '<think>'      4 '</think>'   5 '\boxed{'      6.. the 256 bytes

  The marks are text: `encode` finds them in any text and `decode` returns them, so that decoding
  undoes encoding for every string.
  """
  CONTROLS = ('<pad>', '<s>', '</s>')
  MARKS = ('<think>', '</think>', '\\boxed{')

  def __init__(self):
    self.pad_id, self.bos_id, self.eos_id = 0, 1, 2
    self.end_ids = (self.eos_id,)
    self._bytes_from = len(self.CONTROLS) + len(self.MARKS)
    # A multiple of 8, so that the vocabulary divides over devices.
    self.vocab_size = -(-(self._bytes_from + 256) // 8) * 8

  def encode(self, text: str) -> list[int]:
    """Ids of a text, none of them a control token."""
    ids = []
    for piece in re.split('(' + '|'.join(map(re.escape, self.MARKS)) + ')', text):
      if piece in self.MARKS:
        ids.append(len(self.CONTROLS) + self.MARKS.index(piece))
      else:
        # A lone surrogate, which JSON allows, has no UTF-8 form and becomes a question mark.
        ids.extend(self._bytes_from + byte for byte in piece.encode('utf-8', errors='replace'))
    return ids

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""
    if name not in self.CONTROLS:
      raise no_special(name, 'byte')
    return self.CONTROLS.index(name)

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids, without control tokens; broken UTF-8 becomes replacement characters."""
    controls, first = len(self.CONTROLS), self._bytes_from
    pieces = []
    for token in map(int, ids):
      if first <= token < first + 256:
        pieces.append(bytes([token - first]))
      elif controls <= token < first:
        pieces.append(self.MARKS[token - controls].encode())
      elif token >= first:
        pieces.append(b'\xff')  # Ids that round up the vocabulary are never valid text.
    return b''.join(pieces).decode('utf-8', errors='replace')

  def save(self, folder: str) -> list[str]:
    """Writes files that `subword.from_huggingface` and transformers read; returns their names.

    They encode and decode as this one does: byte-level pairs without any pair.
    """
    vocabulary = {name: token for token, name in enumerate((*self.CONTROLS, *self.MARKS))}
    vocabulary |= {letter: self._bytes_from + byte for byte, letter in _letters().items()}
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(self.CONTROLS))
    made.add_tokens([tokenizers.AddedToken(mark, normalized=False) for mark in self.MARKS])
    made.post_processor = processors.TemplateProcessing(
        single='<s> $A', special_tokens=[('<s>', self.bos_id)])
    pad, bos, eos = self.CONTROLS
    return SubwordTokenizer(made, eos=eos, bos=bos, pad=pad).save(folder)


def _letters() -> dict[int, str]:
  """The letter that stands for each byte in byte-level vocabularies: itself where it is printable.

  Reference: the tokenizer of GPT-2.
  """
  shown = [*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1),
           *range(ord('®'), ord('ÿ') + 1)]
  hidden = [byte for byte in range(256) if byte not in shown]
  return {byte: chr(byte) for byte in shown} | {
      byte: chr(256 + number) for number, byte in enumerate(hidden)}
