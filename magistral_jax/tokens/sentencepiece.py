"""Mistral's tokenizers before tekken: SentencePiece files, tokenizer.model of v1, .v2, .v3, .v7.

The library cuts a text into pieces of its model; it puts a space before each text and removes it in
decoding. Control tokens are inserted by id and never parsed from a text. In v1 (Mixtral 8x7B) the
only control tokens are <unk>, <s> and </s>: there, [INST] is ordinary text.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby

import sentencepiece

from magistral_jax.tokens import ends
from magistral_jax.tokens.interface import encodable, no_special


class SentencePieceTokenizer:
  """The tokenizer of one SentencePiece model.

  Args:
    path: its file; the model beside it may name more end tokens.
  """

  def __init__(self, model: sentencepiece.SentencePieceProcessor, path: str):
    self._model = model
    self.vocab_size = model.vocab_size()
    self.bos_id, self.eos_id = model.bos_id(), model.eos_id()
    self.pad_id = model.pad_id() if model.pad_id() >= 0 else self.eos_id
    self.end_ids = ends.with_model(self.eos_id, path, self._is_control)
    self._silent = {self.bos_id, self.pad_id, *self.end_ids}

  def encode(self, text: str) -> list[int]:
    """Ids of a text, none of them a control token."""
    return self._model.encode(encodable(text))

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""
    token = self._model.piece_to_id(name)   # The id of <unk> for an unknown name.
    if self._model.id_to_piece(token) != name or not self._is_control(token):
      raise no_special(name, 'SentencePiece')
    return token

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids, without bos, ends and pad; other control tokens are shown by name."""
    shown = [int(token) for token in ids if int(token) not in self._silent]
    pieces = []
    for is_control, part in groupby(shown, self._is_control):
      part = list(part)
      pieces += map(self._piece, part) if is_control else [self._model.decode(part)]
    return ''.join(pieces)

  def _is_control(self, token: int) -> bool:
    inside = 0 <= token < self.vocab_size
    return not inside or self._model.is_control(token) or self._model.is_unknown(token)

  def _piece(self, token: int) -> str:
    # The ids that round up a model's vocabulary have no piece.
    return self._model.id_to_piece(token) if 0 <= token < self.vocab_size else '\ufffd'


def from_sentencepiece(path: str) -> SentencePieceTokenizer:
  """Reads a tokenizer.model, or the first file of that name (with any suffix) in a folder.

  Raises:
    ValueError: there is none, or it is not a SentencePiece model.
  """
  file = path
  if os.path.isdir(path):
    names = sorted(name for name in os.listdir(path) if name.startswith('tokenizer.model'))
    if not names:
      raise ValueError(
          f'There is no tokenizer.model in {path!r}: set tokenizer.path to a folder with one.')
    file = os.path.join(path, names[0])
  try:
    model = sentencepiece.SentencePieceProcessor(model_file=file)
  except (RuntimeError, OSError) as error:
    raise ValueError(
        f'{file!r} is no SentencePiece model ({error}): set tokenizer.path to a tokenizer.model, '
        f'or tokenizer.kind to what it is.') from None
  return SentencePieceTokenizer(model, file)
