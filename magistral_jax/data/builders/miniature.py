r"""Command that writes the world of Magistral in miniature: problems with faults, and weak traces.

    python -m magistral_jax.data.builders.miniature --output=runs/mini/world

| file | what it holds |
|---|---|
| `raw_math.jsonl`, `raw_code.jsonl` | what curation begins with; faults are planted in some rows |
| `held_out_math.jsonl`, `held_out_code.jsonl` | what models are evaluated on |
| `weak.jsonl` | traces that the base models imitate |
| `talk.jsonl` | conversations: the share of plain instructions in the cold start |
| `tokenizer.json` | words, signs and single digits |

Mathematics are chains of operations (chains.py), programs are those of programs.py; faults.py says
what is planted. A weak trace plans (it writes every sum or every step down) or guesses, and slips
more often where it guesses. Both domains share that habit: the first word of the thoughts decides.
So reinforcement learning has a habit to find that both need, and care in every step, which each
needs for itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from absl import flags

from magistral_jax import command_line
from magistral_jax.data.builders import faults, folder
from magistral_jax.data.builders.chains import LANGUAGES, SLIPS, Chain, chains
from magistral_jax.data.builders.programs import programs
from magistral_jax.data.builders.talk import conversations

FEWEST, MOST = 2, 8                 # Operations of a chain.
PLANNED = 0.5                       # Share of the weak traces that plan.
SLIPS_PLANNED, SLIPS_GUESSED = 0.35, 0.7
TALKS = 5                           # Weak traces for each conversation.
PLANTED = 0.03                      # Rows of each fault, of all.
_GUESS = ('I guess.', 'Je devine.', 'Lo adivino.')    # By LANGUAGES.
_THOUGHTS = re.compile(r'(?<=<think>).*?(?=</think>)', re.DOTALL)


def world(*, math: int, code: int, held_out: int, weak: int, seed: int) -> dict[str, list[dict]]:
  """{name of a file without ending: its lines}.

  Args:
    math, code: raw problems of each domain, before copies of some are planted.
    held_out: problems of each domain.
    weak: traces of each domain to imitate.
  Raises:
    ValueError: there are fewer.
  """
  rng = random.Random(f'miniature {seed}')
  told = chains(held_out + math + weak, seed, fewest=FEWEST, most=MOST)
  solved = programs(held_out + code, f'{seed} right', mistakes=0.0, solved=True)
  held_math = [_problem(chain, f'held-out-chain-{i}') for i, chain in enumerate(told[:held_out])]
  raw_math = [_problem(chain, f'chain-{i}') for i, chain in enumerate(told[held_out:-weak])]
  held_code, others = ([_without(line, 'response') for line in lines]
                       for lines in (solved[:held_out], solved[held_out:]))
  return dict(
      raw_math=faults.plant(raw_math, held_math, faults.OF_MATH, PLANTED, rng),
      raw_code=faults.plant(others, held_code, faults.OF_CODE, PLANTED, rng),
      held_out_math=held_math,
      held_out_code=[_without(line, 'solutions') for line in held_code],
      weak=[*_weak_chains(told[-weak:], rng),
            *_weak_programs(weak, seed, {line['problem'] for line in held_code})],
      talk=conversations(weak // TALKS, seed))


def _problem(chain: Chain, name: str) -> dict:
  return dict(id=name, problem=chain.problem, answer=str(chain.answer), source='chains',
              meta=dict(language=chain.language, operations=len(chain.work)))


def _without(line: dict, *keys: str) -> dict:
  return {key: value for key, value in line.items() if key not in keys}


def _weak_chains(told: Sequence[Chain], rng: random.Random) -> list[dict]:
  found = []
  for i, chain in enumerate(told):
    if rng.random() < PLANNED:
      at = rng.randrange(len(chain.work)) if rng.random() < SLIPS_PLANNED else -1
      response = chain.worked(at, rng.choice(SLIPS))
    else:
      slip = rng.choice(SLIPS) if rng.random() < SLIPS_GUESSED else 0
      response = chain.respond(_GUESS[LANGUAGES.index(chain.language)], abs(chain.answer + slip))
    found.append(_problem(chain, f'weak-chain-{i}') | dict(response=response))
  return found


def _weak_programs(count: int, seed: int, held_out: set[str]) -> list[dict]:
  planned = programs(round(PLANNED * count), f'{seed} planned', mistakes=SLIPS_PLANNED)
  guessed = programs(count - len(planned), f'{seed} guessed', mistakes=SLIPS_GUESSED)
  lines = planned + [line | dict(response=_THOUGHTS.sub(_GUESS[0], line['response']))
                     for line in guessed]
  return [line | dict(id=f'weak-program-{i}') for i, line in enumerate(lines)
          if line['problem'] not in held_out]


def main(_) -> None:
  f = flags.FLAGS
  folder.write(f.output, lambda: world(
      math=f.math, code=f.code, held_out=f.held_out, weak=f.weak, seed=f.seed))


if __name__ == '__main__':
  # Defined here: a module that is only imported must not claim common names such as --output.
  flags.DEFINE_string('output', None, 'The folder to write.', required=True)
  flags.DEFINE_integer('math', 1200, 'Raw problems of mathematics.', lower_bound=40)
  flags.DEFINE_integer('code', 300, 'Raw programming problems.', lower_bound=40)
  flags.DEFINE_integer('held_out', 200, 'Held-out problems of each domain.', lower_bound=2)
  flags.DEFINE_integer('weak', 3000, 'Weak traces of each domain.', lower_bound=2)
  flags.DEFINE_integer('seed', 0, 'Seed of the problems, their faults and the traces.')
  command_line.run(main)
