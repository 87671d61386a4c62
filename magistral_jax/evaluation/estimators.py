"""Estimators over repeated samples: pass@k, maj@k, and means with their standard errors.

Problems are the random unit; the samples of a problem only measure how well it is solved. So the
standard error is taken over problems; over samples, as if those were independent, it would be too
small. Answers are extracted texts, compared for equality alone; `classes` gives equal ones one
text.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_COMPARED = 200         # Characters of an answer that is compared with others.
MAX_COMPARISONS = 500      # Per problem; most take far less than a millisecond.


class Estimate(NamedTuple):
  """Mean over problems and its standard error, which is nan for a single problem."""
  mean: float
  standard_error: float


def pass_at_k(n: int, c: int, k: int) -> float:
  """Probability that k of n samples, drawn without replacement, include one of c correct ones.

  1 - C(n - c, k) / C(n, k), the unbiased estimate of the probability for k fresh samples.

  Raises:
    ValueError: not 1 <= k <= n, or not 0 <= c <= n.
  Reference: arXiv:2107.03374 eq. 1.
  """
  _check_k(n, k)
  if not 0 <= c <= n:
    raise ValueError(f'{c} of {n} samples cannot be correct: it must lie between 0 and {n}.')
  return float(1 - Fraction(math.comb(n - c, k), math.comb(n, k)))


def classes(answers: Sequence[str], same: Callable[[str, str], bool]) -> list[str]:
  """The answers, each as the first one that it equals: 0.5 for '0.5', '1/2' and '\\frac12'.

  An answer that equals several earlier ones, which differ, is the first of them. Answers longer
  than MAX_COMPARED characters, and all after MAX_COMPARISONS, are equal only in one spelling.

  Args:
    answers: extracted answers of one problem, '' where there is none.
    same: whether two answers are equal; asked in both directions.
  """
  found: dict[str, str] = {'': ''}
  firsts: list[str] = []
  comparisons = 0
  for answer in answers:
    if answer in found:
      continue
    found[answer] = answer
    if len(answer) > MAX_COMPARED:
      continue
    for first in firsts if comparisons < MAX_COMPARISONS else ():
      comparisons += 1
      if same(first, answer) or same(answer, first):
        found[answer] = first
        break
    else:
      firsts.append(answer)
  return [found[answer] for answer in answers]


def maj_at_k(answers: Sequence[str], correct: Sequence[bool], k: int) -> float:
  """Probability that the majority answer of k of n samples, without replacement, is correct.

  Computed exactly by counting subsets. Answers judged correct are one answer however they are
  spelled, since each equals the reference; wrong ones are one answer if they are one text, so they
  should come out of `classes`. A sample without an answer ('') does not vote. A tie
  among t answers is settled by an even draw, so the correct one counts 1/t; without any vote the
  result is 0.

  Args:
    answers: n extracted answers of one problem.
    correct: n verdicts, True where the answer is right.
    k: number of samples that vote.
  Raises:
    ValueError: not 1 <= k <= n, or the two lists differ in length.
  """
  n = len(answers)
  if len(correct) != n:
    raise ValueError(f'{n} answers came with {len(correct)} verdicts: there must be one for each.')
  _check_k(n, k)
  right = sum(bool(ok) for ok in correct)
  wrong = collections.Counter(a for a, ok in zip(answers, correct, strict=True) if a and not ok)
  silent = n - right - wrong.total()
  won = sum(
      math.comb(right, votes) * _won_subsets(list(wrong.values()), silent, k - votes, votes)
      for votes in range(1, min(right, k) + 1))
  return float(Fraction(won) / math.comb(n, k))


def clustered_mean(samples: Sequence[Sequence[float]]) -> Estimate:
  """Mean over problems of the mean over a problem's samples, with its standard error.

  Every problem weighs the same, however many samples it has. The error is the standard deviation
  of the problems' means (n - 1 in the denominator) over the square root of their number.

  Args:
    samples: one sequence of values for each problem.
  Raises:
    ValueError: there is no problem, or one without samples.
  """
  if not samples or not all(len(values) for values in samples):
    raise ValueError(
        f'A mean over {len(samples)} problems needs at least one problem, and at least one sample '
        f'of each: raise evaluation.problems or evaluation.samples.')
  means = [math.fsum(values) / len(values) for values in samples]
  mean = math.fsum(means) / len(means)
  if len(means) == 1:
    return Estimate(mean, math.nan)
  variance = math.fsum((value - mean) ** 2 for value in means) / (len(means) - 1)
  return Estimate(mean, math.sqrt(variance / len(means)))


def interval(samples: Sequence[Sequence[float]], z: float = 1.96) -> tuple[float, float]:
  """Interval of the mean over problems of values from 0 to 1; of 95 % with the usual z.

  Wilson's, for as many independent draws as would have the variance of `clustered_mean`: at most
  all samples. Where that variance is 0 the problems are the draws. Unlike mean +- z errors it stays
  within 0 and 1, and does not shrink to a point where every answer is right. A single problem says
  nothing about others: (0, 1).

  Reference: E. B. Wilson, 1927, doi:10.1080/01621459.1927.10502953; the effective number of draws
  is that of E. L. Korn and B. I. Graubard, 1998.
  """
  mean, error = clustered_mean(samples)
  if len(samples) == 1:
    return 0.0, 1.0
  draws = float(len(samples))
  if error > 0:
    draws = min(max(mean * (1 - mean) / error ** 2, 1.0), float(sum(map(len, samples))))
  centre = (mean + z * z / (2 * draws)) / (1 + z * z / draws)
  half = z / (1 + z * z / draws) * math.sqrt(mean * (1 - mean) / draws + z * z / (4 * draws ** 2))
  # Rounding must not put the mean outside.
  return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def _won_subsets(wrong: list[int], silent: int, draws: int, votes: int) -> Fraction:
  """Counts subsets of `draws` samples in which no wrong answer gets more than `votes`.

  The count is by a generating polynomial: tally[d, t] subsets take d samples from the answers seen
  so far, with t of these answers on exactly `votes`; each such subset counts 1 / (t + 1).
  """
  tally = collections.Counter({(0, 0): 1})
  for count, may_vote in [(silent, False), *((count, True) for count in wrong)]:
    extended = collections.Counter()
    for (drawn, tied), number in tally.items():
      most = min(count, draws - drawn, votes if may_vote else count)
      for more in range(most + 1):
        key = (drawn + more, tied + (may_vote and more == votes))
        extended[key] += number * math.comb(count, more)
    tally = extended
  return sum(
      (Fraction(number, tied + 1) for (drawn, tied), number in tally.items() if drawn == draws),
      Fraction(0))


def _check_k(n: int, k: int) -> None:
  if not 1 <= k <= n:
    raise ValueError(
        f'k is {k} but there are {n} samples of each problem: k must lie between 1 and {n}, so '
        f'lower k or raise evaluation.samples.')
