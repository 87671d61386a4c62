"""Held-out problems through the run's own samplers and verifier, at one version of the weights.

    hold                    one evaluation from beginning to end, while nothing else runs
    ConcurrentEvaluation    one beside training, in threads mode

Both spread the prompts over all samplers. Beside training, every sampler is pinned to the version
that is measured, so that no further copy of the weights is kept anywhere; it takes the prompts
between its training prompts, in at most half of its slots and no more at once than its share, and
is unpinned as soon as there are no more of them. What that costs is staleness: the training tokens
of that time are of the pinned version, and a guarantee (`batching.max_staleness`) may hold back
prompts of a sampler that is pinned for longer than it allows.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from magistral_jax.evaluation.evaluation import Evaluation, Result
from magistral_jax.orchestration.roles import LOST_TOO_OFTEN, Lost, Sampler, Verifier
from magistral_jax.records import Completion, Prompt, Verdict
from magistral_jax.sampler.slots import Sampling

# While there is nothing to sample, verdicts and samplers are asked this often.
_LOOK_AGAIN_S = 0.2


class _Deal:
  """Which sampler has which prompts of an evaluation; samplers go by their index.

  A prompt that was open in LOST_TOO_OFTEN lost samplers may be the reason. It is given out last, to
  a sampler that has nothing else; if that one is lost too, the prompt is given up.
  """

  def __init__(self, prompts: Sequence[Prompt], samplers: int):
    self._waiting, self._suspects = collections.deque(prompts), collections.deque()
    self._open: list[dict[int, Prompt]] = [{} for _ in range(samplers)]
    self._lost = collections.Counter()
    self.share = -(-len(prompts) // samplers)     # Prompts, rounded up.

  @property
  def left(self) -> int:
    """Prompts that no sampler has."""
    return len(self._waiting) + len(self._suspects)

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


def hold(prompts: Sequence[Prompt], sampling: Sampling, samplers: Sequence[Sampler],
         verifier: Verifier, *, deadline_s: float,
         progress: Callable[[int, int], None] = lambda done, total: None,
         check: Callable[[], None] = lambda: None,
         stopping: Callable[[], bool] = lambda: False) -> tuple[Result, Evaluation] | None:
  """Runs an evaluation to its end on all samplers; no thread drives them.

  Args:
    progress: called with (completions judged, completions in all).
    check: raises Lost if the trainer, whose weights samplers may still wait for, was lost.
    stopping: whether to break off.
  Returns:
    None if it was broken off; everything open is dropped then.
  Raises:
    TimeoutError: no token was drawn and nothing judged for `deadline_s`; says what has the rest.
    Lost: by `check`; everything open is dropped.
  """
  evaluation, deal = Evaluation(prompts, sampling.samples), _Deal(prompts, len(samplers))
  by_ordinal = {prompt.ordinal: prompt for prompt in prompts}
  left = dict.fromkeys(by_ordinal, sampling.samples)       # Samples still to be written.
  total, drawn, last = evaluation.open, -1, time.monotonic()
  while evaluation.open:
    if stopping():
      return None                  # The run ends: what is open ends with it.
    try:
      check()
    except Lost:
      _leave(samplers, verifier, deadline_s)
      raise
    for index, sampler in enumerate(samplers):
      _give(deal, index, sampler, sampling)
      for completion in sampler.step() if sampler.open else ():
        verifier.put(completion, by_ordinal[completion.ordinal].problem)
        left[completion.ordinal] -= 1
        if not left[completion.ordinal]:
          deal.done(completion.ordinal)
      if deal.open(index) and not sampler.open:            # Its process was lost.
        left |= dict.fromkeys(deal.open(index), sampling.samples)
        for prompt in deal.lose(index):
          _count_as_failed(evaluation, prompt)
    scored = verifier.drain(0.0 if any(s.open for s in samplers) else _LOOK_AGAIN_S)
    for completion, verdict in scored:
      evaluation.add(completion, verdict)
    now = sum(sampler.counts['tokens'] for sampler in samplers)
    if scored or now != drawn:
      last, drawn = time.monotonic(), now
    progress(total - evaluation.open, total)
    if time.monotonic() - last > deadline_s:
      raise TimeoutError(_still(evaluation, samplers, verifier, deadline_s))
  # A lost sampler may have written samples that another one is still writing again.
  _leave(samplers, verifier, deadline_s)
  return evaluation.result(), evaluation


def _leave(samplers: Sequence[Sampler], verifier: Verifier, deadline_s: float) -> None:
  """Drops what is open, and lets samplers take newer weights again."""
  for sampler in samplers:
    sampler.unpin()
    if sampler.open:
      sampler.abandon()
  discard(verifier, deadline_s)


def _give(deal: _Deal, index: int, sampler: Sampler, sampling: Sampling) -> None:
  """Gives a sampler its next prompts, as many as it has room for."""
  while sampler.has_capacity:
    if not sampler.pinned:
      sampler.pin()
    if sampler.pinned_version is None or len(deal.open(index)) >= deal.share:
      return
    prompt = deal.take(index)
    if prompt is None:
      return
    sampler.submit(prompt, sampling)


def _count_as_failed(evaluation: Evaluation, prompt: Prompt) -> None:
  """Counts a prompt that kills samplers as not solved."""
  verdict = Verdict('error', 0.0, {}, detail='every sampler that had it was lost')
  for sample in range(evaluation.samples):
    evaluation.add(Completion(prompt.ordinal, sample, np.zeros(0, np.int32),
                              np.zeros(0, np.float32), (), 'length', '', 0.0, prompt.purpose),
                   verdict)


def _still(evaluation: Evaluation, samplers: Sequence[Sampler], verifier: Verifier,
           deadline_s: float) -> str:
  total = len(evaluation.prompts) * evaluation.samples
  held = f'the samplers have {sum(sampler.open for sampler in samplers)}'
  if not any(sampler.has_capacity or sampler.open for sampler in samplers):
    held = 'no sampler is ready'
  return (f'An evaluation stands still: no token was drawn and no completion judged for '
          f'{deadline_s:.0f} s (runtime.deadline_s). {evaluation.open} of {total} are missing: '
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


class ConcurrentEvaluation:
  """The evaluation beside training: one at a time, over all samplers. Any thread may call.

  begin  ->  submit, by each sampler's thread  ->  sampled, judged for each completion  ->
  take_result; or given_up, if its weights or too many samplers were lost

  What a lost sampler had goes to the others, as long as one has the weights; the restarted one has
  newer weights only.

  Args:
    slots: sequences that one sampler decodes at once.
    group_size: sequences of a training prompt.
  """

  def __init__(self, prompts: Sequence[Prompt], sampling: Sampling, *, slots: int,
               group_size: int):
    self._prompts, self._sampling = prompts, sampling
    # In prompts. The other slots are for training, and where few are free both take turns.
    self._at_once = max(1, slots // 2 // sampling.samples)
    self._in_turn = max(1, group_size // sampling.samples)
    self._lock = threading.Lock()
    self._evaluation: Evaluation | None = None    # None: none is open.
    self.version: int | None = None               # Of the weights that are measured.
    self._pinned: set[int] = set()                # Samplers that take part.
    self._written: dict[tuple[int, int], Completion] = {}
    self._deal = _Deal((), 1)
    self._losses, self._reason = 0, ''

  @property
  def running(self) -> bool:
    """Whether one was begun and neither its result taken nor it given up."""
    return self._evaluation is not None

  @property
  def open(self) -> int:
    """Completions still to come; 0 if none is running."""
    evaluation = self._evaluation
    return evaluation.open if evaluation else 0

  def begin(self, version: int, samplers: Sequence[Sampler]) -> None:
    """Opens an evaluation of the weights that were just offered to all samplers, and pins them."""
    with self._lock:
      assert self._evaluation is None
      self._evaluation, self.version = Evaluation(self._prompts, self._sampling.samples), version
      self._deal, self._written = _Deal(self._prompts, len(samplers)), {}
      self._losses, self._pinned = 0, set(range(len(samplers)))
      for sampler in samplers:
        sampler.pin()

  def submit(self, index: int, sampler: Sampler) -> None:
    """Gives a sampler prompts while it has room, and unpins it when there are no more."""
    if index not in self._pinned:
      return
    for _ in range(self._in_turn):
      # Asked outside the lock: it may find that its process was lost, and `lost` is called.
      if sampler.has_capacity:
        prompt = self._take(index, sampler)
        if prompt is not None:
          sampler.submit(prompt, self._sampling)
    with self._lock:
      running = self._evaluation is not None
      if running and sampler.pinned and (self._deal.left or self._deal.open(index)):
        return
      # It is done, or it was lost, and with it the weights.
      self._pinned.discard(index)
      sampler.unpin()
      if running and not self._pinned and self._deal.left:
        self._give_up('no sampler has its weights any more')

  def _take(self, index: int, sampler: Sampler) -> Prompt | None:
    """The next prompt for a sampler; None if there is none, or it has enough, or other weights."""
    with self._lock:
      if self._evaluation is None or sampler.pinned_version != self.version:
        return None
      if len(self._deal.open(index)) >= min(self._deal.share, self._at_once):
        return None
      return self._deal.take(index)

  def sampled(self, completion: Completion) -> None:
    """Notes a completion on its way to the verifier."""
    with self._lock:
      # One that was given up may still be open in a sampler.
      if self._evaluation is None or completion.oldest_version != self.version:
        return
      ordinal = completion.ordinal
      self._written[ordinal, completion.sample] = completion
      if all((ordinal, i) in self._written for i in range(self._sampling.samples)):
        self._deal.done(ordinal)

  def judged(self, completion: Completion, verdict: Verdict) -> None:
    """Takes a verdict, if its completion is one of the open evaluation."""
    with self._lock:
      written = self._written.get((completion.ordinal, completion.sample))
      if self._evaluation is not None and written is completion:
        self._evaluation.add(completion, verdict)

  def lost(self, ordinals: Sequence[int]) -> None:
    """Takes back prompts that were open in a lost sampler, which does not take part any more."""
    with self._lock:
      evaluation, index = self._evaluation, self._deal.holder(ordinals)
      if evaluation is None or index is None:
        return
      for ordinal in ordinals:
        for sample in range(self._sampling.samples):
          self._written.pop((ordinal, sample), None)
          evaluation.answers.pop((ordinal, sample), None)
      self._deal.lose(index)
      self._pinned.discard(index)
      self._losses += 1
      if self._losses >= LOST_TOO_OFTEN:
        self._give_up(f'{self._losses} samplers were lost at it')
      elif not self._pinned:
        self._give_up('no sampler has its weights any more')

  def give_up(self, reason: str) -> None:
    """Ends an open evaluation without a result; its samplers are unpinned at their next look."""
    with self._lock:
      self._give_up(reason)

  def _give_up(self, reason: str) -> None:
    if self._evaluation is not None:
      self._evaluation, self._reason = None, reason

  def given_up(self) -> str:
    """Why an evaluation was given up, once; else ''."""
    with self._lock:
      reason, self._reason = self._reason, ''
      return reason

  def take_result(self) -> Result | None:
    """The result of an evaluation with all its verdicts, once; else None."""
    with self._lock:
      evaluation = self._evaluation
      if evaluation is None or evaluation.open:
        return None
      self._evaluation, self._written = None, {}
    return evaluation.result()
