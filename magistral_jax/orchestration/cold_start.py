"""The cold start: a short stretch of supervised learning on reasoning traces before the loop."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from magistral_jax.batching.packing import Patches, evenly_weighted, pack_examples
from magistral_jax.orchestration.roles import Trainer
from magistral_jax.records import Rows


def run(trainer: Trainer, examples: Sequence[tuple], *, steps: int, rows: int, row_tokens: int,
        patches: Patches | None, seed: int, stopping: threading.Event, save: Callable[[], object],
        save_every: int, progress: Callable[[int, dict], None]) -> None:
  """Trains on (prompt tokens, completion tokens, images), reshuffled every epoch.

  Args:
    trainer: its version counts the steps; a restored one goes on where it stopped.
    rows: rows of an optimizer step.
    row_tokens, patches: room in a row.
    stopping: when set, the cold start saves and ends between two steps.
    save: called every `save_every` steps (0: never) and when stopping.
    progress: called with (step, metrics) after every step.
  """
  batches = _batches(examples, rows, row_tokens, patches, seed)
  batches = itertools.islice(batches, trainer.version, None)
  for step in range(trainer.version + 1, steps + 1):
    if stopping.is_set():
      break
    progress(step, trainer.supervised(next(batches)))
    if save_every and step % save_every == 0 and step < steps:
      save()
  if stopping.is_set():
    save()


def _batches(examples: Sequence[tuple], rows: int, row_tokens: int, patches: Patches | None,
             seed: int) -> Iterator[Rows]:
  """Slices of `rows` rows without end; each epoch packs all examples anew in another order."""
  rng = random.Random(f'cold start {seed}')
  while True:
    order = list(examples)
    rng.shuffle(order)
    # Packing sorts by length; a share at a time keeps lengths mixed among the steps.
    packed = pack_examples(order, row_tokens=row_tokens, rows_multiple=rows,
                           patches=patches)
    starts = list(range(0, len(packed), rows))
    shuffled = list(range(len(packed)))
    rng.shuffle(shuffled)
    for start in starts:
      yield evenly_weighted(packed[shuffled[start:start + rows]])
