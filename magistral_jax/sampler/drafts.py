"""Drafts: tokens that may follow in a completion, found in what its group has written so far.

    prompt     Tom has 3 apples and Ann has 4 ...
    sample 0   Tom has 3 apples. Ann has 4 apples. Together
    sample 1   So Tom has 3 apples. Ann            ->  draft: has 4 apples .

The last tokens of a sequence are looked up among the n-grams of the prompt and of all completions
of its group, its own included; what followed there is the draft. A draft costs no forward pass of
its own, and decides nothing: the engine keeps what it would have drawn anyway (steps.py).
Reference: prompt lookup decoding, and inference with reference, arXiv:2304.04487.
"""

from collections.abc import Collection, Iterable

import numpy as np

from magistral_jax.sampler.slots import Sequence

# Lengths of the n-grams, the one tried first in front. A single token says too little.
GRAMS = (4, 2)
# Share of the active slots that must have a draft: the others draw one token at a time meanwhile.
WORTH = 0.5


class GroupTexts:
  """Prompt and completions of a group, and what followed each n-gram where it last stood."""

  def __init__(self):
    self._texts: list[tuple[Sequence, list[int]]] = []
    self._after: dict[tuple[int, ...], tuple[list[int], int]] = {}

  def add(self, sequence: Sequence) -> None:
    """Adds a completion that will grow."""
    self._texts.append((sequence, []))

  def read(self) -> None:
    """Takes up what the sequences have drawn since."""
    for sequence, text in self._texts:
      start = len(text)
      if not start:
        text += sequence.prompt.tokens.tolist()
      text += sequence.tokens[len(text) - len(sequence.prompt.tokens):]
      for place in range(start, len(text)):
        for n in GRAMS:
          if place >= n:
            self._after[tuple(text[place - n:place])] = text, place

  def draft(self, tail: list[int], count: int) -> list[int]:
    """Up to `count` tokens that followed the last ones of `tail`, and then each other."""
    found: list[int] = []
    while len(found) < count and (after := self._following(tail + found)):
      text, place = after
      found += text[place:place + count - len(found)]
    return found

  def _following(self, tail: list[int]) -> tuple[list[int], int] | None:
    return next((self._after[key] for n in GRAMS if (key := tuple(tail[-n:])) in self._after), None)


class Drafts:
  """The texts of all open groups.

  Args:
    tokens: most tokens of a draft; 0 for no drafts.
    slots: most active slots for which there are any.
  """

  def __init__(self, tokens: int, slots: int):
    self._tokens, self._slots = tokens, slots
    self._groups: dict[int, GroupTexts] = {}

  def follow(self, sequences: Iterable[Sequence]) -> None:
    """Adds completions to the texts of their groups."""
    for sequence in sequences if self._tokens else ():
      self._groups.setdefault(sequence.prompt.ordinal, GroupTexts()).add(sequence)

  def forget(self, but: Collection[int]) -> None:
    """Drops the texts of all groups but those of these ordinals."""
    self._groups = {ordinal: texts for ordinal, texts in self._groups.items() if ordinal in but}

  def of(self, active: dict[int, Sequence]) -> tuple[np.ndarray, np.ndarray] | None:
    """Drafts of the sequences in slots.

    Returns:
      [A] int32 slots and [A, tokens] int32 drafts, as `Engine.verify` takes them, padded by the
      largest int32 and -1; None if they are too few or the slots too many.
    """
    if not self._tokens or len(active) > self._slots:
      return None
    slots = np.full(self._slots, np.iinfo(np.int32).max, np.int32)
    drafts = np.full((self._slots, self._tokens), -1, np.int32)
    for texts in {id(t): t for t in map(self._texts, active.values())}.values():
      texts.read()
    for row, (slot, sequence) in enumerate(active.items()):
      # The last token that its limit allows is drawn after the drafts.
      count = min(self._tokens, sequence.sampling.max_new_tokens - len(sequence.tokens) - 1)
      found = self._texts(sequence).draft(sequence.context[-max(GRAMS):].tolist(), count)
      slots[row], drafts[row, :len(found)] = slot, found
    drafted = (drafts[:, :1] >= 0).sum()
    return (slots, drafts) if drafted and drafted >= WORTH * len(active) else None

  def _texts(self, sequence: Sequence) -> GroupTexts:
    return self._groups[sequence.prompt.ordinal]
