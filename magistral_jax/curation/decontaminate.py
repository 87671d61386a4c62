"""The step `decontaminate`: no problem of an evaluation is trained on.

A row is contaminated if its statement and that of an evaluation problem
  are one text but for layout, or
  share an n-gram of words (13 by default) that is no common phrase, or
  share at least half of the evaluation problem's n-grams.
A statement of fewer than n words has no n-gram: it is compared whole. With an `overlap` above 0 a
single n-gram is not enough: that share of the evaluation problem's n-grams is needed.

A common phrase is an n-gram that at least `common` statements hold, of the rows and of the
evaluations together, each statement counted once: 'where m and n are relatively prime positive
integers find m n' says nothing about a problem, and most AIME problems hold it. common=0 takes
every overlap for contamination. docs/curation.md has what the rules drop on real files.

Reference: n-gram overlap as in GPT-3, arXiv:2005.14165 appendix C.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from magistral_jax.curation.rows import (
  STATEMENTS,
  Decide,
  Decision,
  Row,
  input_rows,
  read_rows,
  statement_of,
  text_of,
)
from magistral_jax.curation.text import grams, hashed, normal, words
from magistral_jax.data import files

N = 13
COMMON = 3
SHARE = 0.5


class Evaluations:
  """The statements of evaluation files, by their n-grams. Memory grows with these files alone.

  Args:
    paths: JSONL files with one of STATEMENTS, as `files.expand` takes them.
    n: words of an n-gram.
  Raises:
    ValueError: a file that is missing, or a line without a statement.
  """

  def __init__(self, paths: str | Sequence[str], n: int = N):
    if n < 1:
      raise ValueError(f'--ngram={n} must be at least 1.')
    self.n, self.names, self._sizes = n, [], []
    self._whole: dict[int, int] = {}
    self._grams: dict[int, list[int]] = {}
    self._counts: collections.Counter[int] = collections.Counter()
    for path in files.expand(paths, '--against'):
      for number, row in input_rows(path):
        text = next(filter(None, (text_of(row, key) for key in STATEMENTS)), '')
        if not text:
          raise ValueError(f'{path}, line {number}: --against needs files with one of '
                           f'{", ".join(STATEMENTS)} in each line.')
        self._add(f'{Path(path).stem}: {row.get("id", number)}', text)

  def _add(self, name: str, text: str) -> None:
    found = words(text)
    keys = _keys(text, found)
    if keys[0] in self._whole:
      return                       # Several files hold the same problem; it counts once.
    number = len(self.names)
    self.names.append(name)
    self._whole.update(dict.fromkeys(keys, number))
    hashes = {hashed(gram) for gram in grams(found, self.n)}
    self._sizes.append(len(hashes))
    self._counts.update(hashes)
    for gram in hashes:
      self._grams.setdefault(gram, []).append(number)

  def count(self, rows: Iterator[str]) -> None:
    """Counts in how many of these statements the evaluations' n-grams stand."""
    for text in rows:
      hashes = map(hashed, grams(words(text), self.n))
      self._counts.update({gram for gram in hashes if gram in self._grams})

  def find(self, text: str, common: int, overlap: float = 0.0) -> tuple[str, str] | None:
    """(reason, detail) of a contaminated statement; None of another."""
    found = words(text)
    for key in _keys(text, found):
      if key in self._whole:
        return 'same_statement', self.names[self._whole[key]]
    shared, rare = collections.defaultdict(set), None
    for gram in grams(found, self.n):
      key = hashed(gram)
      for number in self._grams.get(key, ()):
        shared[number].add(key)
        if rare is None and (not common or self._counts[key] < common):
          rare = 'shared_words', f'{self.names[number]}: {gram!r}'
    if rare and not overlap:
      return rare
    for number, keys in shared.items():
      if len(keys) >= (overlap or SHARE) * self._sizes[number]:
        return 'shared_words', f'{self.names[number]}: {len(keys)} of {self._sizes[number]} grams'
    return None


def _keys(text: str, found: Sequence[str]) -> tuple[int, int]:
  """Hashes of a whole statement: of its text, and of its words."""
  return hashed(normal(text)), hashed(' '.join(found))


def opened(paths: Sequence[str], *, n: int = N, common: int = COMMON, overlap: float = 0.0,
           ) -> Callable:
  """Makes the opener of the step; the files are read when this is called.

  Raises:
    ValueError: a value that cannot work, or an evaluation file that cannot be read.
  """
  if common < 0 or not 0 <= overlap <= 1:
    raise ValueError(f'--common={common} must be at least 0, and --overlap={overlap} a share '
                     f'from 0 to 1.')
  evaluations = Evaluations(paths, n)

  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    if common:
      evaluations.count(statement_of(row) for _, row in read_rows(path))
    yield lambda number, row: decide(row, evaluations, common, overlap)
  return step


def decide(row: Row, evaluations: Evaluations, common: int, overlap: float = 0.0) -> Decision:
  """The decision on one row."""
  found = evaluations.find(statement_of(row), common, overlap)
  return Decision((), *found) if found else Decision((row,))
