"""Word problems of one or two steps in several languages, with traces to imitate.

    {"problem": "Tom hat 7 Karten und kauft 5 dazu. Wie viele Karten hat Tom jetzt?",
     "answer": "12", "meta": {"language": "de"}, "response":
     "<think>Tom hat 7 Karten und kauft 5 dazu: 7+5=12.</think>Die Antwort ist \\\\boxed{12}."}

Traces have three faults on purpose, each in a share of them: a slip in the last step of the
arithmetic, another language than the problem's, and checks again and again of what is right
already. Correctness, language and length are what a reward must teach.
"""

from __future__ import annotations

import dataclasses
import operator
import random
from collections.abc import Sequence

from magistral_jax.data.builders.distinct import distinct
from magistral_jax.data.builders.languages import LANGUAGES, checks, draw_checks, say, stray

NAMES = ('Tom', 'Anna', 'Paul', 'Nina', 'Max', 'Emma', 'Leo', 'Clara', 'Hugo', 'Lea')
# By LANGUAGES. The German ones are the same in all cases.
THINGS = (('coins', 'pièces', 'Münzen'), ('cards', 'cartes', 'Karten'),
          ('flowers', 'fleurs', 'Blumen'), ('pears', 'poires', 'Birnen'),
          ('pearls', 'perles', 'Perlen'), ('cups', 'tasses', 'Tassen'),
          ('bottles', 'bouteilles', 'Flaschen'), ('candles', 'bougies', 'Kerzen'))
SLIPS = (-10, -2, -1, 1, 2, 10)
OPERATIONS = {'+': operator.add, '-': operator.sub, '*': operator.mul}

_ANSWER = ('The answer is', 'La réponse est', 'Die Antwort ist')


@dataclasses.dataclass(frozen=True)
class Tale:
  """A kind of story: what happens and what is asked, by LANGUAGES, and what is to be worked out.

  `operations` join a, b and, where there are two, c, from left to right.
  """
  operations: str
  events: tuple[str, str, str]
  questions: tuple[str, str, str]


_LEFT = ('How many {things} are left?', 'Combien de {things} reste-t-il ?',
         'Wie viele {things} bleiben übrig?')
_NOW = ('How many {things} does {name} have now?', 'Combien de {things} a {name} maintenant ?',
        'Wie viele {things} hat {name} jetzt?')
_IN_ALL = ('How many {things} are there in all?', 'Combien de {things} y a-t-il en tout ?',
           'Wie viele {things} sind es insgesamt?')

TALES = (
    Tale('+', ('{name} has {a} {things} and buys {b} more',
               '{name} a {a} {things} et en achète encore {b}',
               '{name} hat {a} {things} und kauft {b} dazu'), _NOW),
    Tale('-', ('{name} has {a} {things} and gives {b} to {other}',
               '{name} a {a} {things} et en donne {b} à {other}',
               '{name} hat {a} {things} und gibt {other} davon {b}'), _LEFT),
    Tale('*', ('{name} has {a} boxes with {b} {things} each',
               '{name} a {a} boîtes avec {b} {things} dans chacune',
               '{name} hat {a} Kisten mit je {b} {things}'), _IN_ALL),
    Tale('+-', ('{name} has {a} {things}, finds {b} more and then loses {c}',
                '{name} a {a} {things}, en trouve encore {b} et puis en perd {c}',
                '{name} hat {a} {things}, findet noch {b} und verliert dann {c}'), _NOW),
    Tale('*+', ('{name} has {a} boxes with {b} {things} each and {c} more beside them',
                '{name} a {a} boîtes avec {b} {things} dans chacune et encore {c} à côté',
                '{name} hat {a} Kisten mit je {b} {things} und noch {c} daneben'), _IN_ALL),
)


def tales(count: int, seed: int, *, mistakes: float, astray: float, checked: float) -> list[dict]:
  """Generates `count` different problems as lines of a JSONL.

  Args:
    mistakes: share of the traces whose last result is wrong.
    astray: share of the traces in another language than their problem.
    checked: share of the traces that go over their work again and again.
  Raises:
    ValueError: there are fewer.
  """
  rng = random.Random(f'tales {seed}')

  def draw(known):
    tale, language = rng.choice(TALES), rng.choice(LANGUAGES)
    name, other = rng.sample(NAMES, 2)
    told = dict(name=name, other=other, things=rng.choice(THINGS), **_numbers(tale, rng))
    problem = f'{_tell(tale.events, told, language)}. {_tell(tale.questions, told, language)}'
    if problem in known:
      return None
    slip = rng.choice(SLIPS) if rng.random() < mistakes else 0
    said = stray(language, LANGUAGES, astray, rng)
    return dict(
        problem=problem, answer=str(_work(tale, told)[-1][1]), meta=dict(language=language),
        response=trace(tale, told, said, slip=slip, again=draw_checks(checked, rng)))

  return [dict(id=f'tale-{i}', source='tales', **line)
          for i, line in enumerate(distinct(count, draw))]


def trace(tale: Tale, told: dict, language: str, *, slip: int, again: int) -> str:
  """A response in a language: what happens, the arithmetic, `again` checks, and the answer."""
  lines = _work(tale, told, slip)
  sums = ', '.join(f'{left}={result}' for left, result in lines)
  thoughts = f'{_tell(tale.events, told, language)}: {sums}.{checks(sums, language, again)}'
  return f'<think>{thoughts}</think>{say(_ANSWER, language)} \\boxed{{{lines[-1][1]}}}.'


def _numbers(tale: Tale, rng: random.Random) -> dict[str, int]:
  """Numbers small enough that a model learns their sums within minutes; no result is below 0."""
  a, b, c = rng.randint(1, 9), rng.randint(2, 5), rng.randint(2, 5)
  if tale.operations[0] == '*':
    return dict(a=rng.randint(2, 3), b=b, c=c)
  if tale.operations == '-':
    return dict(a=a + b, b=b, c=c)
  return dict(a=a, b=b, c=min(c, a + b))


def _work(tale: Tale, told: dict, slip: int = 0) -> list[tuple[str, int]]:
  """(what is worked out, its result) of every step; a slip changes the last result."""
  result, lines = told['a'], []
  for operation, number in zip(tale.operations, (told['b'], told['c']), strict=False):
    left = f'{result}{operation}{number}'
    result = OPERATIONS[operation](result, number)
    lines.append((left, result))
  wrong = result + slip if result + slip >= 0 else result - slip
  return [*lines[:-1], (lines[-1][0], wrong)]


def _tell(phrases: Sequence[str], told: dict, language: str) -> str:
  return say(phrases, language).format(**told | dict(things=say(told['things'], language)))
