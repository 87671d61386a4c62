"""Arithmetic source: sums of any depth, generated on demand, without a file.

    7+12-5=?      answer 14      worked: 7+12=19, 19-5=14
    2+3*4=?       answer 14      worked: 3*4=12, 2+12=14 (products first, then left to right)

Whether a problem may be trained on is a property of its text alone: a tenth of all texts, chosen by
a hash, is held out, whatever the seed. The stream is endless and keeps no state.
"""
from __future__ import annotations

import dataclasses
import hashlib
import itertools
import operator
import random
import re
from collections.abc import Iterator, Sequence

from magistral_jax.records import Problem

OPERATIONS = {'+': operator.add, '-': operator.sub, '*': operator.mul}

# Bounds of every intermediate result, so that a byte-level model reads at most three digits.
LEAST_RESULT, GREATEST_RESULT = -99, 999

# What a slip adds to a result: a miscount, or a carry forgotten or invented.
SLIPS = (-10, -2, -1, 1, 2, 10)
HELD_OUT_SHARE = 10       # One text in this many is held out.


@dataclasses.dataclass(frozen=True)
class WorkedStep:
  """Line of a worked sum. WorkedStep(left=7, operation='+', right=12, result=19)"""
  left: int
  operation: str
  right: int
  result: int

  def __str__(self) -> str:
    return f'{self.left}{self.operation}{self.right}={self.result}'


def work(text: str, slips: dict[int, int] | None = None) -> list[WorkedStep]:
  """Solves a problem step by step; the last result is the answer.

  Args:
    text: as `ArithmeticSource` writes it, '2+3*4=?'.
    slips: {index of a step: what is added to its right result}; later steps build on it.
  """
  pieces = re.findall(r'\d+|[-+*]', text)
  numbers, operations = [int(piece) for piece in pieces[::2]], pieces[1::2]
  steps = []
  while operations:
    at = operations.index('*') if '*' in operations else 0
    result = OPERATIONS[operations[at]](numbers[at], numbers[at + 1])
    result += (slips or {}).get(len(steps), 0)
    steps.append(WorkedStep(numbers[at], operations[at], numbers[at + 1], result))
    numbers[at:at + 2] = [result]
    del operations[at]
  return steps


def in_range(steps: list[WorkedStep]) -> bool:
  """Whether every result lies in LEAST_RESULT..GREATEST_RESULT."""
  return all(LEAST_RESULT <= step.result <= GREATEST_RESULT for step in steps)


def worked_sum(text: str, slips: dict[int, int] | None = None) -> str:
  r"""Response to a problem: '<think>7+12=19\n19-5=14</think>\boxed{14}' for '7+12-5=?'.

  Args:
    slips: as in `work`.
  """
  steps = work(text, slips)
  thoughts = '\n'.join(map(str, steps))
  return f'<think>{thoughts}</think>\\boxed{{{steps[-1].result}}}'


def pick_slip(text: str, rng: random.Random) -> dict[int, int]:
  """Draws one slip that makes the answer wrong and leaves all results in range."""
  right = work(text)
  while True:
    slips = {int(rng.random() * len(right)): SLIPS[int(rng.random() * len(SLIPS))]}
    wrong = work(text, slips)
    # A later product with 0 can undo a slip; one in the last step always counts.
    if wrong[-1].result != right[-1].result and in_range(wrong):
      return slips


def is_held_out(text: str) -> bool:
  """Whether a text belongs to the tenth that is held out."""
  digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
  return int.from_bytes(digest, 'little') % HELD_OUT_SHARE == 0


