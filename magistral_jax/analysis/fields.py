"""What stands under the keys of a run's files, so that a value of another kind is named.

Files can be damaged, or written by other programs: a string where a number belongs makes no figure.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

_MOST = 1e300               # Of a number: sums and squares of a few stay finite, or are seen.
_WHOLE = 2 ** 53            # Beyond it a page cannot count one by one.
_SHOWN = 40                 # Characters of a value in a sentence.


@dataclasses.dataclass(frozen=True)
class Kind:
  """Values of one kind: 'a number', and whether a value is one."""
  words: str
  fits: Callable[[Any], bool]


def _or_null(kind: Kind) -> Kind:
  return Kind(f'{kind.words} or null', lambda value: value is None or kind.fits(value))


def _list_of(kind: Kind, words: str) -> Kind:
  return Kind(words, lambda value: isinstance(value, list) and all(map(kind.fits, value)))


def _object_of(kind: Kind, words: str) -> Kind:
  return Kind(words, lambda value: isinstance(value, dict) and all(map(kind.fits, value.values())))


def _pair_of(first: Kind, second: Kind) -> Kind:
  return Kind('a pair', lambda value: isinstance(value, list) and len(value) == 2
              and first.fits(value[0]) and second.fits(value[1]))


NUMBER = Kind('a number', lambda value: isinstance(value, int | float)
              and not isinstance(value, bool) and abs(value) <= _MOST)
INTEGER = Kind('an integer', lambda value: isinstance(value, int)
               and not isinstance(value, bool) and abs(value) < _WHOLE)
COUNT = Kind('an integer from 0 on', lambda value: INTEGER.fits(value) and value >= 0)
TEXT = Kind('a text', lambda value: isinstance(value, str))
TRUTH = Kind('true or false', lambda value: isinstance(value, bool))
MEASURED = _or_null(NUMBER)
OBJECT = Kind('an object', lambda value: isinstance(value, dict))
_NUMBERS = _or_null(_object_of(MEASURED, 'an object of numbers'))
_TEXTS, _LOGPS = _list_of(TEXT, 'texts'), _list_of(NUMBER, 'numbers')
_TOKENS = Kind('texts and log-probabilities of tokens', lambda value: isinstance(value, dict)
               and _TEXTS.fits(value.get('texts')) and _LOGPS.fits(value.get('logp'))
               and (value.get('gap') is None or _LOGPS.fits(value['gap']))
               and all(len(value['texts']) == len(value[key] or value['texts'])
                       for key in ('logp', 'gap') if key in value))

# Of each file: the keys that every line has, and those that it may have. All other keys of lines of
# updates and stages, and of a summary, are MEASURED.
UPDATE = dict(step=COUNT)
STAGE = dict(step=COUNT, stage=TEXT)
MAY_BE = {'time_s': _NUMBERS, 'verifier': _NUMBERS, 'report': TEXT, 'reason': TEXT, 'opens': TRUTH,
          'eval/per_problem': _or_null(_list_of(_pair_of(TEXT, NUMBER), 'pairs of id and share'))}
COMPLETION = dict(
    ordinal=COUNT, sample=COUNT, id=TEXT, domain=TEXT, language=TEXT, source=TEXT, gold=TEXT,
    fate=TEXT, step=_or_null(COUNT),
    versions=_list_of(_pair_of(COUNT, INTEGER), 'pairs of integers'), status=TEXT, reward=NUMBER,
    parts=_object_of(NUMBER, 'an object of numbers'),
    advantage=MEASURED, n_prompt_tokens=COUNT, n_tokens=COUNT, finish=TEXT, prompt=TEXT,
    completion=TEXT, answer=TEXT, detail=TEXT, seconds=MEASURED)
COMPLETION_MAY_BE = dict(tokens=_TOKENS)
START = dict(
    at=TEXT, command=_list_of(TEXT, 'a list of texts'), devices=TEXT, machine=TEXT, python=TEXT,
    packages=_object_of(TEXT, 'an object of texts'), commit=TEXT, changed=TRUTH,
    ended=TEXT, ended_at=TEXT, why=TEXT)


def wrong(found: Mapping[str, Any], must: Mapping[str, Kind], may: Mapping[str, Kind],
          other: Kind | None = None) -> dict[str, str]:
  """What is wrong with the values of an object: {key: 'reward is "x", not a number'}.

  Args:
    must: keys that are there; may: those that can be.
    other: what all other keys hold; None for anything.
  """
  kinds = {key: other for key in found if other} | {
      key: kind for key, kind in may.items() if key in found} | dict(must)
  return {key: f'{key} is missing' if key not in found else
          f'{key} is {_shown(found[key])}, not {kind.words}'
          for key, kind in kinds.items() if kind and not (key in found and kind.fits(found[key]))}


def read_json(text: bytes | str) -> Any:
  """What JSON says; raises ValueError for other text, NaN and Infinity among it."""
  try:
    return json.loads(text, parse_constant=_no_constant)
  except RecursionError:
    raise ValueError('it is nested too deeply') from None


def _no_constant(name: str):
  raise ValueError(f'{name} is not of JSON')


def _shown(value: Any) -> str:
  """A value, cut where it is long; a number of more digits than Python prints by its size."""
  if isinstance(value, int) and abs(value) >= 10 ** _SHOWN:
    return f'a number of {value.bit_length()} bits'
  text = json.dumps(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
