"""Held-out problems through the run's own sampler and verifier, at one version of the weights.

    hold                    one evaluation from beginning to end, while nothing else runs
    ConcurrentEvaluation    one beside training, in threads mode
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from magistral_jax.evaluation.held_out import Evaluation, Result
from magistral_jax.orchestration.roles import Lost, Sampler, Verifier
from magistral_jax.records import Completion, Prompt, Verdict
from magistral_jax.sampler.slots import Sampling

# While there is nothing to sample, verdicts and samplers are asked this often.
_LOOK_AGAIN_S = 0.2


def submit(prompts: Sequence[Prompt], sampler: Sampler, sampling: Sampling) -> None:
  """Gives an evaluation's prompts to a sampler, before all others and pinned to one version."""
  for prompt in reversed(prompts):
    sampler.submit(prompt, sampling, pinned=True)


def hold(prompts: Sequence[Prompt], sampling: Sampling, samplers: Sequence[Sampler],
         verifier: Verifier, *, deadline_s: float,
         progress: Callable[[int, int], None] = lambda done, total: None,
         check: Callable[[], None] = lambda: None) -> tuple[Result, Evaluation]:
  """Runs an evaluation to its end on the first sampler that is ready; no thread drives them.

  If that sampler is lost, the evaluation begins anew on another one.

  Args:
    progress: called with (completions judged, completions in all).
    check: raises Lost if the trainer, whose weights a sampler may still wait for, was lost.
  Raises:
    TimeoutError: no token was drawn and nothing judged for `deadline_s`; says what has the rest.
    Lost: by `check`; everything open is dropped.
  """
  evaluation = Evaluation(prompts, sampling.samples)
  problems = {p.ordinal: p.problem for p in prompts}
  total, sampler, drawn, last = evaluation.open, None, 0, time.monotonic()
  # Also until nothing is open any more: a sampler that was lost wrote some answers twice.
  while evaluation.open or (sampler and sampler.open) or verifier.pending():
    try:
      check()
    except Lost:
      for one in samplers:
        one.abandon()
      discard(verifier, deadline_s)
      raise
    if not (sampler and sampler.open) and not verifier.pending():
      sampler = _submitted(prompts, samplers, sampling)
    for completion in sampler.step() if sampler else ():
      verifier.put(completion, problems[completion.ordinal])
    scored = verifier.drain(0.0 if sampler and sampler.open else _LOOK_AGAIN_S)
    for completion, verdict in scored:
      evaluation.add(completion, verdict)
      last = time.monotonic()
    if sampler and sampler.counts['tokens'] != drawn:
      last, drawn = time.monotonic(), sampler.counts['tokens']
    progress(total - evaluation.open, total)
    if time.monotonic() - last > deadline_s:
      held = f'the sampler has {sampler.open}' if sampler else 'no sampler is ready'
      raise TimeoutError(
          f'An evaluation stands still: no token was drawn and no completion judged for '
          f'{deadline_s:.0f} s (runtime.deadline_s). {evaluation.open} of {total} are missing: '
          f'{held}, {verifier.pending()} wait for a verdict.')
  return evaluation.result(), evaluation


def _submitted(prompts: Sequence[Prompt], samplers: Sequence[Sampler],
               sampling: Sampling) -> Sampler | None:
  """The first sampler that is ready, once it has the evaluation; None if none is ready."""
  for sampler in samplers:
    if sampler.has_capacity:
      submit(prompts, sampler, sampling)
      return sampler
  return None


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
  """The evaluation beside training: one at a time, all of it on one sampler. Any thread may call.

  begin  ->  submit to one sampler  ->  sampled, judged for each completion  ->  take_result

  If that sampler is lost, `begin` starts another evaluation in its place; completions of the one
  before that come later belong to none and are ignored.
  """

  def __init__(self, prompts: Sequence[Prompt], sampling: Sampling):
    self._prompts, self._sampling = prompts, sampling
    self._lock = threading.Lock()
    self._evaluation: Evaluation | None = None    # None: none is open.
    self._submitted = False                       # Whether a sampler has it.
    self._sampled: dict[tuple[int, int], Completion] = {}

  @property
  def running(self) -> bool:
    """Whether one was begun and its result not taken."""
    return self._evaluation is not None

  @property
  def open(self) -> int:
    """Completions still to come; 0 if none is running."""
    evaluation = self._evaluation
    return evaluation.open if evaluation else 0

  def begin(self) -> None:
    """Opens an evaluation, in place of one that is open, for the first sampler that is ready."""
    with self._lock:
      self._evaluation = Evaluation(self._prompts, self._sampling.samples)
      self._submitted, self._sampled = False, {}

  def submit(self, sampler: Sampler) -> None:
    """Gives an open evaluation to a sampler, once, unless that one is down or starting."""
    if self._evaluation is None or not (sampler.open or sampler.has_capacity):
      return
    with self._lock:
      if self._evaluation is None or self._submitted:
        return
      self._submitted = True
    submit(self._prompts, sampler, self._sampling)

  def sampled(self, completion: Completion) -> None:
    """Notes a completion on its way to the verifier."""
    with self._lock:
      if self._evaluation is not None:
        self._sampled[completion.ordinal, completion.sample] = completion

  def judged(self, completion: Completion, verdict: Verdict) -> None:
    """Takes a verdict, if its completion is one of the open evaluation."""
    with self._lock:
      sampled = self._sampled.get((completion.ordinal, completion.sample))
      if self._evaluation is not None and sampled is completion:
        self._evaluation.add(completion, verdict)

  def take_result(self) -> Result | None:
    """The result of an evaluation with all its verdicts, once; else None."""
    with self._lock:
      evaluation = self._evaluation
      if evaluation is None or evaluation.open:
        return None
      self._evaluation, self._sampled = None, {}
    return evaluation.result()
