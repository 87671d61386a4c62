"""Different problems out of random draws, some of which repeat."""

from __future__ import annotations

from collections.abc import Callable, Collection

MOST_DRAWS = 100          # Draws per problem wanted, after which there are too few different ones.


def distinct(count: int, draw: Callable[[Collection[str]], dict | None]) -> list[dict]:
  """`count` lines of different problems, in the order in which they were drawn.

  Args:
    draw: takes the problems that there are already; gives a line with `problem`, or None for a draw
      of which nothing comes.
  Raises:
    ValueError: there are fewer.
  """
  found: dict[str, dict] = {}
  for _ in range(MOST_DRAWS * count):
    if len(found) == count:
      break
    line = draw(found.keys())
    if line is not None:
      found[line['problem']] = line
  if len(found) < count:
    raise ValueError(f'--problems={count} are more than there are: {len(found)} were found.')
  return list(found.values())
