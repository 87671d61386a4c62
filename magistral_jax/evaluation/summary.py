"""The figures of a benchmark, out of the lines of its judged responses.

A response that is missing, or that could not be judged, is not wrong: it is counted and named, and
the figures are over the others. An item weighs the same however many of its samples were judged.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import estimators
from magistral_jax.evaluation.card import FAILED, Card, Item
from magistral_jax.sampler.slots import Sampling
from magistral_jax.verifiers.reward import same_answer

KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MOST_NAMED = 20            # Of failed and missing responses.
_VOTES = ('wrong', 'unparsable')
Line = Mapping[str, Any]


def summarize(card: Card, items: Sequence[Item], lines: Iterable[Line],
              sampling: Sampling) -> dict[str, Any]:
  """The figures of a card, plain JSON.

  Args:
    lines: of responses.jsonl, those of this card; of an item and sample the last one counts.
    sampling: how it was sampled; `samples` is the number that each item should have.
  """
  by_item: dict[str, dict[int, Line]] = {item.id: {} for item in items}
  for line in lines:
    if line['id'] in by_item and line['sample'] < sampling.samples:
      by_item[line['id']][line['sample']] = line
  judged = {id_: [line for _, line in sorted(found.items()) if line['status'] not in FAILED]
            for id_, found in by_item.items()}
  there = [line for found in by_item.values() for line in found.values()]
  failed = [line for line in there if line['status'] in FAILED]
  counted = [line for found in judged.values() for line in found]
  figures = _accuracy(card, [found for found in judged.values() if found])
  missing = [(id_, sample) for id_, found in by_item.items() for sample in range(sampling.samples)
             if sample not in found]
  tokens = [line['tokens'] for line in there if line.get('tokens') is not None]
  return dict(
      **figures, items=len(items), items_judged=sum(map(bool, judged.values())),
      samples=sampling.samples, responses=len(there), missing=len(missing), failed=len(failed),
      no_answer=_count(counted, 'no_answer'), truncated=sum(line['truncated'] for line in there),
      mean_tokens=sum(tokens) / len(tokens) if tokens else None,
      statuses=dict(sorted(collections.Counter(line['status'] for line in there).items())),
      **_groups(items, judged), **(card.figures(counted) if card.figures and counted else {}),
      **(card.about(items) if card.about else {}),
      missing_named=[f'{id_} sample {sample}' for id_, sample in missing[:MOST_NAMED]],
      failed_named=[f'{line["id"]} sample {line["sample"]}: {line["detail"]}'[:200]
                    for line in failed[:MOST_NAMED]],
      sampling=dict(temperature=sampling.temperature, top_p=sampling.top_p,
                    max_tokens=sampling.max_new_tokens),
      paper={name: dict(values) for name, values in card.paper.items()})


def value(line: Line) -> float:
  """What a judged response counts for, from 0 to 1."""
  return float(line['correct']) if line.get('score') is None else float(line['score'])


def _accuracy(card: Card, judged: Sequence[Sequence[Line]]) -> dict[str, Any]:
  """pass@1 with its interval, pass@k and maj@k, each over the items that have enough samples."""
  if not judged:
    return {'pass@1': None, 'pass@1_interval': [None, None]}
  values = [[value(line) for line in found] for found in judged]
  mean = estimators.clustered_mean(values)
  found: dict[str, Any] = {
      'pass@1': mean.mean, 'pass@1_interval': list(estimators.interval(values)),
      'pass@1_standard_error': None if len(values) == 1 else mean.standard_error}
  if any(line.get('score') is not None for lines in judged for line in lines):
    return found
  most = max(map(len, judged))
  votes = [_votes(card, lines) for lines in judged] if card.votes and most > 1 else []
  for k in KS[1:]:
    enough = [i for i, lines in enumerate(judged) if len(lines) >= k]
    if not enough:
      break
    mean_of = lambda figures: sum(figures) / len(figures)
    found[f'pass@{k}'] = mean_of([estimators.pass_at_k(
        len(values[i]), int(sum(values[i])), k) for i in enough])
    if votes:
      found[f'maj@{k}'] = mean_of([estimators.maj_at_k(*votes[i], k) for i in enough])
    if len(enough) < len(judged):
      found[f'pass@{k}_items'] = len(enough)
  return found


def _votes(card: Card, lines: Sequence[Line]) -> tuple[list[str], list[bool]]:
  """(answers, wrong ones that are equal in one spelling; verdicts) of the samples of an item."""
  answers = [line['answer'] if line['status'] in _VOTES else '' for line in lines]
  same = estimators.classes(answers, lambda a, b: same_answer(card.domain, a, b))
  return same, [bool(line['correct']) for line in lines]


def _groups(items: Sequence[Item], judged: Mapping[str, Sequence[Line]]) -> dict[str, Any]:
  """pass@1 and items of every language or category; of a single one, too, if it has a name."""
  groups = collections.defaultdict(list)
  for item in items:
    if judged[item.id]:
      groups[item.group].append([value(line) for line in judged[item.id]])
  if groups.keys() <= {''}:
    return {}
  return dict(groups={name: {'pass@1': estimators.clustered_mean(values).mean,
                             'pass@1_interval': list(estimators.interval(values)),
                             'items': len(values)} for name, values in sorted(groups.items())})


def _count(lines: Iterable[Line], status: str) -> int:
  return sum(line['status'] == status for line in lines)
