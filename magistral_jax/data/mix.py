"""Mix: several sources as one, each with its weight, addressed by ordinal.

    weights 3 and 1     turn      0  1  2  3  4  5  6  7 ...
                        source    b  a  a  a  b  a  a  a ...
                        index     0  0  1  2  1  3  4  5 ...    in that source's own stream

Ordinals take these turns in an order that is shuffled within blocks of 64. Nothing is counted while
training: an ordinal alone says which source it takes, and which problem of that source's own
stream. So a mix can be resumed anywhere, and every process agrees on it. Each source deals out its
own epochs to the end, however the others are weighted.

Weights and ranges of difficulty may change at an ordinal; what came before it stays as it was.
"""
from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from magistral_jax.data import difficulty
from magistral_jax.data.difficulty import DifficultyRange
from magistral_jax.data.finite import FiniteSource, without_texts
from magistral_jax.data.pools import Pools
from magistral_jax.data.schedule import Schedule
from magistral_jax.records import Problem

# {name of a part: {key below data.mix.NAME: its value from an ordinal on}}; these keys may change.
Changes = Mapping[str, Mapping[str, float]]
CHANGEABLE = ('weight', 'difficulty_low', 'difficulty_high')


@dataclasses.dataclass(frozen=True)
class Part:
  """One source of a mix. Part('code', JsonlSource(...), weight=0.4)"""
  name: str
  source: Any               # A `sources.Source`.
  weight: float             # Share of the prompts, in proportion to the other parts; 0 for none.
  # Of the training problems that are dealt; None for all. What is held out may have any.
  difficulty: DifficultyRange | None = None
  pools: Pools | None = None    # None: every problem is dealt once an epoch.

  def changed(self, changes: Mapping[str, float]) -> Part:
    """This part with other values of its keys; ValueError for a key that cannot change."""
    limits = changes.keys() - {'weight'}
    for key in sorted(changes):
      if key not in CHANGEABLE:
        raise ValueError(f'data.mix.{self.name}.{key} cannot be changed while a run goes on: '
                         f'{", ".join(CHANGEABLE)} can.')
    if limits and self.difficulty is None:
      raise ValueError(f'data.mix.{self.name}.{min(limits)} is only read where data.mix.{self.name}'
                       f'.difficulty is one of {", ".join(difficulty.ORIGINS[1:])}: set that.')
    within = self.difficulty and dataclasses.replace(
        self.difficulty, **{key.removeprefix('difficulty_'): changes[key] for key in limits})
    return dataclasses.replace(self, weight=changes.get('weight', self.weight), difficulty=within)


@dataclasses.dataclass(frozen=True)
class Dealt:
  """What a part deals from an ordinal on: the problems of `source` from index `first` on."""
  source: Any
  first: int = 0
  since: int = 0            # The ordinal from which on it deals those of this source.


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a problem stands: `index` in the stream of what a part has dealt since an ordinal."""
  part: Part
  dealt: Dealt
  index: int


class MixSource:
  """Source that deals out the problems of several others, in proportion to their weights.

  Held-out problems come from all parts in turn, whatever the weights, so that evaluations of runs
  with different weights compare. No part trains on a problem that another one, held in memory too,
  holds out.

  Args:
    seed: decides the order of the turns; each source has its own.
    parts: at least one of them with a weight above 0.
  Raises:
    ValueError: no weight is above 0, or a part is left without problems.
  """

  def __init__(self, seed: int | str, parts: Sequence[Part]):
    self.seed, self.parts = seed, _unique(_apart(parts))
    self._schedule = Schedule(seed, [part.weight for part in self.parts])
    self._dealt = [Dealt(_in_range(part, part.source.seed)) for part in self.parts]
    # The first ordinal that it is about; those below are of the mix that it was before.
    self._begin, self._before = 0, None

  @property
  def size(self) -> int | None:
    """Training problems of all parts; None where one of them is endless."""
    sizes = [part.source.size for part in self.parts]
    return None if None in sizes else sum(sizes)

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal, the same in every process."""
    place = self.place(ordinal)
    return place.dealt.source.problem(place.index)

  def place(self, ordinal: int) -> Place:
    """Where the problem of an ordinal stands; that of a part with pools is for a dealer to say."""
    if ordinal < self._begin:
      return self._before.place(ordinal)
    part, index = self._schedule(ordinal - self._begin)
    return Place(self.parts[part], self._dealt[part], self._dealt[part].first + index)

  def places(self, ordinal: int) -> list[Place]:
    """Where the next problem of every part stands, seen from an ordinal."""
    if ordinal < self._begin:
      return self._before.places(ordinal)
    counts = self._schedule.counts(ordinal - self._begin)
    return [Place(part, dealt, dealt.first + count)
            for part, dealt, count in zip(self.parts, self._dealt, counts, strict=True)]

  def changed(self, ordinal: int, changes: Changes) -> MixSource:
    """The same mix up to an ordinal, and another one from there on.

    A part goes on where it stood, in the midst of its epoch; one whose range of difficulty changes
    begins an epoch of the problems that are in the new one.

    Raises:
      ValueError: a part or key that cannot be changed; no weight is above 0; a range without
        problems.
    """
    assert ordinal >= self._begin, 'changes come in the order of their ordinals'
    names = [part.name for part in self.parts]
    if unknown := sorted(changes.keys() - set(names)):
      raise ValueError(f'data.mix.{unknown[0]} is no part of the mix: its parts are '
                       f'{", ".join(names)}.')
    after = MixSource.__new__(MixSource)
    after.seed, after._begin, after._before = self.seed, ordinal, self
    after.parts = tuple(part.changed(changes.get(part.name, {})) for part in self.parts)
    after._schedule = Schedule(f'{self.seed} from {ordinal}',
                               [part.weight for part in after.parts])
    after._dealt = [
        dataclasses.replace(old.dealt, first=old.index) if new.difficulty == old.part.difficulty
        else Dealt(_in_range(new, f'{new.source.seed} from {ordinal}'), since=ordinal)
        for new, old in zip(after.parts, self.places(ordinal), strict=True)]
    return after

  def held_out(self, n: int) -> list[Problem]:
    """Held-out problems of the parts in turn: the first `n`, or all there are if fewer."""
    turns = itertools.zip_longest(*(part.source.held_out(n) for part in self.parts))
    return [problem for turn in turns for problem in turn if problem is not None][:n]

  def with_sources(self, change: Callable[[Part], Any]) -> MixSource:
    """The same mix of other sources: `change` takes a part and returns its new source."""
    return MixSource(self.seed, [dataclasses.replace(part, source=change(part))
                                 for part in self.parts])


