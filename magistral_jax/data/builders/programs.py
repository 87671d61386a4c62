"""Command that writes small programming problems with tests and traces, and a tokenizer for them.

    python -m magistral_jax.data.builders.programs --output=runs/programs

    {"problem": "Read a line of numbers. Keep the even ones. Print their sum.",
     "tests": [{"stdin": "3 4 8\\n", "stdout": "12\\n"}, ...],
     "language": "python", "response": "<think>Plan: read a line of numbers;
     keep the even ones; print their sum.</think>
     ```python\\nn=[*map(int,input().split())]\\n..."}

A trace is a plan and the program that carries it out. Some slip on purpose, in one step of both:
they take another step of its kind (above for below, the last for the largest) or another number
(word 3 for word 2). A model that imitates them is right only sometimes, which leaves reinforcement
learning something to find. A slip always changes what some test expects.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from absl import flags

from magistral_jax import command_line
from magistral_jax.data.builders import folder
from magistral_jax.data.builders.distinct import distinct
from magistral_jax.data.builders.languages import checks, draw_checks, say, stray
from magistral_jax.data.builders.steps import NUMBERS, SUBJECTS, TEXT, ProgramStep, Subject

TESTS = 3                 # Of a problem.
_SHARES = (6, 3, 1)       # Of the SUBJECTS.
_CHANGED = 0.6            # Share of the changes that a program makes, of those it could.
_WORDS = ('sun', 'river', 'stone', 'bread', 'cloud', 'table', 'green', 'house', 'paper', 'night',
          'water', 'field', 'horse', 'summer', 'winter', 'garden', 'bridge', 'mountain', 'apple',
          'silver', 'quick', 'jazz', 'vex', 'fog', 'lamp', 'kick')
_PLAN = ('Plan: {}.', 'Plan : {}.', 'Plan: {}.')

Chosen = tuple[ProgramStep, Any]        # A step and its k.


def programs(count: int, seed: int | str, *, mistakes: float, languages: Sequence[str] = ('en',),
             astray: float = 0.0, checked: float = 0.0, solved: bool = False) -> list[dict]:
  """Generates `count` different problems as lines of a JSONL.

  Args:
    mistakes: share of the traces that slip.
    languages: of the statements, some of languages.LANGUAGES.
    astray: share of the plans that are in another of these languages than the statement.
    checked: share of the plans that go over the program again and again.
    solved: whether the lines get `solutions`, as contests publish them: the right program, the same
      as a function, and one that slips.
  Raises:
    ValueError: there are fewer.
  """
  rng = random.Random(f'programs {seed}')

  def draw(known):
    subject, = rng.choices(SUBJECTS, _SHARES)
    language = rng.choice(languages)
    steps, tests = _draw(subject, rng)
    text = '. '.join(map(_capital, _words(steps, language))) + '.'
    if not tests or text in known:
      return None
    written = _slip(subject, steps, tests, rng) if rng.random() < mistakes else steps
    said = stray(language, languages, astray, rng)
    found = dict(
        problem=text, tests=tests, language='python',
        response=trace(written, said, again=draw_checks(checked, rng)),
        meta=dict(language=language))
    if solved:
      right, wrong = source(steps), source(_slip(subject, steps, tests, rng))
      body = right.replace('\n', '\n  ')
      found['solutions'] = [right, f'def main():\n  {body}\nmain()', wrong]
    return found

  return [dict(id=f'program-{i}', source='programs', **line)
          for i, line in enumerate(distinct(count, draw))]


def trace(steps: Sequence[Chosen], language: str, *, again: int = 0) -> str:
  """A plan in a language, checks of its last step `again` times, and the program itself."""
  words = _words(steps, language)
  plan = say(_PLAN, language).format('; '.join(words)) + checks(words[-1], language, again)
  return f'<think>{plan}</think>\n```python\n{source(steps)}\n```'


def source(steps: Sequence[Chosen]) -> str:
  """The Python of the steps."""
  return '\n'.join(step.code.replace('{k}', str(k)) for step, k in steps)


def _words(steps: Sequence[Chosen], language: str) -> list[str]:
  return [say(step.words, language).format(k=k) for step, k in steps]


def _capital(words: str) -> str:
  return words[:1].upper() + words[1:]


def _draw(subject: Subject, rng: random.Random) -> tuple[list[Chosen], list[dict]]:
  """(steps of a program, its tests); no tests if the program fails on an input."""
  chosen = [subject.read, *(rng.choice(kind) for kind in subject.changes
                            if rng.random() < _CHANGED), rng.choice(subject.prints)]
  steps = [(step, rng.choice(step.choices)) for step in chosen]
  inputs = [_input(subject, rng) for _ in range(TESTS)]
  outputs = [run(steps, text) for text in inputs]
  if None in outputs:
    return steps, []
  return steps, [dict(stdin=text, stdout=f'{printed}\n')
                 for text, printed in zip(inputs, outputs, strict=True)]


def _slip(subject: Subject, steps: Sequence[Chosen], tests: Sequence[dict],
          rng: random.Random) -> list[Chosen]:
  """The steps with another one for one of them, so that some test fails."""
  while True:
    at = rng.randrange(1, len(steps))
    kind = next(kind for kind in (*subject.changes, subject.prints) if steps[at][0] in kind)
    step = steps[at][0] if rng.random() < 0.5 else rng.choice(kind)
    wrong = [*steps[:at], (step, rng.choice(step.choices)), *steps[at + 1:]]
    if any(_tokens(run(wrong, test['stdin'])) != test['stdout'].split() for test in tests):
      return wrong


def run(steps: Sequence[Chosen], text: str) -> str | None:
  """What the steps print of an input; None if they fail on it or print nothing."""
  value: Any = text
  if steps[0][0] is NUMBERS.read:
    value = [int(word) for word in text.split()]
  elif steps[0][0] is not TEXT.read:
    value = text.splitlines(keepends=True)
  else:
    value = text.rstrip('\n')
  try:
    for step, k in steps:
      value = step.act(value, k)
  except (IndexError, ValueError):
    return None
  return str(value) if str(value).strip() else None


def _tokens(printed: str | None) -> list[str]:
  return (printed or '').split()


def _input(subject: Subject, rng: random.Random) -> str:
  words = lambda: ' '.join(rng.choices(_WORDS, k=rng.randint(3, 6)))
  if subject is NUMBERS:
    return ' '.join(str(rng.randint(1, 30)) for _ in range(rng.randint(6, 9))) + '\n'
  return '\n'.join(words() for _ in range(1 if subject is TEXT else rng.randint(6, 8))) + '\n'


def main(_) -> None:
  f = flags.FLAGS
  folder.write(f.output, lambda: dict(
      problems=programs(f.problems, f.seed, mistakes=f.mistakes)))


if __name__ == '__main__':
  # Defined here: a module that is only imported must not claim common names such as --output.
  flags.DEFINE_string('output', None, 'The folder to write.', required=True)
  flags.DEFINE_integer('problems', 4000, 'How many different problems.', lower_bound=1)
  flags.DEFINE_integer('seed', 0, 'Seed of the problems, their tests and their traces.')
  flags.DEFINE_float('mistakes', 0.5, 'Share of the traces that slip.', 0.0, 1.0)
  command_line.run(main)
