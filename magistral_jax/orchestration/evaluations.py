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

import threading
from collections.abc import Callable, Sequence

from magistral_jax.evaluation.evaluation import Evaluation, Result
from magistral_jax.orchestration.answering import Deal, answered
from magistral_jax.orchestration.roles import LOST_TOO_OFTEN, Sampler, Verifier
from magistral_jax.records import Completion, Prompt, Verdict
from magistral_jax.sampler.slots import Sampling


def hold(prompts: Sequence[Prompt], sampling: Sampling, samplers: Sequence[Sampler],
         verifier: Verifier, *, deadline_s: float,
         progress: Callable[[int, int], None] = lambda done, total: None,
         check: Callable[[], None] = lambda: None,
         stopping: Callable[[], bool] = lambda: False) -> tuple[Result, Evaluation] | None:
  """Runs an evaluation to its end on all samplers; no thread drives them.

  Args:
    progress: called with (completions judged, completions in all).
    check, stopping: as in `answering.answered`.
  Returns:
    None if it was broken off; everything open is dropped then.
  Raises:
    TimeoutError, Lost: as `answering.answered`.
  """
  evaluation = Evaluation(prompts, sampling.samples)
  total = evaluation.open
  for _, judged in answered(
      prompts, sampling, samplers, verifier, deadline_s=deadline_s, check=check, stopping=stopping,
      progress=lambda done: progress(done, total)):
    for completion, verdict in judged:
      evaluation.add(completion, verdict)
  return None if evaluation.open else (evaluation.result(), evaluation)


class ConcurrentEvaluation:
  """The evaluation beside training: one at a time, over all samplers. Any thread may call.

  begin  ->  submit, by each sampler's thread  ->  sampled, judged for each completion  ->
  take_result; or given_up, if its weights or too many samplers were lost

  What a lost sampler had goes to the others, as long as one has the weights; the restarted one has
  newer weights only. A version whose evaluation was given up is not measured any more (`spoilt`):
  after a trainer was set back, other weights may have its number, and a completion knows its
  weights by their number alone.

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
    self._deal = Deal((), 1)
    self._losses, self._reason = 0, ''
    self.spoilt: set[int] = set()       # Versions with answers that belong to no evaluation.

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
      self._deal, self._written = Deal(self._prompts, len(samplers)), {}
      self._losses, self._pinned = 0, set(range(len(samplers)))
      for sampler in samplers:
        sampler.pin()

  def unread(self, samplers: Sequence[Sampler]) -> bool:
    """Whether one is open whose weights are on their way to samplers, none of which has them."""
    with self._lock:
      pinned = [samplers[i] for i in self._pinned if samplers[i].pinned]
      return (self._evaluation is not None and bool(pinned)
              and all(sampler.pinned_version != self.version for sampler in pinned))

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
      if self.version is not None:
        self.spoilt.add(self.version)

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
