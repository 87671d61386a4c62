"""results.json of a walk, and what the page says beyond it, out of the files that its legs left."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax import durable, metrics
from magistral_jax.recipe import scores, walk
from magistral_jax.recipe.legs import MODELS

# Where a model stands in results.json. The base of mini-Small is the start of the transfers, too.
PLACES = dict(
    medium=dict(base='medium_base', rl='medium_rl'),
    small=dict(sft='small_sft', rl='small_rl', sft_rl='small_sft_rl'),
    transfer=dict(start='small_base', math_only='math_only', code_only='code_only'))
CURATIONS = ('math', 'code', 'graded')
# Rows without a planted fault; faults that a row and its copy share, which curation calls the same.
SOUND, COPIES = 'none', ('duplicate', 'near_duplicate')
LOOPS = ('medium_rl', 'small_rl', 'small_sft_rl', 'math_only', 'code_only')


@dataclasses.dataclass(frozen=True)
class Found:
  """What the files of a walk say; what is not there yet is left out."""
  scores: Mapping[str, scores.Score]              # By the names of legs.MODELS.
  stages: Sequence[Mapping[str, Any]]             # Openings of mini-Medium's stages.
  curves: Mapping[str, Sequence[Mapping]]         # Loop -> its lines of metrics.jsonl.
  funnels: Mapping[str, Sequence[Mapping]]        # Curation -> its funnel.
  planted: Sequence[tuple[str, str, int, int, str]]   # Domain, fault, rows, found, how.
  marks: Mapping[str, walk.Mark]

  @property
  def wall_s(self) -> float:
    """Seconds of all legs."""
    return sum(mark.wall_s for mark in self.marks.values())


def read(output: Path) -> Found:
  """Reads what the legs of a walk have left so far."""
  lines = lambda *names: _lines(output.joinpath(*names))
  found = {name: output / 'evaluations' / f'{name}.jsonl' for name in MODELS}
  marks = walk.read_marks(output)
  return Found(
      {name: scores.read(path) for name, path in found.items() if f'evaluate_{name}' in marks},
      [line for line in lines('medium_rl', 'stages.jsonl') if line.get('opens')],
      {name: lines(name, 'metrics.jsonl') for name in LOOPS if lines(name, 'metrics.jsonl')},
      {name: json.loads((output / name / 'funnel.json').read_text('utf-8'))
       for name in CURATIONS if name in marks},
      [row for domain, folders in dict(math=('math', 'graded'), code=('code',)).items()
       for row in _planted(output, domain, folders)], marks)


def write(found: Found, path: Path) -> dict[str, Any]:
  """Writes results.json; a model that was not evaluated is null there."""
  shown = {table: {place: found.scores[name].figures() if name in found.scores else None
                   for place, name in models.items()} for table, models in PLACES.items()}
  made = metrics.plain(shown | dict(stages=list(found.stages), wall_s=found.wall_s))
  durable.write_json(path, made, indent=2)
  return made


def _lines(path: Path) -> list[dict]:
  return metrics.read_lines(path) if path.exists() else []


def _planted(output: Path, domain: str, folders: Sequence[str],
             ) -> list[tuple[str, str, int, int, str]]:
  """How many rows of each planted fault curation dropped or repaired, and what it called them.

  A copy and what it was made of are the same problem: whichever of them goes, the fault is found.
  """
  rows = _lines(output / 'world' / f'raw_{domain}.jsonl')
  fates: dict[str, str] = {}
  for folder in folders:
    for line in _lines(output / folder / 'dropped.jsonl'):
      fates[line['id']] = line['reason']
    for line in _lines(output / folder / 'changed.jsonl'):
      fates[line['id']] = line['reason']
  counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
  for row in rows:
    kind, fate = row.get('planted', SOUND), fates.get(row['id'], '')
    if kind in COPIES:
      fate = fate or fates.get(row['id'].removesuffix(f'-{kind}'), '')
    elif kind == SOUND and fate in COPIES:
      fate = ''
    counts[kind][fate] += 1
  return [(domain, kind, of.total(), of.total() - of[''],
           ', '.join(f'{reason} {n}' for reason, n in of.most_common() if reason))
          for kind, of in sorted(counts.items())]
