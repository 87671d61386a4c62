"""Sources of problems, by the name in `data.source`."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from magistral_jax.data.arithmetic import ArithmeticSource
from magistral_jax.data.finite import FiniteSource
from magistral_jax.data.gym import ReasoningGymSource
from magistral_jax.data.jsonl import JsonlSource
from magistral_jax.data.mix import MixSource, read_mix
from magistral_jax.data.prepared import TfdsSource
from magistral_jax.records import Problem


class Source(Protocol):
  """Endless stream of training problems, and fixed held-out ones; the two share no text.

  Three kinds: a `FiniteSource` can leave problems out, a `MixSource` is made of others, and any
  other source is endless. That one is a dataclass with `longest()`, its longest problem, and
  `example(ordinal, slip)`, a problem with a response to imitate; `slip` is None or the
  random.Random that a wrong one is drawn with.
  """

  @property
  def seed(self) -> int | str: ...

  @property
  def size(self) -> int | None:
    """Problems in an epoch; None where there are no epochs."""

  def problem(self, ordinal: int) -> Problem:
    """Training problem of an ordinal, the same in every process."""
    ...

  def held_out(self, n: int) -> list[Problem]:
    """Held-out problems: the first `n`, or all there are if fewer."""
    ...


# What a part of a mix may be.
SINGLE_SOURCES: dict[str, Callable[..., Source]] = {
    'arithmetic': ArithmeticSource,
    'jsonl': JsonlSource,
    'tfds': TfdsSource,
    'reasoning_gym': ReasoningGymSource,
}


def mixed(seed: int | str, **parts: Mapping[str, Any]) -> MixSource:
  """The mix of the sources in SINGLE_SOURCES that a config describes; see `mix.read_mix`."""
  return read_mix(seed, parts, SINGLE_SOURCES)


SOURCES = SINGLE_SOURCES | {'mix': mixed}


def samples(source: Source) -> list[Problem]:
  """All problems of a source that is held in memory, and one of each side of an endless one."""
  if isinstance(source, MixSource):
    return [problem for part in source.parts for problem in samples(part.source)]
  if isinstance(source, FiniteSource):
    return [*source.training, *source.evaluation]
  return [source.problem(0), *source.held_out(1)]


def held(source: Source) -> list[Problem]:
  """Held-out problems of a source that is held in memory, of all parts of a mix."""
  if isinstance(source, MixSource):
    return [problem for part in source.parts for problem in held(part.source)]
  return list(source.evaluation) if isinstance(source, FiniteSource) else []
