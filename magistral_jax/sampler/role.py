"""The sampler: keeps every decode slot busy, swaps weights between two dispatches."""

import collections
import heapq
import time

import numpy as np

from magistral_jax.records import Completion, Prompt, WeightSnapshot
from magistral_jax.sampler import slots
from magistral_jax.sampler.engine import Engine, Seats, unpack


class EngineSampler:
  """Continuous batching over one engine.

  Reads:  Prompt (`submit`), WeightSnapshot (`offer`, newest wins). Writes: Completion (`step`).
  Owns:   the decode state, the slots and pages, the weights in use.
  All calls come from one thread, but `offer`, which any thread may call.
  """

  def __init__(self, engine: Engine, snapshot: WeightSnapshot, *, decode, eos_id: int):
    if engine.pages < engine.slot_pages + 2:
      raise ValueError(f'sampler.pages={engine.pages} must be at least {engine.slot_pages + 2}: '
                       f'page 0, a sequence of full length and a prompt\'s last page.')
    self._engine, self._decode, self._eos_id = engine, decode, eos_id
    self._snapshot = self._offered = snapshot
    self._state = engine.init_state()
    self._pool = slots.PagePool(engine.pages)
    self._seated: dict[int, slots.Sequence] = {}
    self._free = list(range(engine.slots))   # A heap: the lowest slot first, whatever came before.
    self._waiting: collections.deque[slots.Sequence] = collections.deque()
    self._prompts: dict[int, slots.PromptPages] = {}
    self._pinned = 0          # Open sequences of evaluations, which must see one version.
    self.counts = collections.Counter()

  @property
  def version(self) -> int:
    """The weights in use."""
    return self._snapshot.version

  @property
  def open(self) -> int:
    """Sequences submitted and not finished."""
    return len(self._seated) + len(self._waiting)

  @property
  def has_capacity(self) -> bool:
    """True while another group could be seated at once."""
    return len(self._waiting) < len(self._free)

  @property
  def pinned(self) -> bool:
    """True while an evaluation holds the weights still."""
    return self._pinned > 0

  @property
  def idle(self) -> str:
    """Why it does nothing."""
    return 'waiting for the trainer: as many groups are open as may be'

  def offer(self, snapshot: WeightSnapshot) -> None:
    """Makes newer weights available; they are taken up at the next dispatch that may."""
    self._offered = snapshot

  def submit(self, prompt: Prompt, sampling: slots.Sampling, *, pinned: bool = False) -> None:
    """Queues the samples of a prompt. Pinned ones go first and hold the weights still.

    Raises:
      ValueError: prompt and completion may grow longer than the pages of a slot.
    """
    longest = len(prompt.tokens) + sampling.max_new_tokens
    if longest > self._engine.slot_pages * self._engine.page_tokens:
      raise ValueError(
          f'A prompt of {len(prompt.tokens)} tokens and {sampling.max_new_tokens} new ones do not '
          f'fit in {self._engine.slot_pages} pages of {self._engine.page_tokens}: lower '
          f'data.max_prompt_tokens or max_new_tokens.')
    sequences = [slots.Sequence(prompt, i, sampling, pinned) for i in range(sampling.samples)]
    if pinned:
      if not self._pinned:
        self._take_offer()
      self._pinned += len(sequences)
      self._waiting.extendleft(reversed(sequences))
    else:
      self._waiting.extend(sequences)

  def step(self) -> list[Completion]:
    """Takes newer weights if there are any, refills slots, decodes one dispatch."""
    if not self._pinned:
      self._take_offer()
    self._admit()
    if not self._seated:
      return []
    run = self._grow()
    table = np.zeros((self._engine.slots, self._engine.slot_pages), np.int32)
    for slot, sequence in self._seated.items():
      table[slot, :len(sequence.pages)] = sequence.pages
    self._state, out = self._engine.generate(self._snapshot.params, self._state, table, run)
    return self._collect(*unpack(out))

  def abandon(self) -> None:
    """Drops everything submitted; the prompts' ordinals stay unsettled and are issued again."""
    for slot in list(self._seated):
      self._unseat(slot)
    self._waiting.clear()
    self._pinned = 0
    self._forget_prompts()

  def _take_offer(self) -> None:
    # Read once and never cleared: another thread may replace it at any moment.
    offered = self._offered
    age = lambda snapshot: (snapshot.lineage, snapshot.version)
    if age(offered) > age(self._snapshot):
      self._snapshot = offered
      self.counts['swaps'] += 1
      self.counts['swapped_in_flight'] += len(self._seated)

  def _admit(self) -> None:
    """Seats waiting sequences in order while there are slots and pages."""
    engine, seats, row = self._engine, Seats.empty(self._engine.slots), 0
    while self._waiting and self._free:
      sequence = self._waiting[0]
      needed = self._pages_to_seat(sequence)
      # A page for every seated sequence stays in reserve, so that admission starves nobody.
      if needed + len(self._seated) > len(self._pool):
        if self._seated:
          self.counts['waits_for_pages'] += 1
          break
        self._forget_prompts()
      self._waiting.popleft()
      slot = heapq.heappop(self._free)
      copy_from, copy_to = self._seat(sequence)
      self._seated[slot] = sequence
      s = sequence.sampling
      values = dict(slot=slot, lengths=sequence.cached, token=sequence.context[-1],
                    ordinal=sequence.prompt.ordinal, sample=sequence.sample,
                    drawn=len(sequence.tokens), limit=s.max_new_tokens,
                    temperature=s.temperature, top_p=s.top_p,
                    copy_from=copy_from, copy_to=copy_to)
      for name, value in values.items():
        getattr(seats, name)[row] = value
      row += 1
    if row:
      self._state = engine.insert(self._state, seats)
      # Only a waiting sequence that has drawn nothing will read them.
      self._forget_prompts(but={s.prompt.ordinal for s in self._waiting if not s.tokens})

  def _pages_to_seat(self, sequence) -> int:
    """Free pages that seating it now would take."""
    size = self._engine.page_tokens
    own = sequence.pages_for(self._engine.decode_steps, size)
    known = self._prompt_pages(sequence)
    if sequence.tokens or known is None:
      return own + 1
    return own - len(known.shared)

  def _prompt_pages(self, sequence):
    """The group's prompt pages, if written by the weights in use: newer ones never reuse older."""
    known = self._prompts.get(sequence.prompt.ordinal)
    return known if known and known.version == self.version else None

  def _seat(self, sequence) -> tuple[int, int]:
    """Gives a sequence its first pages; returns (page to copy, page to copy it to), or zeros."""
    size = self._engine.page_tokens
    sequence.began = sequence.began or time.monotonic()
    if sequence.tokens:   # It was unseated: its keys are computed again, for itself alone.
      sequence.pages = self._pool.take(-(-sequence.cached // size))
      self._prefill(sequence, sequence.pages)
      return 0, 0
    known = self._prompt_pages(sequence)
    if known is None:
      known = self._write_prompt(sequence)
    self._pool.hold(known.shared)
    sequence.pages = list(known.shared)
    if not known.template:
      return 0, 0
    sequence.pages += self._pool.take(1)
    return known.template[0], sequence.pages[-1]

  def _write_prompt(self, sequence) -> slots.PromptPages:
    self._release_prompt(sequence.prompt.ordinal)
    size, cached = self._engine.page_tokens, sequence.cached
    pages = self._pool.take(-(-cached // size))
    self._prefill(sequence, pages)
    full = cached // size
    known = slots.PromptPages(self.version, tuple(pages[:full]), tuple(pages[full:]))
    self._prompts[sequence.prompt.ordinal] = known
    return known

  def _prefill(self, sequence, pages) -> None:
    tokens = sequence.context[:-1]
    if len(tokens):
      self._state = self._engine.prefill(
          self._snapshot.params, self._state, tokens, pages, sequence.prompt.images)
      self.counts['prefilled_tokens'] += len(tokens)

  def _release_prompt(self, ordinal: int) -> None:
    known = self._prompts.pop(ordinal, None)
    if known:
      self._pool.drop(known.pages)

  def _forget_prompts(self, but=()) -> None:
    """Lets go of all prompt pages but those of these ordinals; who needs them writes them anew."""
    for ordinal in [o for o in self._prompts if o not in but]:
      self._release_prompt(ordinal)

  def _grow(self) -> np.ndarray:
    """Gives every seated sequence the pages of this dispatch; [B] bool of those that got them.

    Who gets none waits a dispatch. If all would wait, the youngest gives its pages back, keeps
    its tokens, and is seated again when there is room; for the last one kept prompts give way.
    """
    run = np.zeros(self._engine.slots, bool)
    while True:
      for slot, sequence in self._seated.items():
        missing = (sequence.pages_for(self._engine.decode_steps, self._engine.page_tokens)
                   - len(sequence.pages))
        if missing <= len(self._pool):
          sequence.pages += self._pool.take(max(missing, 0))
          run[slot] = True
      if run.any():
        self.counts['paused'] += len(self._seated) - int(run.sum())
        return run
      if len(self._seated) > 1:
        self._unseat(max(self._seated, key=lambda slot: self._seated[slot].began))
      else:
        self._forget_prompts()

  def _unseat(self, slot: int) -> None:
    sequence = self._seated.pop(slot)
    self._pool.drop(sequence.pages)
    sequence.pages = []
    heapq.heappush(self._free, slot)
    self._waiting.appendleft(sequence)
    off = np.zeros(self._engine.slots, bool)
    off[slot] = True
    self._state = self._engine.release(self._state, off)
    self.counts['unseated'] += 1

  def _collect(self, tokens, logps, active) -> list[Completion]:
    """Books the drawn tokens; returns the completions that ended and frees their slots."""
    now, done = time.monotonic(), []
    drawn = (tokens >= 0).sum(1)
    for slot, sequence in list(self._seated.items()):
      n = drawn[slot]
      if n:
        sequence.add(tokens[slot, :n].tolist(), logps[slot, :n].tolist(), self.version)
        self.counts['tokens'] += int(n)
      if n and not active[slot]:
        del self._seated[slot]
        heapq.heappush(self._free, slot)
        self._pool.drop(sequence.pages)
        self._pinned -= sequence.pinned
        done.append(sequence.completion(self._decode, self._eos_id, now))
    self.counts['dispatches'] += 1
    self.counts['slot_steps'] += self._engine.slots * self._engine.decode_steps
    return done
