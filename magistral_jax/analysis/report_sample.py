"""Which completions a report shows with their texts, where not all of them fit into one file.

Groups are shown whole. Where all fit, all are shown. Else one group of every update and of every
fate that is not trained comes first, then a second one of each, and so on, until the room is used
up; which group of an update is first, a hash of its ordinal says, so that nothing about a group but
its ordinal decides. Texts longer than CLIPPED lose their middle then, and say so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magistral_jax import rollouts
from magistral_jax.analysis.report_run import CompletionTable

MOST_ROWS = 150_000          # Completions that stand in the table, of one report.
CLIPPED = 6_000              # Characters of a text that is not shown whole.
# Bytes of a line besides its texts, which the page does not have.
_KEYS = 450


@dataclasses.dataclass(frozen=True)
class Sample:
  """What of a run's completions is shown.

  Sample(rows=array([0, 1, ...]), texts=array([1, 1, ...]), clipped=False, rule='All 8 ...')
  """
  rows: np.ndarray           # [r] indices of the completions that stand in the table.
  texts: np.ndarray          # [n] bool, of which the texts are shown; all of them are rows.
  clipped: bool              # Whether long texts lose their middle.
  rule: str                  # In a sentence.


def choose(completions: CompletionTable, room_bytes: int, most_rows: int = MOST_ROWS) -> Sample:
  """Chooses whole groups, texts of at most about `room_bytes`, and at most `most_rows` rows."""
  n = len(completions)
  whole = np.maximum(completions['bytes'] - _KEYS, 0)
  if whole.sum() <= room_bytes and n <= most_rows:
    return Sample(np.arange(n), np.ones(n, bool), False, f'All {n:,} completions are shown whole.')
  order = _order(completions)                      # [g] groups, those first that are shown first.
  _, group = completions.groups
  cost = np.bincount(group, np.minimum(whole, 2 * CLIPPED))[order]
  texts = np.zeros(len(order), bool)
  texts[order[:int(np.searchsorted(np.cumsum(cost), room_bytes, 'right'))]] = True
  sizes = np.cumsum(np.bincount(group)[order])
  rows = np.zeros(len(order), bool)
  rows[order[:int(np.searchsorted(sizes, most_rows, 'right'))]] = True
  shown, listed = (texts & rows)[group], np.flatnonzero(rows[group])
  clipped = bool((whole > CLIPPED)[shown].any())
  rule = (f'Texts of {int(shown.sum()):,} of {n:,} completions are shown: whole groups, first one '
          f'of every update and of every other fate, then a second one of each, and so on, in the '
          f'order of a hash of their ordinals.')
  if len(listed) < n:
    rule += f' The table lists {len(listed):,} of them; curves and audit are over all.'
  if clipped:
    rule += f' Texts of more than {CLIPPED:,} characters lose their middle.'
  return Sample(listed, shown, clipped, rule)


def _order(completions: CompletionTable) -> np.ndarray:
  """[g] indices of groups: the first of every update and fate, the second of each, and so on."""
  ordinals, group = completions.groups
  step = np.full(len(ordinals), -1, np.int64)
  np.maximum.at(step, group, completions['step'])
  fate = np.zeros(len(ordinals), np.int64)
  fate[group] = completions.words['fate']
  kind = np.where(step >= 0, step, -1 - fate)
  order = np.lexsort((_hashed(ordinals), kind))
  first = np.r_[True, np.diff(kind[order]) != 0]
  starts = np.flatnonzero(first)
  rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
  return order[np.lexsort((_hashed(ordinals)[order], rank))]


def _hashed(ordinals: np.ndarray) -> np.ndarray:
  """[g] uint64, a mix of the bits of each (the finalizer of splitmix64)."""
  x = ordinals.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def read_texts(workdir: Path, completions: CompletionTable, sample: Sample) -> dict[str, Any]:
  """Texts of the chosen groups: {ordinal: {'prompt': ..., 'members': [{...}, ...]}}."""
  groups: dict[str, Any] = {}
  for line in _lines(workdir, completions['start'][sample.texts]):
    ordinal = str(line['ordinal'])
    text = lambda key: _clip(str(line.get(key, '')), sample.clipped)
    group = groups.setdefault(ordinal, dict(
        prompt=text('prompt'), members=[],
        **{key: str(line.get(key, '')) for key in ('id', 'source', 'gold')}))
    group['members'].append(dict(
        sample=line['sample'], completion=text('completion'), answer=text('answer'),
        detail=text('detail'), parts=line['parts'], versions=line['versions'],
        finish=line.get('finish', ''), seconds=_short(line.get('seconds')),
        prompt_tokens=line.get('n_prompt_tokens'),
        **_tokens(line, sample.clipped)))
  return groups


def _tokens(line: Mapping[str, Any], clipped: bool) -> dict[str, Any]:
  """The tokens of a line that has them, unless its text loses its middle."""
  shown = 'tokens' in line and not (clipped and len(line['completion']) > CLIPPED)
  return dict(tokens_shown=line['tokens']) if shown else {}


def table(completions: CompletionTable, rows: np.ndarray) -> dict[str, Any]:
  """Columns of the table: numbers, and words as indices into `names`."""
  plain = lambda values: [_short(value) for value in values[rows].tolist()]
  return dict(
      names={name: list(known) for name, known in completions.names.items()},
      **{name: plain(completions[name]) for name in (
          'ordinal', 'sample', 'step', 'reward', 'advantage', 'tokens', 'oldest', 'versions')},
      **{name: completions.words[name][rows].tolist() for name in completions.words})


def _lines(workdir: Path, starts: Sequence[int]) -> Iterable[Mapping[str, Any]]:
  if len(starts):
    with rollouts.RolloutsReader(workdir) as reader:
      for start in starts:
        yield json.loads(reader.line(int(start)))


def _clip(text: str, clipped: bool) -> str:
  """`text`, or its beginning and its end with how much is missing between them."""
  if not clipped or len(text) <= CLIPPED:
    return text
  half = CLIPPED // 2
  left_out = f'[... {len(text) - 2 * half:,} characters are left out ...]'
  return f'{text[:half]}\n{left_out}\n{text[-half:]}'


def _short(value: float | None) -> float | int | None:
  """A number of four digits behind the point; None for what is none."""
  if value is None or value != value:
    return None
  return value if isinstance(value, int) else round(value, 4)
