r"""Traces of the cold start: responses to imitate before reinforcement learning starts.

A generated trace works a sum step by step; a problem from a file has its own worked solution.

    7+12-5=?    <think>7+12=19\n19-5=14</think>\boxed{14}

Some generated traces slip on purpose. A model that imitates them is right only sometimes, which
leaves reinforcement learning something to find: the careful habit pays and the slips do not.
"""
from __future__ import annotations

import collections
import dataclasses
import random

from magistral_jax.data import arithmetic
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.mix import MixSource, Schedule
from magistral_jax.data.sources import Source
from magistral_jax.records import Problem

# What a slip adds to a result: a miscount, or a carry forgotten or invented.
SLIPS = (-10, -2, -1, 1, 2, 10)


def cold_start_examples(
    source: Source, *, examples: int, mistakes: float, seed: int) -> list[tuple[Problem, str]]:
  """Training problems, each with a full response.

  Args:
    source: any of `data.sources`; only its training side is used.
    examples: how many; a file with fewer worked solutions gives all it has.
    mistakes: share of the generated traces that slip and end in a wrong answer. Solutions of a
      file are taken as they are.
    seed: decides problems and slips.
  Raises:
    ValueError: `mistakes` is not between 0 and 1; no problem of a file has a solution.
  """
  if not 0.0 <= mistakes <= 1.0:
    raise ValueError(
        f'A share of {mistakes} of the traces cannot be wrong: set cold_start.mistakes between '
        f'0 and 1.')
  if isinstance(source, MixSource):
    return _from_parts(source, examples, mistakes, seed)
  if isinstance(source, FiniteSource):
    return _from_solutions(source, examples, seed)
  # Another stream of the training side: training does not begin with the problems just seen.
  source = dataclasses.replace(source, seed=f'{source.seed} cold start {seed}')
  rng = random.Random(f'slips {seed}')
  result = []
  for ordinal in range(examples):
    problem = source.problem(ordinal)
    slips = pick_slip(problem.text, rng) if rng.random() < mistakes else None
    result.append((problem, worked_sum(problem.text, slips)))
  return result


def worked_sum(text: str, slips: dict[int, int] | None = None) -> str:
  """Response to an arithmetic problem, with `slips` as in `arithmetic.work`."""
  steps = arithmetic.work(text, slips)
  thoughts = '\n'.join(map(str, steps))
  return f'<think>{thoughts}</think>\\boxed{{{steps[-1].result}}}'


def pick_slip(text: str, rng: random.Random) -> dict[int, int]:
  """Draws one slip that makes the answer wrong and leaves all results in range."""
  right = arithmetic.work(text)
  while True:
    slips = {int(rng.random() * len(right)): SLIPS[int(rng.random() * len(SLIPS))]}
    wrong = arithmetic.work(text, slips)
    # A later product with 0 can undo a slip; one in the last step always counts.
    if wrong[-1].result != right[-1].result and arithmetic.in_range(wrong):
      return slips


def worked_solution(problem: Problem) -> str:
  r"""Response to a problem that has a solution: thoughts, then the boxed answer."""
  # Tags in the solution would make a second pair, which the format gate refuses.
  thoughts = problem.solution.replace('<think>', '').replace('</think>', '').strip()
  return f'<think>\n{thoughts}\n</think>\n\nThe answer is \\boxed{{{problem.answer}}}.'


def _from_parts(
    source: MixSource, examples: int, mistakes: float, seed: int) -> list[tuple[Problem, str]]:
  """Examples of the parts of a mix, of each in proportion to its weight, as far as it has them."""
  turns = Schedule(seed, [part.weight for part in source.parts])
  wanted = collections.Counter(turns.unshuffled(turn)[0] for turn in range(examples))
  return [example for i, part in enumerate(source.parts) if wanted[i]
          for example in cold_start_examples(
              part.source, examples=wanted[i], mistakes=mistakes, seed=seed)]


def _from_solutions(source: FiniteSource, examples: int, seed: int) -> list[tuple[Problem, str]]:
  solved = [problem for problem in source.training if problem.solution]
  if not solved:
    raise ValueError(
        f'None of the {source.size} training problems has a solution to imitate: add a '
        f'"solution" to lines of the file, or set cold_start.steps=0.')
  random.Random(f'solutions {seed}').shuffle(solved)
  return [(problem, worked_solution(problem)) for problem in solved[:examples]]
