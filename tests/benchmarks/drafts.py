r"""Drafts from the group's own n-grams: how many of them hold, and what they are worth.

Run:  python tests/benchmarks/drafts.py --checkpoint=SmolLM2-135M-Instruct.Q4_1.gguf --slots=1

Groups of completions of word problems are sampled with and without drafts in turns, in one process,
with the same weights in float32. Both draw the same tokens; `same_tokens` is the share that is, for
the rounding of wider products can move a draw. `kept` is the share of the drafted tokens that held,
`tokens_a_step` how many tokens a slot drew in a verification, and `verified` the share of all
tokens that was drawn so. Completions end at their limit. Ratios are above 1 where drafts are
faster; those of CPU seconds are the steadier ones on a machine that others use.
"""

import argparse
import pathlib
import statistics
import sys

import jax
import numpy as np
import shown
import workers

from magistral_jax import sharding, tokens
from magistral_jax.models.formats import checkpoint
from magistral_jax.records import Problem, Prompt, WeightSnapshot
from magistral_jax.sampler.engine import Engine, Extras
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling

DEFAULTS = dict(slots=1, prompts=2, group_size=8, new_tokens=96, draft_tokens=4, decode_steps=8,
                page_tokens=16, repeats=2)
PROBLEM = ('<|im_start|>user\n{} has {} boxes with {} pencils each and gives {} pencils to a '
           'friend. How many pencils are left? Think step by step.<|im_end|>\n'
           '<|im_start|>assistant\n')
NAMES = ('Tom', 'Ann', 'Ben', 'Eva', 'Max', 'Ida')


def make_sampler(args, config, params, slot_pages: int, draft_tokens: int) -> EngineSampler:
  engine = Engine(
      config, sharding.make_mesh(jax.devices()[:1], tensor=1), slots=args.slots,
      pages=(args.slots + 2) * slot_pages + 1, page_tokens=args.page_tokens, slot_pages=slot_pages,
      decode_steps=args.decode_steps, nucleus=False, end_ids=(), seed=0,
      extras=Extras(draft_tokens=draft_tokens, draft_slots=args.slots))
  return EngineSampler(engine, WeightSnapshot(0, params), decode=lambda ids: '', end_ids=())


def sample(role: EngineSampler, prompts, first: int, sampling: Sampling) -> dict:
  """Samples a group of each prompt, numbered from `first`; returns counts, and the tokens."""
  before, done = role.counts.copy(), []
  for ordinal, ids in enumerate(prompts, first):
    role.submit(Prompt(ordinal, Problem('', '', '', ''), ids), sampling)
  while role.open:
    done += role.step()
  done.sort(key=lambda c: (c.ordinal, c.sample))
  counts = {name: role.counts[name] - before[name]
            for name in ('tokens', 'drafted', 'drafts_kept', 'verified', 'dispatches')}
  return dict(counts, drawn=np.concatenate([c.tokens for c in done]))


def compared(runs: dict[str, list[dict]]) -> dict:
  """The figures of all repeats."""
  drafted, plain = runs['drafted'], runs['plain']
  total = {name: sum(run[name] for run in drafted)
           for name in ('tokens', 'drafted', 'drafts_kept', 'verified')}
  ratio = lambda name: [round(a[name] / b[name], 3) for a, b in zip(plain, drafted, strict=True)]
  same = [np.mean(a['drawn'] == b['drawn']) for a, b in zip(plain, drafted, strict=True)]
  drawn = total['verified'] + total['drafts_kept']
  return dict(
      kept=round(total['drafts_kept'] / max(1, total['drafted']), 3),
      tokens_a_step=round(drawn / max(1, total['verified']), 3),
      verified=round(drawn / total['tokens'], 3), same_tokens=round(float(np.mean(same)), 4),
      tokens_per_s=workers.medians(workers.speeds(runs)),
      ratios={'drafted/plain': dict(median=round(statistics.median(ratio('seconds')), 3),
                                    repeats=ratio('seconds'), cpu_seconds=ratio('cpu_seconds'))})


def main(args) -> None:
  config = checkpoint.read_config(args.checkpoint, dtype='float32')
  params = checkpoint.load(args.checkpoint, config)
  tok = tokens.load_tokenizer('auto', args.checkpoint)
  prompts = [np.array(tok.encode(PROBLEM.format(
      NAMES[i % len(NAMES)], 3 + i % 5, 7 + i % 11, 2 + i % 9)), np.int32)
             for i in range(args.prompts)]
  slot_pages = -(-(max(map(len, prompts)) + args.new_tokens) // args.page_tokens)
  crew = {name: make_sampler(args, config, params, slot_pages, number)
          for name, number in (('plain', 0), ('drafted', args.draft_tokens))}
  how = Sampling(args.group_size, args.temperature, 1.0, args.new_tokens)
  runs = {name: [] for name in crew}
  for seed in range(-1, args.repeats):
    for name in list(crew)[::1 if seed % 2 else -1]:
      # The first turn compiles, and repeats itself soon at temperature 0.
      sampling = how if seed >= 0 else Sampling(
          args.slots, 0.0, 1.0, min(32, args.new_tokens))
      run = workers.timed(lambda n=name, s=seed, h=sampling: sample(
          crew[n], prompts if s >= 0 else prompts[:1], s * args.prompts, h))
      print(name, seed, {k: v for k, v in run.items() if k != 'drawn'}, file=sys.stderr)
      if seed >= 0:
        runs[name].append(run)
  shown.show(dict(
      benchmark='drafts', checkpoint=pathlib.Path(args.checkpoint).name, **workers.machine(),
      temperature=args.temperature, **{name: getattr(args, name) for name in DEFAULTS},
      version=f'jax {jax.__version__}', **compared(runs)), args.json)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--checkpoint', required=True, help='GGUF file or Hugging Face folder')
  parser.add_argument('--temperature', type=float, default=1.0, help='default 1')
  for key, value in DEFAULTS.items():
    parser.add_argument(f'--{key}', type=int, default=value, help=f'default {value}')
  shown.add_flag(parser)
  main(parser.parse_args())
