r"""Which share of drafts would have held in a run: counted on its completions, without a model.

Run:  python tests/benchmarks/recorded_drafts.py --workdir=runs/mini/medium_rl \
          --tokenizer=runs/mini/world --slots=1 --draft_tokens=4

Drafts change no token, so what a run wrote is what it would have written with them. Groups of the
last completions of rollouts.jsonl are written again, so many slots at a time, with the drafts that
the sampler would have had (sampler/drafts.py). Texts are cut into tokens anew, which can differ
from how they were drawn. `kept` is the share of the drafted tokens that hold, `drafted` how many
tokens were drafted for one that was written, `tokens_a_step` how many tokens a slot draws in a step
on average, verified or not: as many times as fast drafts would be if all steps took the same time.
"""

import argparse
import collections
import json
import pathlib

import numpy as np
import shown

from magistral_jax import tokens
from magistral_jax.records import Problem, Prompt
from magistral_jax.sampler import drafts, slots

DEFAULTS = dict(groups=100, slots=1, draft_tokens=4)


def read_groups(workdir: str, number: int, tok) -> list[tuple[np.ndarray, list[list[int]]]]:
  """Prompt and completions of the last groups, as tokens."""
  prompts, completions = {}, collections.defaultdict(list)
  with (pathlib.Path(workdir) / 'rollouts.jsonl').open() as lines:
    for row in map(json.loads, collections.deque(lines, maxlen=16 * number)):
      prompts[row['ordinal']] = np.array(tok.encode(row['prompt']), np.int32)
      completions[row['ordinal']].append(tok.encode(row['completion']))
  return [(prompts[ordinal], completions[ordinal]) for ordinal in sorted(prompts)[-number:]]


def write_again(groups, at_once: int, draft_tokens: int) -> collections.Counter:
  """Counts of the steps in which these groups are written."""
  found, counts = drafts.Drafts(draft_tokens, at_once), collections.Counter()
  texts, waiting, active = {}, collections.deque(), {}
  for ordinal, (prompt, completions) in enumerate(groups):
    given = Prompt(ordinal, Problem('', '', '', ''), prompt)
    for i, text in enumerate(completions):
      one = slots.Sequence(given, i, slots.Sampling(len(completions), 1.0, 1.0, len(text)))
      texts[one] = text
      waiting.append(one)
      found.follow([one])
  while waiting or active:
    for slot in set(range(at_once)) - set(active):
      if waiting:
        active[slot] = waiting.popleft()
    drafted = found.of(active)
    rows = {slot: [] for slot in active} if drafted is None else {
        slot: row[row >= 0].tolist() for slot, row in zip(*drafted, strict=True) if slot in active}
    for slot, draft in rows.items():
      one = active[slot]
      rest = texts[one][len(one.tokens):]
      kept = next((i for i, token in enumerate(draft) if rest[i:i + 1] != [token]), len(draft))
      one.tokens += rest[:kept + 1]
      counts.update(steps=1, drafted=len(draft), kept=kept, tokens=min(kept + 1, len(rest)))
      if len(one.tokens) >= len(texts[one]):
        del active[slot]
  return counts


def main(args) -> None:
  tok = tokens.load_tokenizer('auto', args.tokenizer)
  groups = read_groups(args.workdir, args.groups, tok)
  counts = write_again(groups, args.slots, args.draft_tokens)
  shown.show(dict(
      benchmark='recorded_drafts', workdir=args.workdir,
      **{name: getattr(args, name) for name in DEFAULTS}, tokens=counts['tokens'],
      kept=round(counts['kept'] / max(1, counts['drafted']), 3),
      drafted=round(counts['drafted'] / max(1, counts['tokens']), 3),
      tokens_a_step=round(counts['tokens'] / max(1, counts['steps']), 3)), args.json)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--workdir', required=True, help='of a run')
  parser.add_argument('--tokenizer', required=True, help='file or folder of its tokenizer')
  for key, value in DEFAULTS.items():
    parser.add_argument(f'--{key}', type=int, default=value, help=f'default {value}')
  shown.add_flag(parser)
  main(parser.parse_args())
