"""The reward of a completion: format, correctness, length and language, each kept as a part.

    0                                                     where the format fails, in every part
    format + correct * share + length_penalty + language  otherwise

`share` is 1 for a right answer and 0 for any other; with code_reward='share' a program that is not
right earns the share of the tests that it passes. The language bonus does not depend on
correctness.

Reference: arXiv:2506.10910 section 2.2; the share of tests is an ablation there (section 7.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum

from magistral_jax.records import Verdict
from magistral_jax.verifiers import format, gym, length
from magistral_jax.verifiers import language as languages
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.math import echo, equivalence
from magistral_jax.verifiers.sandbox.sandbox import Sandbox

CODE_REWARDS = ('all', 'share')
PARTS = ('format', 'correct', 'length', 'language')


def _math(gate: format.Gate, job: Mapping, sandbox, every: bool) -> tuple[str, float, str]:
  """(status, share, detail) of a mathematical answer."""
  del sandbox, every
  status, detail = equivalence.check(gate.box, job['answer'])
  if status == 'correct':
    try:
      if echo.echoes(gate.box, job['answer'], job['problem']):
        status, detail = 'wrong', 'only repeats an expression of the problem'
    except Exception as e:
      if isinstance(e, MemoryError):
        raise
      # As in equivalence.check: what a text makes of our code is the text's affair.
      status, detail = 'unparsable', f'{equivalence.FAILED} ({e!r})'
  return status, 0.0, detail


def _code(gate: format.Gate, job: Mapping, sandbox, every: bool) -> tuple[str, float, str]:
  """(status, share, detail) of a program."""
  found = judge.check_once(
      gate.box, gate.language, job['tests'], language=job['tests']['language'], sandbox=sandbox(),
      every=every)
  return found.status, found.passed / found.total, found.detail


def _gym(gate: format.Gate, job: Mapping, sandbox, every: bool) -> tuple[str, float, str]:
  """(status, share, detail) of an answer to a task that has a scorer of its own."""
  del sandbox, every
  status, detail = gym.check(gate.box, job['scorer'])
  return status, 0.0, detail


# Problem.domain -> (gate, check of an answer that passed it). A check returns a status of
# records.STATUSES, the share that a wrong answer got right, and a detail in words.
VERIFIERS = dict(math=(format.gate, _math), code=(format.code_gate, _code),
                 gym=(format.gate, _gym))
# Those whose problems a file can hold: a scorer of its own comes with a source alone.
FILE_DOMAINS = ('math', 'code')


def same_answer(domain: str, one: str, other: str) -> bool:
  """Whether two extracted answers are one: by the verifier's rules, or for programs in spelling."""
  return one == other or domain == 'math' and equivalence.check(other, one)[0] == 'correct'


def check_rewards(*, format: float, correct: float, length_max: int, length_cache: int,
                  length_penalty: float, language: float, code_reward: str) -> None:
  """Raises ValueError for rewards that cannot work, by key.

  Args:
    format: reward of a completion that passes its gate.
    correct: reward of a right answer.
    length_max, length_cache, length_penalty: as in `length.length_penalty`.
    language: bonus for one language throughout; 0 switches it off.
    code_reward: one of CODE_REWARDS: a program must pass 'all' tests, or is paid by their 'share'.
  """
  for key, value in dict(format=format, correct=correct, length_max=length_max,
                         length_cache=length_cache, length_penalty=length_penalty,
                         language=language).items():
    if not 0 <= value < float('inf'):
      raise ValueError(f'verifiers.{key} is {value}; it must be a finite number of at least 0.')
  if length_max and length_cache > length_max:
    raise ValueError(
        f'verifiers.length_cache is {length_cache} but verifiers.length_max is {length_max}: the '
        f'penalty would start below 0 tokens; lower verifiers.length_cache.')
  if code_reward not in CODE_REWARDS:
    raise ValueError(f'verifiers.code_reward is {code_reward!r}; it must be one of '
                     f'{", ".join(CODE_REWARDS)}.')


