"""The step `format`: is a row one complete problem with one verifiable final answer?

    the answer      missing, labelled parts, a proof, a sentence, a guess (`golds`)
    the options     multiple choice becomes an open question, by rule or by a served model
    the statement   complete, one question, no proof, its images there (`statements`)
    the verifier    reads the answer and finds it equal to itself
    the row         `train` takes it as it is

Programming problems have rules of their own: `code.statements`.

Reference: arXiv:2506.10910 section 4.1.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from magistral_jax.curation import choices, golds, statements
from magistral_jax.curation.endpoint import Endpoint, RequestRefused
from magistral_jax.curation.rows import (
  Decide,
  Decision,
  Row,
  answer_of,
  language_of,
  statement_of,
  unreadable,
)

_REWRITE = (
    'Rewrite this multiple-choice problem as one open question with the same answer. Keep every '
    'condition and every formula. Do not list options, do not refer to options, and do not give '
    'the answer away. If the question makes no sense without its options, say so.\n\n'
    'Problem:\n{problem}\n\nThe right answer is: {answer}\n\n'
    'Reply with one JSON object and nothing else: {{"problem": "..."}} or {{"problem": null}}.')
_TRIES = 2


def opened(endpoint: Endpoint | None, workers: int = 0) -> Callable:
  """Makes the opener of the step."""
  @contextlib.contextmanager
  def step(path: Path) -> Iterator[Decide]:
    del path
    with golds.comparer(workers) as comparer:
      yield lambda number, row: decide(row, comparer, endpoint)
  return step


def decide(row: Row, comparer: golds.Comparer, endpoint: Endpoint | None = None) -> Decision:
  """The decision on one row of mathematics."""
  statement, gold = statement_of(row), answer_of(row)
  if not statement:
    return Decision((), 'no_statement')
  if not gold:
    return Decision((), 'no_answer')
  changed = None
  if found := choices.find(statement, gold):
    label, answer = choices.right_option(found, gold, comparer.same)
    if not label:
      return Decision((), 'multiple_choice', f'no option is the answer {gold[:60]!r}')
    statement, why = choices.open_question(found, label)
    if why and endpoint:
      statement = _served(row, answer, endpoint)
    if not statement:
      return Decision((), 'multiple_choice', why)
    gold = answer
    changed = row | dict(problem=statement, answer=gold)
  reason, detail = golds.fault(gold)
  if not reason:
    reason, detail = statements.fault(
        statement, gold, language=language_of(row), images=bool(row.get('images')))
  if not reason and (why := comparer.unreadable(gold)):
    reason, detail = 'unreadable_answer', f'{gold[:80]}: {why}'
  if not reason and (why := unreadable(changed or row)):
    reason, detail = 'unreadable_row', why
  if reason:
    return Decision((), reason, detail)
  return Decision((changed,), 'open_question') if changed else Decision((row,))


def _served(row: Row, answer: str, endpoint: Endpoint) -> str:
  """The open question as a served model writes it; '' if what it writes cannot be used."""
  for attempt in range(_TRIES):
    try:
      said = endpoint.ask(_REWRITE.format(problem=statement_of(row), answer=answer), seed=attempt)
    except RequestRefused:
      return ''
    start, end = said.find('{'), said.rfind('}')
    try:
      problem = json.loads(said[start:end + 1], strict=False)['problem']
    except (ValueError, KeyError, TypeError, RecursionError):
      continue
    if isinstance(problem, str) and not choices.find(problem) and (
        not statements.fault(problem, answer, language=language_of(row))[0]):
      return problem.strip()
  return ''
