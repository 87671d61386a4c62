"""Benchmarks that are measured: a card with its items and sampling; and the model that is asked."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from magistral_jax.evaluation import items as files
from magistral_jax.evaluation import response_files as lines
from magistral_jax.evaluation.card import Card, Item
from magistral_jax.evaluation.response_files import MOST_SAMPLES, Stored, fingerprints
from magistral_jax.records import Prompt
from magistral_jax.sampler.slots import Sampling


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A card with the items that are asked, and how they are sampled.

  Benchmark(CARDS['aime24'], items, Sampling(64, 0.7, 1.0, 40960), data=('9f2c...',))
  """
  card: Card
  items: Sequence[Item]
  sampling: Sampling
  data: tuple[str, ...] = ()             # Hashes of the files.
  all_ids: frozenset[str] = frozenset()  # Of all items of the data, those that are not asked too.

  @property
  def tasks(self) -> dict[tuple[str, str], tuple[Card, Item]]:
    """What a CardVerifier needs to know them by."""
    return {(self.card.name, item.id): (self.card, item) for item in self.items}

  @property
  def settings(self) -> dict[str, Any]:
    """What makes its lines what they are, plain JSON."""
    return dict(data=list(self.data), items=len(self.items), **dataclasses.asdict(self.sampling))


@dataclasses.dataclass(frozen=True)
class BenchmarkModel:
  """How a model is asked.

  BenchmarkModel(prompts=lambda benchmark: make, samplers=lambda benchmark: [...], deadline_s=300.0,
                 counted=True, settings={'checkpoint': 'runs/a', 'step': '40'})
  """
  prompts: Callable[[Benchmark], Callable[[int, Item], Prompt]]   # Ordinal and item to a prompt.
  samplers: Callable[[Benchmark], Sequence[Any]]
  deadline_s: float                      # So long nothing may come of it.
  counted: bool                          # Whether the tokens of all completions are known.
  settings: Mapping[str, Any]            # What makes it this model, plain JSON.


def load(card: Card, data: str, limit: int, changes: Mapping[str, Any]) -> Benchmark:
  """A benchmark from the file or folder of --data.

  Args:
    limit: so many items, the first; 0: all.
    changes: fields of its Sampling that are not the card's; None for those that are.
  Raises:
    ValueError: as `items.read_items`.
  """
  found = files.read_items(card, data)
  sampling = dataclasses.replace(
      card.sampling, **{key: value for key, value in changes.items() if value is not None})
  if not 1 <= sampling.samples <= MOST_SAMPLES:
    raise ValueError(f'--samples={sampling.samples} must lie between 1 and {MOST_SAMPLES}.')
  return Benchmark(card, found[:limit or None], sampling,
                   tuple(fingerprints(files.find_files(card, data))),
                   frozenset(item.id for item in found))


def load_all(cards: Sequence[Card], args: argparse.Namespace,
             say: Callable[[str], None]) -> list[Benchmark]:
  """The benchmarks of a command line; of a suite, those that --data has, and `say` of the others.

  Args:
    args: benchmark, suite, data, limit, samples, temperature, top_p, max_tokens.
  Raises:
    ValueError: as `load`; for a suite, no benchmark has data.
  """
  for name, least in (('samples', 0), ('limit', 0), ('max_tokens', 0)):
    if getattr(args, name) < least:
      raise ValueError(f'--{name}={getattr(args, name)} must be at least {least}.')
  # Written so that nan is refused, too.
  if not (args.top_p < 0 or 0 < args.top_p <= 1):
    raise ValueError(f'--top_p={args.top_p} must be above 0 and at most 1.')
  if not args.temperature < math.inf:
    raise ValueError(f'--temperature={args.temperature} must be a number.')
  changes = dict(samples=args.samples or None, max_new_tokens=args.max_tokens or None,
                 temperature=None if args.temperature < 0 else args.temperature,
                 top_p=None if args.top_p < 0 else args.top_p)
  named, found = args.benchmark.split(','), []
  for card in cards:
    try:
      found.append(load(card, args.data, args.limit, changes))
    except files.NoData as error:
      if card.name in named or not args.data:
        raise
      say(f'{card.name} is left out: {error}')
  if not found:
    raise ValueError(f'--data={args.data!r} has no file for any benchmark of '
                     f'--suite={args.suite}.')
  return found


def with_responses(benchmarks: Sequence[Benchmark], path: str,
                   samples: int) -> tuple[list[Benchmark], list[list[Stored]]]:
  """Benchmarks with as many samples as a file of responses has, and the responses to each.

  Args:
    samples: of each item; 0: the most that any item of the benchmark has in the file.
  Raises:
    ValueError: as `read_responses`, or there is no response to a benchmark.
  """
  ids = {b.card.name: {item.id for item in b.items} for b in benchmarks}
  stored: dict[str, list[Stored]] = {name: [] for name in ids}
  for one in lines.read_responses(path, ids, {b.card.name: b.all_ids for b in benchmarks}):
    if not samples or one.sample < samples:
      stored[one.benchmark].append(one)
  for name, found in stored.items():
    if not found:
      raise ValueError(f'--responses={path!r} has no response to an item of {name} that is judged.')
  changed = []
  for b in benchmarks:
    most = samples or 1 + max(one.sample for one in stored[b.card.name])
    changed.append(dataclasses.replace(
        b, sampling=dataclasses.replace(b.sampling, samples=most)))
  return changed, list(stored.values())
