"""The cold start: a short stretch of supervised learning on reasoning traces before the loop."""

import random

from magistral_jax.batching.packing import evenly_weighted, pack_examples


def run(trainer, examples, *, steps: int, rows: int, row_tokens: int, seed: int, stopping,
        progress) -> None:
  """Trains on (prompt tokens, completion tokens) pairs, reshuffled every epoch.

  Args:
    trainer: its version counts the steps.
    rows: rows of an optimizer step.
    stopping: an Event; when set, the cold start ends between two steps.
    progress: called with (step, metrics) after every step.
  """
  batches = _batches(examples, rows, row_tokens, seed)
  for step in range(1, steps + 1):
    if stopping.is_set():
      return
    progress(step, trainer.supervised(next(batches)))


def _batches(examples, rows, row_tokens, seed):
  """Endless slices of `rows` rows; each epoch packs all examples anew in another order."""
  rng = random.Random(f'cold start {seed}')
  while True:
    order = list(examples)
    rng.shuffle(order)
    # Packing sorts by length; a share at a time keeps lengths mixed among the steps.
    packed = pack_examples(order, row_tokens=row_tokens, rows_multiple=rows)
    starts = list(range(0, len(packed), rows))
    places = list(range(len(packed)))
    rng.shuffle(places)
    for start in starts:
      yield evenly_weighted(packed[places[start:start + rows]])
