"""The interface of all tokenizers, and what their implementations share."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# Control tokens for thoughts in some vocabularies -> the text that decoding shows instead.
THOUGHTS = {'[THINK]': '<think>', '[/THINK]': '</think>'}


class Tokenizer(Protocol):
  """The attributes and methods of a tokenizer that the rest of the program uses."""
  vocab_size: int           # One more than the largest id.
  eos_id: int               # Ends a text.
  end_ids: tuple[int, ...]  # Every token that ends a completion, eos_id first.
  pad_id: int               # Fills positions that are never read; may equal eos_id.
  bos_id: int | None        # Starts a prompt where the model expects that; else None.

  def encode(self, text: str) -> list[int]:
    """Ids of a text, none of them a control token."""

  def special(self, name: str) -> int:
    """The id of a control token; ValueError if there is none of that name."""

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids, without the tokens that start, end and fill sequences."""


def encodable(text: str) -> str:
  """The text with a question mark for each lone surrogate, which JSON allows and UTF-8 does not."""
  return text.encode('utf-8', errors='replace').decode('utf-8')


def no_special(name: str, which: str) -> ValueError:
  """The error for a control token that a tokenizer does not have."""
  return ValueError(
      f'The {which} tokenizer has no control token {name!r}: choose the data.template that '
      f'belongs to the tokenizer of tokenizer.path.')
