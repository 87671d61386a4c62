"""Bookkeeping beside the engine: sequences, and the pages that they hold.

    group's prompt of 20 tokens, pages of 8 (19 cached: the last token is the first input)
      shared pages  [5 6]   16 tokens, read by all samples of the group
      template page [7]      3 tokens, copied into each sample's first own page
      sample 0      [5 6 | 9 ...]      sample 1  [5 6 | 12 ...]
Holders of a page are counted: without any, it returns to the pool.
"""

import dataclasses
import math
from collections.abc import Container
from typing import Any

import numpy as np

from magistral_jax.records import Completion, Prompt

# A sequence starts only if it and the active ones find free pages for so many dispatches. Fewer
# make preemptions more frequent, each of which is a prefill; more leave slots idle.
RESERVED_DISPATCHES = 16


class PagePool:
  """Pool of free pages, with the number of holders of each taken one. Page 0 is never taken."""

  def __init__(self, pages: int):
    self._free = list(range(pages - 1, 0, -1))
    self._holders = np.zeros(pages, np.int32)

  def __len__(self) -> int:
    """Number of free pages."""
    return len(self._free)

  def take(self, count: int) -> list[int]:
    """Takes `count` pages, each held once. The caller checks that there are enough."""
    pages = [self._free.pop() for _ in range(count)]
    self._holders[pages] = 1
    return pages

  def hold(self, pages) -> None:
    """Adds one holder to each of `pages`."""
    np.add.at(self._holders, list(pages), 1)

  def drop(self, pages) -> None:
    """Removes one holder from each; pages without a holder become free."""
    for page in pages:
      self._holders[page] -= 1
      if self._holders[page] == 0:
        self._free.append(page)


@dataclasses.dataclass(frozen=True)
class Sampling:
  """Sampling parameters of a prompt.

  Sampling(samples=8, temperature=1.0, top_p=1.0, max_new_tokens=96)
  """
  samples: int
  temperature: float
  top_p: float
  max_new_tokens: int
  # The first number of the address of the randomness, int32; None: the prompt's ordinal.
  seed: int | None = None
  alternatives: int = 0     # So many of the likeliest tokens are kept at every place, too.


@dataclasses.dataclass(frozen=True)
class PromptPages:
  """Pages that hold a group's prompt, written by the weights of one lineage and version."""
  weights: tuple[int, int]   # Lineage and version.
  shared: tuple[int, ...]
  template: tuple[int, ...]   # The partly filled last page, or ().
  routes: Any = None          # [n or more, L k] uint8, of the tokens in them, if they are recorded.

  @property
  def pages(self) -> tuple[int, ...]:
    """All pages of the prompt, in order."""
    return self.shared + self.template


@dataclasses.dataclass(eq=False)
class Sequence:
  """Unfinished completion: waiting, active in a slot, or preempted because pages ran out."""
  prompt: Prompt
  sample: int
  sampling: Sampling
  pages: list[int] = dataclasses.field(default_factory=list)
  tokens: list[int] = dataclasses.field(default_factory=list)
  logps: list[float] = dataclasses.field(default_factory=list)
  versions: list[tuple[int, int]] = dataclasses.field(default_factory=list)
  began: float = 0.0
  age: int = -1             # Place in the order in which the sampler began its sequences.
  # (token, log-probability) of the likeliest ones where each token was drawn, the likeliest first.
  likeliest: list[list[tuple[int, float]]] = dataclasses.field(default_factory=list)
  # Experts that its tokens took, if they are recorded: of the prompt without its last token, which
  # its group shares, and [drawn, L k] uint8 of every dispatch.
  prompt_routes: Any = None
  routes: list[np.ndarray] = dataclasses.field(default_factory=list)

  @property
  def name(self) -> tuple[int, int]:
    """Ordinal of its prompt and number of the sample."""
    return self.prompt.ordinal, self.sample

  @property
  def cached(self) -> int:
    """Number of tokens whose keys are in pages: all but the next input."""
    return len(self.prompt.tokens) + len(self.tokens) - 1

  @property
  def context(self) -> np.ndarray:
    """Prompt and the tokens drawn so far, [n] int32."""
    return np.concatenate([self.prompt.tokens, np.array(self.tokens, np.int32)])

  def pages_for(self, steps: int, page_tokens: int) -> int:
    """Number of pages that it needs to draw `steps` more tokens."""
    left = self.sampling.max_new_tokens - len(self.tokens)
    return -(-(self.cached + min(steps, left)) // page_tokens)

  def add(self, tokens, logps, version: int, routes: np.ndarray | None = None) -> None:
    """Appends tokens drawn by the weights of `version`.

    Args:
      routes: [n, L k] uint8, experts of the tokens that each was drawn after.
    """
    if not self.versions or self.versions[-1][1] != version:
      self.versions.append((len(self.tokens), version))
    self.tokens.extend(tokens)
    self.logps.extend(logps)
    if routes is not None:
      self.routes.append(routes.copy())      # A view would keep the whole dispatch.

  def add_likeliest(self, ids: np.ndarray, logps: np.ndarray) -> None:
    """Appends the likeliest tokens [n, drawn], as many as are asked for, with log-probabilities.

    What the nucleus leaves out is no token that could have been drawn: it is left out here, too.
    """
    most = self.sampling.alternatives
    for own, own_logps in zip(ids[:most].T.tolist(), logps[:most].T.tolist(), strict=True):
      self.likeliest.append([(token, logp) for token, logp in zip(own, own_logps, strict=True)
                             if logp > -math.inf])

  def completion(self, decode, end_ids: Container[int], now: float) -> Completion:
    """Makes the finished record; `decode` turns token ids into text."""
    stopped = self.tokens[-1] in end_ids
    text = decode(self.tokens[:-1] if stopped else self.tokens)
    return Completion(
        ordinal=self.prompt.ordinal, sample=self.sample, tokens=np.array(self.tokens, np.int32),
        sampler_logp=np.array(self.logps, np.float32), versions=tuple(self.versions),
        finish='stop' if stopped else 'length', text=text, seconds=now - self.began,
        purpose=self.prompt.purpose, terms=self.prompt.terms, routes=self._all_routes())

  def _all_routes(self) -> np.ndarray | None:
    """Routes [prompt + drawn - 1, L k] of all tokens but the last; None if none are recorded.

    Those of a token stay the ones that it was first sampled with: a sequence that is preempted
    computes its keys again, but its tokens are not drawn again.
    """
    if not self.routes:
      return None
    prompt = self.prompt_routes
    before = [] if prompt is None else [prompt[:len(self.prompt.tokens) - 1]]
    return np.concatenate([*before, *self.routes])
