"""What a completion is paid: format, then correctness, then length, with the parts kept.

    0                                                       when the format fails, and nothing else
    format + (correct if right) + length_penalty(n_tokens)  otherwise

Reference: arXiv:2506.10910 section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from magistral_jax.records import Verdict
from magistral_jax.verifiers import format, length, math

# By Problem.domain. A verifier takes what was answered and the true answer, and returns a status of
# records.STATUSES with a detail for people.
VERIFIERS = dict(math=math.check)


def check_rewards(*, format: float, correct: float, length_max: int, length_cache: int,
                  length_penalty: float) -> None:
  """Raises ValueError for values that cannot work."""
  for key, value in dict(format=format, correct=correct, length_max=length_max,
                         length_cache=length_cache, length_penalty=length_penalty).items():
    if not 0 <= value < float('inf'):
      raise ValueError(f'verifiers.{key} is {value}; it must be a finite number of at least 0.')
  if length_max and length_cache > length_max:
    raise ValueError(
        f'verifiers.length_cache is {length_cache} but verifiers.length_max is {length_max}: the '
        f'penalty would start below 0 tokens; lower verifiers.length_cache.')


def check_domain(domain: str) -> None:
  """Raises ValueError for a domain that no verifier judges."""
  if domain not in VERIFIERS:
    raise ValueError(f'Nobody judges problems of domain {domain!r}; known: {sorted(VERIFIERS)}.')


def score(job: Mapping, **rewards) -> Verdict:
  """Judges one completion; how long that took is the worker's to say.

  Args:
    job: response (text after the prompt), answer (the true one), domain, n_tokens (of the
      completion), language and problem (text).
    rewards: format, correct, length_max, length_cache, length_penalty, as `check_rewards` has them.
  """
  check_domain(job['domain'])
  gate = format.gate(job['response'])
  if not gate.passed:
    return _verdict('bad_format', gate, job, gate.detail, rewards)
  status, detail = VERIFIERS[job['domain']](gate.box, job['answer'])
  return _verdict(status, gate, job, detail, rewards)


def score_unjudged(job: Mapping, status: str, detail: str, **rewards) -> Verdict:
  """The verdict on a completion whose check was cut short ('timeout', 'memory', 'error').

  Its format and length are known and count; an 'error' is ours and pays nothing.
  """
  gate = format.gate(job['response'])
  if status != 'error' and not gate.passed:
    status, detail = 'bad_format', gate.detail
  return _verdict(status, gate, job, detail, rewards)


def _verdict(status, gate, job, detail, rewards) -> Verdict:
  parts = dict(format=0.0, correct=0.0, length=0.0)
  if gate.passed and status != 'error':
    parts['format'] = rewards['format']
    parts['correct'] = rewards['correct'] if status == 'correct' else 0.0
    parts['length'] = length.length_penalty(
        job['n_tokens'], length_max=rewards['length_max'], length_cache=rewards['length_cache'],
        length_penalty=rewards['length_penalty'])
  return Verdict(
      status=status, reward=sum(parts.values()), parts=parts, answer=gate.box[:1000],
      detail=detail[:1000])
