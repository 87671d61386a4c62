r"""Faults that are planted in generated problems, as curation finds them in real ones.

    duplicate        another row, laid out differently
    near_duplicate   another row with a word more
    contaminated     a held-out problem
    mislabelled      mathematics with a wrong answer
    proof, parts     nothing, or too much, that an answer could be compared with
    choice           multiple choice, which can be asked openly
    unanswered       mathematics without an answer, a program without a solution
    broken_test      a program of which one test expects something else

A planted row says so in `planted`, which no step of curation reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

Line = dict
Fault = Callable[[Line, random.Random], Line]

_SLIPS = (-10, -2, -1, 1, 2, 10)


def plant(lines: Sequence[Line], held_out: Sequence[Line], changes: Mapping[str, Fault],
          share: float, rng: random.Random) -> list[Line]:
  """Rows in any order, of which `share` have each of COPIES and of `changes`; others are sound.

  Args:
    lines: sound rows, each with a problem of its own. Those that `changes` are made of are not
      among the result as they were.
    held_out: rows that contamination copies.
  """
  count = max(1, round(share * len(lines)))
  sound = rng.sample(lines, len(lines))
  planted = [(kind, fault, sound.pop()) for kind, fault in changes.items() for _ in range(count)]
  for kind, fault in COPIES.items():
    pool = held_out if kind == 'contaminated' else sound
    planted += [(kind, fault, line) for line in rng.sample(pool, min(count, len(pool)))]
  found = sound + [fault(line, rng) | dict(id=f'{line["id"]}-{kind}', planted=kind)
                   for kind, fault, line in planted]
  return rng.sample(found, len(found))


def _duplicate(line: Line, _) -> Line:
  return line | dict(problem=f'  {line["problem"].replace(". ", ".  ")}')


def _near_duplicate(line: Line, _) -> Line:
  return line | dict(problem=f'{line["problem"]} Thanks.')


def _mislabelled(line: Line, rng: random.Random) -> Line:
  right = int(line['answer'])
  slip = rng.choice(_SLIPS)
  return line | dict(answer=str(right + slip if right + slip >= 0 else right - slip))


def _asking(line: Line, words: str) -> Line:
  """The row with other words than its last sentence, which asks."""
  told, _, _ = line['problem'].removesuffix('?').rpartition('. ')
  return line | dict(problem=f'{told}. {words}', meta=line['meta'] | dict(language='en'))


def _proof(line: Line, _) -> Line:
  return _asking(line, 'Prove that the result is not negative.')


def _parts(line: Line, _) -> Line:
  return _asking(line, '(a) Where are you? (b) What is the double of that?')


def _choice(line: Line, rng: random.Random) -> Line:
  right = int(line['answer'])
  options = [right, *(right + slip for slip in rng.sample((1, 2, 3, 10), 3))]
  rng.shuffle(options)
  listed = ' '.join(f'({letter}) {option}' for letter, option in zip('ABCD', options, strict=True))
  return line | dict(problem=f'{line["problem"]} {listed}', answer='ABCD'[options.index(right)])


def _broken_test(line: Line, rng: random.Random) -> Line:
  tests = [dict(test) for test in line['tests']]
  rng.choice(tests)['stdout'] = 'nothing\n'
  return line | dict(tests=tests)


# Made of a row that stays, or of one that is held out.
COPIES: dict[str, Fault] = dict(
    duplicate=_duplicate, near_duplicate=_near_duplicate, contaminated=lambda line, _: line)
# What becomes of a row.
OF_MATH: dict[str, Fault] = dict(
    mislabelled=_mislabelled, proof=_proof, parts=_parts, choice=_choice,
    unanswered=lambda line, _: line | dict(answer=''))
OF_CODE: dict[str, Fault] = dict(
    unanswered=lambda line, _: line | dict(solutions=[]), broken_test=_broken_test)
