"""One simulated sampler: its slots, its pages, and the sequences that wait for them.

It has a clock of decode steps that runs as fast as its occupancy allows, so that a sequence needs
one event, its end, however long it is. Another kind of event is that the pages are full: then the
youngest sequences are preempted as in sampler/role.py, and prefilled again later. The active
sequences of a group share the full pages of their prompt; one that was preempted has its own.
"""

from __future__ import annotations

import collections
import heapq
import math

from magistral_jax.sampler.slots import RESERVED_DISPATCHES
from magistral_jax.simulation.system import System


class SimulatedSequence:
  """A sequence of a group, which has drawn some of its `tokens` when it is preempted."""
  __slots__ = ('age', 'base', 'began', 'drawn', 'group', 'prompt', 'shares', 'tokens')

  def __init__(self, group, tokens):
    self.group, self.tokens, self.began, self.drawn, self.age = group, tokens, 0, 0, -1
    # While it is active: tokens of the prompt in its own pages; these and the tokens that it has
    # drawn, minus the clock; whether it reads the prompt pages of its group.
    self.prompt, self.base, self.shares = 0, 0.0, False


class SimulatedSampler:
  """Slots, pages and a clock of decode steps."""

  def __init__(self, system: System):
    self._system = system
    self.active: list[tuple[float, int, SimulatedSequence]] = []   # A heap by the clock at the end.
    self.waiting: collections.deque[SimulatedSequence] = collections.deque()
    self.clock = self.since = self.busy_s = self.slot_s = self.page_s = self.prefill_s = 0.0
    self.stamp = 0                                          # Of its newest event; others are void.
    self.version = 0                                        # Of its weights.
    self.preemptions = 0
    self._base = 0.0                                        # That of all active sequences.
    self._sharing = collections.Counter()                   # Active sequences by their group.
    # Of a prompt without its last token, which is the first input.
    self._shared, self._rest = divmod(max(0, system.prompt_tokens - 1), system.page_tokens)
    self._short_of_pages = False

  def _step_s(self) -> float:
    return self._system.token_s + self._system.sequence_s * len(self.active)

  def advance(self, now: float) -> None:
    """Lets the clock run to `now`, at the speed that the active sequences allow."""
    if now <= self.since:     # It is still prefilling.
      return
    if self.active:
      seconds, steps = now - self.since, (now - self.since) / self._step_s()
      n = len(self.active)
      tokens = self._base + n * (self.clock + steps / 2)
      self.clock += steps
      self.busy_s += seconds
      self.slot_s += seconds * n
      # The last page of each is half full.
      self.page_s += seconds * (tokens / self._system.page_tokens + n / 2
                                + self._shared * len(self._sharing))
    self.since = now

  def finish(self) -> list[SimulatedSequence]:
    """Takes the sequences that have ended out of their slots."""
    found = []
    while self.active and self.active[0][0] <= self.clock + 1e-6:
      _, _, sequence = heapq.heappop(self.active)
      self._leave(sequence)
      found.append(sequence)
    return found

  def fill(self, numbers) -> None:
    """Preempts what has no room, then starts what has; `advance` must have been called before."""
    k = self._system.decode_steps
    while len(self.active) > 1 and self._free_tokens(len(self.active)) < -1e-6:
      self._preempt()
    self._short_of_pages = False
    while self.waiting and len(self.active) < self._system.slots:
      sequence = self.waiting[0]
      shares = not sequence.drawn
      prompt = self._rest if shares else max(0, self._system.prompt_tokens - 1)
      new = self._shared * self._system.page_tokens * (
          shares and sequence.group not in self._sharing)
      reserved = RESERVED_DISPATCHES * k * (len(self.active) + 1)
      if self.active and (self._free_tokens(len(self.active) + 1)
                          < sequence.drawn + prompt + new + reserved):
        self._short_of_pages = True
        break
      self.waiting.popleft()
      if sequence.age < 0:
        sequence.age, sequence.began = next(numbers), self.version
      if sequence.drawn:
        self._prefill(sequence.drawn + prompt)
      sequence.prompt, sequence.shares = prompt, shares
      sequence.base = sequence.drawn + prompt - self.clock
      self._base += sequence.base
      if shares:
        self._sharing[sequence.group] += 1
      steps = -(-(sequence.tokens - sequence.drawn) // k) * k
      heapq.heappush(self.active, (self.clock + steps, next(numbers), sequence))

  def next_event(self) -> float:
    """When the first active sequence ends or the pages are full, if the occupancy stays as it is.
    """
    steps = self.active[0][0] - self.clock
    if len(self.active) > 1:
      # One more token each, so that the pages are over-full by then.
      steps = min(steps, self._free_tokens(len(self.active)) / len(self.active) + 1)
    return self.since + max(0.0, steps) * self._step_s()

  @property
  def free(self) -> int:
    """Slots that no sequence holds or waits for; below 1 while sequences wait for pages."""
    return 0 if self._short_of_pages else self._system.slots - self.open

  @property
  def open(self) -> int:
    """Sequences begun or waiting for a slot."""
    return len(self.active) + len(self.waiting)

  def _free_tokens(self, sequences: int) -> float:
    """Tokens for which so many sequences have pages; the last page of each is half full."""
    if not self._system.pages:
      return math.inf
    used = self._base + len(self.active) * self.clock
    shared = self._shared * len(self._sharing)
    return (self._system.pages - 1 - sequences / 2 - shared) * self._system.page_tokens - used

  def _preempt(self) -> None:
    entry = max(self.active, key=lambda entry: entry[2].age)
    self.active.remove(entry)
    heapq.heapify(self.active)
    sequence = entry[2]
    self._leave(sequence)
    sequence.drawn = int(sequence.base + self.clock) - sequence.prompt
    self.waiting.appendleft(sequence)
    self.preemptions += 1

  def _leave(self, sequence: SimulatedSequence) -> None:
    """Books a sequence that is active no more."""
    self._base -= sequence.base
    if sequence.shares:
      self._sharing[sequence.group] -= 1
      if not self._sharing[sequence.group]:
        del self._sharing[sequence.group]

  def _prefill(self, tokens: int) -> None:
    """Prefills the tokens of a sequence that was preempted; all others wait meanwhile."""
    seconds = self._system.prefill_token_s * tokens
    self.since += seconds
    self.busy_s += seconds
    self.slot_s += seconds * len(self.active)
    self.prefill_s += seconds
