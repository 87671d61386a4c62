"""Packing efficiency of ours, one row per sequence, order of arrival, and the paper's collation.

Run:  python tests/benchmarks/packing.py

Completion lengths are log-normal, cut at the limit, like those of a policy that reasons: most are
short, a few very long. Every layout gets the same sequences and rows of the same length. Ours
follows the rule of the paper's greedy collation, which is written here a second time, plainly, from
its description; the two must agree. `bound` is the efficiency if only the last row is not full;
`padding_saved` is 1 - padding of ours / padding of the other.
`groups` counts what an update computes where completions share their prompt and where they do not,
at sizes of this project's configs: positions of whole microbatches, empty rows included.
Reference: arXiv:2506.10910 section 3.2 (19 % less padding; it does not say than what).
"""

import argparse

import numpy as np
import shown

from magistral_jax.batching import packing, sharing


def one_per_sequence(lengths, row_tokens):
  return [[i] for i in range(len(lengths))]


def in_order(lengths, row_tokens):
  """Fills rows in order of arrival; a sequence that does not fit opens the next row."""
  rows, room = [], 0
  for i, length in enumerate(lengths):
    if length > room:
      rows.append([])
      room = row_tokens
    rows[-1].append(i)
    room -= length
  return rows


def greedy_collation(lengths, row_tokens):
  """Puts sequences, longest first, into the first microbatch with room, else into a new one."""
  rows, room = [], []
  for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    for r in range(len(rows)):
      if room[r] >= lengths[i]:
        break
    else:
      r = len(rows)
      rows.append([])
      room.append(row_tokens)
    rows[r].append(i)
    room[r] -= lengths[i]
  return rows


LAYOUTS = dict(one_per_sequence=one_per_sequence, in_order=in_order,
               paper_greedy_collation=greedy_collation, ours=packing.first_fit_decreasing)


# Of a batch: groups of 8, shortest and longest prompt, median and limit of completions; and the
# (row_tokens, microbatch_rows) that are tried.
GROUPS = dict(
    smollm2_math=((8, 40, 72, 45, 64), ((288, 4), (320, 4), (640, 2))),
    mini_medium=((24, 30, 56, 45, 72), ((192, 16), (384, 8), (768, 2))),
    mini_medium_longer=((16, 30, 56, 70, 104), ((192, 16), (384, 8), (768, 2))))


def measure_groups(sizes, row_tokens: int, microbatch_rows: int, batches: int) -> dict:
  """Mean positions that an update computes, and shares of them that hold a token."""
  groups, shortest, longest, median, limit = sizes
  found = dict(apart=[], shared=[], filled_apart=[], filled_shared=[], filled_rows_shared=[])
  for seed in range(batches):
    rng = np.random.default_rng(seed)
    shares = [sharing.RowShare(group, int(prompt) - 1, int(own))
              for group, prompt in enumerate(rng.integers(shortest, longest + 1, groups))
              for own in np.clip(rng.lognormal(np.log(median), 0.35, 8), 8, limit)]
    lengths = [p.shared + p.own for p in shares]
    apart = packing.first_fit_decreasing(lengths, row_tokens)
    shared = sharing.fewest_rows(shares, row_tokens, 0, apart)
    used = sum(sharing.positions([shares[i] for i in row]) for row in shared)
    computed = [-(-len(rows) // microbatch_rows) * microbatch_rows * row_tokens
                for rows in (apart, shared)]
    for name, value in zip(found, (*computed, sum(lengths) / computed[0], used / computed[1],
                                   used / (len(shared) * row_tokens)), strict=True):
      found[name].append(value)
  return dict(row_tokens=row_tokens, microbatch_rows=microbatch_rows,
              **{name: round(float(np.mean(values)), 3) for name, values in found.items()})


def lengths_of(batch: int, spread: float, row_tokens: int, seed: int) -> np.ndarray:
  """Draws log-normal lengths of sequences: the median a sixth of a row, at most a row."""
  drawn = np.random.default_rng(seed).lognormal(np.log(row_tokens / 6), spread, batch)
  return np.clip(drawn, 8, row_tokens).astype(int)


def measure(args, spread: float) -> dict:
  """Means over the batches: share of positions filled, rows, padding saved by ours."""
  filled = {name: [] for name in (*LAYOUTS, 'bound')}
  rows = {name: [] for name in LAYOUTS}
  empty, skew = dict.fromkeys(LAYOUTS, 0), []
  for seed in range(args.batches):
    lengths = lengths_of(args.sequences, spread, args.row_tokens, seed)
    skew.append(lengths.max() / np.median(lengths))
    for name, layout in LAYOUTS.items():
      made = layout(lengths, args.row_tokens)
      assert sorted(i for row in made for i in row) == list(range(len(lengths)))
      assert all(lengths[row].sum() <= args.row_tokens for row in made)
      filled[name].append(lengths.sum() / (len(made) * args.row_tokens))
      empty[name] += len(made) * args.row_tokens - lengths.sum()
      rows[name].append(len(made))
    fewest = -(-lengths.sum() // args.row_tokens)
    filled['bound'].append(lengths.sum() / (fewest * args.row_tokens))
  efficiency = {name: float(np.mean(shares)) for name, shares in filled.items()}
  return dict(
      sigma=spread, longest_over_median=round(float(np.mean(skew)), 1),
      efficiency={name: round(share, 4) for name, share in efficiency.items()},
      worst_of_ours=round(float(np.min(filled['ours'])), 4),
      rows={name: round(float(np.mean(counts)), 1) for name, counts in rows.items()},
      padding_saved={name: round(float(1 - empty['ours'] / empty[name]), 4)
                     for name in LAYOUTS if name != 'ours'})


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--sequences', type=int, default=512, help='of one minibatch, default 512')
  parser.add_argument('--row_tokens', type=int, default=4096, help='default 4096')
  parser.add_argument('--batches', type=int, default=20, help='default 20')
  shown.add_flag(parser)
  args = parser.parse_args()
  shown.show(dict(benchmark='packing', **shown.settings(args),
                  skews=[measure(args, spread) for spread in (0.3, 0.7, 1.2)],
                  groups=[dict(group=name, **measure_groups(sizes, *rows, args.batches))
                          for name, (sizes, tried) in GROUPS.items() for rows in tried]), args.json)


if __name__ == '__main__':
  main()
