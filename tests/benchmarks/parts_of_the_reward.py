r"""What the completions of a run were: right, in the language of their problem, how long.

    python tests/benchmarks/parts_of_the_reward.py WORKDIR [--blocks=6]

A table of each domain by equal parts of the run, in the order in which groups were trained or
filtered. The language is that of verifiers/language.py whether the run paid for it or not, so runs
with and without the language part can be compared. `over` is the share of completions that are
longer than where the length penalty of --free tokens begins.
"""
import argparse
import math

from magistral_jax import rollouts
from magistral_jax.verifiers import format, language

GATES = dict(math=format.gate, code=format.code_gate)


def agrees(line, identify):
  """Whether a completion passes its gate, and is in the language of its problem."""
  gate = GATES[line['domain']](line['completion'])
  return gate.passed and language.agree(
      identify, problem=line['prompt'], thoughts=gate.thoughts, answer=gate.answer,
      language=line['language'] if line['domain'] == 'math' else '')[0]


def share(values):
  """A share of values that are true, with its standard error."""
  p = sum(values) / len(values)
  return f'{p:.3f} ± {math.sqrt(p * (1 - p) / len(values)):.3f}'


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('workdir')
  parser.add_argument('--blocks', type=int, default=6)
  parser.add_argument('--free', type=int, default=88)
  a = parser.parse_args()
  identify = language.load('')
  lines = list(rollouts.read(a.workdir))
  for domain in sorted({line['domain'] for line in lines}):
    own = [line for line in lines if line['domain'] == domain]
    print(f'{domain:9} {"right":15} {"in its language":15} {"bad format":15} {"tokens":>6} over')
    for block in range(a.blocks):
      part = own[block * len(own) // a.blocks:(block + 1) * len(own) // a.blocks]
      tokens = [line['n_tokens'] for line in part]
      print(f'{len(part):9}', share([line['status'] == 'correct' for line in part]),
            share([agrees(line, identify) for line in part]),
            share([line['status'] == 'bad_format' for line in part]),
            f'{sum(tokens) / len(tokens):6.1f} {sum(n > a.free for n in tokens) / len(tokens):.3f}')


if __name__ == '__main__':
  main()
