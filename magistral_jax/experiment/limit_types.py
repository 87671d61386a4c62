"""Limits: what the value of a config key may be, in words and as a test."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Limit:
  """One limit of a value.

  Limit('a whole number of at least 1', int, lambda v: type(v) is int and v >= 1)
  """
  words: str
  type: type                        # Of the value; the command line parses text by it.
  allows: Callable[[Any], bool]


def whole(least: int, most: float = math.inf) -> Limit:
  """Whole numbers from `least` to `most`; true and false are not numbers."""
  upper = '' if most == math.inf else f' and at most {most}'
  return Limit(f'a whole number of at least {least}{upper}', int,
               lambda v: type(v) is int and least <= v <= most)


def number(words: str, allows: Callable[[float], bool] = lambda v: True) -> Limit:
  """Finite numbers that `allows` accepts; `words` says which they are."""
  return Limit(f'a finite number{words and " " + words}', float,
               lambda v: type(v) in (int, float) and math.isfinite(v) and allows(v))


def choice(names) -> Limit:
  """One of several names."""
  names = tuple(names)
  return Limit(f'one of {", ".join(names)}', str, lambda v: v in names)


ANY = number('')
POSITIVE = number('above 0', lambda v: v > 0)
NOT_NEGATIVE = number('of at least 0', lambda v: v >= 0)
SHARE = number('between 0 and 1', lambda v: 0 <= v <= 1)
DECAY = number('of at least 0 and below 1', lambda v: 0 <= v < 1)
NUCLEUS = number('above 0 and at most 1', lambda v: 0 < v <= 1)
FLAG = Limit('true or false', bool, lambda v: type(v) is bool)
TEXT = Limit('text', str, lambda v: isinstance(v, str))
TOPOLOGY = Limit(
    "'' (this machine) or a TPU slice such as 'v5p:4x4x4' or 'v6e:8x8' (v4, v5e, v5p, v6e, tpu7x)",
    str, lambda v: isinstance(v, str) and bool(re.fullmatch(
        r'|(v5e|v6e):[1-9]\d*x[1-9]\d*|(v4|v5p|tpu7x):[1-9]\d*x[1-9]\d*x[1-9]\d*', v)))
