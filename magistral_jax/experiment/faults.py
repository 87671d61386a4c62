"""Several faults in one message, so that they can all be mended at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Step = Callable[[], object]


def find(*steps: Step) -> list[str]:
  """Runs every step, and returns what the ValueErrors of those that failed say."""
  found = []
  for step in steps:
    try:
      step()
    except ValueError as error:
      found.append(str(error))
  return found


def gather(*steps: Step) -> None:
  """Runs every step, and raises one ValueError with the sentences of all that failed."""
  if found := find(*steps):
    raise ValueError(joined(found))


def joined(sentences: Iterable[str]) -> str:
  """Sentences that each say what is wrong, as one message; what is said twice stands once."""
  return ' Also: '.join(dict.fromkeys(sentences))
