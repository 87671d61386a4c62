"""Held-out problems through the same sampler and verifiers, the weights held still meanwhile."""

import time

from magistral_jax.evaluation.exam import Exam, Result
from magistral_jax.records import Prompt
from magistral_jax.sampler.slots import Sampling


def submit(exam: Exam, sampler, sampling: Sampling) -> None:
  """Gives an exam's prompts to a sampler, before all others and pinned to one version."""
  for prompt in reversed(exam.prompts):
    sampler.submit(prompt, sampling, pinned=True)


def hold(prompts: list[Prompt], sampling: Sampling, sampler, verifier, *, deadline_s: float,
         progress=lambda done, total: None) -> tuple[Result, Exam]:
  """Runs an exam to its end with a sampler that nobody else drives.

  Raises:
    TimeoutError: no token was drawn and nothing scored for `deadline_s`; says who has the rest.
  """
  exam = Exam(prompts, sampling.samples)
  problems = {p.ordinal: p.problem for p in prompts}
  submit(exam, sampler, sampling)
  total, last, drawn = exam.open, time.monotonic(), sampler.counts['tokens']
  # Till the end of everything: a sampler that was lost meanwhile wrote some answers twice.
  while exam.open or sampler.open or verifier.pending():
    if not sampler.open and not verifier.pending():
      submit(exam, sampler, sampling)
    for completion in sampler.step():
      verifier.put(completion, problems[completion.ordinal])
    scored = verifier.drain() if sampler.open else verifier.drain(1.0)
    for completion, verdict in scored:
      exam.add(completion, verdict)
      last = time.monotonic()
    if sampler.counts['tokens'] != drawn:
      last, drawn = time.monotonic(), sampler.counts['tokens']
    progress(total - exam.open, total)
    if time.monotonic() - last > deadline_s:
      raise TimeoutError(f'An exam stands still: no token was drawn and no completion scored for '
                         f'{deadline_s:.0f} s (runtime.deadline_s). {exam.open} of {total} are '
                         f'missing: the sampler has {sampler.open}, {verifier.pending()} wait for '
                         f'a verdict.')
  return exam.result(), exam


def discard(verifier, deadline_s: float) -> None:
  """Waits for what is still being scored and drops it.

  Raises:
    TimeoutError: it takes longer than `deadline_s`.
  """
  began = time.monotonic()
  while verifier.pending():
    verifier.drain(1.0)
    if time.monotonic() - began > deadline_s:
      raise TimeoutError(f'{verifier.pending()} completions were not scored within '
                         f'{deadline_s:.0f} s (runtime.deadline_s).')
