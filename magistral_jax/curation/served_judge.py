"""A judging model behind an OpenAI-compatible endpoint.

It answers at temperature 0. An answer that says nothing, such as one without a rating, is asked for
again, at a temperature that lets it be another one, `ATTEMPTS` times in all; then the response is
counted as failed to be judged, never as wrong.
"""

from __future__ import annotations

import argparse
import queue
import threading

from magistral_jax.curation.endpoint import Endpoint, EndpointError, EndpointSettings
from magistral_jax.curation.served_benchmarks import content
from magistral_jax.evaluation.card import Grade, Question

ATTEMPTS = 3
KEY = 'JUDGE_API_KEY'
_AGAIN_TEMPERATURE = 0.7
_MOST_TOKENS = 4096         # Of an answer; judges explain themselves.


def served(args: argparse.Namespace) -> ServedJudge | None:
  """The judge of --judge_endpoint, None without it; EndpointError for settings that cannot work.

  Args:
    args: judge_endpoint, judge_model, endpoint_concurrency, endpoint_timeout_s, endpoint_attempts.
  """
  if not args.judge_endpoint:
    return None
  return ServedJudge(EndpointSettings(
      args.judge_endpoint, args.judge_model, concurrency=args.endpoint_concurrency,
      timeout_s=args.endpoint_timeout_s, attempts=args.endpoint_attempts, max_tokens=_MOST_TOKENS,
      temperature=0.0, flag='judge_endpoint', key=KEY))


class ServedJudge:
  """Asks a judging model; `evaluation.judging.ModelJudge` says what each method promises.

  A request without an answer is a response that failed to be judged. As many in a row as there are
  requests at once are raised, and a last one where all have failed: nobody serves.
  """

  def __init__(self, settings: EndpointSettings):
    self._endpoint, self._slots = Endpoint(settings), settings.concurrency
    self.model, self.longest_s = settings.model, ATTEMPTS * self._endpoint.longest_s
    self._questions: queue.SimpleQueue[tuple[int, Question]] = queue.SimpleQueue()
    self._grades: queue.SimpleQueue[tuple[int, Grade | EndpointError]] = queue.SimpleQueue()
    self._pending, self._failed, self._threads, self._answered = 0, 0, 0, False
    self._error: EndpointError | None = None

  def put(self, key: int, question: Question) -> None:
    """Sends a question."""
    self._pending += 1
    if self._threads < min(self._slots, self._pending):
      # They end with the process: a request may take minutes.
      threading.Thread(target=self._work, daemon=True).start()
      self._threads += 1
    self._questions.put((key, question))

  def drain(self, wait_s: float = 0.0) -> list[tuple[int, Grade]]:
    """The answers that have come; then EndpointError if the model cannot be asked at all."""
    if self._error:
      raise self._error
    found = []
    try:
      if wait_s > 0 and self._pending:
        found.append(self._take(self._grades.get(timeout=wait_s)))
      while True:
        found.append(self._take(self._grades.get_nowait()))
    except queue.Empty:
      return found
    except EndpointError as error:
      if not found:
        raise
      self._error = error            # Those before it are told first.
      return found

  def pending(self) -> int:
    """Number of questions put and not yet drained."""
    return self._pending

  def _take(self, answer: tuple[int, Grade | EndpointError]) -> tuple[int, Grade]:
    key, found = answer
    self._pending -= 1
    if not isinstance(found, EndpointError):
      self._failed, self._answered = 0, True
      return key, found
    self._failed += 1
    if found.final or self._failed >= self._slots or not (self._answered or self._pending):
      raise found
    return key, Grade('error', detail=str(found))

  def _work(self) -> None:
    while True:
      key, question = self._questions.get()
      try:
        self._grades.put((key, self._judged(question)))
      except EndpointError as error:
        self._grades.put((key, error))
      except Exception as error:      # Our failure is counted, as that of a grader is.
        self._grades.put((key, Grade('error', detail=f'the judge was not asked ({error!r})')))

  def _judged(self, question: Question) -> Grade:
    """What the model says of a response, asked until it can be read; EndpointError."""
    messages = [dict(role='system', content=question.system)] if question.system else []
    messages.append(dict(role='user', content=content(question.text, question.images)))
    said = ''
    for attempt in range(ATTEMPTS):
      said = self._endpoint.answer(messages, seed=attempt, may_be_empty=True,
                                   temperature=_AGAIN_TEMPERATURE if attempt else 0.0).text
      found = question.read(said)
      if found is not None:
        return found
    return Grade('error', detail=f'{ATTEMPTS} answers of the judge could not be read, the last: '
                                 f'{said[:200]!r}')
