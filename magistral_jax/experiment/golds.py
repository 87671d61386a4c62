"""Gold answers that no honest answer can be compared with: sentences, and what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from absl import logging

from magistral_jax.data import golds
from magistral_jax.experiment.values import filled
from magistral_jax.records import Problem
from magistral_jax.verifiers.workers.pool import Pool

# Some answer: a gold that cannot be read beside it cannot be read beside any.
PROBE = '7919'
# Answers that need no reading. Others are read in a process that can be killed, since one of a
# million may keep SymPy busy for ever.
_PLAIN = re.compile(r'[-+]?\d{1,30}(?:[.,/]\d{1,15})?|[A-Za-z]|-?\\d?frac\{\d{1,9}\}\{\d{1,9}\}')
MOST_READ = 2000          # Different answers that are read; of more, these are spread evenly.
SHOWN = 3                 # Lines that a message names.
_WAIT_S = 120.0           # The pool answers within seconds, also when its worker dies.


def check(c, problems: Sequence[Problem]) -> None:
  """Warns of problems that no answer can solve, by their lines.

  Raises:
    ValueError: all problems of mathematics are such.
  """
  asked = [problem for problem in problems if problem.domain == 'math']
  reasons = {problem.answer: golds.fault(problem.answer) for problem in asked}
  unread = sorted(gold for gold, reason in reasons.items()
                  if not reason and not _PLAIN.fullmatch(gold))
  step = max(1, -(-len(unread) // MOST_READ))
  if unread:
    reasons |= _unreadable(c, unread[::step])
  wrong = sorted((problem for problem in asked if reasons[problem.answer]), key=_line)
  found = [f'{problem.where or problem.id}: {problem.answer[:60]!r}, since '
           f'{reasons[problem.answer]}.' for problem in wrong]
  if not found:
    return
  words = (f'{len(found)} of {len(asked)} problems have an answer that no honest answer can be '
           f'compared with. {" ".join(found[:SHOWN])}')
  advice = 'Correct the answers, or say where they are (data.jsonl.fields).'
  if len(found) == len(asked):
    raise ValueError(f'{words} {advice}')
  more = f' {len(unread[::step])} of {len(unread)} answers were looked at.' if step > 1 else ''
  logging.warning('%s %s%s', words, advice, more)


def _line(problem: Problem) -> tuple[str, int]:
  """File and line of a problem."""
  path, _, number = problem.where.rpartition(' ')
  return path, int(number or 0)


def _unreadable(c, answers: Sequence[str]) -> dict[str, str]:
  """{answer: why the verifier cannot read it as a gold, or ''}."""
  limits = {key: c.verifiers[key] for key in ('timeout_s', 'memory_mb')}
  rewards = dict(format=0.0, correct=1.0, length_max=0, length_cache=0, length_penalty=0.0,
                 language=0.0, code_reward='all')
  programs = {key: filled(c, 'verifiers')[key] for key in ('test_timeout_s', 'test_memory_mb')}
  with Pool(c.runtime.verifier_workers, rewards=rewards, language_model='', queue=len(answers) + 1,
            sandbox='bubblewrap', **limits, **programs) as pool:
    jobs = [pool.submit(dict(domain='math', bare=True, response=PROBE, answer=answer, n_tokens=0,
                             language='', problem='')) for answer in answers]
    verdicts = [job.result(_WAIT_S) for job in jobs]
  return {answer: '' if verdict.status in ('correct', 'wrong') else
          f'the verifier cannot read it ({verdict.detail or verdict.status})'
          for answer, verdict in zip(answers, verdicts, strict=True)}
