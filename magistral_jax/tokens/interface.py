"""What every tokenizer is to the rest of the program, and what all of them share."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# Control tokens that some vocabularies have for thoughts, and how decoded text shows them.
THOUGHTS = {'[THINK]': '<think>', '[/THINK]': '</think>'}


class Tokenizer(Protocol):
  """What the rest of the program knows of a tokenizer."""
  vocab_size: int           # One more than the largest id.
  eos_id: int               # Ends a completion.
  pad_id: int               # Fills places that nobody reads; may equal eos_id.
  bos_id: int | None        # Starts a prompt, where the model expects that; else None.

  def encode(self, text: str) -> list[int]: ...
  def special(self, name: str) -> int: ...
  def decode(self, ids: Sequence[int]) -> str: ...


def encodable(text: str) -> str:
  """The text with a question mark for each lone surrogate: possible in JSON, but not in UTF-8."""
  return text.encode('utf-8', errors='replace').decode('utf-8')


def no_special(name: str, which: str) -> ValueError:
  """The error of a tokenizer that is asked for a control token it does not have."""
  return ValueError(
      f'The {which} tokenizer has no control token {name!r}: choose the data.template that '
      f'belongs to the tokenizer of tokenizer.path.')
