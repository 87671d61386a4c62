"""Sampler role: keeps every decode slot busy and swaps weights between two dispatches."""

import collections
import heapq
import itertools
import time
from collections.abc import Collection, Iterable

import jax
import numpy as np

from magistral_jax import profiling
from magistral_jax.records import Completion, Prompt, WeightSnapshot
from magistral_jax.sampler import slots
from magistral_jax.sampler.drafts import Drafts
from magistral_jax.sampler.engine import Dispatch, Engine, unpack
from magistral_jax.sampler.state import Insertions


class EngineSampler:
  """Sampler with continuous batching over one engine.

  Reads:  Prompt (`submit`), WeightSnapshot (`offer`, newest wins). Writes: Completion (`step`).
  Owns:   the decode state, the slots and pages, the weights in use.
  One thread makes all calls except `offer`, `withdraw`, `pin` and `unpin`, which any thread may
  call. Beside the weights in use there is at most one other copy, the one that is offered, if
  `withdraw` is called before newer ones are made.

  Args:
    decode: token ids -> text.
    end_ids: the tokens that end a completion, as the engine has them.
  Raises:
    ValueError: the engine has too few pages for one sequence of full length.
  """

  def __init__(self, engine: Engine, snapshot: WeightSnapshot, *, decode,
               end_ids: Collection[int]):
    if engine.pages < engine.slot_pages + 2:
      raise ValueError(f'sampler.pages={engine.pages} must be at least {engine.slot_pages + 2}: '
                       f'page 0, a sequence of full length and a prompt\'s last page.')
    self._engine, self._decode, self._end_ids = engine, decode, end_ids
    self._snapshot, self._params = snapshot, engine.lay_out(snapshot.params)
    self._offered: WeightSnapshot | None = None
    self._state = engine.init_state()
    self._pool = slots.PagePool(engine.pages)
    self._active: dict[int, slots.Sequence] = {}
    self._free = list(range(engine.slots))   # A heap: lowest slot first, whatever the history.
    self._waiting: collections.deque[slots.Sequence] = collections.deque()
    self._prompts: dict[int, slots.PromptPages] = {}
    self._drafts = Drafts(engine.draft_tokens, engine.draft_slots)
    # Most tokens that a slot draws in a dispatch.
    self._stride = max(engine.decode_steps, 1 + engine.draft_tokens)
    self._pinned: WeightSnapshot | None = None   # Kept for the time of an evaluation.
    self.short_of_pages = False   # Whether the first in the queue waits for pages, not for a slot.
    self._ages = itertools.count()
    self.counts = collections.Counter()

  @property
  def version(self) -> int:
    """Version of the weights in use."""
    return self._snapshot.version

  @property
  def snapshot(self) -> WeightSnapshot:
    """The weights in use."""
    return self._snapshot

  @property
  def open(self) -> int:
    """Number of sequences submitted and not finished."""
    return len(self._active) + len(self._waiting)

  @property
  def active(self) -> list[slots.Sequence]:
    """The unfinished sequences that are in slots."""
    return list(self._active.values())

  @property
  def sequences(self) -> list[slots.Sequence]:
    """All unfinished sequences."""
    return [*self._active.values(), *self._waiting]

  @property
  def free_pages(self) -> int:
    """Number of pages that nothing holds."""
    return len(self._pool)

  @property
  def has_capacity(self) -> bool:
    """Whether another group could start at once."""
    return len(self._waiting) < len(self._free) and not self.short_of_pages

  @property
  def pinned(self) -> bool:
    """Whether the weights are kept as they are."""
    return self._pinned is not None

  @property
  def pinned_version(self) -> int | None:
    """Version that the next dispatch draws with while it is pinned; None if it is not."""
    pinned = self._pinned
    return None if pinned is None else pinned.version

  @property
  def waits_for(self) -> str:
    """What it waits for while nothing is open, for people."""
    return 'the trainer to catch up'

  def offer(self, snapshot: WeightSnapshot) -> None:
    """Makes newer weights available; the next dispatch takes them, unless others are pinned."""
    self._offered = snapshot

  def withdraw(self) -> None:
    """Forgets weights that were offered and not taken, so that newer ones have room."""
    self._offered = None

  def pin(self) -> None:
    """Draws with the newest weights offered so far, and no newer ones, until `unpin`."""
    offered, used = self._offered, self._snapshot
    self._pinned = used if offered is None or _age(offered) < _age(used) else offered

  def unpin(self) -> None:
    """Lets newer weights be taken again."""
    self._pinned = None

  def submit(self, prompt: Prompt, sampling: slots.Sampling) -> list[slots.Sequence]:
    """Queues the samples of a prompt, and returns them.

    Raises:
      ValueError: prompt and completion could grow longer than the pages of a slot.
    """
    longest = len(prompt.tokens) + sampling.max_new_tokens
    if longest > self._engine.slot_pages * self._engine.page_tokens:
      raise ValueError(
          f'A prompt of {len(prompt.tokens)} tokens and {sampling.max_new_tokens} new ones do not '
          f'fit in {self._engine.slot_pages} pages of {self._engine.page_tokens}: lower '
          f'data.max_prompt_tokens or max_new_tokens.')
    samples = [slots.Sequence(prompt, i, sampling) for i in range(sampling.samples)]
    self._waiting.extend(samples)
    self._drafts.follow(samples)
    return samples

  @profiling.region
  def step(self) -> list[Completion]:
    """Takes newer weights if any are offered, refills slots and decodes one dispatch."""
    self.take_offer()
    self._admit()
    if not self._active:
      return []
    self._grow()
    # By page 0, which belongs to nobody, there is one more than can be held.
    self.counts['held_pages'] += self._engine.pages - 1 - len(self._pool)
    self.counts['holders'] += len(self._active)
    return self._collect(self._draw())

  def _draw(self) -> Dispatch:
    """Draws the tokens of a dispatch: K steps, or one that verifies drafts."""
    engine, told = self._engine, any(s.sampling.alternatives for s in self._active.values())
    drafted = self._drafts.of(self._active)
    if drafted is None:
      self._state, out = engine.generate(
          self._params, self._state, self._table(range(engine.slots)), likeliest=told)
      self.counts['slot_steps'] += engine.slots * engine.decode_steps
      return unpack(out)
    chosen, drafts = drafted
    self._state, out = engine.verify(
        self._params, self._state, self._table(chosen), chosen, drafts, likeliest=told)
    self.counts['slot_steps'] += drafts.size + len(drafts)
    found = unpack(out)
    self.counts['verified'] += len(self._active)
    self.counts['drafted'] += int((drafts >= 0).sum())
    # Each drew one token more than drafts of it held.
    self.counts['drafts_kept'] += int((found.tokens >= 0).sum()) - len(self._active)
    return found

  def _table(self, chosen: Iterable[int]) -> np.ndarray:
    """The page table of these slots, [n, slot_pages] int32."""
    held = [self._active[slot].pages if slot in self._active else [] for slot in chosen]
    table = np.zeros((len(held), self._engine.slot_pages), np.int32)
    for row, pages in zip(table, held, strict=True):
      row[:len(pages)] = pages
    return table

  def abandon(self) -> None:
    """Drops all open sequences and unpins; their ordinals stay unsettled and are issued again."""
    self._vacate(list(self._active))
    self._waiting.clear()
    self._pinned, self.short_of_pages = None, False
    self._forget_prompts()

  def cancel(self, names: Collection[tuple[int, int]]) -> None:
    """Drops the open ones of these sequences, each named by its ordinal and sample."""
    self._vacate([slot for slot, sequence in self._active.items() if sequence.name in names])
    self._waiting = collections.deque(s for s in self._waiting if s.name not in names)
    self._forget_unread_prompts()

  def evict(self) -> None:
    """Takes all sequences out of their slots, so that the weights then in use write their keys."""
    youngest_first = sorted(self._active, key=lambda slot: -self._active[slot].age)
    self._waiting.extendleft(self._vacate(youngest_first))
    self._forget_prompts()

  def take_offer(self) -> None:
    """Takes newer weights if any are offered, as the next dispatch would."""
    # Read once, since another thread may replace either at any moment.
    pinned, offered = self._pinned, self._offered
    offered = offered if pinned is None else pinned
    if offered is not None and _age(offered) > _age(self._snapshot):
      # The old ones are given up first: both at once might not fit.
      self._snapshot, self._params = offered, None
      self._params = self._engine.lay_out(offered.params)
      self.counts['swaps'] += 1
      self.counts['swapped_in_flight'] += len(self._active)

  @profiling.region
  def _admit(self) -> None:
    """Starts waiting sequences in order while there are slots and pages.

    The first one that finds too few pages holds up the others, so that a long sequence that was
    preempted is not overtaken by short ones for ever.
    """
    engine, new, row = self._engine, Insertions.empty(self._engine.slots), 0
    self.short_of_pages = False
    while self._waiting and self._free:
      sequence = self._waiting[0]
      needed = self._pages_to_start(sequence)
      if needed + self._missing(slots.RESERVED_DISPATCHES) > len(self._pool):
        if self._active:
          self.short_of_pages = True
          self.counts['waits_for_pages'] += 1
          break
        self._forget_prompts()
      self._waiting.popleft()
      slot = heapq.heappop(self._free)
      copy_from, copy_to = self._first_pages(sequence)
      self._active[slot] = sequence
      s = sequence.sampling
      values = dict(slot=slot, lengths=sequence.cached, token=sequence.context[-1],
                    ordinal=sequence.prompt.ordinal if s.seed is None else s.seed,
                    sample=sequence.sample, drawn=len(sequence.tokens),
                    limit=s.max_new_tokens, temperature=s.temperature, top_p=s.top_p,
                    copy_from=copy_from, copy_to=copy_to)
      for name, value in values.items():
        getattr(new, name)[row] = value
      row += 1
    if row:
      self._state = engine.insert(self._state, new)
      self._forget_unread_prompts()

  def _pages_to_start(self, sequence) -> int:
    """Number of free pages that a sequence needs in order to start and go on for a while."""
    size = self._engine.page_tokens
    own = sequence.pages_for(slots.RESERVED_DISPATCHES * self._stride, size)
    known = self._prompt_pages(sequence)
    if sequence.tokens or known is None:
      return own + 1
    return own - len(known.shared)

  def _prompt_pages(self, sequence):
    """Prompt pages of the group, if the weights in use wrote them; older ones are not reused."""
    known = self._prompts.get(sequence.prompt.ordinal)
    return known if known and known.weights == _age(self._snapshot) else None

  def _first_pages(self, sequence) -> tuple[int, int]:
    """Gives a sequence its first pages; returns the page to copy and its target, or zeros."""
    size = self._engine.page_tokens
    if sequence.age < 0:
      sequence.age, sequence.began = next(self._ages), time.monotonic()
    if sequence.tokens:   # Preempted before: its keys are computed again, for itself alone.
      sequence.pages = self._pool.take(-(-sequence.cached // size))
      self._prefill(sequence, sequence.pages)
      return 0, 0
    known = self._prompt_pages(sequence)
    if known is None:
      known = self._write_prompt(sequence)
    self._pool.hold(known.shared)
    sequence.pages, sequence.prompt_routes = list(known.shared), known.routes
    if not known.template:
      return 0, 0
    sequence.pages += self._pool.take(1)
    return known.template[0], sequence.pages[-1]

  def _write_prompt(self, sequence) -> slots.PromptPages:
    self._release_prompt(sequence.prompt.ordinal)
    size, cached = self._engine.page_tokens, sequence.cached
    pages = self._pool.take(-(-cached // size))
    routes = self._prefill(sequence, pages)
    full = cached // size
    known = slots.PromptPages(
        _age(self._snapshot), tuple(pages[:full]), tuple(pages[full:]), routes)
    self._prompts[sequence.prompt.ordinal] = known
    return known

  def _prefill(self, sequence, pages):
    """Writes the pages of all tokens but the last; returns their routes, which are on the device.
    """
    tokens = sequence.context[:-1]
    if not len(tokens):
      return None
    self._state, routes = self._engine.prefill(
        self._params, self._state, tokens, pages, sequence.prompt.images)
    self.counts['prefilled_tokens'] += len(tokens)
    return routes

  def _release_prompt(self, ordinal: int) -> None:
    known = self._prompts.pop(ordinal, None)
    if known:
      self._pool.drop(known.pages)

  def _forget_prompts(self, but=()) -> None:
    """Releases all prompt pages but those of these ordinals; a later sample writes them again."""
    for ordinal in [o for o in self._prompts if o not in but]:
      self._release_prompt(ordinal)

  def _forget_unread_prompts(self) -> None:
    # Only waiting sequences that have drawn nothing will read prompt pages.
    self._forget_prompts(but={s.prompt.ordinal for s in self._waiting if not s.tokens})

  @profiling.region
  def _grow(self) -> None:
    """Gives active sequences the pages of this dispatch; preempts some if there are too few.

    Prompt pages that wait for samples are released first: writing a prompt again costs less.
    """
    if self._missing() > len(self._pool):
      self._forget_prompts()
    while self._missing() > len(self._pool):
      self._preempt(max(self._active, key=lambda slot: self._active[slot].age))
      self.counts['preemptions'] += 1
    for sequence in self._active.values():
      sequence.pages += self._pool.take(self._missing_pages(sequence))

  def _missing(self, dispatches: int = 1) -> int:
    """Number of pages that the active sequences lack for so many dispatches."""
    return sum(self._missing_pages(sequence, dispatches) for sequence in self._active.values())

  def _missing_pages(self, sequence, dispatches: int = 1) -> int:
    needed = sequence.pages_for(dispatches * self._stride, self._engine.page_tokens)
    return needed - len(sequence.pages)

  def _preempt(self, slot: int) -> None:
    """Takes a sequence out of its slot. It keeps its tokens and is the next to get pages."""
    self._waiting.extendleft(self._vacate([slot]))

  def _vacate(self, chosen: list[int]) -> list[slots.Sequence]:
    """Frees slots whose sequences have not ended; returns these, which keep their tokens."""
    taken, off = [self._active.pop(slot) for slot in chosen], np.zeros(self._engine.slots, bool)
    for slot, sequence in zip(chosen, taken, strict=True):
      self._pool.drop(sequence.pages)
      sequence.pages = []
      heapq.heappush(self._free, slot)
    if chosen:
      off[chosen] = True
      self._state = self._engine.release(self._state, off)
    return taken

  @profiling.region
  def _collect(self, dispatch: Dispatch) -> list[Completion]:
    """Books the drawn tokens, frees slots that ended, and returns their completions."""
    now, done = time.monotonic(), []
    tokens, logps, routes = dispatch.tokens, dispatch.logps, dispatch.routes
    drawn = (tokens >= 0).sum(1)
    for slot, sequence in list(self._active.items()):
      n = drawn[slot]
      if n:
        evaluation = sequence.prompt.purpose == 'evaluation'
        # What no update trains on need not be replayed.
        own = None if routes is None or evaluation else routes[slot, :n]
        sequence.add(tokens[slot, :n].tolist(), logps[slot, :n].tolist(), self.version, own)
        if sequence.sampling.alternatives:
          sequence.add_likeliest(dispatch.likeliest[:, slot, :n],
                                 dispatch.likeliest_logps[:, slot, :n])
        self.counts['tokens'] += int(n)
        self.counts['evaluation_tokens'] += int(n) * evaluation
      if n and not dispatch.active[slot]:
        del self._active[slot]
        heapq.heappush(self._free, slot)
        self._pool.drop(sequence.pages)
        # Fetched here and not when it was computed, which would hold up the prefills after it.
        sequence.prompt_routes = jax.device_get(sequence.prompt_routes)
        done.append(sequence.completion(self._decode, self._end_ids, now))
    self.counts['dispatches'] += 1
    if done:
      self._drafts.forget(but={sequence.prompt.ordinal for sequence in self.sequences})
    return done


def _age(snapshot: WeightSnapshot) -> tuple[int, int]:
  """What makes one snapshot newer than another."""
  return snapshot.lineage, snapshot.version
