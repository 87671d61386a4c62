r"""Walks along the numbers, told in English, French or Spanish: mathematics of any difficulty.

    Start at 7. Go up 5. Go down 3. Double it. Where are you?
    <think>Plan: 7+5=12; 12-3=9; 9*2=18.</think>The answer is \boxed{18}.

The number of operations is the difficulty: every one is easy, and all of them have to be written
down. Results stay between 0 and MOST, so that a model of a million parameters learns the sums
within minutes.
"""

from __future__ import annotations

import dataclasses
import operator
import random
from collections.abc import Callable, Sequence

from magistral_jax.data.builders.distinct import distinct

LANGUAGES = ('en', 'fr', 'es')      # Words by language stand in this order.
SHARES = (0.7, 0.15, 0.15)          # Of the problems.
MOST = 40                           # The largest result of an operation.
SLIPS = (-10, -2, -1, 1, 2, 10)


@dataclasses.dataclass(frozen=True)
class Operation:
  """Something that is done to a number; `{k}` in its words stands for one of `choices`.

  Operation('+', operator.add, ('Go up {k}', 'Monte de {k}', 'Sube {k}'), range(2, 10))
  """
  sign: str
  act: Callable[[int, int], int]    # (number before, k) -> number after.
  words: tuple[str, str, str]
  choices: Sequence[int]


OPERATIONS = (
    Operation('+', operator.add, ('Go up {k}', 'Monte de {k}', 'Sube {k}'), range(2, 10)),
    Operation('-', operator.sub, ('Go down {k}', 'Descends de {k}', 'Baja {k}'), range(2, 10)),
    Operation('*', operator.mul, ('Double it', 'Double-le', 'Duplica eso'), (2,)),
)
_START = ('Start at {a}', 'Pars de {a}', 'Empieza en {a}')
_QUESTION = ('Where are you?', 'Où es-tu ?', '¿Dónde estás?')
_ANSWER = ('The answer is', 'La réponse est', 'La respuesta es')


@dataclasses.dataclass(frozen=True)
class Chain:
  """A problem: a number, what is done to it, and the language that it is told in.

  Chain(7, ((OPERATIONS[0], 5), (OPERATIONS[2], 2)), 'en')
  """
  start: int
  work: tuple[tuple[Operation, int], ...]   # The operations, each with its k.
  language: str

  @property
  def problem(self) -> str:
    """The statement."""
    told = [self._say(_START, a=self.start),
            *(self._say(operation.words, k=k) for operation, k in self.work)]
    return f'{". ".join(told)}. {self._say(_QUESTION)}'

  @property
  def answer(self) -> int:
    """The result of the last operation."""
    return self._sums()[-1][1]

  def worked(self, slip_at: int = -1, slip: int = 0) -> str:
    """A response that writes every sum down.

    Args:
      slip_at: the sum whose result is off, from which it goes on; -1 for none.
      slip: by how much.
    """
    sums = self._sums(slip_at, slip)
    plan = '; '.join(f'{left}={result}' for left, result in sums)
    return self.respond(f'Plan: {plan}.', sums[-1][1])

  def respond(self, thoughts: str, answer: int) -> str:
    """A response of any thoughts and answer."""
    return f'<think>{thoughts}</think>{self._say(_ANSWER)} \\boxed{{{answer}}}.'

  def _sums(self, slip_at: int = -1, slip: int = 0) -> list[tuple[str, int]]:
    """(what is worked out, its result) of every operation."""
    number, sums = self.start, []
    for i, (operation, k) in enumerate(self.work):
      left, number = f'{number}{operation.sign}{k}', operation.act(number, k)
      if i == slip_at:
        number += slip if number + slip >= 0 else -slip
      sums.append((left, number))
    return sums

  def _say(self, words: Sequence[str], **told: int) -> str:
    return words[LANGUAGES.index(self.language)].format(**told)


def chains(count: int, seed: int | str, *, fewest: int, most: int) -> list[Chain]:
  """Draws `count` chains with different statements.

  Args:
    fewest, most: operations of a chain.
  Raises:
    ValueError: there are fewer.
  """
  rng = random.Random(f'chains {seed}')

  def draw(known):
    chain = _draw(rng, rng.randint(fewest, most))
    return None if chain.problem in known else dict(problem=chain.problem, chain=chain)

  return [line['chain'] for line in distinct(count, draw)]


def _draw(rng: random.Random, length: int) -> Chain:
  start = number = rng.randint(2, 20)
  work = []
  for _ in range(length):
    fits = {operation: [k for k in operation.choices if 0 <= operation.act(number, k) <= MOST]
            for operation in OPERATIONS}
    operation = rng.choice([operation for operation, choices in fits.items() if choices])
    work.append((operation, rng.choice(fits[operation])))
    number = operation.act(number, work[-1][1])
  return Chain(start, tuple(work), rng.choices(LANGUAGES, SHARES)[0])
