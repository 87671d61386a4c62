"""Log-probabilities of the prompts of requests, in a thread beside the one that samples."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from magistral_jax.evaluation.scoring import Alternatives, Scorer
from magistral_jax.serving.bodies import Refused
from magistral_jax.serving.queries import GivenPrompt

# Prompts that are scored together, at most, where several requests wait.
_TOGETHER = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
  """What is known of a prompt of n tokens. Scores(logps=[-4.17, -.52], alternatives=None)"""
  logps: np.ndarray         # [n - 1] float32, nats, of every token but the first.
  alternatives: Alternatives | None = None   # At the same positions, where they were asked for.


class ScoringThread:
  """Scores prompts by the weights that the sampler has.

  A prompt of another length may have to be compiled for, which holds up no dispatch here.

  Args:
    scorer: holds parameters only while it scores.
    params: gives the parameters in use.
    most_waiting: prompts that may wait; more are refused.
  """

  def __init__(self, scorer: Scorer, params: Callable[[], Any], *, most_waiting: int):
    self._scorer, self._params, self._most = scorer, params, most_waiting
    self._asked: queue.SimpleQueue = queue.SimpleQueue()
    self.waiting = 0          # The answering thread's.
    threading.Thread(target=self._run, name='scoring', daemon=True).start()

  async def score(self, prompts: Sequence[GivenPrompt], alternatives: int) -> list[Scores]:
    """The scores of prompts, with so many of the likeliest tokens at each position.

    Raises:
      Refused: with 429 if too many wait.
    """
    if self.waiting + len(prompts) > max(self._most, len(prompts)):
      raise Refused(f'{self.waiting} prompts wait for their log-probabilities, and {self._most} '
                    f'may: try again later.', status=429, after_s=1)
    future: concurrent.futures.Future = concurrent.futures.Future()
    self.waiting += len(prompts)
    self._asked.put((future, prompts, alternatives))
    try:
      return await asyncio.wrap_future(future)
    finally:
      self.waiting -= len(prompts)

  def close(self) -> None:
    """Ends the thread."""
    self._asked.put(None)

  def _run(self) -> None:
    while (first := self._asked.get()) is not None:
      batch = [first]
      while sum(len(one[1]) for one in batch) < _TOGETHER and not self._asked.empty():
        more = self._asked.get()
        if more is None:
          return
        batch.append(more)
      self._score([one for one in batch if one[0].set_running_or_notify_cancel()])

  def _score(self, batch) -> None:
    self._scorer.params = self._params()
    try:
      self._answer(batch)
    finally:
      # Kept, these weights would take memory when others are in use and still others are read.
      self._scorer.params = None

  def _answer(self, batch) -> None:
    for alternatives in sorted({one[2] for one in batch}):
      same = [one for one in batch if one[2] == alternatives]
      prompts = [prompt for one in same for prompt in one[1]]
      try:
        found = iter(self._scores(prompts, alternatives))
      except Exception as error:      # Raised where the scores are waited for.
        for future, _, _ in same:
          future.set_exception(error)
        continue
      for future, own, _ in same:
        future.set_result([next(found) for _ in own])

  def _scores(self, prompts: Sequence[GivenPrompt], alternatives: int) -> list[Scores]:
    tokens, images = [p.tokens for p in prompts], [p.images for p in prompts]
    if not alternatives:
      return [Scores(logps) for logps in self._scorer(tokens, images=images)]
    return [Scores(*both) for both in
            self._scorer.with_alternatives(tokens, alternatives, images)]
