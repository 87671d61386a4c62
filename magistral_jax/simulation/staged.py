"""A simulated run with stages: lengths grow to their limit, and the controller of runs decides.

    lengths      grow by a share with every update and are cut at max_new_tokens, so that their mean
                 stops growing there
    decisions    by the controller that decides in a run, from the simulated lengths and pages
    the others   reward and accuracy are not simulated: what they open is opened when it is said
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from magistral_jax.experiment import stage_configs
from magistral_jax.simulation.events import Simulation
from magistral_jax.simulation.system import LengthDistribution, System


class Decider(Protocol):
  """What decides which stages open; orchestration/stages.py: Controller."""
  opened: tuple[str, ...]

  def note(self, line: Mapping[str, Any]) -> None: ...

  def decide(self, update: int, by_hand: Any) -> list[Any]: ...

  def open(self, decision: Any) -> None: ...


class GrowingLengths:
  """Distribution of lengths that grow from update to update, up to a limit that may change.

  Args:
    first: the distribution before the first update, without a limit.
    growth: share by which every length grows with an update.
    most: the limit at first, tokens.
  """

  def __init__(self, first: LengthDistribution, growth: float, most: int):
    self._first, self._growth, self.most, self.updates = first, growth, most, 0

  def __call__(self, rng: np.random.Generator, group_size: int) -> tuple[np.ndarray, bool]:
    lengths, kept = self._first(rng, group_size)
    grown = (lengths * (1 + self._growth) ** self.updates).astype(np.int64)
    return np.clip(grown, 1, self.most), kept


def simulate(c, decider: Decider, system: System, first: LengthDistribution, *, growth: float,
             given: str, updates: int, seed: int) -> list[dict[str, Any]]:
  """The figures of a config's stages, one after the other, as `run` has them.

  Args:
    decider: of the stages of `c`.
    system: of the first stage; its times are those of all.
    first, growth: as of GrowingLengths.
    given: 'longer:100,harder:160': updates after which stages open by request.
    updates: for each stage, on average; at most total_steps in all.
    seed: of the lengths that are drawn.
  Raises:
    ValueError: `given` names no stages and updates, or a stage cannot be simulated.
  """
  names = stage_configs.names(c)
  lengths = GrowingLengths(first, growth, c.sampler.max_new_tokens)

  def in_force(opened: tuple[str, ...]) -> tuple[System, int]:
    now = stage_configs.staged(c, opened)
    changed = dict(prompts_per_batch=now.batching.prompts_per_batch,
                   in_flight=now.sampler.in_flight)
    return dataclasses.replace(system, **changed), now.sampler.max_new_tokens
  return run(Simulation(system, lengths, seed=seed), lengths, decider, in_force,
             updates=min(c.total_steps, updates * (1 + len(names))),
             given=_given(given, names))


def run(simulation: Simulation, lengths: GrowingLengths, decider: Decider,
        in_force: Callable[[tuple[str, ...]], tuple[System, int]], *, updates: int,
        given: Mapping[str, int]) -> list[dict[str, Any]]:
  """Simulates so many updates; the figures of the time between two openings, in their order.

  Args:
    simulation: of the first stage, not begun, with these `lengths`.
    in_force: the system and the longest completion while stages of these names are open.
    given: {stage: updates after which it opens by request}.
  Returns:
    For each stretch the figures of `Simulation`, with `stage` (what opened before it), `update`
    (after which it begins), `reason` and `max_new_tokens`.
  """
  asked = collections.defaultdict(set)
  for name, update in given.items():
    asked[max(1, update)].add(name)
  found: list[dict[str, Any]] = []
  here = dict(stage='first', update=0, reason='', max_new_tokens=lengths.most)
  simulation.begin()
  begun = simulation.mark()
  wanted: set[str] = set()
  for update in range(1, updates + 1):
    lengths.updates = update - 1
    simulation.until(update)
    decider.note(dict(step=update, **simulation.newest()))
    wanted |= asked[update]
    opened = []
    while (decisions := decider.decide(update, wanted)) and decisions[-1].opens:
      decider.open(decisions[-1])
      opened.append(decisions[-1])
    if opened:
      found.append(here | simulation.figures(begun))
      system, lengths.most = in_force(decider.opened)
      simulation.change(system)
      begun = simulation.mark()
      here = dict(stage=' + '.join(d.stage for d in opened), update=update,
                  reason=' + '.join(d.reason for d in opened), max_new_tokens=lengths.most)
  if simulation.updates > here['update']:
    found.append(here | simulation.figures(begun))
  return found


def _given(text: str, names: tuple[str, ...]) -> dict[str, int]:
  found = {}
  for part in filter(None, text.split(',')):
    name, _, update = part.partition(':')
    if name not in names or not update.isdigit():
      raise ValueError(f'--open={text!r} must name stages ({", ".join(names)}) and updates, such '
                       f'as {names[0]}:100.')
    found[name] = int(update)
  return found
