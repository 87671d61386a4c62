"""Training prompts on their way: from their issue to a sampler until their group is complete."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from magistral_jax.batching.admission import Traffic
from magistral_jax.orchestration.assignments import Assignments
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.occupancy import Occupancy
from magistral_jax.orchestration.roles import Sampler, Trainer, Verifier
from magistral_jax.records import Completion, Prompt


class InFlight:
  """Which prompts are on their way, which sampler has them, and how full samplers are.

  `issue`, `lose`, `close` and `clear` are called under the loop's lock.

  Args:
    slots: sequences that one sampler decodes at once.
    samples: sequences of a prompt.
  """

  def __init__(self, samplers: Sequence[Sampler], ledger: Ledger, trainer: Trainer,
               verifier: Verifier, *, slots: int, samples: int):
    self._samplers, self._ledger, self._samples = samplers, ledger, samples
    self._trainer, self._verifier = trainer, verifier
    self._judging, self._lock = 0, threading.Lock()
    self._prompts: dict[int, Prompt | None] = {}    # None: being made.
    self._index = {id(sampler): i for i, sampler in enumerate(samplers)}
    self._assigned = Assignments(len(samplers))
    self._occupancy = Occupancy(len(samplers), slots)
    self._held = (0, 0)       # Pages, and sequences in slots, by dispatch, up to the last update.

  def __iter__(self):
    """The ordinals."""
    return iter(self._prompts)

  def note(self, sampler: Sampler) -> None:
    """Notes how full a sampler is, and whether it can sample at all."""
    index = self._index[id(sampler)]
    self._assigned.note(index, ready=sampler.has_capacity or sampler.open > 0)
    self._occupancy.note(index, sampler.open)

  def issue(self, sampler: Sampler) -> int | None:
    """The ordinal of the next prompt for a sampler, which counts as open there; None: not now."""
    index = self._index[id(sampler)]
    turn = self._assigned.turn(index, self._ledger.suspects)
    if turn == 'none':
      return None
    own, total, ready = self._assigned.load(index)
    ordinal = self._ledger.issue(
        lambda: Traffic(own, total, ready, unjudged=self._unjudged(),
                        lag=self._trainer.version - sampler.version),
        suspect=turn == 'suspect')
    if ordinal is not None:
      self._assigned.give(index, ordinal, self._samples, alone=turn == 'suspect')
      self._prompts[ordinal] = None
    return ordinal

  def made(self, prompt: Prompt) -> None:
    """Takes the prompt of an ordinal that was issued."""
    self._prompts[prompt.ordinal] = prompt

  def prompt(self, ordinal: int) -> Prompt | None:
    """The prompt of an ordinal, if it is on its way."""
    return self._prompts.get(ordinal)

  def finish(self, sampler: Sampler, completion: Completion) -> None:
    """Notes a completion that a sampler wrote; one of an evaluation only for its tokens."""
    self._assigned.finish(self._index[id(sampler)], completion.ordinal, len(completion.tokens))

  def count_judging(self, change: int) -> None:
    """Counts completions of training prompts that go to the verifier, or have come back."""
    with self._lock:
      self._judging += change

  def _unjudged(self) -> float:
    """Groups' worth of completions that no verifier has begun to judge.

    Where an evaluation waits too, these are the last of the queue, which is the most they can be.
    """
    return min(self._verifier.waiting, self._judging) / self._samples

  def close(self, ordinal: int) -> None:
    """Forgets a prompt whose group is complete."""
    del self._prompts[ordinal]
    self._assigned.close(ordinal)

  def lose(self, ordinal: int) -> tuple[str, int] | None:
    """Takes a prompt from a sampler that was lost.

    Returns:
      What becomes of it ('again', 'suspect', 'drop'), and the tokens drawn for completions that now
      never come, counted once for all prompts of a sampler; None if its group is complete, by
      completions that came before.
    """
    if self._prompts.pop(ordinal, None) is None:
      return None
    holder, becomes = self._assigned.holder(ordinal), self._assigned.lose(ordinal)
    if holder is None:
      return becomes, 0
    drawn = self._samplers[holder].counts['tokens']
    return becomes, self._assigned.unfinished_tokens(holder, drawn)

  def holder(self, ordinal: int) -> str:
    """Names the sampler that has, or had, a prompt."""
    index = self._assigned.holder(ordinal)
    return 'no sampler' if index is None else f'sampler-{index}'

  def clear(self) -> None:
    """Forgets all prompts; nothing is judged any more."""
    self._prompts.clear()
    self._judging = 0
    self._assigned.clear()

  def drawn(self) -> int:
    """Tokens that all samplers have drawn, without those of evaluations."""
    return sum(s.counts['tokens'] - s.counts['evaluation_tokens'] for s in self._samplers)

  def count_from_here(self) -> None:
    """Begins to count idle slots and the tokens of completions that never come."""
    self._assigned.count_from([sampler.counts['tokens'] for sampler in self._samplers])
    self._occupancy.idle()

  def figures(self) -> dict[str, float]:
    """Figures of the samplers for a line of metrics.jsonl; idle slots are those since the last."""
    total = lambda name: sum(s.counts[name] for s in self._samplers)
    now = total('held_pages'), total('holders')
    pages, holders = (after - before for after, before in zip(now, self._held, strict=True))
    self._held = now
    return dict(open_sequences=sum(s.open for s in self._samplers),
                slots_idle=self._occupancy.idle(), preemptions=total('preemptions'),
                drafts_kept=total('drafts_kept') / max(1, total('drafted')),
                sequence_pages=pages / holders if holders else 0.0)
