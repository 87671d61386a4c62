"""How long does judging take? Stored responses to a benchmark of mathematics, by its card.

Run:  python tests/benchmarks/judging_speed.py --data=math500.jsonl [--responses=10000] \\
          [--workers=2] [--seed=0] [--json]

Every response has thoughts and prose, and in turn the true answer in its box, the true answer of
another problem, a number, or no box at all. They are read from a file, judged by a pool of
verifiers, and written down, as `evaluate --responses` does; the time is that of the whole command
but for its imports.

Result: 2-core x86-64, 2026-11-30, 56d416c: 10,000 responses take 51.0 s of processor time, pool and
        command included, so less than 60 s even on one idle core. The machine was not idle (load
        23): 399 s passed.
"""

import argparse
import contextlib
import io
import json
import os
import random
import tempfile
import time
from pathlib import Path

import shown

from magistral_jax import evaluate
from magistral_jax.evaluation.cards import CARDS
from magistral_jax.evaluation.items import read_items

CARD = 'math500'
WORDS = ('We look at what is given, name what is sought, and put one into the other, step by step, '
         'until nothing is left but the answer. ') * 12


def responses(items, count, seed):
  """Lines of a file of responses, `count` in all, as many of each item."""
  draw = random.Random(seed)
  for number in range(count):
    item, sample = items[number % len(items)], number // len(items)
    answer = draw.choice((item.answer, item.answer, draw.choice(items).answer,
                          str(draw.randrange(100))))
    end = 'I cannot tell.' if draw.random() < 0.1 else f'So it is $\\boxed{{{answer}}}$.'
    yield dict(id=item.id, sample=sample, response=f'<think>{WORDS}</think>{WORDS[:200]}\n{end}')


def measure(data, count, workers, seed):
  """Wall and processor seconds, and the figures, of judging `count` responses."""
  items = read_items(CARDS[CARD], data)
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, 'responses.jsonl')
    path.write_text(''.join(json.dumps(line) + '\n' for line in responses(items, count, seed)))
    before, began = os.times(), time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
      evaluate.main(evaluate.parse([
          'evaluate', f'--benchmark={CARD}', f'--data={data}', f'--responses={path}',
          f'--output={folder}/out', f'--config.runtime.verifier_workers={workers}']))
    seconds, after = time.monotonic() - began, os.times()
    found = json.loads(Path(folder, 'out/results.json').read_text())[CARD]
  spent = sum(after[:4]) - sum(before[:4])      # Workers that have ended are among it.
  return dict(responses=count, workers=workers, seconds=round(seconds, 1),
              cpu_seconds=round(spent, 1), per_second=round(count / seconds, 1),
              load=round(os.getloadavg()[0], 1), statuses=found['statuses'])


def main():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--data', required=True, help='the file of the benchmark')
  parser.add_argument('--responses', type=int, default=10_000)
  parser.add_argument('--workers', type=int, default=2)
  parser.add_argument('--seed', type=int, default=0)
  shown.add_flag(parser)
  args = parser.parse_args()
  found = measure(args.data, args.responses, args.workers, args.seed)
  shown.show(dict(benchmark='judging_speed', card=CARD, **found), args.json)


if __name__ == '__main__':
  main()
