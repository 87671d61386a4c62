"""A policy that is asked how likely texts are, in the place of one that writes them."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magistral_jax.evaluation.card import Item
from magistral_jax.evaluation.likelihoods import encoded
from magistral_jax.records import Completion, Prompt
from magistral_jax.sampler.slots import Sampling
from magistral_jax.tokens import Tokenizer

# Items that are scored together. Their continuations are sorted by length and share batches.
TOGETHER = 64


def likelihood_prompt(ordinal: int, item: Item, benchmark: str) -> Prompt:
  """The prompt of an item whose continuations are scored; it has no tokens of its own."""
  return Prompt(ordinal, item.problem(benchmark), np.zeros(0, np.int32), (), 'evaluation')


def answer(logps: Sequence[float]) -> str:
  """The response that log-probabilities are: six digits behind the point, more is noise."""
  return json.dumps([round(float(value), 6) for value in logps])


class LikelihoodSampler:
  """Answers items by the log-probabilities of their continuations, many in a batch.

  `orchestration.roles.Sampler` says what each method promises. Its weights never change.

  Args:
    scorer: sequences of tokens -> log-probabilities of all tokens but the first; a Scorer.
    items: by id.
  """
  pinned, pinned_version, version = True, 0, 0
  waits_for = 'nothing'

  def __init__(self, scorer: Any, tokenizer: Tokenizer, items: Mapping[str, Item]):
    self._scorer, self._tokenizer, self._items = scorer, tokenizer, items
    self._queue: collections.deque[tuple[Prompt, int]] = collections.deque()
    self.counts = collections.Counter(tokens=0)

  @property
  def open(self) -> int:
    return len(self._queue)

  @property
  def has_capacity(self) -> bool:
    return len(self._queue) < TOGETHER

  def submit(self, prompt: Prompt, sampling: Sampling) -> None:
    self._queue.extend((prompt, sample) for sample in range(sampling.samples))

  def step(self) -> list[Completion]:
    """Scores all that is open."""
    asked, self._queue = list(self._queue), collections.deque()
    pairs = [[encoded(self._tokenizer, continuation)
              for continuation in self._items[prompt.problem.id].continuations]
             for prompt, _ in asked]
    logps = iter(self._scorer([tokens for own in pairs for tokens, _ in own]))
    found = []
    for (prompt, sample), own in zip(asked, pairs, strict=True):
      sums = [next(logps)[-count:].sum(dtype=np.float64) for _, count in own]
      tokens = sum(count for _, count in own)
      self.counts['tokens'] += tokens
      found.append(Completion(
          prompt.ordinal, sample, np.zeros(tokens, np.int32), np.zeros(tokens, np.float32),
          ((0, 0),), 'stop', answer(sums), 0.0, prompt.purpose))
    return found

  def offer(self, snapshot: Any) -> None:
    """Does nothing: other weights are another evaluation."""

  def withdraw(self) -> None:
    """Does nothing."""

  def pin(self) -> None:
    """Does nothing."""

  def unpin(self) -> None:
    """Does nothing."""

  def abandon(self) -> None:
    """Forgets what is open."""
    self._queue.clear()