def check_domain(domain: str) -> None:
  """Raises ValueError for a domain that no verifier judges."""
  if domain not in VERIFIERS:
    raise ValueError(f'No verifier judges problems of domain {domain!r}; there are verifiers for '
                     f'{", ".join(sorted(VERIFIERS))}.')


def score(job: Mapping, *, identify: languages.Identify | None = None,
          sandbox: Callable[[], Sandbox] | None = None, **rewards) -> Verdict:
  """The verdict on one completion; its `seconds` are left 0, for the worker to fill in.

  Args:
    job: response (text after the prompt), answer (the true one), tests (in the form of
      `code_tests.read`) or scorer (as `gym.check` takes it), domain, n_tokens (of the completion),
      language and problem (text); length_max and length_cache where they are others than those of
      `rewards`. With `bare` true the response is only the final answer or program: there is no
      gate, and only correctness pays.
    identify: function of `language.load`; needed where the language pays.
    sandbox: makes the sandbox; called when there is a program to judge.
    rewards: format, correct, length_max, length_cache, length_penalty, language, code_reward, as
      `check_rewards` has them.
  Raises:
    ValueError: no verifier judges the job's domain.
  """
  check_domain(job['domain'])
  gate = _gate(job)
  if not gate.passed:
    return _verdict(_not_passed(job), 0.0, gate, job, gate.detail, identify, rewards)
  _, check = VERIFIERS[job['domain']]
  status, share, detail = check(gate, job, sandbox, rewards['code_reward'] == 'share')
  return _verdict(status, share, gate, job, detail, identify, rewards)


def score_unjudged(job: Mapping, status: str, detail: str, *,
                   identify: languages.Identify | None = None, **rewards) -> Verdict:
  """The verdict on a completion whose check was cut short ('timeout', 'memory', 'error').

  Its format, length and language are known and count. An 'error' is our failure and pays nothing.
  """
  gate = _gate(job)
  if status != 'error' and not gate.passed:
    status, detail = _not_passed(job), gate.detail
  return _verdict(status, 0.0, gate, job, detail, identify, rewards)


def _gate(job: Mapping) -> format.Gate:
  """The gate's result; a bare response passes unless it is empty."""
  if not job.get('bare'):
    gate, _ = VERIFIERS[job['domain']]
    return gate(job['response'])
  if job['domain'] == 'code':
    source = job['response']
    return format.Gate(bool(source.strip()), '', '', source, 'the response is empty',
                       job['tests']['language'])
  # A bare answer may still be boxed. One whose box is not closed is taken as a whole.
  box = format.last_box(job['response'])
  box = (job['response'] if box is None else box).strip()
  return format.Gate(bool(box), '', '', box, '' if box else 'the response is empty')


def _not_passed(job: Mapping) -> str:
  """The status of a response that did not pass its gate."""
  return 'no_answer' if job.get('bare') else 'bad_format'


def _verdict(status, share, gate, job, detail, identify, rewards) -> Verdict:
  """The verdict with its parts added up."""
  parts = dict.fromkeys(PARTS, 0.0)
  details = [detail]
  if gate.passed and status != 'error':
    if status == 'correct':
      parts['correct'] = rewards['correct']
    elif rewards['code_reward'] == 'share':
      parts['correct'] = rewards['correct'] * share
    if not job.get('bare'):
      parts['format'] = rewards['format']
      limits = {key: job.get(key, rewards[key]) for key in ('length_max', 'length_cache')}
      parts['length'] = length.length_penalty(
          job['n_tokens'], **limits, length_penalty=rewards['length_penalty'])
      if rewards['language']:
        agreed, why = languages.agree(
            identify, problem=job['problem'], thoughts=gate.thoughts, answer=gate.answer,
            language=job['language'])
        parts['language'] = rewards['language'] if agreed else 0.0
        details.append(why)
  return Verdict(
      status=status, reward=fsum(parts.values()), parts=parts, answer=gate.box[:1000],
      detail='; '.join(filter(None, details))[:1000])
