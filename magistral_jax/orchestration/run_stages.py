"""The stages of one run: what holds now, since which prompt, and what changes as one opens.

    prompt   ... 4094 4095 | 4096 4097 ...      the stage opened after update 120, when 4,095 was
    terms    of the first  | of `longer`        the last prompt that had been issued
    update   ... 119 120   | 121 122 ...

Prompts have the terms and the problems of the stage that was open when they were issued, by their
ordinals: one that is issued again is answered and paid as before. Updates have what is open when
they begin, whatever prompts are in their batches. What is open is part of every checkpoint, and a
checkpoint is saved when a stage opens; decisions after the newest one are made again.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from magistral_jax.data.role import Dealer
from magistral_jax.experiment import build, stage_configs
from magistral_jax.metrics import read_lines
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.orchestration.stages import Controller, Room, StageDecision
from magistral_jax.records import Terms

# A person opens a stage by making the file with this name and that of the stage in the workdir.
BY_HAND = 'open-'


@dataclasses.dataclass(frozen=True)
class InForce:
  """What holds while certain stages are open.

  InForce(Terms(24576, 24576, 8192), prompts_per_batch=256, in_flight=8192, clip_scale=1.,
          rate_scale=1.)
  """
  terms: Terms
  prompts_per_batch: int
  in_flight: int
  clip_scale: float         # See records.Batch.
  rate_scale: float


@dataclasses.dataclass(frozen=True)
class Effects:
  """What stages do, from the config."""
  in_force: Callable[[tuple[str, ...]], InForce]     # By the open stages, in order of opening.
  mix: Callable[[str], Mapping[str, Mapping[str, float]]]    # Of one stage, for Dealer.change.


class RunStages:
  """The open stages of a run and what they mean. All calls under the loop's lock.

  Args:
    controller: decides; nothing is open in it.
    journal: what it has of openings is taken up at once.
    ledger: its next ordinal is the first of a stage that opens.
    dealer: its problems change with a stage.
    workdir: where metrics.jsonl is, and the files by which a person opens a stage.
  """

  def __init__(self, controller: Controller, effects: Effects, journal: Journal, ledger: Ledger,
               dealer: Dealer, workdir: Path):
    self._controller, self._effects = controller, effects
    self._journal, self._ledger, self._dealer = journal, ledger, dealer
    self._workdir = Path(workdir)
    self._looks: dict[str, StageDecision] = {}      # The newest that opened nothing, by stage.
    self.restore()

  def restore(self) -> None:
    """Takes up what the journal has, after it was restored."""
    lines = self._journal.openings
    metrics = self._workdir / 'metrics.jsonl'
    self._controller.restore(
        map(StageDecision.of_line, lines),
        read_lines(metrics) if self._controller.stages and metrics.exists() else ())
    opened = self._controller.opened
    self._terms = [(0, self._effects.in_force(()).terms)]
    self._terms += [(line['ordinal'], self._effects.in_force(opened[:i]).terms)
                    for i, line in enumerate(lines, 1)]
    self._looks.clear()
    self.now = self._effects.in_force(opened)

  def terms(self, ordinal: int) -> Terms:
    """The terms of a prompt."""
    return self._terms[bisect.bisect(self._terms, ordinal, key=lambda pair: pair[0]) - 1][1]

  def after(self, line: Mapping[str, Any]) -> list[str]:
    """Decides after an update, whose line of metrics.jsonl this is; says which stages open."""
    self._controller.note(line)
    return self._decide(line['step'])

  def after_last(self, update: int) -> list[str]:
    """Opens the stages that wait for a curve of what is learnt: nothing is left to be learnt."""
    said = []
    while decision := self._controller.exhausted(update):
      said += [*self._open(decision), *self._decide(update)]
    return said

  def _decide(self, update: int) -> list[str]:
    said = []
    while True:
      by_hand = {stage.name for stage in self._controller.waiting
                 if (self._workdir / f'{BY_HAND}{stage.name}').exists()}
      decisions = self._controller.decide(update, by_hand)
      for decision in decisions:
        if not decision.opens:
          self._looks[decision.stage] = decision
          self._journal.decide(decision.line())
      if not decisions or not decisions[-1].opens:
        return said
      said += self._open(decisions[-1])

  def _open(self, decision: StageDecision) -> list[str]:
    ordinal = self._ledger.issued
    self._controller.open(decision)
    self._looks.clear()
    self._journal.decide(decision.line() | dict(ordinal=ordinal))
    if changes := self._effects.mix(decision.stage):
      self._dealer.change(ordinal, changes)
    self.now = self._effects.in_force(self._controller.opened)
    self._terms.append((ordinal, self.now.terms))
    return [f'{decision.sentence()} Its first prompt is {ordinal}.']

  def figures(self) -> dict[str, Any]:
    """Those of a line of metrics.jsonl; none where the config has no stages."""
    return dict(stages_open=len(self._controller.opened)) if self._controller.stages else {}

  def status(self) -> dict[str, str]:
    """What the panel shows: the newest stage, and the newest looks at the next ones."""
    if not self._controller.stages:
      return {}
    opened = self._controller.opened
    newest = opened[-1] if opened else 'the first'
    looks = ''.join(f'; {look.short()}' for look in self._looks.values())
    return dict(stage=f'{len(opened) + 1} of {len(self._controller.stages) + 1}, {newest}{looks}')


def controller(c) -> Controller:
  """The controller of a config's stages."""
  @functools.cache
  def room(opened: tuple[str, ...]) -> Room:
    sampler = stage_configs.staged(c, opened).sampler
    share = math.ceil(sampler.in_flight / c.runtime.samplers) or sampler.slots
    return Room(build.pages(c), min(share, sampler.slots), sampler.max_new_tokens)
  return Controller(stage_configs.stages(c), room)


def effects(c) -> Effects:
  """What the stages of a config do."""
  @functools.cache
  def in_force(opened: tuple[str, ...]) -> InForce:
    now = stage_configs.staged(c, opened)
    terms = build.terms(now)
    if stage_configs.differ(c, 'sampler.temperature'):
      terms = dataclasses.replace(terms, temperature=now.sampler.temperature)
    scale = lambda after, before: after / before if before else 1.0
    return InForce(
        terms, now.batching.prompts_per_batch, now.sampler.in_flight,
        clip_scale=scale(now.loss.clip_high, c.loss.clip_high),
        rate_scale=scale(now.optimizer.learning_rate, c.optimizer.learning_rate))
  return Effects(in_force, lambda name: stage_configs.mix_changes(c, name))


def fixed(terms: Terms, *, prompts_per_batch: int, in_flight: int = 0) -> Effects:
  """Of a run in which nothing changes."""
  now = InForce(terms, prompts_per_batch, in_flight, clip_scale=1.0, rate_scale=1.0)
  return Effects(lambda opened: now, lambda name: {})
