"""A sampler as the answering thread (asyncio) sees it: jobs with news, limits, pauses, weights.

    answering thread                      driver's thread (driver.py)
    begin, drop, pause     -- calls -->   between two dispatches: submit, cancel, take weights
    job.news()             <-- Drawn --   after a dispatch: what every open sequence drew
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Callable, Iterable, Sequence

from magistral_jax.profiling import NO_PROFILE, Profile
from magistral_jax.records import Prompt, WeightSnapshot
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from magistral_jax.serving.bodies import Refused
from magistral_jax.serving.driver import Driver, Name
from magistral_jax.serving.jobs import Drawn, SamplingJob

# Completions by whose pace Retry-After is told, and the longest that it tells.
_PACE, _LONGEST_RETRY_S = 64, 60


class HostFailed(RuntimeError):
  """The driver has ended by an exception: nothing is sampled any more."""


class SamplerHost:
  """Jobs of a sampler; all methods are the answering thread's.

  Args:
    sampler: the driver's alone from `start` on.
    slots: sequences that the sampler has at once.
    queue: sequences that may wait beside them; more are refused.
    failed: called with the exception that ended the driver, if one does.
    profile: of its dispatches.
  """

  def __init__(self, sampler: EngineSampler, *, slots: int, queue: int,
               failed: Callable[[Exception], None] = lambda error: None,
               profile: Profile = NO_PROFILE):
    self._sampler, self._slots, self.most_open = sampler, slots, slots + queue
    self._failed = failed
    self.failure: Exception | None = None
    self._driver = Driver(sampler, tell=self._in_loop(self._deliver),
                          ended=self._in_loop(self._fail), profile=profile)
    self._ordinals = itertools.count()
    self._jobs: dict[int, SamplingJob] = {}      # By the ordinals of their prompts.
    self._finished: collections.deque[float] = collections.deque(maxlen=_PACE)
    self._loop: asyncio.AbstractEventLoop | None = None
    self.open = 0                        # Sequences of all jobs.
    self.drawn_at = 0.0                  # When the last token came; monotonic seconds.

  def start(self) -> None:
    """Begins to sample; the loop that runs is the one that answers."""
    self._loop = asyncio.get_running_loop()
    self._driver.start()

  async def close(self, within_s: float) -> bool:
    """Ends after the present dispatch; whether that was in time."""
    return await asyncio.to_thread(self._driver.close, within_s)

  @property
  def paused(self) -> str:
    """How it is paused, one of driver.MODES; '' while it runs."""
    return self._driver.paused

  @property
  def snapshot(self) -> WeightSnapshot:
    """The weights in use."""
    return self._sampler.snapshot

  @property
  def counts(self) -> collections.Counter:
    """What the sampler has counted."""
    return self._sampler.counts

  @property
  def active(self) -> int:
    """Sequences in slots."""
    return len(self._sampler.active)

  @property
  def free_pages(self) -> int:
    """Pages that nothing holds."""
    return self._sampler.free_pages

  def prompt(self, tokens, problem, images=()) -> Prompt:
    """A prompt with an ordinal of its own."""
    return Prompt(next(self._ordinals), problem, tokens, images, 'evaluation')

  def begin(self, prompts: Sequence[Prompt], sampling: Sampling) -> SamplingJob:
    """Begins a job.

    Raises:
      Refused: status 429 if there is no room for its sequences now, 400 if there never is.
      HostFailed: nothing is sampled any more.
    """
    count = len(prompts) * sampling.samples
    self.check_fits(count)
    if self.failure is not None:
      raise HostFailed(f'The sampler has failed: {self.failure!r}.')
    if self.open + count > self.most_open:
      raise Refused(f'{self.open} completions are open and there is room for {self.most_open}: '
                    f'try again later.', status=429, after_s=self._retry_after())
    job = SamplingJob(prompts, sampling)
    self.open += count
    for prompt in prompts:
      self._jobs[prompt.ordinal] = job
    self._driver.call(self._driver.submit, prompts, sampling)
    return job

  def check_fits(self, count: int) -> None:
    """Raises Refused for more completions of one request than there is room for."""
    if count > self.most_open:
      raise Refused(f'This request has {count} completions, and there is room for '
                    f'{self.most_open}: ask for fewer at once.')

  def drop(self, job: SamplingJob, names: Iterable[Name]) -> None:
    """Ends some sequences of a job; nothing more is told of them."""
    open_ones = job.open & set(names)
    if open_ones:
      self._driver.call(self._driver.cancel, open_ones)
      self._settle(job, open_ones)

  def end_all(self) -> None:
    """Ends every job by a refusal with status 503, since the server is to end."""
    for job in set(self._jobs.values()):
      job.fail(Refused('The server has ended before the answer was whole: ask another one.',
                       status=503))

  async def pause(self, mode: str, *, clear_cache: bool) -> None:
    """As `Driver.pause`; returns when nothing is dispatched any more."""
    call = self._driver.call(lambda: self._driver.pause(mode, clear_cache=clear_cache))
    await asyncio.wrap_future(await asyncio.wrap_future(call))

  async def resume(self) -> None:
    """As `Driver.resume`."""
    await asyncio.wrap_future(self._driver.call(self._driver.resume))

  async def take(self, snapshot: WeightSnapshot) -> None:
    """As `Driver.take`."""
    await asyncio.wrap_future(self._driver.call(self._driver.take, snapshot))

  def _in_loop(self, function):
    def call(argument):
      assert self._loop is not None      # `start` has set it.
      if not self._loop.is_closed():
        self._loop.call_soon_threadsafe(function, argument)
    return call

  def _deliver(self, drawn: list[Drawn]) -> None:
    """Tells every job its news."""
    self.drawn_at, news = time.monotonic(), collections.defaultdict(list)
    for one in drawn:
      job = self._jobs.get(one.name[0])
      if job is not None and one.name in job.open:     # Not dropped meanwhile.
        news[job].append(one)
        if one.finish:
          self._finished.append(self.drawn_at)
          self._settle(job, {one.name})
    for job, own in news.items():
      job.put(own)

  def _fail(self, error: Exception) -> None:
    self.failure = error
    for job in set(self._jobs.values()):
      job.fail(HostFailed(f'The sampler has failed: {error!r}.'))
    self._failed(error)

  def _settle(self, job: SamplingJob, names: set[Name]) -> None:
    job.open -= names
    self.open -= len(names)
    if not job.open:
      for prompt in job.prompts:
        self._jobs.pop(prompt.ordinal, None)

  def _retry_after(self) -> int:
    """Seconds in which as many completions end as wait for a slot, by the latest pace."""
    if len(self._finished) < 2:
      return 1
    each = (time.monotonic() - self._finished[0]) / len(self._finished)
    return max(1, min(_LONGEST_RETRY_S, round(each * max(1, self.open - self._slots))))
