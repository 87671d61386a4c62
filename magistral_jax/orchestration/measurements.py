"""When evaluations are held in the loop, and to which checkpoint their scores go.

    version v is due  ->  its checkpoint is saved and kept  ->  evaluation of exactly v, while
    training goes on  ->  a line of metrics.jsonl, and the score of checkpoint v

A score that was not measured stays away: an evaluation that is given up, or that the end of the run
overtakes, leaves its checkpoint without one. A resumed run measures again where one was open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magistral_jax.evaluation.evaluation import Result
from magistral_jax.orchestration.evaluations import ConcurrentEvaluation
from magistral_jax.orchestration.journal import Journal
from magistral_jax.orchestration.roles import Checkpoints, Sampler

# Whether an evaluation was begun and has no result, in the journal's record.
_OPEN = 'evaluation_open'


class Measurements:
  """Evaluations of a loop and their scores. All calls come from the main thread.

  Args:
    every: updates between evaluations; 0: none.
    say: takes a sentence for people.
  """

  def __init__(self, evaluation: ConcurrentEvaluation, samplers: Sequence[Sampler],
               checkpoints: Checkpoints, journal: Journal, *, every: int,
               say: Callable[[str], None]):
    self._evaluation, self._samplers = evaluation, samplers
    self._checkpoints, self._journal = checkpoints, journal
    self._every, self._say = every, say
    self._again = bool(journal.measured(_OPEN))   # The next version is measured, due or not.
    self._given_up = 0                            # In a row.
    self._open_before: int | None = None          # Completions open when the last one was due.
    self._scored: tuple[int, float] | None = None # The newest score.

  def due(self, step: int) -> bool:
    """Whether the weights after update `step` are to be measured."""
    return (bool(self._every) and (step % self._every == 0 or self._again)
            and step not in self._evaluation.spoilt)

  def begin(self, step: int, save: Callable[[], None]) -> None:
    """Begins to measure the weights that were just published, unless another one is still open.

    Args:
      save: saves the checkpoint of these weights.
    """
    if self._evaluation.running:
      if self._evaluation.open == self._open_before:
        self._evaluation.give_up('nothing of it was finished since the last one was due')
      self._open_before = self._evaluation.open
      return
    self._again, self._open_before = False, None
    self._checkpoints.await_score(step)
    self.note_open()
    save()
    self._evaluation.begin(step, self._samplers)

  def note_open(self) -> None:
    """Notes that an evaluation has begun: a run that resumes from here measures again."""
    self._journal.note(**{_OPEN: 1})

  def tend(self) -> None:
    """Takes note of an evaluation that was given up; the next version takes its place, once."""
    reason = self._evaluation.given_up()
    if not reason:
      return
    self._given_up += 1
    self._again = self._given_up == 1
    self._checkpoints.await_score(None)
    self._say(f'The evaluation of version {self._evaluation.version} is given up, and its '
              f'checkpoint has no score: {reason}.')

  def end(self) -> None:
    """Gives up an evaluation that the end of the run has overtaken, and says so."""
    self._evaluation.give_up('the run ended before it did')
    self.tend()

  def recovered(self, version: int) -> None:
    """Gives up the evaluation of weights that were lost with the trainer, now at `version`.

    Other weights get their numbers, which have no score yet.
    """
    if self._scored and self._scored[0] > version:
      self._scored = None
    measured = self._evaluation.version
    if self._evaluation.running and measured is not None and measured > version:
      self._evaluation.give_up('its weights were lost with the trainer')

  def figures(self, held: Result | None) -> dict[str, Any]:
    """Figures for metrics.jsonl of an evaluation that was held, or has ended since; else {}."""
    result = held or self._evaluation.take_result()
    if result is None:
      return {}
    self._given_up, self._again = 0, False
    self._scored = result.version, result.accuracy
    self._journal.note(**{'eval/accuracy': result.accuracy, _OPEN: 0})
    return result.figures()

  def metric(self, version: int) -> float | None:
    """The score of a version, for its checkpoint; None if it is not known."""
    return self._scored[1] if self._scored and self._scored[0] == version else None

  def score(self) -> None:
    """Attaches the newest score to its checkpoint, which is on disk or being written."""
    if self._scored:
      self._checkpoints.score(*self._scored)
