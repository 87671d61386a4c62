"""The thread that drives a sampler: dispatches, and between them what other threads ask for."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from magistral_jax.profiling import NO_PROFILE, Profile
from magistral_jax.records import Completion, Prompt, WeightSnapshot
from magistral_jax.sampler import slots
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.serving.jobs import Drawn

Name = tuple[int, int]      # Of a sequence: the ordinal of its prompt, the number of the sample.
MODES = ('keep', 'wait', 'abort')
# While nothing is sampled the thread looks this often whether it is to end.
_LOOK_AGAIN_S = 0.5


class Driver:
  """Owns a sampler in a thread of its own.

  `call` may be called from any thread; all other methods run in the driver's, as what it is given.

  Args:
    tell: called after a dispatch with what every open sequence drew.
    ended: called with the exception that ended the thread, if one did.
    profile: of its dispatches.
  """

  def __init__(self, sampler: EngineSampler, *, tell: Callable[[list[Drawn]], None],
               ended: Callable[[Exception], None], profile: Profile = NO_PROFILE):
    self.sampler, self._tell, self._ended, self._profile = sampler, tell, ended, profile
    self._calls: queue.SimpleQueue = queue.SimpleQueue()
    self._told: dict[Name, int] = {}     # Tokens of each open sequence that were told.
    self._asked: dict[Name, slots.Sequence] = {}   # Those of which the likeliest tokens are told.
    # Prompts that wait for `resume`, and who waits for the end of those that do not.
    self._held: list[tuple[Prompt, slots.Sampling]] = []
    self._empty: list[concurrent.futures.Future] = []
    self.paused = ''                     # One of MODES; '' while it runs.
    self._closing = threading.Event()
    self._thread = threading.Thread(target=self._run, name='driver', daemon=True)

  def start(self) -> None:
    """Begins."""
    self._thread.start()

  def close(self, within_s: float) -> bool:
    """Ends the thread after the dispatch that it is in; whether it ended in time."""
    self._closing.set()
    self._thread.join(within_s)
    return not self._thread.is_alive()

  def call(self, function: Callable[..., Any], *arguments) -> concurrent.futures.Future:
    """Runs a function between two dispatches; the Future has its result."""
    future: concurrent.futures.Future = concurrent.futures.Future()
    self._calls.put((future, function, arguments))
    return future

  def submit(self, prompts: Sequence[Prompt], sampling: slots.Sampling) -> None:
    """Queues the samples of prompts; while it is paused they wait for `resume`."""
    if self.paused:
      self._held += [(prompt, sampling) for prompt in prompts]
      return
    for prompt in prompts:
      self._submit(prompt, sampling)

  def _submit(self, prompt: Prompt, sampling: slots.Sampling) -> None:
    samples = self.sampler.submit(prompt, sampling)
    if sampling.alternatives:
      self._asked |= {sequence.name: sequence for sequence in samples}

  def cancel(self, names: set[Name]) -> None:
    """Drops sequences, as `EngineSampler.cancel`."""
    self.sampler.cancel(names)
    for name in names:
      self._told.pop(name, None)
      self._asked.pop(name, None)
    # A prompt that is held goes when all its samples do.
    self._held = [(prompt, sampling) for prompt, sampling in self._held
                  if not {(prompt.ordinal, i) for i in range(sampling.samples)} <= names]
    self._look_whether_empty()

  def pause(self, mode: str, *, clear_cache: bool = False) -> concurrent.futures.Future:
    """Stops dispatches: at once (keep), with the last open sequence (wait), or by ending all.

    Args:
      clear_cache: the keys of sequences that go on later are computed anew by the weights then.
    Returns:
      A Future that is done when nothing is dispatched any more.
    """
    self.paused = mode
    done: concurrent.futures.Future = concurrent.futures.Future()
    if mode == 'abort':
      self._abort()
      self._look_whether_empty()
    elif clear_cache:
      self.sampler.evict()
    if mode == 'wait':
      self._empty.append(done)
      self._look_whether_empty()
    else:
      done.set_result(None)
    return done

  def resume(self) -> None:
    """Goes on where it stopped, and begins what came meanwhile."""
    self.paused, held, self._held = '', self._held, []
    for prompt, sampling in held:
      self._submit(prompt, sampling)
    self._release_waiters()

  def take(self, snapshot: WeightSnapshot) -> None:
    """Draws every token from now on by other weights."""
    self.sampler.offer(snapshot)
    self.sampler.take_offer()

  def _run(self) -> None:
    try:
      while not self._closing.is_set():
        self._answer_calls()
        if self._dispatches:
          with self._profile.step():
            self._collect(self.sampler.step())
          self._look_whether_empty()
    except Exception as error:      # Reported to those who wait for its tokens.
      self._ended(error)
    finally:
      self._refuse_calls()
      self._profile.close()

  @property
  def _dispatches(self) -> bool:
    return bool(self.sampler.open) and self.paused in ('', 'wait')

  def _answer_calls(self) -> None:
    """Runs what was asked for; waits for it while there is nothing to sample."""
    try:
      while True:
        wait = not self._dispatches
        future, function, arguments = self._calls.get(wait, _LOOK_AGAIN_S if wait else None)
        if future.set_running_or_notify_cancel():
          try:
            future.set_result(function(*arguments))
          except Exception as error:      # Raised where the result is asked for.
            future.set_exception(error)
    except queue.Empty:
      pass

  def _refuse_calls(self) -> None:
    """Nobody waits for a thread that has ended."""
    self._closing.set()
    while not self._calls.empty():
      self._calls.get()[0].cancel()
    for future in self._empty:
      future.cancel()

  def _collect(self, done: list[Completion]) -> None:
    version, drawn = self.sampler.version, []
    for sequence in self.sampler.active:
      told = self._told.get(sequence.name, 0)
      if len(sequence.tokens) > told:
        self._told[sequence.name] = len(sequence.tokens)
        drawn.append(Drawn(sequence.name, sequence.tokens[told:], sequence.logps[told:], version,
                           likeliest=sequence.likeliest[told:]))
    for c in done:
      name = c.ordinal, c.sample
      told, asked = self._told.pop(name, 0), self._asked.pop(name, None)
      drawn.append(Drawn(name, c.tokens[told:].tolist(), c.sampler_logp[told:].tolist(), version,
                         c.finish, asked.likeliest[told:] if asked else ()))
    self._tell(drawn)

  def _abort(self) -> None:
    ended = [sequence.name for sequence in self.sampler.sequences]
    ended += [(prompt.ordinal, i) for prompt, sampling in self._held
              for i in range(sampling.samples)]
    self.sampler.abandon()
    self._held, self._told, self._asked = [], {}, {}
    self._tell([Drawn(name, (), (), self.sampler.version, 'abort') for name in ended])

  def _look_whether_empty(self) -> None:
    if self._empty and not self.sampler.open:
      self._release_waiters()

  def _release_waiters(self) -> None:
    waiters, self._empty = self._empty, []
    for future in waiters:
      if future.set_running_or_notify_cancel():
        future.set_result(None)
