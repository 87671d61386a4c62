"""Command that writes word problems and programming problems in three languages, and a tokenizer.

    python -m magistral_jax.data.builders.multilingual --output=runs/multilingual

The folder gets math.jsonl (tales.py) and code.jsonl (programs.py) for the parts of a mix, and
tokenizer.json. Of the traces a share is in another language than its problem, a share is wrong, and
a share is longer than it need be, so that each part of the reward has something to teach.
"""

from absl import flags

from magistral_jax import command_line
from magistral_jax.data.builders import folder
from magistral_jax.data.builders.languages import LANGUAGES
from magistral_jax.data.builders.programs import programs
from magistral_jax.data.builders.tales import tales


def main(_) -> None:
  f = flags.FLAGS
  faults = dict(mistakes=f.mistakes, astray=f.astray, checked=f.checked)
  folder.write(f.output, lambda: dict(
      math=tales(f.problems, f.seed, **faults),
      code=programs(f.problems, f.seed, languages=LANGUAGES, **faults)))


if __name__ == '__main__':
  # Defined here: a module that is only imported must not claim common names such as --output.
  flags.DEFINE_string('output', None, 'The folder to write.', required=True)
  flags.DEFINE_integer('problems', 4000, 'How many different problems of each kind.', lower_bound=1)
  flags.DEFINE_integer('seed', 0, 'Seed of the problems and their traces.')
  flags.DEFINE_float('mistakes', 0.2, 'Share of the traces that slip.', 0.0, 1.0)
  flags.DEFINE_float('astray', 0.4, "Share of the traces in another language than their problem's.",
                     0.0, 1.0)
  flags.DEFINE_float('checked', 0.4, 'Share of the traces that check their work again and again.',
                     0.0, 1.0)
  command_line.run(main)
