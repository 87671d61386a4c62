"""Prompts answered by samplers and judged, one prompt after another, however many there are.

    prompts  ->  the samplers that have room  ->  the verifier  ->  (prompt, its judged completions)

Only the prompts that are being answered are in memory, so that a file of any length can be read
while it is answered.
"""

from __future__ import annotations

import collections
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from magistral_jax.orchestration.roles import LOST_TOO_OFTEN, Lost, Sampler, Verifier
from magistral_jax.records import Completion, Prompt, Verdict
from magistral_jax.sampler.slots import Sampling

# While there is nothing to sample, verdicts and samplers are asked this often.
_LOOK_AGAIN_S = 0.2

Judged = tuple[Completion, Verdict]


class Deal:
  """Which sampler has which prompts of an evaluation; samplers go by their index.

  A prompt that was open in LOST_TOO_OFTEN lost samplers may be the reason. It is given out last, to
  a sampler that has nothing else; if that one is lost too, the prompt is given up.
  """

  def __init__(self, prompts: Iterable[Prompt], samplers: int):
    self._fresh = iter(prompts)
    self._waiting, self._suspects = collections.deque(), collections.deque()
    self._open: list[dict[int, Prompt]] = [{} for _ in range(samplers)]
    self._lost = collections.Counter()
    # Prompts that a sampler has at once, at most. The end of a stream is not known: each sampler
    # takes what it has room for.
    self.share = -(-len(prompts) // samplers) if isinstance(prompts, Sequence) else sys.maxsize

  @property
  def left(self) -> bool:
    """Whether there are prompts that no sampler has."""
    self._look_ahead()
    return bool(self._waiting or self._suspects)

  def open(self, index: int) -> list[int]:
    """Ordinals of the prompts that a sampler has."""
    return list(self._open[index])

  def holder(self, ordinals: Sequence[int]) -> int | None:
    """The sampler that has one of these prompts; None if none has."""
    return next((index for index, has in enumerate(self._open)
                 if any(ordinal in has for ordinal in ordinals)), None)

  def take(self, index: int) -> Prompt | None:
    """The next prompt for a sampler; None if there is none, or none that it may have now."""
    has = self._open[index]
    if any(self._lost[ordinal] >= LOST_TOO_OFTEN for ordinal in has):
      return None
    self._look_ahead()
    if self._waiting:
      prompt = self._waiting.popleft()
    elif self._suspects and not has:
      prompt = self._suspects.popleft()
    else:
      return None
    has[prompt.ordinal] = prompt
    return prompt

  def done(self, ordinal: int) -> None:
    """Notes that all samples of a prompt are written."""
    for has in self._open:
      has.pop(ordinal, None)

  def lose(self, index: int) -> list[Prompt]:
    """Takes back what a lost sampler had; returns the prompts that are given up."""
    lost, self._open[index] = self._open[index], {}
    given_up = []
    for ordinal, prompt in lost.items():
      self._lost[ordinal] += 1
      if self._lost[ordinal] > LOST_TOO_OFTEN:
        given_up.append(prompt)
      else:
        suspect = self._lost[ordinal] == LOST_TOO_OFTEN
        (self._suspects if suspect else self._waiting).append(prompt)
    return given_up

  def _look_ahead(self) -> None:
    if not self._waiting:
      self._waiting.extend(itertools.islice(self._fresh, 1))


class _Answers:
  """The completions of the prompts that are being answered, until a prompt has all of its own.

  Args:
    samples: completions of each prompt.
  """

  def __init__(self, samples: int):
    self.samples = samples
    self._prompts: dict[int, Prompt] = {}
    self._unwritten: dict[int, int] = {}
    self._judged: dict[int, dict[int, Judged]] = {}
    self.taken = 0              # Completions of the prompts that have been taken.

  @property
  def open(self) -> int:
    """Completions of prompts that were begun that are still to be judged."""
    return self.samples * len(self._prompts) - sum(map(len, self._judged.values()))

  @property
  def done(self) -> int:
    """Completions that have been judged."""
    return self.taken + sum(map(len, self._judged.values()))

  def begin(self, prompt: Prompt) -> None:
    """Notes that all samples of a prompt are about to be written, perhaps once more."""
    self._prompts[prompt.ordinal] = prompt
    self._unwritten[prompt.ordinal] = self.samples
    self._judged.setdefault(prompt.ordinal, {})

  def written(self, completion: Completion) -> tuple[Prompt | None, bool]:
    """(its prompt, None if that is answered already; whether it was the last sample to write)."""
    ordinal = completion.ordinal
    if ordinal not in self._prompts:
      return None, False
    self._unwritten[ordinal] -= 1
    return self._prompts[ordinal], not self._unwritten[ordinal]

  def add(self, completion: Completion, verdict: Verdict) -> None:
    """Takes a verdict; one that comes again takes the place of the first."""
    if completion.ordinal in self._prompts:
      self._judged[completion.ordinal][completion.sample] = completion, verdict

  def take(self) -> Iterator[tuple[Prompt, list[Judged]]]:
    """The prompts that have all their verdicts, each once, with these in the order of samples."""
    for ordinal in [o for o, judged in self._judged.items() if len(judged) == self.samples]:
      judged = self._judged.pop(ordinal)
      del self._unwritten[ordinal]
      self.taken += self.samples
      yield self._prompts.pop(ordinal), [judged[sample] for sample in range(self.samples)]


def answered(prompts: Iterable[Prompt], sampling: Sampling, samplers: Sequence[Sampler],
             verifier: Verifier, *, deadline_s: float,
             progress: Callable[[int], None] = lambda done: None,
             check: Callable[[], None] = lambda: None,
             stopping: Callable[[], bool] = lambda: False,
             ) -> Iterator[tuple[Prompt, list[Judged]]]:
  """Yields every prompt with its judged completions as soon as it has them all.

  All samplers take part, with one version of the weights; no thread drives them. A prompt that
  kills samplers is answered by verdicts of status 'error'.

  Args:
    prompts: with ordinals of their own; read while the samplers have room.
    progress: called with the number of completions that have been judged.
    check: raises Lost if the trainer, whose weights samplers may still wait for, was lost.
    stopping: whether to break off; nothing more is yielded then.
  Raises:
    TimeoutError: no token was drawn and nothing judged for `deadline_s`; says what has the rest.
    Lost: by `check`; everything open is dropped.
  """
  deal, answers = Deal(prompts, len(samplers)), _Answers(sampling.samples)
  drawn, last = -1, time.monotonic()
  while deal.left or answers.open:
    if stopping():
      return                       # The run ends: what is open ends with it.
    try:
      check()
    except Lost:
      _leave(samplers, verifier, deadline_s)
      raise
    for index, sampler in enumerate(samplers):
      for prompt in () if verifier.full else _give(deal, index, sampler, sampling):
        answers.begin(prompt)
      _step(deal, index, sampler, answers, verifier)
    scored = verifier.drain(0.0 if any(s.open for s in samplers) else _LOOK_AGAIN_S)
    for completion, verdict in scored:
      answers.add(completion, verdict)
    now = sum(sampler.counts['tokens'] for sampler in samplers)
    if scored or now != drawn:
      last, drawn = time.monotonic(), now
    progress(answers.done)
    yield from answers.take()
    if time.monotonic() - last > deadline_s:
      raise TimeoutError(_still(answers, samplers, verifier, deadline_s))
  # A lost sampler may have written samples that another one is still writing again.
  _leave(samplers, verifier, deadline_s)


def _step(deal: Deal, index: int, sampler: Sampler, answers: _Answers, verifier: Verifier) -> None:
  """Lets a sampler write, sends what it wrote to the verifier, and notes whether it was lost."""
  for completion in sampler.step() if sampler.open else ():
    prompt, last = answers.written(completion)
    if prompt is not None:
      verifier.put(completion, prompt.problem)
    if last or prompt is None:
      deal.done(completion.ordinal)
  if deal.open(index) and not sampler.open:            # Its process was lost.
    for prompt in deal.lose(index):
      _count_as_failed(answers, prompt)


def _leave(samplers: Sequence[Sampler], verifier: Verifier, deadline_s: float) -> None:
  """Drops what is open, and lets samplers take newer weights again."""
  for sampler in samplers:
    sampler.unpin()
    if sampler.open:
      sampler.abandon()
  discard(verifier, deadline_s)


def _give(deal: Deal, index: int, sampler: Sampler, sampling: Sampling) -> Iterator[Prompt]:
  """Gives a sampler its next prompts, as many as it has room for, and yields them."""
  while sampler.has_capacity:
    if not sampler.pinned:
      sampler.pin()
    if sampler.pinned_version is None or len(deal.open(index)) >= deal.share:
      return
    prompt = deal.take(index)
    if prompt is None:
      return
    sampler.submit(prompt, sampling)
    yield prompt


def _count_as_failed(answers: _Answers, prompt: Prompt) -> None:
  """Counts a prompt that kills samplers as not solved."""
  verdict = Verdict('error', 0.0, {}, detail='every sampler that had it was lost')
  for sample in range(answers.samples):
    answers.add(Completion(prompt.ordinal, sample, np.zeros(0, np.int32),
                           np.zeros(0, np.float32), (), 'length', '', 0.0, prompt.purpose),
                verdict)


def _still(answers: _Answers, samplers: Sequence[Sampler], verifier: Verifier,
           deadline_s: float) -> str:
  begun = answers.open + answers.done
  held = f'the samplers have {sum(sampler.open for sampler in samplers)}'
  if not any(sampler.has_capacity or sampler.open for sampler in samplers):
    held = 'no sampler is ready'
  return (f'An evaluation stands still: no token was drawn and no completion judged for '
          f'{deadline_s:.0f} s (runtime.deadline_s). {answers.open} of {begun} are missing: '
          f'{held}, {verifier.pending()} wait for a verdict.')


def discard(verifier: Verifier, deadline_s: float) -> None:
  """Waits for the completions that are still being judged, and drops them.

  Raises:
    TimeoutError: it takes longer than `deadline_s`.
  """
  began = time.monotonic()
  while verifier.pending():
    verifier.drain(1.0)
    if time.monotonic() - began > deadline_s:
      raise TimeoutError(f'{verifier.pending()} completions were not judged within '
                         f'{deadline_s:.0f} s (runtime.deadline_s).')
