"""The loop as a discrete-event simulation: prompts, slots, verdicts, groups, batches, versions.

    a completion ends  ->  a verifier judges it  ->  its group may be whole
    a group is whole   ->  dropped, or it waits for a batch  ->  an update begins
    an update ends     ->  a new version, its groups are settled  ->  samplers get it, some later

What may start is decided by the very code that paces a run (batching/admission.py), and groups wait
for their batch as they do there (batching/backlog.py).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import numpy as np

from magistral_jax.batching.admission import Admission, Issue, Traffic
from magistral_jax.batching.backlog import Backlog
from magistral_jax.simulation.sampler import SimulatedSampler, SimulatedSequence
from magistral_jax.simulation.system import LengthDistribution, System


class _Group:
  __slots__ = ('begins', 'issue', 'kept', 'missing', 'spans', 'tokens')

  def __init__(self, lengths, kept, issue: Issue):
    self.missing, self.kept, self.issue = len(lengths), kept, issue
    self.tokens, self.spans, self.begins = int(lengths.sum()), [], []


class Simulation:
  """One simulation of one system; `run` returns its figures.

  Args:
    lengths: draws the completions of a prompt.
    seed: of the random numbers that `lengths` uses; the rest is deterministic.
    observe: called after every event with (seconds, groups issued and not settled).
  """

  def __init__(self, system: System, lengths: LengthDistribution, *, seed: int = 0,
               observe: Callable[[float, int], None] = lambda seconds, groups: None):
    self._system, self._lengths, self._observe = system, lengths, observe
    self._rng = np.random.default_rng(seed)
    self._samplers = [SimulatedSampler(system) for _ in range(system.samplers)]
    self._events: list[tuple[float, int, str, object]] = []
    self._numbers = itertools.count()
    self._now, self._version = 0.0, 0
    self._admission = Admission(system.pace)
    self._due = system.prompts_per_batch  # Synchronous: groups this batch may still issue.
    self._backlog: Backlog[_Group] = Backlog()
    self._training: list[_Group] = []
    self._staleness: list[int] = []       # Of the completions in training.
    self._open = 0                        # Sequences submitted and not finished.
    self._stale = 0                       # Groups dropped for it.
    self._workers = [0.0] * system.verifier_workers
    self._judging = 0
    self._updates: list[dict] = []
    self._trained_s = 0.0
    self._depth_s = self._deepest = 0
    self._depth_since = 0.0
    self._held = [0.0, 0.0]               # Seconds of pages and of slots up to the newest figures.

  def run(self, updates: int, *, warmup: int | None = None) -> dict[str, float]:
    """Simulates until enough updates are over; the figures of the newest `updates` of them.

    Args:
      warmup: updates before those, which fill the pipeline and do not count; None: a quarter of
        `updates`, and at least 2.
    Returns:
      {name: figure}, the unit in the name: `_s` is seconds, `_per_s` a rate, `_idle` a share.
    Raises:
      RuntimeError: no event is left, which no system that passes its checks should reach.
    """
    warmup = max(2, updates // 4) if warmup is None else warmup
    self.begin()
    self.until(warmup)
    mark = self.mark()
    self.until(warmup + updates)
    return self.figures(mark)

  def begin(self) -> None:
    """Starts the first sequences."""
    self._admit()

  def until(self, updates: int) -> None:
    """Simulates until so many updates are over in all. Raises RuntimeError as `run`."""
    handlers = dict(end=self._end, judged=self._judged, trained=self._trained,
                    published=self._published, weights=self._weights)
    while len(self._updates) < updates:
      if not self._events:
        raise RuntimeError('The simulated system has stopped: no event is left.')
      self._now, _, kind, what = heapq.heappop(self._events)
      handlers[kind](what)
      self._observe(self._now, self._admission.unsettled)

  @property
  def updates(self) -> int:
    """Updates that are over."""
    return len(self._updates)

  def newest(self) -> dict[str, float]:
    """Figures of the newest update by their names in metrics.jsonl; pages since the last call."""
    now = [sum(getattr(sampler, name) for sampler in self._samplers)
           for name in ('page_s', 'slot_s')]
    pages, slots = (b - a for a, b in zip(self._held, now, strict=True))
    self._held = now
    return dict(completion_tokens_mean=self._updates[-1]['tokens'] / self._system.n_batch,
                sequence_pages=pages / slots if slots else 0.0)

  def change(self, system: System) -> None:
    """Goes on as a system of the same samplers with another batch or pace."""
    self._system, self._admission.pace = system, system.pace
    self._due = system.prompts_per_batch
    self._train()
    self._admit()

  def _push(self, when: float, kind: str, what) -> None:
    heapq.heappush(self._events, (when, next(self._numbers), kind, what))

  def _may_issue(self, own: int, version: int) -> bool:
    """Whether a sampler with so many open sequences and weights of this version may get a group."""
    if self._system.synchronous:
      return self._due > 0
    # As a pool says that it is full: by what waits for a worker.
    waiting = max(0, self._judging - self._system.verifier_workers)
    if waiting >= self._system.verifier_queue:
      return False
    return self._admission.may_issue(Traffic(
        own=own, total=self._open, samplers=len(self._samplers),
        unjudged=waiting / self._system.group_size, lag=self._version - version))

  def _admit(self) -> None:
    """Gives prompts to the samplers with the most free slots, a group at a time."""
    # Most events change nothing: if not even an idle sampler with the newest weights may.
    if not self._may_issue(0, self._version):
      return
    free = [(-sampler.free, i) for i, sampler in enumerate(self._samplers) if sampler.free > 0]
    heapq.heapify(free)
    touched, size = set(), self._system.group_size
    while free:
      left, i = heapq.heappop(free)
      sampler = self._samplers[i]
      if not self._may_issue(sampler.open, sampler.version):
        continue            # Another one may, with newer weights or fewer sequences.
      lengths, kept = self._lengths(self._rng, size)
      group = _Group(lengths, kept, self._admission.issue(self._version - sampler.version))
      sampler.waiting.extend(SimulatedSequence(group, int(n)) for n in lengths)
      self._due -= 1
      self._open += size
      touched.add(i)
      if left + size < 0:
        heapq.heappush(free, (left + size, i))
    for i in touched:
      self._refill(self._samplers[i])

  def _refill(self, sampler: SimulatedSampler) -> None:
    sampler.advance(self._now)
    sampler.fill(self._numbers)
    sampler.stamp += 1
    if sampler.active:
      self._push(sampler.next_event(), 'end', (sampler, sampler.stamp))

  def _end(self, what) -> None:
    sampler, stamp = what
    if stamp != sampler.stamp:
      return                # The occupancy has changed since, and a newer event replaces this one.
    sampler.advance(self._now)
    for sequence in sampler.finish():
      self._open -= 1
      group = sequence.group
      group.spans.append(sampler.version - sequence.began + 1)
      group.begins.append(sequence.began)
      free = heapq.heappop(self._workers)
      done = max(free, self._now) + self._system.verdict_s
      heapq.heappush(self._workers, done)
      self._count_depth(+1)
      self._push(done, 'judged', group)
    self._refill(sampler)
    if sampler.free > 0:
      self._admit()

  def _judged(self, group: _Group) -> None:
    self._count_depth(-1)
    group.missing -= 1
    if not group.missing:
      if group.kept:
        self._admission.land(group.issue)
        self._backlog.offer(group, position=group.issue.position,
                            oldest_version=min(group.begins))
        self._train()
      else:
        self._admission.drop(group.issue)
        self._due += 1
    self._admit()

  def _train(self) -> None:
    if self._training:
      return
    for group in self._backlog.expire(self._version, self._system.max_staleness):
      self._admission.drop(group.issue)
      self._stale += 1
    batch = self._backlog.take(self._system.prompts_per_batch)
    if batch is None:
      return
    self._training = batch
    self._staleness = [self._version - began for group in batch for began in group.begins]
    seconds = self._system.train_s + self._system.train_token_s * sum(g.tokens for g in batch)
    self._trained_s += seconds
    self._push(self._now + seconds, 'trained', None)

  def _trained(self, _) -> None:
    """The trainer has new weights, and publishes them."""
    self._version += 1
    self._push(self._now + self._system.publish_s, 'published', None)

  def _published(self, _) -> None:
    """The update is over and its groups are settled; the weights are on their way."""
    self._updates.append(dict(
        when=self._now, tokens=sum(group.tokens for group in self._training),
        staleness=self._staleness, stale=self._stale,
        spans=[n for group in self._training for n in group.spans]))
    for group in self._training:
      self._admission.train(group.issue)
    self._training, self._due = [], self._system.prompts_per_batch
    first, last = self._system.late_s
    for i in range(len(self._samplers)):
      late = first + (last - first) * i / max(1, len(self._samplers) - 1)
      if late:
        self._push(self._now + late, 'weights', (i, self._version))
      else:
        self._samplers[i].version = self._version
    self._train()
    self._admit()

  def _weights(self, what: tuple[int, int]) -> None:
    """Weights have arrived at a sampler; the newest win."""
    i, version = what
    self._samplers[i].version = max(self._samplers[i].version, version)
    self._admit()

  def _count_depth(self, change: int) -> None:
    self._depth_s += self._judging * (self._now - self._depth_since)
    self._depth_since = self._now
    self._judging += change
    self._deepest = max(self._deepest, self._judging)

  def mark(self) -> tuple:
    """Where `figures` are to begin."""
    for sampler in self._samplers:
      sampler.advance(self._now)
    self._count_depth(0)
    return (len(self._updates), self._now, sum(s.busy_s for s in self._samplers),
            sum(s.slot_s for s in self._samplers), self._trained_s, self._depth_s,
            sum(s.preemptions for s in self._samplers), sum(s.prefill_s for s in self._samplers))

  def figures(self, marked: tuple) -> dict[str, float]:
    """The figures of `run` since `mark` gave `marked`; at least one update must be over since."""
    warmup = marked[0]
    _, seconds, busy, slots, trained, depth, preemptions, prefill = (
        b - a for a, b in zip(marked, self.mark(), strict=True))
    counted = self._updates[warmup:]
    before = self._updates[warmup - 1]['when'] if warmup else 0.0
    whens = [before, *(update['when'] for update in counted)]
    spans = np.concatenate([update['spans'] for update in counted])
    staleness = np.concatenate([update['staleness'] for update in counted])
    stale = counted[-1]['stale'] - (self._updates[warmup - 1]['stale'] if warmup else 0)
    s = self._system
    # Sums of floats that make up the whole may exceed it in their last digits.
    idle = lambda used, there: max(0.0, 1 - used / there)
    return dict(
        step_s=seconds / len(counted), step_s_median=float(np.median(np.diff(whens))),
        completions_per_s=len(counted) * s.n_batch / seconds,
        tokens_per_s=sum(update['tokens'] for update in counted) / seconds,
        tokens_mean=sum(update['tokens'] for update in counted) / len(counted) / s.n_batch,
        samplers_idle=idle(busy, seconds * s.samplers),
        slots_idle=idle(slots, seconds * s.all_slots), trainer_idle=idle(trained, seconds),
        preemptions=preemptions / len(counted), prefill_again=prefill / (seconds * s.samplers),
        versions_per_completion=float(spans.mean()), versions_most=int(spans.max()),
        staleness_expected=s.n_async / s.n_batch if s.pace else 0.0,
        staleness_mean=float(staleness.mean()), staleness_most=int(staleness.max()),
        stale_share=stale / (stale + s.prompts_per_batch * len(counted)),
        verifier_queue_mean=depth / seconds, verifier_queue_most=self._deepest,
        n_async=s.n_async, n_batch=s.n_batch)
