"""A sampler as the loop sees it when it lives in a process of its own.

It answers what the loop asks of that role (sampler/role.py), so that threads.py and lockstep.py do
not know the difference. What a lost process had open is handed out again, under the same ordinals,
to whoever has room; the batcher knows duplicates. The new process gets the newest weights and
nothing older.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence

import ray
from absl import logging

from magistral_jax.orchestration.health import Lost
from magistral_jax.records import Completion, Prompt
from magistral_jax.runtime.actor_handle import ActorHandle

# Older than any.
_NO_WEIGHTS = (-1, -1)
# A sampler that is not ready yet is looked at again after this long.
_LOOK_AGAIN_S = 0.02
# Weights that were gone are asked for again after this long, if there are no newer ones by then.
_ASK_AGAIN_S = 1.0


@dataclasses.dataclass(frozen=True)
class Staged:
  """Weights on their way: what they are, and the processes that lend their pieces.

  Staged(version=12, lineage=0, manifest=Manifest(...), lenders=(ActorHandle(...), ...))
  """
  version: int
  lineage: int
  manifest: object
  lenders: Sequence


@dataclasses.dataclass(frozen=True)
class Order:
  """A prompt to sample, as `Sampler.submit` takes it."""
  prompt: Prompt
  sampling: object
  pinned: bool
  wanted: tuple[int, int]   # The newest weights at the time: those of an evaluation wait for them.


class RemoteSampler:
  """A sampler host.

  Args:
    slots: how many sequences it decodes at once.
    newest_only: hands out no prompt before the newest weights have arrived (lockstep); otherwise
      only those of evaluations wait for them.
    on_lost: called with the Orders it had open when it was lost. Until the loop sets it there are
      only those of evaluations, which are begun anew by who holds them.
  """

  def __init__(self, handle: ActorHandle, staged: Staged, *, slots: int, newest_only: bool,
               deadline_s: float):
    self._handle, self._slots, self._deadline_s = handle, slots, deadline_s
    self._newest_only = newest_only
    self._offered, self._taken = staged, None     # The newest; the last one sent.
    self._taking: ray.ObjectRef | None = None
    self._asked, self._has = 0.0, _NO_WEIGHTS     # When for those; what it has.
    self._gone: Staged | None = None              # What it asked for last and did not get.
    self.transport = ''                           # How its weights came, for people.
    self._seated = False                          # The process has its first weights.
    self._new: list[Order] = []
    self._open: dict[int, tuple[Order, set[int]]] = {}
    self._pinned: set[int] = set()                # Those of the open that are pinned.
    self._count = 0
    self._version, self._lock = staged.version, threading.Lock()
    self.on_lost: Callable[[list[Order]], None] = lambda orders: None
    self.counts = collections.Counter()
    self._counts_before = collections.Counter()   # Of the processes that were lost.
    self.transfers = collections.Counter()

  @property
  def name(self) -> str:
    return self._handle.name

  @property
  def version(self) -> int:
    """The weights it used last."""
    return self._version

  @property
  def open(self) -> int:
    """Sequences submitted and not finished."""
    return self._count

  @property
  def has_capacity(self) -> bool:
    """True while the host is ready and another group could be seated at once."""
    return self._ready() and self._count < self._slots

  @property
  def pinned(self) -> bool:
    """True while an evaluation holds the weights still."""
    return bool(self._pinned)

  @property
  def idle(self) -> str:
    """Why it does nothing."""
    if not self._handle.where:
      return 'waiting for its process to start'
    return ('waiting for the trainer: as many groups are open as may be' if self._seated
            else 'waiting for its first weights')

  def offer(self, staged: Staged) -> None:
    """Makes newer weights available; the host fetches them while it serves on."""
    with self._lock:
      self._offered = staged

  def submit(self, prompt: Prompt, sampling, *, pinned: bool = False) -> None:
    """Queues the samples of a prompt for the next `step`."""
    order = Order(prompt, sampling, pinned, _age(self._offered))
    self._new.append(order)
    # What is left of it from before, if it comes again, is not waited for twice.
    _, left = self._open.get(prompt.ordinal, (None, ()))
    self._open[prompt.ordinal] = order, set(range(sampling.samples))
    if pinned:
      self._pinned.add(prompt.ordinal)
    self._count += sampling.samples - len(left)

  def step(self) -> list[Completion]:
    """One dispatch there; what it finished, each completion once."""
    if not self._ready():
      time.sleep(_LOOK_AGAIN_S)
      return []
    orders = self._deliverable()
    try:
      finished, status = self._handle.call('serve', orders, timeout_s=self._deadline_s)
    except Lost as error:
      self._lose(error)
      return []
    self._version = status['version']
    self.counts = self._counts_before + collections.Counter(status['counts'])
    if finished:
      self._handle.mark_healthy()
    return [completion for completion in finished if self._close(completion)]

  def abandon(self) -> None:
    """Drops everything submitted."""
    self._forget()
    if self._ready():
      try:
        self._handle.call('abandon', timeout_s=self._deadline_s)
      except Lost as error:
        self._lose(error)

  def _deliverable(self) -> list[Order]:
    """The new orders, but for those that wait until the newest weights have arrived."""
    late = self._taking is not None or self._offered is not self._taken
    # All of an evaluation waits for the same weights, also when newer ones came while it was submitted.
    wanted = max((order.wanted for order in self._new if order.pinned), default=_NO_WEIGHTS)
    waits = lambda order: (late and self._newest_only) or (order.pinned and self._has < wanted)
    orders = [order for order in self._new if not waits(order)]
    self._new = [order for order in self._new if waits(order)]
    return orders

  def _close(self, completion: Completion) -> bool:
    """Books a completion; False if nobody waits for it any more."""
    _, missing = self._open.get(completion.ordinal, (None, set()))
    if completion.sample not in missing:
      return False
    missing.remove(completion.sample)
    self._count -= 1
    if not missing:
      del self._open[completion.ordinal]
      self._pinned.discard(completion.ordinal)
    return True

  def _ready(self) -> bool:
    """Looks after the start of the process and the transfer of weights; never waits."""
    try:
      if not self._handle.ready():
        return False
      if self._taking is not None and self._handle.arrived(self._taking):
        taking, self._taking = self._taking, None
        self._book(self._handle.get(taking, self._deadline_s))
      elif self._taking is not None and time.monotonic() - self._asked > self._deadline_s:
        raise Lost(f'{self.name} did not get its weights within {self._deadline_s:.0f} s')
      with self._lock:
        offered = self._offered
      # What is gone, with its trainer or because newer ones come, is not asked for at once again.
      again = time.monotonic() - self._asked > _ASK_AGAIN_S
      if self._taking is None and offered is not self._taken and (
          offered is not self._gone or again):
        self._taken, self._asked = offered, time.monotonic()
        self._taking = self._handle.actor.aside.remote(
            'take', offered.manifest, offered.lenders)
    except Lost as error:
      self._lose(error)
    return self._seated

  def _book(self, taken) -> None:
    """Notes what became of the weights that were asked for (weights/role.py: Taken)."""
    self.transfers.update(taken.figures)
    if taken.words and not (taken.transport == '' and self._gone is self._taken):
      logging.warning('Weights for %s: %s', self.name, taken.words)
    if taken.transport:
      self.transport = f'by {taken.transport}' + (f' ({taken.words[:100]})' if taken.words else '')
      self._has, self._seated, self._gone = _age(self._taken), True, None
    else:
      # It goes on with what it has.
      self._gone, self._taken = self._taken, None

  def _lose(self, error: Lost) -> None:
    """Starts another process; what this one had open goes to `on_lost`."""
    self._counts_before, self._seated = +self.counts, False
    self._taken = self._taking = self._gone = None
    self._has = _NO_WEIGHTS
    orders = [order for order, _ in self._open.values()]
    self._forget()
    self._handle.restart(error)
    self.on_lost(orders)

  def _forget(self) -> None:
    self._new, self._open, self._pinned, self._count = [], {}, set(), 0


def _age(staged: Staged) -> tuple[int, int]:
  return staged.lineage, staged.version
