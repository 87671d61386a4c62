"""A sampler as the loop sees it when it lives in a process of its own; orchestration/roles.py:
Sampler.

What a lost process had open is handed out again, under the same ordinals, to any sampler with
room; the batcher knows duplicates. The new process gets the newest weights and nothing older.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from magistral_jax.orchestration.roles import Lost
from magistral_jax.records import Completion, Prompt
from magistral_jax.runtime.actor_handle import ActorHandle
from magistral_jax.runtime.weight_proxy import Staged
from magistral_jax.sampler.slots import Sampling
from magistral_jax.weights.role import Taken

# Older than any.
_NO_WEIGHTS = (-1, -1)
# A sampler that is not ready yet is looked at again after this long.
_LOOK_AGAIN_S = 0.02
# Weights that were gone are asked for again after this long, if there are no newer ones by then.
_ASK_AGAIN_S = 1.0


@dataclasses.dataclass(frozen=True)
class Order:
  """A prompt to sample, as `Sampler.submit` takes it.

  Order(prompt=Prompt(12, ...), sampling=Sampling(8, 1., 1., 96))
  """
  prompt: Prompt
  sampling: Sampling


class RemoteSampler:
  """A sampler process.

  Args:
    snapshot: the first weights, which the process fetches once it is there.
    slots: how many sequences it decodes at once.
    newest_only: delivers no prompt before the newest weights have arrived (lockstep).
    deadline_s: seconds that a call, or a transfer of weights, may take.
  """

  def __init__(self, handle: ActorHandle, snapshot: Staged, *, slots: int, newest_only: bool,
               deadline_s: float):
    self._handle, self._slots, self._deadline_s = handle, slots, deadline_s
    self._newest_only = newest_only
    self._offered = snapshot                      # The newest.
    self._taken: Staged | None = None             # The last one it was told to take.
    self._taking: tuple[Staged, Any] | None = None  # That, and the reference to its answer.
    self._asked, self._has = 0.0, _NO_WEIGHTS     # When it was told; the age of what it has.
    self._gone: Staged | None = None              # What it asked for last and did not get.
    self.transport = ''                           # How its weights came, for people.
    self._serving = False                         # Whether the process has its first weights.
    self._new: list[Order] = []                   # Not delivered yet.
    self._open: dict[int, tuple[Order, set[int]]] = {}
    self._pinned: Staged | None = None            # Kept for the time of an evaluation.
    self._count, self._short_of_pages = 0, False
    self._version, self._lock = snapshot.version, threading.Lock()
    self.on_lost: Callable[[Sequence[Prompt]], None] = lambda prompts: None
    self.counts = collections.Counter()
    self._counts_before = collections.Counter()   # Of the processes that were lost.
    self.transfers = collections.Counter()

  @property
  def name(self) -> str:
    """Name of the role: 'sampler-2'."""
    return self._handle.name

  @property
  def version(self) -> int:
    return self._version

  @property
  def open(self) -> int:
    return self._count

  @property
  def has_capacity(self) -> bool:
    return self._ready() and self._count < self._slots and not self._short_of_pages

  @property
  def pinned(self) -> bool:
    return self._pinned is not None

  @property
  def pinned_version(self) -> int | None:
    pinned = self._pinned
    # Until it has them, it draws with older ones.
    return pinned.version if pinned is not None and self._has == pinned.age else None

  @property
  def waits_for(self) -> str:
    if not self._handle.where:
      return 'its process to start'
    return 'the trainer to catch up' if self._serving else 'its first weights'

  def offer(self, snapshot: Staged) -> None:
    with self._lock:
      self._offered = snapshot

  def withdraw(self) -> None:
    """Does nothing: weights are fetched when they are wanted, not when they are offered."""

  def pin(self) -> None:
    with self._lock:
      self._pinned = self._offered

  def unpin(self) -> None:
    with self._lock:
      self._pinned = None

  def submit(self, prompt: Prompt, sampling: Sampling) -> None:
    order = Order(prompt, sampling)
    self._new.append(order)
    # Samples of the same prompt that are still open are not waited for twice.
    _, left = self._open.get(prompt.ordinal, (None, ()))
    self._open[prompt.ordinal] = order, set(range(sampling.samples))
    self._count += sampling.samples - len(left)

  def step(self) -> list[Completion]:
    if not self._ready():
      time.sleep(_LOOK_AGAIN_S)
      return []
    orders = self._deliverable()
    try:
      finished, status = self._handle.call('serve', orders, timeout_s=self._deadline_s)
    except Lost as error:
      self._lose(error)
      return []
    self._version, self._short_of_pages = status['version'], status['short_of_pages']
    self.counts = self._counts_before + collections.Counter(status['counts'])
    if finished:
      self._handle.mark_healthy()
    return [completion for completion in finished if self._close(completion)]

  def abandon(self) -> None:
    self._forget()
    self._short_of_pages = False
    self.unpin()
    if self._ready():
      try:
        self._handle.call('abandon', timeout_s=self._deadline_s)
      except Lost as error:
        self._lose(error)

  def _deliverable(self) -> list[Order]:
    """Takes out the new orders, unless they wait until the newest weights have arrived."""
    late = self._taking is not None or self._wanted is not self._taken
    if late and self._newest_only:
      return []
    orders, self._new = self._new, []
    return orders

  @property
  def _wanted(self) -> Staged:
    """The weights that it is to have."""
    with self._lock:
      return self._offered if self._pinned is None else self._pinned

  def _close(self, completion: Completion) -> bool:
    """Books a completion; False if it is not waited for any more."""
    _, missing = self._open.get(completion.ordinal, (None, set()))
    if completion.sample not in missing:
      return False
    missing.remove(completion.sample)
    self._count -= 1
    if not missing:
      del self._open[completion.ordinal]
    return True

  def _ready(self) -> bool:
    """Drives the start of the process and the transfer of weights forward; never waits."""
    try:
      if not self._handle.ready():
        return False
      if self._taking is not None and self._handle.arrived(self._taking[1]):
        (staged, answer), self._taking = self._taking, None
        self._book(staged, self._handle.get(answer, self._deadline_s))
      elif self._taking is not None and time.monotonic() - self._asked > self._deadline_s:
        raise Lost(f'{self.name} did not get its weights within {self._deadline_s:.0f} s')
      offered = self._wanted
      # What is gone, with its trainer or because newer ones come, is not asked for at once again.
      again = time.monotonic() - self._asked > _ASK_AGAIN_S
      if self._taking is None and offered is not self._taken and (
          offered is not self._gone or again):
        self._taken, self._asked = offered, time.monotonic()
        self._taking = offered, self._handle.ask_aside('take', offered.manifest, offered.lenders)
    except Lost as error:
      self._lose(error)
    return self._serving

  def _book(self, staged: Staged, taken: Taken) -> None:
    """Notes what became of the weights that it was told to take."""
    self.transfers.update(taken.figures)
    if taken.words and not (taken.transport == '' and self._gone is staged):
      logging.warning('Weights for %s: %s', self.name, taken.words)
    if taken.transport:
      self.transport = f'by {taken.transport}' + (f' ({taken.words[:100]})' if taken.words else '')
      self._has, self._serving, self._gone = staged.age, True, None
      self._version = staged.version              # Of its next dispatch.
    else:
      # It goes on with what it has.
      self._gone, self._taken = staged, None
      with self._lock:
        if self._pinned is staged and self._offered is not staged:
          self._pinned = None                     # They will never come.

  def _lose(self, error: Lost) -> None:
    """Starts another process; the prompts that were open in this one go to `on_lost`."""
    self._counts_before, self._serving = +self.counts, False
    self._short_of_pages = False
    self._taken = self._taking = self._gone = None
    self._has = _NO_WEIGHTS
    self.unpin()
    prompts = [order.prompt for order, _ in self._open.values()]
    self._forget()
    self._handle.restart(error)
    self.on_lost(prompts)

  def _forget(self) -> None:
    self._new, self._open, self._count = [], {}, 0
