r"""What the completions of a run were: right, in the language of their problem, how long.

    python tests/benchmarks/parts_of_the_reward.py WORKDIR [--blocks=6]

A table of each domain by equal parts of the run, in the order in which groups were trained or
filtered. The language is that of verifiers/language.py whether the run paid for it or not, so runs
with and without the language part can be compared. `over` is the share of completions that are
longer than where the length penalty of --free tokens begins.
"""
import argparse
import math

import shown

from magistral_jax import rollouts
from magistral_jax.verifiers import format, language

GATES = dict(math=format.gate, code=format.code_gate)


def agrees(line, identify):
  """Whether a completion passes its gate, and is in the language of its problem."""
  gate = GATES[line['domain']](line['completion'])
  return gate.passed and language.agree(
      identify, problem=line['prompt'], thoughts=gate.thoughts, answer=gate.answer,
      language=line['language'] if line['domain'] == 'math' else '')[0]


def share(name, values):
  """{name: the share of values that are true, and its standard error}."""
  p = sum(values) / len(values)
  return {name: round(p, 4), f'{name}_se': round(math.sqrt(p * (1 - p) / len(values)), 4)}


def figures(lines, identify, free):
  """What the completions of a part of a run were."""
  tokens = [line['n_tokens'] for line in lines]
  return dict(
      completions=len(lines), **share('right', [line['status'] == 'correct' for line in lines]),
      **share('in_its_language', [agrees(line, identify) for line in lines]),
      **share('bad_format', [line['status'] == 'bad_format' for line in lines]),
      tokens=round(sum(tokens) / len(tokens), 1),
      over=round(sum(n > free for n in tokens) / len(lines), 4))


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('workdir')
  parser.add_argument('--blocks', type=int, default=6)
  parser.add_argument('--free', type=int, default=88)
  shown.add_flag(parser)
  args = parser.parse_args()
  identify, domains = language.load(''), {}
  for line in rollouts.read(args.workdir):
    domains.setdefault(line['domain'], []).append(line)
  cut = lambda own: [own[i * len(own) // args.blocks:(i + 1) * len(own) // args.blocks]
                     for i in range(args.blocks)]
  shown.show(dict(benchmark='parts_of_the_reward', **shown.settings(args), **{
      domain: [figures(part, identify, args.free) for part in cut(own)]
      for domain, own in sorted(domains.items())}), args.json)


if __name__ == '__main__':
  main()
