"""A served model behind an OpenAI-compatible endpoint, as a sampler of problems.

Each sample is a request of its own. For a rating, what the model says is brought into the form of
the gates: a model that was not trained to put thoughts between tags, or whose server takes the
thoughts out, is measured by its answer, not by the tags.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from magistral_jax.curation.endpoint import Answer, Endpoint, EndpointError, RequestRefused
from magistral_jax.data import responses
from magistral_jax.data.prompts import SYSTEM_PROMPT, task
from magistral_jax.records import Completion, Problem, Prompt
from magistral_jax.sampler.slots import Sampling

_WAIT_S = 0.2               # A step waits so long for the first answer.


class ServedSampler:
  """Asks an endpoint for completions; `orchestration.roles.Sampler` says what each method promises.

  Not every server says how many tokens it drew: for progress every answer counts as one.

  Args:
    ask: the answer to a prompt with a seed; EndpointError if there is none.
    seed: decides the seeds that are sent, together with the prompt and the sample.
    slots: requests at the same time.
    lenient: whether a request that gets no answer is a completion that has failed. `slots` of them
      in a row are raised all the same, and a last one where all have failed: nobody serves.
  """
  pinned, pinned_version, version = True, 0, 0
  waits_for = 'the endpoint'

  def __init__(self, ask: Callable[[Prompt, int], Answer], *, seed: int, slots: int,
               lenient: bool = False):
    self._ask, self._seed, self._slots = ask, seed, slots
    self._lenient, self._failed, self._answered = lenient, 0, False     # Failures in a row.
    self._error: Exception | None = None     # Raised when what came before it has been told.
    self._jobs: queue.SimpleQueue[tuple[Prompt, int]] = queue.SimpleQueue()
    self._answers: queue.SimpleQueue[Completion | Exception] = queue.SimpleQueue()
    self.open, self.counts = 0, collections.Counter(tokens=0)
    # They end with the process: a request may take minutes.
    for _ in range(slots):
      threading.Thread(target=self._work, daemon=True).start()

  @property
  def has_capacity(self) -> bool:
    return self.open < self._slots

  def submit(self, prompt: Prompt, sampling: Sampling) -> None:
    for sample in range(sampling.samples):
      self.open += 1
      self._jobs.put((prompt, sample))

  def step(self) -> list[Completion]:
    """The answers that have come; then EndpointError if a request cannot be answered."""
    if self._error:
      raise self._error
    found, told = [], []
    try:
      found.append(self._answers.get(timeout=_WAIT_S))
      while True:
        found.append(self._answers.get_nowait())
    except queue.Empty:
      pass
    for answer in found:
      if isinstance(answer, Exception):
        self._error = self._error or answer      # It stays open, so that this is called again.
        continue
      self._answered |= answer.finish != 'failed'
      self._failed = self._failed + 1 if answer.finish == 'failed' else 0
      if self._lenient and (self._failed >= self._slots or self._failed and not (
          self._answered or self.open > 1)):
        self._error = self._error or EndpointError(answer.text)
        continue
      self.open -= 1
      told.append(answer)
    self.counts['tokens'] += len(told)
    if self._error and not told:
      raise self._error
    return told

  def offer(self, snapshot) -> None:
    """Does nothing: the weights are the server's."""

  def withdraw(self) -> None:
    """Does nothing."""

  def pin(self) -> None:
    """Does nothing."""

  def unpin(self) -> None:
    """Does nothing."""

  def abandon(self) -> None:
    """Begins no further request."""
    while not self._jobs.empty():
      self._jobs.get_nowait()

  def _work(self) -> None:
    while True:
      prompt, sample = self._jobs.get()
      began = time.monotonic()
      seed = (self._seed * 1_000_003 + abs(prompt.ordinal) * 1_009 + sample) % 2**31
      try:
        said = self._ask(prompt, seed)
      except EndpointError as error:
        if not self._lenient or error.final:
          self._answers.put(error)
          continue
        said = Answer(str(error), 'failed', 0)
      except Exception as error:      # Raised in the thread that steps.
        self._answers.put(error)
        continue
      finish = said.finish if said.finish in ('length', 'failed') else 'stop'
      self._answers.put(Completion(
          prompt.ordinal, sample, np.zeros(said.tokens, np.int32),
          np.zeros(said.tokens, np.float32), ((0, 0),), finish, said.text,
          time.monotonic() - began, prompt.purpose))


def problem_asker(endpoint: Endpoint, system_prompt: str) -> Callable[[Prompt, int], Answer]:
  """Asks for solutions of problems, and brings the answers into the form of the gates.

  A completion of a problem that the server refuses while it answers others has failed.

  Args:
    system_prompt: as in config key `data.system_prompt`.
  """
  system = SYSTEM_PROMPT if system_prompt == 'magistral' else system_prompt
  def ask(prompt: Prompt, seed: int) -> Answer:
    try:
      said = endpoint.ask(task(prompt.problem, system_prompt), seed=seed, system=system,
                          may_be_empty=True)
    except RequestRefused as error:
      return Answer(str(error), 'failed', 0)
    return Answer(in_form(said), 'stop', 0)
  return ask


def served_prompt(ordinal: int, problem: Problem) -> Prompt:
  """The prompt of a problem for a served model, whose tokens nobody knows here."""
  return Prompt(ordinal, problem, np.zeros(0, np.int32), (), 'evaluation')


def in_form(said: str) -> str:
  """What a model said, with the one pair of tags that the gates ask for."""
  if responses.is_whole(said):
    return said
  if responses.CLOSING in said:
    return responses.split(said).text
  return responses.Trace('', responses.split(said).thoughts).text