@dataclasses.dataclass(frozen=True)
class ArithmeticSource:
  """Endless source of sums with the given operations and depths.

  Args:
    seed: number or text that decides the training stream; held-out problems do not depend on it.
    operations: any of '+', '-', '*', in one string.
    min_terms, max_terms: bounds of the number of operands; each number is drawn equally often,
      except that a sum with a result out of LEAST_RESULT..GREATEST_RESULT is drawn again.
    max_number: the largest operand; the smallest is 0.
  Raises:
    ValueError: no sum can be made of these values, or none on one of the two sides.
  """
  seed: int | str
  _: dataclasses.KW_ONLY
  operations: str
  min_terms: int
  max_terms: int
  max_number: int

  size = None               # Endless.

  def __post_init__(self):
    unknown = sorted(set(self.operations) - set(OPERATIONS))
    if unknown or not self.operations:
      raise ValueError(
          f'The operations {self.operations!r} cannot be used: write some of '
          f'{"".join(OPERATIONS)!r} into data.arithmetic.operations.')
    if not 2 <= self.min_terms <= self.max_terms:
      raise ValueError(
          f'Sums of {self.min_terms} to {self.max_terms} terms cannot be made: set '
          f'2 <= data.arithmetic.min_terms <= data.arithmetic.max_terms.')
    if not 0 <= self.max_number <= GREATEST_RESULT:
      raise ValueError(
          f'Operands up to {self.max_number} do not suit results up to {GREATEST_RESULT}: set '
          f'data.arithmetic.max_number between 0 and {GREATEST_RESULT}.')
    for held_out, side in ((False, 'training'), (True, 'held-out')):
      if next(self._all(held_out), None) is None:
        raise ValueError(
            f'No {side} problem exists with operands up to {self.max_number} and at most '
            f'{self.max_terms} terms: raise data.arithmetic.max_number or max_terms.')

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal, the same in every process."""
    # Text seeds go through SHA-512 and only random() is drawn; both are stable across Pythons.
    rng = random.Random(f'arithmetic {self.seed} {ordinal}')
    return _problem(self._draw(rng, held_out=False))

  def example(self, ordinal: int, slip: random.Random | None) -> tuple[Problem, str]:
    """Training problem of an ordinal, and a response to imitate; with `slip`, a wrong one."""
    problem = self.problem(ordinal)
    return problem, worked_sum(problem.text, slip and pick_slip(problem.text, slip))

  def held_out(self, n: int) -> list[Problem]:
    """Fixed, distinct problems that are never trained on: `n`, or all there are if fewer."""
    few = list(itertools.islice(self._all(True), 4 * n))
    if len(few) < 4 * n:
      # With so few, drawing distinct ones might take long: the whole side is shuffled instead.
      key = lambda text: hashlib.blake2b(f'evaluation {text}'.encode()).digest()
      return [_problem(text) for text in sorted(few, key=key)[:n]]
    rng, texts = random.Random('arithmetic held out'), {}
    while len(texts) < n:
      texts[self._draw(rng, held_out=True)] = None
    return [_problem(text) for text in texts]

  def longest(self) -> Problem:
    """Problem whose text is as long as any can be; it need not be in the stream."""
    operands = [str(self.max_number)] * self.max_terms
    return Problem('longest', self.operations[0].join(operands) + '=?', '', 'arithmetic')

  def _draw(self, rng: random.Random, *, held_out: bool) -> str:
    below = lambda n: int(rng.random() * n)
    while True:
      terms = self.min_terms + below(self.max_terms - self.min_terms + 1)
      numbers = [below(self.max_number + 1) for _ in range(terms)]
      operations = [self.operations[below(len(self.operations))] for _ in range(terms - 1)]
      text = _text(numbers, operations)
      if is_held_out(text) == held_out and in_range(work(text)):
        return text

  def _all(self, held_out: bool) -> Iterator[str]:
    """Yields every text of one side, in order; callers usually stop after a few."""
    for terms in range(self.min_terms, self.max_terms + 1):
      for numbers in itertools.product(range(self.max_number + 1), repeat=terms):
        for operations in itertools.product(sorted(set(self.operations)), repeat=terms - 1):
          text = _text(numbers, operations)
          if is_held_out(text) == held_out and in_range(work(text)):
            yield text


def _text(numbers: Sequence[int], operations: Sequence[str]) -> str:
  pairs = itertools.zip_longest(map(str, numbers), operations, fillvalue='=?')
  return ''.join(itertools.chain.from_iterable(pairs))


def _problem(text: str) -> Problem:
  return Problem(
      id=f'arithmetic-{text[:-2]}', text=text, answer=str(work(text)[-1].result),
      source='arithmetic')
