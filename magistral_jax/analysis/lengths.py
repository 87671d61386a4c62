"""How long are completions, which ones grow, and how many are cut off?

    python -m magistral_jax.analysis.lengths --run=runs/quickstart --output=FOLDER

The completions of a run in equal parts, in the order in which their groups were trained or
filtered: mean and percentiles of their tokens for each domain and status, and the share that ran
into the limit. `longer` is the probability that a completion of the part is longer than one of the
first part (1/2: lengths are as before), with p of the Mann-Whitney test, which takes
completions for independent. Writes lengths.md, lengths.png and lengths.json.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from magistral_jax import command_line
from magistral_jax.analysis import written

FLAGS = written.RUNS | dict(parts=(5, 'parts of a run'))
ALL = 'all'


@dataclasses.dataclass(frozen=True)
class Lengths:
  """Tokens of the completions of one part of a run."""
  domain: str
  status: str               # ALL, 'correct' or 'other'.
  part: int                 # From 1 on.
  completions: int
  mean: float
  p10: float
  p50: float
  p90: float
  p99: float
  cut_off: float            # Share that ended at the limit.
  longer: float             # Probability to be longer than one of part 1.
  p: float


def of_completions(lines: Iterable[Mapping[str, Any]], parts: int) -> list[Lengths]:
  """The lengths of every part, domain and status."""
  found: dict[str, list[tuple[int, bool, bool]]] = collections.defaultdict(list)
  for line in lines:
    found[line['domain']].append(
        (line['n_tokens'], line['finish'] == 'length', line['status'] == 'correct'))
  result = []
  for domain, all_of in sorted(found.items()):
    cut = [all_of[i * len(all_of) // parts:(i + 1) * len(all_of) // parts] for i in range(parts)]
    for status, keep in ((ALL, lambda correct: True), ('correct', lambda correct: correct),
                         ('other', lambda correct: not correct)):
      kept = [[one for one in part if keep(one[2])] for part in cut]
      first = [n for n, _, _ in kept[0]]
      result += [_lengths(domain, status, i + 1, part, first) for i, part in enumerate(kept)
                 if part]
  return result


def _lengths(domain: str, status: str, part: int, of: Sequence[tuple[int, bool, bool]],
             first: Sequence[int]) -> Lengths:
  tokens = [n for n, _, _ in of]
  longer = p = float('nan')
  if first and part > 1:
    test = stats.mannwhitneyu(tokens, first)
    longer, p = float(test.statistic) / (len(tokens) * len(first)), float(test.pvalue)
  return Lengths(domain, status, part, len(of), float(np.mean(tokens)),
                 *(float(q) for q in np.percentile(tokens, (10, 50, 90, 99))),
                 written.share([cut for _, cut, _ in of])[0], longer, p)


def analyse(run: str, parts: int) -> written.Found:
  """Table, figure and figures of all runs. Raises ValueError."""
  if parts < 1:
    raise ValueError(f'--parts={parts} must be at least 1.')
  found = {name: of_completions(
      written.completions(path, 'domain', 'status', 'finish', 'n_tokens'), parts)
           for name, path in written.folders(run).items()}
  head = ['run', *(field.name.replace('_', ' ') for field in dataclasses.fields(Lengths))]
  text = written.markdown(head, [(name, *dataclasses.astuple(of)) for name, all_of in found.items()
                                 for of in all_of])
  domains = sorted({of.domain for all_of in found.values() for of in all_of})
  figure, panels = written.panels(len(domains), [f'{d}: tokens' for d in domains])
  for axes, domain in zip(panels, domains, strict=False):
    for i, (name, all_of) in enumerate(found.items()):
      own = [of for of in all_of if of.domain == domain and of.status == ALL]
      x = [of.part for of in own]
      axes.plot(x, [of.mean for of in own], color=f'C{i}', marker='o', markersize=3, label=name)
      axes.fill_between(x, [of.p10 for of in own], [of.p90 for of in own], color=f'C{i}',
                        alpha=0.15, linewidth=0)
    axes.set_xlabel('part of the run', fontsize=8)
    axes.legend(frameon=False, fontsize=8)
  return text, figure, {name: [dataclasses.asdict(of) for of in all_of]
                        for name, all_of in found.items()}


def main(args) -> None:
  written.carry_out('lengths', args.output, lambda: analyse(args.run, args.parts))


if __name__ == '__main__':
  command_line.run(main, parse=written.parser(__doc__, FLAGS))
