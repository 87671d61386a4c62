"""ANLS, the score of DocVQA: how nearly an answer is spelled like a reference.

References: arXiv:1907.00490 section 5; without a threshold arXiv:2410.07073, whose rules these are.
"""

from __future__ import annotations

from collections.abc import Sequence

from magistral_jax.evaluation.visual.relaxed import without_closing


def anls(found: str, references: Sequence[str], threshold: float = 0.0) -> float:
  """1 less the edit distance to the nearest reference over the longer length; 0 below a threshold.

  Case, runs of white space and closing punctuation do not count.
  """
  found = _plain(found)
  shares = [_distance_share(found, _plain(reference)) for reference in references]
  score = 1 - min(shares)
  return score if score >= threshold else 0.0


def _plain(text: str) -> str:
  return without_closing(' '.join(text.lower().split()))


def _distance_share(a: str, b: str) -> float:
  longer = max(len(a), len(b))
  return edit_distance(a, b) / longer if longer else 0.0


def edit_distance(a: str, b: str) -> int:
  """Fewest insertions, deletions and replacements of characters that make one text of another.

  A column of the table of distances is kept as the bits of two numbers, which say where the
  distance rises and where it falls from one row to the next, so the cost is that of a few
  operations on numbers of as many bits as the shorter text has, for each character of the longer.

  Reference: H. Hyyrö, A bit-vector algorithm for computing Levenshtein and Damerau edit distances,
  Nordic Journal of Computing 10 (2003).
  """
  short, long = sorted((a, b), key=len)
  if not short:
    return len(long)
  places: dict[str, int] = {}
  for i, character in enumerate(short):
    places[character] = places.get(character, 0) | 1 << i
  last, every = 1 << len(short) - 1, (1 << len(short)) - 1
  rises, falls, distance = every, 0, len(short)
  for character in long:
    same = places.get(character, 0)
    diagonal = ((same & rises) + rises ^ rises) | same | falls
    up = falls | every & ~(diagonal | rises)
    down = rises & diagonal
    distance += bool(up & last) - bool(down & last)
    up, down = up << 1 | 1, down << 1
    rises = (down | ~(diagonal | up)) & every
    falls = up & diagonal & every
  return distance
