"""A run's decisions about stages made again, with other settings, from the files that it left.

The figures are those that the run had under the stages it opened. So up to the first opening that
differs a replay says what would have been decided, and after it only what the same curves would
have made of the rest.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from magistral_jax.experiment.stage import CURVES
from magistral_jax.metrics import read_lines
from magistral_jax.orchestration.stages import Controller, StageDecision


@dataclasses.dataclass(frozen=True)
class Replay:
  """What a run has decided and what other settings would have."""
  recorded: tuple[StageDecision, ...]     # Openings of the run.
  looks: tuple[StageDecision, ...]        # All decisions of the replay, openings included.

  @property
  def openings(self) -> tuple[StageDecision, ...]:
    """Those of the replay."""
    return tuple(decision for decision in self.looks if decision.opens)

  @property
  def parts(self) -> int | None:
    """The update after which both differ for the first time; None if they never do."""
    as_made = lambda decisions: [(decision.update, decision.stage) for decision in decisions]
    recorded, found = as_made(self.recorded), as_made(self.openings)
    for one, other in zip(recorded, found, strict=False):
      if one != other:
        return min(one[0], other[0])
    rest = [*recorded[len(found):], *found[len(recorded):]]
    return rest[0][0] if rest else None

  def seen(self) -> dict[str, float]:
    """{stage: how far above its rise the limit of a curve lay, the middle of all looks at it}.

    A plateau is seen as such only where the stage's `rise` is larger than that.
    """
    found: dict[str, list[float]] = {}
    for look in self.looks:
      if 'limit' in look.evidence:
        found.setdefault(look.stage, []).append(look.evidence['limit'] - look.evidence['rise'])
    return {stage: sorted(margins)[len(margins) // 2] for stage, margins in found.items()}


def of_run(workdir: Path, controller: Controller) -> Replay:
  """Decides with `controller` what the run in a workdir had to decide.

  What a person asked for, and what was opened since nothing was left to be learnt, no line of
  metrics.jsonl tells: these openings are those of the run.

  Raises:
    ValueError: the run has made no update.
  """
  metrics, stages = workdir / 'metrics.jsonl', workdir / 'stages.jsonl'
  lines = read_lines(metrics) if metrics.exists() else []
  if not lines:
    raise ValueError(f'{metrics} holds no update: --run names the workdir of a run.')
  recorded = tuple(map(StageDecision.of_line, filter(
      lambda line: line.get('opens'), read_lines(stages) if stages.exists() else ())))
  return Replay(recorded, tuple(decide(controller, lines, filter(_given, recorded))))


def decide(controller: Controller, lines: Iterable[Mapping[str, Any]],
           given: Iterable[StageDecision] = ()) -> Iterable[StageDecision]:
  """Yields the decisions of a run with these lines of metrics.jsonl.

  Args:
    given: openings that are not decided by figures.
  """
  left = {decision.stage: decision for decision in given}
  for line in lines:
    controller.note(line)
    update = line['step']
    asked = [stage for stage, decision in left.items() if decision.update <= update]
    while decisions := controller.decide(update, asked):
      # What is given keeps its reason: nothing may have been left to be learnt.
      yield from (dataclasses.replace(left[decision.stage], update=update)
                  if decision.reason == 'hand' else decision for decision in decisions)
      if not decisions[-1].opens:
        break
      controller.open(decisions[-1])


def rows(decisions: Sequence[StageDecision]) -> list[list[str]]:
  """[stage, update, reason, evidence] of each decision, for a table."""
  return [[d.stage, str(d.update), d.reason if d.opens else f'{d.reason}: not yet', _evidence(d)]
          for d in decisions]


def _given(decision: StageDecision) -> bool:
  return decision.reason == 'hand' or decision.reason in CURVES and 'limit' not in decision.evidence


def _evidence(decision: StageDecision) -> str:
  e = decision.evidence
  if 'limit' in e:
    # Lengths are compared by their logarithms.
    mean = math.exp(e['mean']) if decision.reason == 'length' else e['mean']
    return (f'updates {e["first"]}-{e["last"]}: mean {mean:.4g}, rise {e["rise"]:+.3g} +- '
            f'{e["error"]:.2g}, at most {e["limit"]:+.3g}; {e["least"]:.2g} counts')
  if 'needed' in e:
    return f'{e["needed"]:,.0f} pages needed, {e["pages"]:,} there'
  return ''
