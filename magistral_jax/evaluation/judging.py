"""Responses to benchmarks judged by their cards, on top of any verifier.

    completion --card.grade--> Grade ------------------------------> (completion, verdict)
                        \\---> Check --the verifier within--> verdict --/
                         \\--> Question --the judging model--> Grade --/

A completion of any other problem goes to the verifier within as it is, so that the evaluations of a
training run may hold both.
"""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from magistral_jax.evaluation.card import DOMAIN, Card, Check, Grade, Item, Question
from magistral_jax.records import Completion, Problem, Verdict

Tasks = Mapping[tuple[str, str], tuple[Card, Item]]
_WORDS = 1000              # Characters of an answer and of a detail.
_MOST_ASKED = 1024         # Questions to the judge that may wait.


class ModelJudge(Protocol):
  """A model that judges responses, few at once, each within a bounded time."""
  model: str                 # Its name.
  longest_s: float           # Seconds that a question may take.

  def put(self, key: int, question: Question) -> None:
    """Sends a question under a key of its own; never blocks."""
    ...

  def drain(self, wait_s: float = 0.0) -> list[tuple[int, Grade]]:
    """All answers since the last call; waits up to `wait_s` for the first of them.

    What the model does not say is an 'error'.

    Raises:
      ValueError: the model cannot be asked at all.
    """
    ...

  def pending(self) -> int:
    """Number of questions put and not yet drained."""
    ...


class CardVerifier:
  """A verifier that knows cards; `orchestration.roles.Verifier` says what each method promises.

  Args:
    verifier: judges what a card leaves to it, and problems of no card.
    tasks: (name of a card, id of an item) -> both. The name is the `source` of the problem.
    graded: called with every completion of an item and its grade, by the thread that drains.
    judge: asked where a card has a question; needed for such cards alone.
  """

  def __init__(self, verifier: Any, tasks: Tasks,
               graded: Callable[[Card, Item, Completion, Grade], None] = lambda *_: None,
               judge: ModelJudge | None = None):
    self._verifier, self._tasks, self._graded, self._judge = verifier, tasks, graded, judge
    self._ready: queue.SimpleQueue[tuple[Completion, Card, Item, Grade]] = queue.SimpleQueue()
    # What the verifier within has: the id of its completion -> both completions and the item.
    self._sent: dict[int, tuple[Completion, Completion, Card, Item]] = {}
    self._asked: dict[int, tuple[Completion, Card, Item]] = {}     # What the judge has.

  def put(self, completion: Completion, problem: Problem) -> None:
    """Sends a completion to be judged; never blocks."""
    if problem.domain != DOMAIN:
      self._verifier.put(completion, problem)
      return
    card, item = self._tasks[problem.source, problem.id]
    found = grade(card, item, completion)
    if isinstance(found, Grade):
      self._ready.put((completion, card, item, found))
      return
    if isinstance(found, Question):
      assert self._judge is not None, card.name
      self._asked[id(completion)] = completion, card, item
      self._judge.put(id(completion), found)
      return
    only = dataclasses.replace(completion, text=found.text, purpose='evaluation')
    self._sent[id(only)] = only, completion, card, item
    self._verifier.put(only, found.problem(item.id))

  def drain(self, wait_s: float = 0.0) -> list[tuple[Completion, Verdict]]:
    """All completions judged since the last call; waits up to `wait_s` for the first of them."""
    found = []
    while not self._ready.empty():
      found.append(self._note(*self._ready.get_nowait()))
    if self._asked:
      assert self._judge is not None
      waits = wait_s if not found and not self._verifier.pending() else 0.0
      for key, grade in self._judge.drain(waits):
        found.append(self._note(*self._asked.pop(key), grade))
    for completion, verdict in self._verifier.drain(0.0 if found else wait_s):
      task = self._sent.pop(id(completion), None)
      found.append((completion, verdict) if task is None else self._note(
          *task[1:], Grade(verdict.status, verdict.answer, verdict.detail)))
    return found

  def _note(self, completion: Completion, card: Card, item: Item,
            grade: Grade) -> tuple[Completion, Verdict]:
    self._graded(card, item, completion, grade)
    value = grade.value or 0.0
    return completion, Verdict(grade.status, value, dict(correct=value), grade.answer[:_WORDS],
                               grade.detail[:_WORDS])

  @property
  def full(self) -> bool:
    """Whether so many completions wait that no new prompts should be started."""
    return self._verifier.full or len(self._asked) >= _MOST_ASKED

  @property
  def waiting(self) -> int:
    """Completions that no worker has begun to judge."""
    return self._verifier.waiting

  def pending(self) -> int:
    """Number of completions put and not yet drained."""
    return self._verifier.pending() + self._ready.qsize() + len(self._asked)

  def stats(self) -> dict[str, float]:
    """Counts and times of the verifier within."""
    return self._verifier.stats()


def grade(card: Card, item: Item, completion: Completion) -> Grade | Check | Question:
  """What a card says of a completion; where the card itself fails, that is an 'error'."""
  if completion.finish == 'failed':
    return Grade('error', detail=completion.text)
  if not completion.text.strip():
    return Grade('no_answer', detail='the response is empty')
  try:
    return card.grade(item, completion.text)
  except Exception as error:     # The border to hostile text: our failure is counted, not raised.
    return Grade('error', detail=f'the grader failed ({error!r})'[:_WORDS])


def line(card: Card, item: Item, completion: Completion, sample: int, found: Grade,
         tokens: int | None, truncated: bool) -> dict[str, Any]:
  """The line of responses.jsonl of a judged response.

  Args:
    tokens: its length; None where nobody counted.
  """
  value = found.value
  shown = dict(
      benchmark=card.name, id=item.id, sample=sample,
      response=None if completion.finish == 'failed' else completion.text, status=found.status,
      correct=None if value is None else found.status == 'correct', answer=found.answer[:_WORDS],
      detail=found.detail[:_WORDS], tokens=tokens, truncated=truncated)
  if found.score is not None:
    shown['score'] = found.score
  if card.measure and completion.finish != 'failed':
    shown |= _measured(card, item, completion.text)
  if item.group:
    shown['group'] = item.group
  return shown | dict(found.more)


def _measured(card: Card, item: Item, response: str) -> Mapping[str, Any]:
  """What a card measures of a response beside its grade; nothing where that fails."""
  assert card.measure is not None
  try:
    return card.measure(item, response)
  except Exception as error:     # As in `grade`.
    return dict(not_measured=repr(error)[:_WORDS])
