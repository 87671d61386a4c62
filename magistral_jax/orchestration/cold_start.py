"""The cold start: a short stretch of supervised learning on reasoning traces before the loop."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from magistral_jax.batching.packing import (
  Patches,
  evenly_weighted,
  first_fit_decreasing,
  pack_examples,
)
from magistral_jax.data.examples import Examples
from magistral_jax.orchestration.roles import Trainer
from magistral_jax.records import Rows

# Examples that are packed together: the work grows with its square, the loss is one row in some
# thousand examples.
PACKED_TOGETHER = 8192


def run(trainer: Trainer, examples: Examples, *, steps: int, rows: int, row_tokens: int,
        patches: Patches | None, seed: int, stopping: threading.Event, save: Callable[[], object],
        save_every: int, progress: Callable[[int, dict], None]) -> None:
  """Trains on examples, reshuffled every epoch; only those of one step are held as tokens.

  Args:
    trainer: its version counts the steps; a restored one goes on where it stopped.
    rows: rows of an optimizer step.
    row_tokens, patches: room in a row.
    stopping: when set, the cold start saves and ends between two steps.
    save: called every `save_every` steps (0: never) and when stopping.
    progress: called with (step, metrics) after every step.
  """
  found = batches(examples, rows=rows, row_tokens=row_tokens, patches=patches, seed=seed,
                  start=trainer.version)
  for step in range(trainer.version + 1, steps + 1):
    if stopping.is_set():
      break
    progress(step, trainer.supervised(next(found)))
    if save_every and step % save_every == 0 and step < steps:
      save()
  if stopping.is_set():
    save()


def optimizer(c, steps: int) -> dict[str, Any]:
  """What `build.optimizer` is to have otherwise in a cold start of so many steps."""
  return dict(schedule=c.cold_start.schedule, learning_rate=c.cold_start.learning_rate,
              warmup_steps=c.cold_start.warmup_steps, final_learning_rate=0.0, steps=steps)


def settings(c, examples: Examples, patches: Patches | None) -> dict[str, Any]:
  """What a config says of a cold start, as `run` takes it: its steps, and how rows are filled.

  The steps are those of the config, or of its epochs where these end first.
  """
  s, row_tokens = c.cold_start, c.batching.row_tokens
  layouts = (_layout(examples, epoch, row_tokens, patches, c.seed) for epoch in range(s.epochs))
  of_epochs = sum(-(-len(layout) // s.rows) for layout in layouts)
  return dict(steps=min(s.steps, of_epochs) if s.epochs else s.steps, rows=s.rows,
              row_tokens=row_tokens, patches=patches, seed=c.seed)


def batches(examples: Examples, *, rows: int, row_tokens: int, patches: Patches | None, seed: int,
            start: int = 0) -> Iterator[Rows]:
  """Batches of `rows` rows without end, from the `start`-th on.

  Every epoch packs its examples anew, in another order; its last batch may have empty rows. What
  a batch holds depends on the arguments and its number alone.
  """
  for epoch in itertools.count():
    layout = _layout(examples, epoch, row_tokens, patches, seed)
    number = -(-len(layout) // rows)
    for batch in range(min(start, number), number):
      members = layout[batch * rows:(batch + 1) * rows]
      ends = np.cumsum([0, *map(len, members)])
      yield evenly_weighted(pack_examples(
          [examples[index] for row in members for index in row], row_tokens=row_tokens,
          rows_multiple=rows, patches=patches,
          layout=[range(a, b) for a, b in itertools.pairwise(ends)]))
    start = max(0, start - number)


def _layout(examples: Examples, epoch: int, row_tokens: int, patches: Patches | None,
            seed: int) -> list[list[int]]:
  """The examples of every row of an epoch, the rows in the order of training."""
  order, layout = examples.epoch(epoch), []
  for first in range(0, len(order), PACKED_TOGETHER):
    share = order[first:first + PACKED_TOGETHER]
    found = first_fit_decreasing(
        examples.lengths[share].tolist(), row_tokens, examples.patches[share].tolist(),
        patches.row_patches if patches else 0)
    layout += [[share[i] for i in row] for row in found]
  # Packing sorts by length: shuffled rows keep lengths mixed among the steps.
  random.Random(f'rows {seed} {epoch}').shuffle(layout)
  return layout
