"""Which sampler has which training prompts, how much is open, and which prompts are suspects.

    give  ->  finish for each sequence  ->  close, when its group is complete
    give  ->  lose, with the sampler: the prompt is given again

A long prompt is open for longer and is therefore lost more often than a short one, so that a prompt
must not be dropped for being lost: that would favour short ones. But a prompt that itself kills its
sampler would kill one after the other. So a prompt that was open in LOST_TOO_OFTEN lost samplers is
a suspect: it is given once more, to a sampler that has nothing else and gets nothing else
meanwhile. It is dropped, and counted as failed, only if it was lost LOST_ALONE times while it was
alone. A machine that fails while a prompt is open with probability p drops it with probability
p ** (LOST_TOO_OFTEN + LOST_ALONE): 1e-5 for a completion of 20 minutes and a loss every 3 hours.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence

from magistral_jax.orchestration.roles import LOST_TOO_OFTEN

# Losses of a sampler that had nothing but this prompt which prove that the prompt is the reason.
LOST_ALONE = 2


class Assignments:
  """Book of the training prompts that samplers have; samplers go by their index. Any thread.

  Args:
    samplers: how many there are.
  """

  def __init__(self, samplers: int):
    self._lock = threading.Lock()
    self._open = [0] * samplers               # Sequences.
    self._ready = [True] * samplers
    self._alone: list[int | None] = [None] * samplers    # The suspect that a sampler has.
    self._holder: dict[int, int] = {}         # The sampler of each prompt, until `close`.
    self._left: dict[int, int] = {}           # Sequences open of each prompt.
    self._lost = collections.Counter()        # How often a prompt was open in a lost sampler.
    self._lost_alone = collections.Counter()
    self._closed_tokens = [0] * samplers      # Tokens of completions, and those that were lost.

  def note(self, sampler: int, *, ready: bool) -> None:
    """Notes whether a sampler can sample: one that is down or starting has no share."""
    self._ready[sampler] = ready

  def load(self, sampler: int) -> tuple[int, int, int]:
    """(sequences open in a sampler, in all samplers, number of samplers that are ready)."""
    with self._lock:
      return self._open[sampler], sum(self._open), sum(self._ready)

  def give(self, sampler: int, ordinal: int, samples: int, *, alone: bool = False) -> None:
    """Notes that a sampler gets a prompt of so many sequences."""
    with self._lock:
      self._holder[ordinal], self._left[ordinal] = sampler, samples
      self._open[sampler] += samples
      if alone:
        self._alone[sampler] = ordinal

  def finish(self, sampler: int, ordinal: int, tokens: int) -> None:
    """Notes a completion that a sampler wrote; one of an evaluation only for its tokens."""
    with self._lock:
      self._closed_tokens[sampler] += tokens
      if self._holder.get(ordinal) == sampler and self._left.get(ordinal):
        self._left[ordinal] -= 1
        self._open[sampler] -= 1
        if not self._left[ordinal] and self._alone[sampler] == ordinal:
          self._alone[sampler] = None

  def close(self, ordinal: int) -> None:
    """Forgets a prompt whose group is complete, and how often it was lost."""
    with self._lock:
      self._take_back(ordinal)
      self._lost.pop(ordinal, None)
      self._lost_alone.pop(ordinal, None)

  def lose(self, ordinal: int) -> str:
    """What becomes of a prompt that was open in a lost sampler: 'again', 'suspect' or 'drop'."""
    with self._lock:
      was_alone = ordinal in self._alone
      self._take_back(ordinal)
      (self._lost_alone if was_alone else self._lost)[ordinal] += 1
      if self._lost_alone[ordinal] >= LOST_ALONE:
        del self._lost[ordinal], self._lost_alone[ordinal]
        return 'drop'
      return 'suspect' if self._lost[ordinal] >= LOST_TOO_OFTEN else 'again'

  def _take_back(self, ordinal: int) -> None:
    sampler, left = self._holder.pop(ordinal, None), self._left.pop(ordinal, 0)
    if sampler is not None:
      self._open[sampler] -= left
      if self._alone[sampler] == ordinal:
        self._alone[sampler] = None

  def turn(self, sampler: int, suspects: int) -> str:
    """What a sampler may begin: 'any' prompt, a 'suspect', or 'none'.

    With suspects waiting, the emptiest of the ready samplers drains, and then takes one alone.

    Args:
      suspects: number of suspects that wait.
    """
    with self._lock:
      if self._alone[sampler] is not None:
        return 'none'
      if not suspects:
        return 'any'
      # One that has a suspect may be the emptiest, and is then the one to take the next.
      emptiest = min((i for i, ready in enumerate(self._ready) if ready or i == sampler),
                     key=lambda i: (self._open[i], i))
      if emptiest != sampler:
        return 'any'
      return 'none' if self._open[sampler] else 'suspect'

  def holder(self, ordinal: int) -> int | None:
    """The sampler that has, or had, a prompt whose group is not complete."""
    return self._holder.get(ordinal)

  def clear(self) -> None:
    """Forgets all prompts: nothing is open any more."""
    with self._lock:
      self._holder.clear()
      self._left.clear()
      self._open = [0] * len(self._open)
      self._alone = [None] * len(self._alone)

  def count_from(self, drawn: Sequence[int]) -> None:
    """Takes the tokens that each sampler has drawn so far as those of completions."""
    with self._lock:
      self._closed_tokens = list(drawn)

  def unfinished_tokens(self, sampler: int, drawn: int) -> int:
    """Tokens that a sampler drew for completions which now never come; counted once.

    Args:
      drawn: all that it has drawn.
    """
    with self._lock:
      lost = max(0, drawn - self._closed_tokens[sampler])
      self._closed_tokens[sampler] += lost
      return lost
