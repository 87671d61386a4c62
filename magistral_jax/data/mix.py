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
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from absl import logging

from magistral_jax.data import difficulty
from magistral_jax.data.difficulty import DifficultyRange
from magistral_jax.data.finite import FiniteSource, permutation, without_texts
from magistral_jax.records import Problem

BLOCK = 64                # Ordinals whose order is shuffled together.
# {name of a part: {key below data.mix.NAME: its value from an ordinal on}}; these keys may change.
Changes = Mapping[str, Mapping[str, float]]
CHANGEABLE = ('weight', 'difficulty_low', 'difficulty_high')


class Schedule:
  """Order in which several streams take turns: ordinal -> (stream, index in that stream).

  Of any n ordinals from 0 on, each stream gets n times its share, to within one for each stream
  and one block. Every index of a stream is given out exactly once, in the order of the ordinals.

  Args:
    seed: decides the order within a block of ordinals.
    weights: of the streams, at least 0; what counts is their proportion. A stream of weight 0 never
      gets a turn.
  Raises:
    ValueError: no weight is above 0.
  """

  def __init__(self, seed: int | str, weights: Sequence[float]):
    if not any(weights):
      raise ValueError('The weights of a mix are all 0: set one data.mix.NAME.weight above 0.')
    self._seed, self._shares, self._streams = seed, [], len(weights)
    self._turns = functools.lru_cache(maxsize=4)(self._block)
    # Exact numbers: the same turns at any ordinal, on any machine.
    rest = sum(map(Fraction, weights), Fraction(0))
    for stream, weight in enumerate(weights):
      if weight:
        self._shares.append((stream, Fraction(weight) / rest))
        rest -= Fraction(weight)

  def __call__(self, ordinal: int) -> tuple[int, int]:
    block, position = divmod(ordinal, BLOCK)
    return self._turns(block)[position]

  def counts(self, ordinal: int) -> list[int]:
    """How many ordinals below this one each stream has."""
    block, position = divmod(ordinal, BLOCK)
    counts = self._counts(block * BLOCK)
    for stream, _ in self._turns(block)[:position]:
      counts[stream] += 1
    return counts

  def _counts(self, turns: int) -> list[int]:
    """How many of the first turns each stream has."""
    counts = [0] * self._streams
    for stream, share in self._shares:
      counts[stream] = turns * share.numerator // share.denominator
      turns -= counts[stream]
    return counts

  def _block(self, block: int) -> list[tuple[int, int]]:
    """(stream, index) of each ordinal of a block."""
    counts, found = self._counts(block * BLOCK), []
    for turn in permutation(BLOCK, f'{self._seed} mix {block}'):
      stream, _ = self.unshuffled(block * BLOCK + int(turn))
      found.append((stream, counts[stream]))
      counts[stream] += 1
    return found

  def unshuffled(self, turn: int) -> tuple[int, int]:
    """The same with turns as regular as they can be.

    Of the first n turns the first stream takes floor(n s), where s is its share; the second takes
    its share of the turns that are left, and so on.
    """
    for stream, share in self._shares:
      before = turn * share.numerator // share.denominator
      if (turn + 1) * share.numerator // share.denominator > before:
        return stream, before
      turn -= before
    raise AssertionError('the last stream takes every turn that is left')


@dataclasses.dataclass(frozen=True)
class Part:
  """One source of a mix. Part('code', JsonlSource(...), weight=0.4)"""
  name: str
  source: Any               # A `sources.Source`.
  weight: float             # Share of the prompts, in proportion to the other parts; 0 for none.
  # Of the training problems that are dealt; None for all. What is held out, any difficulty has.
  difficulty: DifficultyRange | None = None

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
    if ordinal < self._begin:
      return self._before.problem(ordinal)
    part, index = self._schedule(ordinal - self._begin)
    dealt = self._dealt[part]
    return dealt.source.problem(dealt.first + index)

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
    counts = self._schedule.counts(ordinal - self._begin)
    after._dealt = [
        Dealt(old.source, old.first + count) if new.difficulty == part.difficulty else
        Dealt(_in_range(new, f'{part.source.seed} from {ordinal}'))
        for part, new, old, count in zip(self.parts, after.parts, self._dealt, counts,
                                         strict=True)]
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
      rates_path, and the keys of that source under its name}}; they take turns in the order of
      their names.
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
      made.append(Part(name, source, keys['weight'], within))
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
