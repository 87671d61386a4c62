"""Held-out problems through the same sampler and verifiers, the weights held still meanwhile."""

import time

from magistral_jax.evaluation.held_out import Evaluation, Result
from magistral_jax.orchestration.health import Lost
from magistral_jax.records import Prompt
from magistral_jax.sampler.slots import Sampling

# While there is nothing to sample, verdicts and samplers are looked after this often.
_LOOK_AGAIN_S = 0.2


def submit(evaluation: Evaluation, sampler, sampling: Sampling) -> None:
  """Gives an evaluation's prompts to a sampler, before all others and pinned to one version."""
  for prompt in reversed(evaluation.prompts):
    sampler.submit(prompt, sampling, pinned=True)


def hold(prompts: list[Prompt], sampling: Sampling, samplers, verifier, *, deadline_s: float,
         progress=lambda done, total: None, check=lambda: None) -> tuple[Result, Evaluation]:
  """Runs an evaluation to its end, with the first sampler that is ready of those nobody else drives.

  If that one is lost, the evaluation begins anew with one that is not.

  Args:
    check: raises Lost if the trainer, whose weights a sampler may still wait for, was lost.
  Raises:
    TimeoutError: no token was drawn and nothing scored for `deadline_s`; says who has the rest.
    Lost: by `check`; what was open is dropped.
  """
  evaluation = Evaluation(prompts, sampling.samples)
  problems = {p.ordinal: p.problem for p in prompts}
  total, sampler, drawn, last = evaluation.open, None, 0, time.monotonic()
  # Till the end of everything: a sampler that was lost meanwhile wrote some answers twice.
  while evaluation.open or (sampler and sampler.open) or verifier.pending():
    try:
      check()
    except Lost:
      for one in samplers:
        one.abandon()
      discard(verifier, deadline_s)
      raise
    if not (sampler and sampler.open) and not verifier.pending():
      sampler = _submitted(evaluation, samplers, sampling)
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
      raise TimeoutError(f'An evaluation stands still: no token was drawn and no completion scored for '
                         f'{deadline_s:.0f} s (runtime.deadline_s). {evaluation.open} of {total} are '
                         f'missing: {held}, {verifier.pending()} wait for a verdict.')
  return evaluation.result(), evaluation


def _submitted(evaluation: Evaluation, samplers, sampling: Sampling):
  """The first sampler that is ready, which has the evaluation now; None if none is."""
  for sampler in samplers:
    if sampler.has_capacity:
      submit(evaluation, sampler, sampling)
      return sampler
  return None


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