def read_mix(seed: int | str, parts: Mapping[str, Mapping[str, Any]],
             sources: Mapping[str, Callable]) -> MixSource:
  """The mix that a config describes, its files read.

  Args:
    parts: {name: {source, weight, domain, difficulty, with it difficulty_low, difficulty_high and
      rates_path, pools, with it the fields of `Pools`, and the keys of that source under its
      name}}; they take turns in the order of their names.
    sources: {name of a source: what makes it out of a seed and its keys}.
  Raises:
    ValueError: a source that cannot be made, by the key of its part.
  """
  made = []
  for name, keys in sorted(parts.items()):
    kind = keys['source']
    try:
      source = _of_domain(sources[kind](f'{seed} {name}', **keys[kind]), keys['domain'])
      source, within = _graded(source, keys)
      made.append(Part(name, source, keys['weight'], within, _pools(source, keys)))
    except ValueError as error:
      # A source knows its keys as they are without a mix.
      words = str(error).replace(f'data.{kind}.', f'data.mix.{name}.{kind}.')
      raise ValueError(words.replace('data.mix.NAME.', f'data.mix.{name}.')) from None
  return MixSource(seed, made)


def _graded(source, keys: Mapping[str, Any]) -> tuple[Any, DifficultyRange | None]:
  """(the source with the difficulties of its problems, their range) by the keys of a part."""
  origin = keys['difficulty']
  if origin == 'none':
    return source, None
  if not isinstance(source, FiniteSource):
    raise ValueError(f'data.mix.NAME.difficulty={origin!r} is for problems of files, and those of '
                     f"{keys['source']} are made on demand: set it to 'none', and make easier or "
                     f'harder ones by the keys of the source.')
  if origin == 'rates':
    rates = difficulty.read_rates(keys['rates_path'], 'data.mix.NAME.rates_path')
    source = source.of(difficulty.graded(source.training, rates), source.evaluation)
  if unknown := sum(problem.difficulty is None for problem in source.training):
    logging.warning('%d of %d training problems are not dealt: their difficulty is not known (%s).',
                    unknown, source.size, keys.get('rates_path', 'field "difficulty"'))
  return source, DifficultyRange(keys['difficulty_low'], keys['difficulty_high'])


def _pools(source, keys: Mapping[str, Any]) -> Pools | None:
  if not keys['pools']:
    return None
  if not isinstance(source, FiniteSource):
    raise ValueError(f'data.mix.NAME.pools=True is for problems of files, and those of '
                     f"{keys['source']} are made on demand, so that none comes twice: set it to "
                     f'False.')
  return Pools(**{field.name: keys[field.name] for field in dataclasses.fields(Pools)})


def _in_range(part: Part, seed: int | str):
  """The source of a part with the training problems in its range alone, dealt by a seed."""
  if part.difficulty is None:
    return part.source
  kept = part.difficulty.of(part.source.training, f'data.mix.{part.name}')
  return FiniteSource(seed, kept, ())


def _of_domain(source, domain: str):
  """The source with its problems of one domain alone; '' keeps all."""
  if not domain:
    return source
  if isinstance(source, FiniteSource):
    kept = source.select(lambda problem: problem.domain == domain)
    if kept.size:
      return kept
  elif source.problem(0).domain == domain:
    return source
  raise ValueError(f'data.mix.NAME.domain is {domain!r} and the source has no training problem of '
                   f"that domain: correct it, or set it to '' for all problems.")


def _apart(parts: Sequence[Part]) -> list[Part]:
  """The parts without the training problems that any part holds out."""
  evaluation = [problem for part in parts if isinstance(part.source, FiniteSource)
                for problem in part.source.evaluation]
  kept = []
  for part in parts:
    source = part.source
    if isinstance(source, FiniteSource):
      source = source.of(without_texts(source.training, evaluation), source.evaluation)
      if not source.size:
        raise ValueError(f'All training problems of data.mix.{part.name} ask what held-out '
                         f'problems of the mix ask: take other problems, or hold fewer out.')
    kept.append(dataclasses.replace(part, source=source))
  return kept


def _unique(parts: Sequence[Part]) -> tuple[Part, ...]:
  """The parts with one problem under each id: another one under the same gets `<part>/<id>`."""
  texts: dict[str, str] = {}
  result = []
  for part in parts:
    own = lambda problem, name=part.name: (
        problem if texts.setdefault(problem.id, problem.text) == problem.text
        else dataclasses.replace(problem, id=f'{name}/{problem.id}'))
    source = part.source
    if isinstance(source, FiniteSource):
      source = source.of(map(own, source.training), map(own, source.evaluation))
    result.append(dataclasses.replace(part, source=source))
  return tuple(result)
