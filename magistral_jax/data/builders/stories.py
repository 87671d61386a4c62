"""Command that writes one- and two-step word problems with worked solutions as JSONL.

    python -m magistral_jax.data.builders.stories --output=stories.jsonl --problems=6000

    {"id": "story-12", "problem": "Tom had 14 apples. He bought 5 more ...",
     "answer": "19", "solution": "Tom had 14 apples ...\\n14 + 5 = 19", ...}

The set is for models too small for published problems such as SVAMP: the stories read alike
(somebody has things, something happens, sometimes a number that does not matter), the arithmetic is
easier.
"""

import random

from absl import flags

from magistral_jax import command_line
from magistral_jax.data.builders.distinct import distinct
from magistral_jax.metrics import JsonlWriter

NAMES = ('Tom', 'Mary', 'Sam', 'Lucy', 'Ben', 'Anna', 'Paul', 'Nina', 'Jack', 'Emma', 'Luke',
         'Rosa')
THINGS = ('apples', 'marbles', 'books', 'pencils', 'cookies', 'stamps', 'shells', 'cards', 'coins',
          'oranges', 'toys', 'flowers')


def _gain(name, other, things, n):
  a, b = n(5, 60), n(2, 40)
  return (f'{name} had {a} {things}. {other} gave {name} {b} more {things}. '
          f'How many {things} does {name} have now?', [(a, '+', b)])


def _loss(name, other, things, n):
  a = n(20, 90)
  b = n(2, a - 5)
  return (f'{name} had {a} {things}. {name} gave {b} {things} to {other}. '
          f'How many {things} are left?', [(a, '-', b)])


def _compare(name, other, things, n):
  a = n(20, 90)
  b = n(2, a - 5)
  return (f'{name} has {a} {things}. {other} has {b} {things}. '
          f'How many more {things} than {other} does {name} have?', [(a, '-', b)])


def _boxes(name, other, things, n):
  a, b = n(2, 12), n(2, 9)
  return (f'{name} has {a} boxes. Each box holds {b} {things}. '
          f'How many {things} does {name} have in all?', [(a, '*', b)])


def _share(name, other, things, n):
  b, each = n(2, 9), n(2, 12)
  return (f'{name} has {b * each} {things}. {name} puts them into {b} bags with the same number in '
          f'each. How many {things} are in each bag?', [(b * each, '/', b)])


def _distract(name, other, things, n):
  a, b, extra = n(5, 60), n(2, 40), n(2, 60)
  return (f'{name} had {a} {things} and {extra} stickers. Then {name} bought {b} more {things}. '
          f'How many {things} does {name} have now?', [(a, '+', b)])


def _gain_loss(name, other, things, n):
  a, b = n(10, 60), n(2, 40)
  c = n(2, a + b - 2)
  return (f'{name} had {a} {things}. {name} found {b} more and then gave {c} to {other}. '
          f'How many {things} does {name} have left?', [(a, '+', b), (a + b, '-', c)])


def _boxes_loose(name, other, things, n):
  a, b, c = n(2, 9), n(2, 9), n(2, 30)
  return (f'{name} has {a} boxes with {b} {things} each and {c} more {things}. '
          f'How many {things} does {name} have in all?', [(a, '*', b), (a * b, '+', c)])


def _buy(name, other, things, n):
  a, b = n(2, 9), n(2, 9)
  c = a * b + n(1, 40)
  return (f'{name} had {c} dollars and bought {a} {things} for {b} dollars each. '
          f'How many dollars does {name} have left?', [(a, '*', b), (c, '-', a * b)])


STORIES = (_gain, _loss, _compare, _boxes, _share, _distract, _gain_loss, _boxes_loose, _buy)
RESULTS = {'+': lambda a, b: a + b, '-': lambda a, b: a - b, '*': lambda a, b: a * b,
           '/': lambda a, b: a // b}


def stories(count: int, seed: int) -> list[dict]:
  """Generates `count` different problems as lines of a JSONL.

  Raises:
    ValueError: there are fewer.
  """
  rng = random.Random(f'stories {seed}')

  def draw(_):
    name, other = rng.sample(NAMES, 2)
    story = STORIES[int(rng.random() * len(STORIES))]
    problem, steps = story(name, other, rng.choice(THINGS), rng.randint)
    lines = [f'{a} {operation} {b} = {RESULTS[operation](a, b)}' for a, operation, b in steps]
    solution = (f'First, {lines[0]}.\nThen, {lines[1]}.' if len(lines) == 2 else f'{lines[0]}.')
    return dict(problem=problem, answer=lines[-1].split(' = ')[1], solution=solution,
                source='stories', meta=dict(language='en'))

  return [dict(id=f'story-{i}', **line) for i, line in enumerate(distinct(count, draw))]


def main(_) -> None:
  with command_line.one_sentence():
    lines = stories(flags.FLAGS.problems, flags.FLAGS.seed)
  with JsonlWriter(flags.FLAGS.output) as out:
    out.truncate(0)
    for line in lines:
      out.write(line)
  command_line.tell(f'{len(lines):,} problems are written to {flags.FLAGS.output}.')


if __name__ == '__main__':
  # Defined here: a module that is only imported must not claim common names such as --output.
  flags.DEFINE_string('output', None, 'The JSONL to write.', required=True)
  flags.DEFINE_integer('problems', 6000, 'How many different problems.', lower_bound=1)
  flags.DEFINE_integer('seed', 0, 'Seed of the numbers, names and things.')
  command_line.run(main)
