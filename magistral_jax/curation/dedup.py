r"""The step `dedup`: one problem of every kind.

    exact   the same text but for layout (`text.normal`)
    near    word 5-grams overlap by at least `threshold` (Jaccard), the digits are the same and so
            is the answer: 'Tom has 3 apples' and 'Tom has 4 apples' are two problems. In a
            statement of fewer than SHORT words every word counts: one must have all words of the
            other. Programs have no answer to compare: their problems must share a test, or one
            must have all words of the other

Near duplicates are looked for among rows whose MinHash signatures agree in one of BANDS bands of
ROWS values: of two rows with similarity s the share found is 1 - (1 - s^5)^25, 0.99 at 0.7. What
is found is compared word by word. The first of several stays. Where exact duplicates have answers
that differ, nobody knows which is right, and all of them go.

The keys of all rows lie in a file, 208 bytes a row, of which one column is looked at at a time;
memory grows with what rows share a key.
"""

from __future__ import annotations

import array
import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from datasketch import MinHash

from magistral_jax.curation import golds
from magistral_jax.curation.rows import (
  Decide,
  Decision,
  Row,
  answer_of,
  is_code,
  read_rows,
  statement_of,
)
from magistral_jax.curation.text import digits, grams, hashed, normal, words
from magistral_jax.data.jsonl import read_object

N = 5
BANDS, ROWS = 25, 5
THRESHOLD = 0.7
SHORT = 20
_CHUNK = 1024               # Rows whose signatures are made at once.
_MIX = np.uint64(0x9E3779B97F4A7C15)


def opened(threshold: float = THRESHOLD, workers: int = 0) -> Callable:
  """Makes the opener of the step that drops rows at least as similar as `threshold`."""
  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    with golds.comparer(workers) as comparer:
      dropped = find(path, threshold=threshold, same=comparer.same)
    yield lambda number, row: (
        Decision((), *dropped[number]) if number in dropped else Decision((row,)))
  return step


def shingles(text: str) -> frozenset[str]:
  """Word 5-grams of a statement; the whole statement if it is shorter."""
  found = words(text)
  return frozenset(grams(found, N) or [' '.join(found)])


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
  """Jaccard similarity, |A and B| / |A or B|."""
  return len(one & other) / len(one | other)


def find(path: Path, *, threshold: float, same: Callable[[str, str], bool],
         ) -> dict[int, tuple[str, str]]:
  """{number of a row: (reason, detail)} of the rows to drop.

  Args:
    path: JSONL of rows.
    same: whether two answers are equal.
  """
  with open(path.with_suffix('.keys'), 'w+b') as file:
    starts = _write_keys(path, file)
    keys = (np.memmap(file, np.uint64, 'r', shape=(len(starts), BANDS + 1))
            if len(starts) else np.empty((0, BANDS + 1), np.uint64))
    shared = _shared(keys)
    del keys
  path.with_suffix('.keys').unlink()
  return _compare(path, starts, shared, threshold, same)


def _write_keys(path: Path, file) -> np.ndarray:
  """Writes the keys of all rows, [rows, 1 + BANDS] uint64, and returns where rows start."""
  starts, start, chunk = array.array('q'), 0, []
  for offset, row in read_rows(path):
    starts.append(start)
    start = offset
    chunk.append(row)
    if len(chunk) == _CHUNK:
      file.write(_keys(chunk).tobytes())
      chunk = []
  if chunk:
    file.write(_keys(chunk).tobytes())
  file.flush()
  return np.array(starts, np.int64)


def _keys(rows: Sequence[Row]) -> np.ndarray:
  """[rows, 1 + BANDS] uint64: the hash of the exact text, then one of each band."""
  texts = [statement_of(row) for row in rows]
  signatures = np.array([m.hashvalues for m in MinHash.bulk(
      [[s.encode() for s in shingles(text)] for text in texts], num_perm=BANDS * ROWS)])
  bands = signatures.astype(np.uint64).reshape(len(rows), BANDS, ROWS)
  found = np.empty((len(rows), BANDS + 1), np.uint64)
  found[:, 0] = [hashed('\0'.join(_exact(row))) for row in rows]
  # Rows with other digits are never near duplicates, so they need not meet: a set of word
  # problems that differ in their numbers would meet in one bucket.
  mixed = np.repeat(np.array([hashed(digits(t)) for t in texts], np.uint64)[:, None], BANDS, 1)
  for i in range(ROWS):
    mixed = mixed * _MIX ^ bands[:, :, i]
  found[:, 1:] = mixed
  return found


def _exact(row: Row) -> tuple[str, ...]:
  """What two exact duplicates have in common: text, images, programming language."""
  return (normal(statement_of(row)), str(row.get('images') or ''),
          str(row.get('language') or '') if is_code(row) else '')


def _shared(keys: np.ndarray) -> dict[int, list[tuple[int, int]]]:
  """{row: [(column, bucket)]} of the rows that share a key with another row."""
  found = collections.defaultdict(list)
  for column in range(keys.shape[1]):
    _, bucket, count = np.unique(keys[:, column], return_inverse=True, return_counts=True)
    for row in np.flatnonzero(count[bucket] > 1):
      found[int(row)].append((column, int(bucket[row])))
  return found


def _compare(path, starts, shared, threshold, same) -> dict[int, tuple[str, str]]:
  """Compares each row with the rows kept before it that share a key with it."""
  kept, dropped = collections.defaultdict(list), {}
  with open(path, 'rb') as file:
    def read(number: int) -> Row:
      file.seek(starts[number])
      return read_object(file.readline())

    for number in sorted(shared):
      row = read(number)
      earlier = sorted({n for key in shared[number] for n in kept[key]})
      verdict = None
      for other in earlier:
        first = read(other)
        verdict = _duplicate(first, row, threshold, same)
        if verdict == 'conflicting_answers':
          dropped[other] = verdict, f'{row["id"]} asks the same and answers otherwise'
        if verdict:
          dropped[number] = verdict, first['id']
          break
      if not verdict:
        for key in shared[number]:
          kept[key].append(number)
  return dropped


def _duplicate(first: Row, row: Row, threshold: float, same) -> str:
  """What a row is beside an earlier one: a reason to drop it, or ''."""
  texts = statement_of(first), statement_of(row)
  if _exact(first) == _exact(row):
    agree = is_code(row) or same(answer_of(first), answer_of(row))
    return 'duplicate' if agree else 'conflicting_answers'
  if _exact(first)[1:] != _exact(row)[1:] or digits(texts[0]) != digits(texts[1]):
    return ''
  if similarity(*map(shingles, texts)) < threshold:
    return ''
  found = [collections.Counter(words(text)) for text in texts]
  contained = found[0] <= found[1] or found[1] <= found[0]
  if is_code(row):
    return 'near_duplicate' if contained or _share_test(first, row) else ''
  if not contained and min(f.total() for f in found) < SHORT:
    return ''
  return 'near_duplicate' if same(answer_of(first), answer_of(row)) else ''


def _share_test(first: Row, row: Row) -> bool:
  """Whether two programming problems have a test in common, white space aside."""
  tests = [{tuple((key, ' '.join(str(test[key]).split()))
                  for key in ('stdin', 'stdout', 'assert', 'call', 'args') if key in test)
            for test in found.get('tests') or () if isinstance(test, dict)}
           for found in (first, row)]
  return bool(tests[0] & tests[1])
