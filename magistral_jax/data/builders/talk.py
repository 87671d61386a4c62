r"""Small talk about numbers, in English, French and Spanish: instructions that need no thoughts.

    {"messages": [{"role": "user", "content": "What comes after 12?"},
                  {"role": "assistant", "content": "13."},
                  {"role": "user", "content": "And then?"},
                  {"role": "assistant", "content": "14."}]}

A cold start imitates them beside traces, so that a model goes on to do plainly what is plainly
asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from magistral_jax.data.builders.chains import LANGUAGES, SHARES

# What is asked of a number, what is asked then, and the number that each makes of the last one.
Asked = tuple[tuple[str, str, str], tuple[str, str, str], Callable[[int], int]]
_ASKED: tuple[Asked, ...] = (
    (('What comes after {a}?', 'Qu’est-ce qui vient après {a} ?', '¿Qué viene después de {a}?'),
     ('And then?', 'Et puis ?', '¿Y luego?'), lambda a: a + 1),
    (('What comes before {a}?', 'Qu’est-ce qui vient avant {a} ?', '¿Qué viene antes de {a}?'),
     ('And before that?', 'Et avant ?', '¿Y antes?'), lambda a: a - 1))
_COUNT = ('Count from {a} to {b}.', 'Compte de {a} à {b}.', 'Cuenta de {a} a {b}.')
_LEAST, _MOST, _LONGEST = 2, 40, 6      # Numbers that are asked about; numbers that are counted.
_TWICE = 0.3                            # Share of the conversations in which more is asked.


def conversations(count: int, seed: int | str) -> list[dict]:
  """`count` conversations; some stand more than once, since there are not many different ones."""
  rng = random.Random(f'talk {seed}')
  return [_draw(rng) for _ in range(count)]


def _draw(rng: random.Random) -> dict:
  at = LANGUAGES.index(*rng.choices(LANGUAGES, SHARES))
  a = rng.randint(_LEAST, _MOST)
  if rng.random() < 1 / 3:
    b = a + rng.randint(2, _LONGEST)
    return _messages(_COUNT[at].format(a=a, b=b), ', '.join(map(str, range(a, b + 1))) + '.')
  first, more, act = rng.choice(_ASKED)
  said = [first[at].format(a=a), f'{act(a)}.']
  if rng.random() < _TWICE:
    said += [more[at], f'{act(act(a))}.']
  return _messages(*said)


def _messages(*said: str) -> dict:
  return dict(messages=[dict(role=('user', 'assistant')[i % 2], content=text)
                        for i, text in enumerate(said)])
