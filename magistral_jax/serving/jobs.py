"""What the asyncio side waits for: the tokens of a request's sequences, as dispatches draw them."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Iterable, Sequence

from magistral_jax.records import Prompt
from magistral_jax.sampler.slots import Sampling

Likeliest = Sequence[tuple[int, float]]    # The likeliest first.


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Tokens that one sequence drew in one dispatch.

  Drawn(name=(12, 0), tokens=(7, 9), logps=(-.1, -2.), version=4)
  """
  name: tuple[int, int]     # Ordinal of the prompt, number of the sample.
  tokens: Sequence[int]
  logps: Sequence[float]    # Nats, under exactly the distribution each was drawn from.
  version: int              # Of the weights that drew them.
  finish: str = ''          # '' while it goes on; then 'stop', 'length' or 'abort'.
  # (token, log-probability) of the likeliest ones at each place, where they are asked for.
  likeliest: Sequence[Likeliest] = ()


class SamplingJob:
  """The sequences of one request, between the engine's thread and the one that answers.

  SamplingJob([Prompt(12, ...)], Sampling(samples=2, temperature=1., top_p=1., max_new_tokens=8))
  """

  def __init__(self, prompts: Sequence[Prompt], sampling: Sampling):
    self.prompts, self.sampling = prompts, sampling
    self.open = {(prompt.ordinal, sample) for prompt in prompts
                 for sample in range(sampling.samples)}
    self._news: collections.deque[Drawn] = collections.deque()
    self._some = asyncio.Event()
    self._failure: Exception | None = None

  def put(self, drawn: Iterable[Drawn]) -> None:
    """Adds news of its sequences; called in the thread that answers."""
    self._news.extend(drawn)
    self._some.set()

  def fail(self, failure: Exception) -> None:
    """Ends the job by an exception, which `news` raises."""
    self._failure = failure
    self._some.set()

  async def news(self) -> list[Drawn]:
    """What came since the last call, one at least."""
    await self._some.wait()
    if self._failure is not None:
      raise self._failure
    found = list(self._news)
    self._news.clear()
    self._some.clear()
    return found
