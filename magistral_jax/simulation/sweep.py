"""Other systems of the same chips: synchronous, larger, split otherwise; and the best of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from magistral_jax.simulation.system import System

SHARES = (0.25, 0.5, 0.75)               # Of the chips, to samplers.
FACTORS = (0.5, 1, 2)                    # Of what the config says, for n_async and n_batch.


def synchronous(system: System, share: float = 0.5) -> System:
  """The same chips taking turns: all of them sample, then all of them train.

  Args:
    share: of the chips that samplers have in `system`; here there are 1 / share as many samplers,
      and the trainer takes 1 - share of the time.
  """
  return dataclasses.replace(
      system, synchronous=True, in_flight=0, max_staleness=0,
      samplers=max(1, round(system.samplers / share)), train_s=system.train_s * (1 - share),
      train_token_s=system.train_token_s * (1 - share))


def split(system: System, share: float) -> System:
  """The same chips, a `share` of them sampling where it was half."""
  left = (1 - share) / 0.5
  return dataclasses.replace(
      system, samplers=max(1, round(system.samplers * share / 0.5)),
      train_s=system.train_s / left, train_token_s=system.train_token_s / left)


def sweep(system: System, run: Callable[[System], dict]) -> list[dict]:
  """Figures for sequences in flight x completions of a batch x split of the chips.

  Args:
    run: simulates one system and returns its figures.
  Returns:
    The figures of the 27 systems, each with its `sampler_share` of the chips.
  """
  found = []
  for in_flight in FACTORS:
    for batch in FACTORS:
      for share in SHARES:
        prompts = max(1, round(system.prompts_per_batch * batch))
        one = split(system, share)
        slots = max(1, round(system.slots * in_flight))
        # The share of the slots that is in flight stays as it is.
        pace = max(system.group_size, round(one.samplers * slots * system.n_async
                                            / system.all_slots)) if system.in_flight else 0
        tried = dataclasses.replace(
            one, slots=slots, in_flight=pace, prompts_per_batch=prompts, synchronous=False,
            # The same work per completion: a larger batch takes longer to train on.
            train_s=one.train_s * prompts / system.prompts_per_batch)
        found.append(dict(run(tried), sampler_share=share))
  return found


def recommend(tried: list[dict]) -> dict:
  """The fastest system whose staleness is near the least; of equally fast ones the least stale.

  Near is at most twice the least staleness, or half a version above it if that is more.
  """
  least = min(t['staleness_mean'] for t in tried)
  near = [t for t in tried if t['staleness_mean'] <= max(2 * least, least + 0.5)]
  return max(near, key=lambda t: (round(t['completions_per_s'], 3), -t['staleness_mean']))
