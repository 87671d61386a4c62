"""What a key and a section of a config are; the schema is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from magistral_jax.experiment.limit_types import Limit


@dataclasses.dataclass(frozen=True)
class Key:
  """One key of a config: Key(whole(1), 'Completions of one prompt.')."""
  limit: Limit
  meaning: str
  start: Any = None         # Starting value; only where the section has a `when`.


@dataclasses.dataclass(frozen=True)
class Condition:
  """The value of another key that makes a section part of a config.

  Condition('data.source', "is 'jsonl'", lambda v: v == 'jsonl')
  """
  key: str
  words: str
  allows: Callable[[Any], bool]

  def __str__(self) -> str:
    return f'{self.key} {self.words}'

  def holds(self, flat: Mapping[str, Any]) -> bool:
    """Whether a config, as {dotted key: value}, chooses the section."""
    return self.key in flat and self.allows(flat[self.key])


def among(key: str, values) -> Condition:
  """The condition that a key has one of several values."""
  values = tuple(values)
  return Condition(key, f'is {" or ".join(map(repr, values))}', lambda v: v in values)


def above_0(key: str) -> Condition:
  """The condition that a number is above 0."""
  return Condition(key, 'is above 0', lambda v: type(v) in (int, float) and v > 0)


@dataclasses.dataclass(frozen=True)
class Section:
  """Keys that stand together in a config, or that one condition adds to such a group."""
  name: str                 # '' for keys that stand in no section.
  meaning: str
  keys: dict[str, Key]
  when: Condition | None = None
  optional: bool = False    # Of any name: whether a config that may name some may name none.

  def names(self) -> dict[str, Key]:
    """{dotted key: its Key}."""
    return {f'{self.name}.{name}' if self.name else name: key for name, key in self.keys.items()}

  def named(self, name: str) -> Section:
    """This section with a name in place of the `*` in its own and in its condition's."""
    when = self.when and dataclasses.replace(self.when, key=self.when.key.replace('*', name))
    return dataclasses.replace(self, name=self.name.replace('*', name), when=when)
