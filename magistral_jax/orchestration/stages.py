"""Stages: when each of them opens, decided from the figures of the run, and with what evidence.

Three switches of the paper, each a row of stages that open one after the other, whatever the others
do; so do stages that an update opens, or a person:

    reward, accuracy   has stopped rising      harder problems, those that are solved left out
    length             has stopped growing     longer completions, penalised later
    memory             sequences of the length that is allowed now would not fit in the pages
                                               fewer in flight, smaller batches

A decision depends on nothing but lines of metrics.jsonl, the stages that opened before, and what a
person asked for. So it can be made again from the files of a run, with other settings too, and a
run that goes on from a checkpoint decides as the one before it would have.

Reference: arXiv:2506.10910 section 5.2.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from magistral_jax.experiment.stage import CURVES, Stage
from magistral_jax.orchestration import plateaus

# Figure of metrics.jsonl: mean number of pages that a sequence in a slot holds.
PAGES = 'sequence_pages'
# Newest updates whose pages are looked at, and updates after an opening whose pages are not: while
# fewer sequences than before are let in, those that are left are the long ones.
PAGES_UPDATES, PAGES_SETTLE = 4, 4
# Curves that are level where nothing is left to be learnt.
LEARNT = ('reward', 'accuracy')


@dataclasses.dataclass(frozen=True)
class Room:
  """Sequences that one sampler is to hold, and the pages that it has for them.

  Room(pages=10240, sequences=128, max_new_tokens=16384)
  """
  pages: int
  sequences: int
  max_new_tokens: int


@dataclasses.dataclass(frozen=True)
class StageDecision:
  """That a stage opens after an update, or that it does not yet, and why.

  StageDecision('longer', 120, True, 'length', {'first': 81, 'last': 120, 'rise': .004, ...})
  """
  stage: str
  update: int
  opens: bool
  reason: str               # One of stage.REASONS.
  evidence: Mapping[str, Any]

  def line(self) -> dict[str, Any]:
    """Its line of stages.jsonl."""
    return dict(stage=self.stage, step=self.update, opens=self.opens, reason=self.reason,
                **self.evidence)

  @classmethod
  def of_line(cls, line: Mapping[str, Any]) -> StageDecision:
    """The decision of such a line."""
    names = dict(stage='stage', update='step', opens='opens', reason='reason')
    evidence = {key: value for key, value in line.items() if key not in names.values()}
    return cls(**{name: line[key] for name, key in names.items()}, evidence=evidence)

  def sentence(self) -> str:
    """The decision with its evidence, for people."""
    e, verb = self.evidence, 'opens' if self.opens else 'does not open'
    start = f'Stage {self.stage} {verb} after update {self.update}'
    if self.reason == 'hand':
      return f'{start}, as was asked for.'
    if self.reason == 'update':
      return f'{start}, as the config says.'
    if 'window' not in e and self.reason in CURVES:
      return f'{start}, since nothing is left to be learnt before it.'
    if self.reason == 'memory':
      return (f'{start}: {e["sequences"]} sequences of {e["sequence_pages"]:.1f} pages would take '
              f'{e["needed"]:,.0f} of {e["pages"]:,}.')
    return (f'{start}: over {e["window"]} updates {self.reason} rises by {e["rise"]:.3g} '
            f'+- {e["error"]:.2g}, at most {e["limit"]:.3g}, where {e["least"]:.3g} counts.')

  def short(self) -> str:
    """The evidence of a curve, for a line of a panel."""
    e = self.evidence
    return (f'{self.stage} opens when {self.reason} rises less than {e["least"]:.2g}: '
            f'{e["rise"]:.2g}, at most {e["limit"]:.2g}')


class Controller:
  """Decides which stages open. One thread makes all calls.

  Args:
    stages: in the order of the config.
    room: what a sampler holds while stages of these names are open; None where that is not known,
      and memory opens nothing.
  """

  def __init__(self, stages: Sequence[Stage],
               room: Callable[[tuple[str, ...]], Room] | None = None):
    self.stages, self._room = {stage.name: stage for stage in stages}, room
    self.openings: list[StageDecision] = []
    self._curves: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
    self._pages: collections.deque[tuple[float, int]] = collections.deque(maxlen=PAGES_UPDATES)
    self._fresh: set[str] = set()           # Curves with a point of the newest update.

  @property
  def opened(self) -> tuple[str, ...]:
    """Names of the open stages, in the order of their opening."""
    return tuple(decision.stage for decision in self.openings)

  @property
  def waiting(self) -> list[Stage]:
    """The stages that may open next: of each reason the first that is not open."""
    first: dict[str, Stage] = {}
    for stage in self.stages.values():
      if stage.name not in self.opened:
        first.setdefault(stage.opens, stage)
    return list(first.values())

  def note(self, line: Mapping[str, Any]) -> None:
    """Takes in the figures of an update, a line of metrics.jsonl."""
    self._fresh = set()
    for curve, figure in CURVES.items():
      value = line.get(figure)
      update = line['step'] if curve != 'accuracy' else line.get('eval/version')
      if value is None or update is None or curve == 'length' and value <= 0:
        continue
      self._curves[curve].append((update, math.log(value) if curve == 'length' else float(value)))
      self._fresh.add(curve)
    since = self.openings[-1].update if self.openings else -PAGES_SETTLE
    if line['step'] <= since + PAGES_SETTLE:
      self._pages.clear()
    elif self._room and line.get(PAGES):
      self._pages.append((float(line[PAGES]), self._room(self.opened).max_new_tokens))

  def decide(self, update: int, by_hand: Collection[str] = ()) -> list[StageDecision]:
    """Looks at each stage that may open next; the last decision may be that one opens.

    The caller then calls `open`, and this again: what opens may fill the pages.

    Args:
      update: the newest, whose line was noted.
      by_hand: names of stages that a person has asked for.
    """
    found = []
    for stage in self.waiting:
      decision = self._decide(stage, update, by_hand)
      if decision is not None:
        found.append(decision)
        if decision.opens:
          break
    return found

  def exhausted(self, update: int) -> StageDecision | None:
    """That a stage opens since nothing is left to be learnt, if one waits for what is learnt."""
    for stage in self.waiting:
      if stage.opens in LEARNT:
        return StageDecision(stage.name, update, True, stage.opens, {})
    return None

  def open(self, decision: StageDecision) -> None:
    """Opens a stage."""
    self.openings.append(decision)
    self._fresh = set()

  def restore(self, openings: Iterable[StageDecision], lines: Iterable[Mapping[str, Any]]) -> None:
    """Takes up a run: the stages that it has opened, and the lines of its metrics.jsonl."""
    opened = list(openings)
    self.openings = []
    self._curves.clear()
    self._pages.clear()
    for line in lines:
      while opened and opened[0].update < line['step']:
        self.open(opened.pop(0))
      self.note(line)
    for decision in opened:
      self.open(decision)

  def _decide(self, stage: Stage, update: int, by_hand: Collection[str]) -> StageDecision | None:
    made = lambda opens, reason, **evidence: StageDecision(
        stage.name, update, opens, reason, evidence)
    if stage.name in by_hand:
      return made(True, 'hand')
    if stage.opens == 'update':
      return made(True, 'update') if update >= stage.update else None
    if stage.opens == 'memory':
      evidence = self._memory()
      return made(True, 'memory', **evidence) if evidence else None
    if stage.opens not in CURVES:
      return None
    found = self._trend(stage)
    level = found is not None and found.level(stage.rise)
    if stage.latest and update >= stage.latest and not level:
      return made(True, 'update')
    if found is None:
      return None
    return made(level, stage.opens, window=stage.window, least=stage.rise,
                **dataclasses.asdict(found))

  def _trend(self, stage: Stage) -> plateaus.Trend | None:
    """The trend of the curve that opens a stage, if it is time for a look at it.

    A window begins after the newest opening: what came before it was another run.
    """
    if stage.opens not in self._fresh:
      return None
    since = self.openings[-1].update if self.openings else 0
    points = [point for point in self._curves[stage.opens] if point[0] > since]
    begin = points[-1][0] - stage.window if points else since
    newest = [point for point in points if point[0] > begin]
    if begin < since or len(newest) < plateaus.FEWEST:
      return None
    every = max(1, len(newest) // plateaus.LOOKS)
    before = sum(update - stage.window >= since for update, _ in points) - 1
    if before % every:
      return None
    looks = -(-len(newest) // every)
    updates, values = zip(*newest, strict=True)
    return plateaus.trend(updates, values, window=stage.window, risk=stage.risk / looks)

  def _memory(self) -> dict[str, Any] | None:
    """The pages that would be needed, if there are fewer; None if there are enough.

    A sequence is taken to grow as its limit does: pages that were held while less was allowed count
    in proportion.
    """
    if not self._room or len(self._pages) < PAGES_UPDATES:
      return None
    room = self._room(self.opened)
    held = sum(pages * max(1.0, room.max_new_tokens / then)
               for pages, then in self._pages) / len(self._pages)
    needed = held * room.sequences
    # Page 0 belongs to nobody.
    return None if needed <= room.pages - 1 else dict(
        sequence_pages=held, sequences=room.sequences, needed=needed, pages=room.pages)
