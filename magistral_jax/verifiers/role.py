"""The verifier as a role of the loop: completions in, verdicts out."""

from __future__ import annotations

import queue
import threading

from magistral_jax.records import Completion, Problem, Verdict
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.workers.pool import Pool


class PoolVerifier:
  """Judges completions in the order in which workers become free.

  Reads:  Completion with its Problem. Writes: (Completion, Verdict), each once.
  Owns:   the completions that are being judged. The pool belongs to the caller that opened it.

  Args:
    pool: the worker processes.
    code_tests: number of tests that a program is judged by; a group is judged by the same ones.
    evaluation_code_tests: the same in evaluations, where a draw would pass programs that fail on
      the other tests; 0: all.
  """

  def __init__(self, pool: Pool, code_tests: int = 20, evaluation_code_tests: int = 0):
    self._pool = pool
    self._code_tests = dict(training=code_tests, evaluation=evaluation_code_tests)
    self._judged: queue.SimpleQueue[tuple[Completion, Verdict]] = queue.SimpleQueue()
    self._lock = threading.Lock()     # Several samplers may call put at once.
    self._put = self._drained = 0

  def put(self, completion: Completion, problem: Problem) -> None:
    """Sends a completion to be judged; never blocks."""
    tests, count = problem.tests, self._code_tests[completion.purpose]
    if tests:
      # Drawn from the prompt's ordinal, so that all completions of a group get the same tests.
      tests = judge.draw(tests, completion.ordinal, count or len(tests['cases']))
    terms = completion.terms
    length = {} if terms is None else dict(
        length_max=terms.length_max, length_cache=terms.length_cache)
    future = self._pool.submit(dict(
        length, response=completion.text, answer=problem.answer, domain=problem.domain,
        n_tokens=len(completion.tokens), language=problem.language, problem=problem.text,
        tests=tests, scorer=problem.scorer, bare=problem.bare))
    with self._lock:
      self._put += 1
    future.add_done_callback(
        lambda f: None if f.cancelled() else self._judged.put((completion, f.result())))

  def drain(self, wait_s: float = 0.0) -> list[tuple[Completion, Verdict]]:
    """All completions judged since the last call; waits up to `wait_s` for the first of them."""
    found = []
    try:
      if wait_s > 0 and self.pending():
        found.append(self._judged.get(timeout=wait_s))
      while True:
        found.append(self._judged.get_nowait())
    except queue.Empty:
      self._drained += len(found)
      return found

  @property
  def full(self) -> bool:
    """Whether so many completions wait for a worker that no new prompts should be started."""
    return self._pool.full

  @property
  def waiting(self) -> int:
    """Number of completions that no worker has begun to judge."""
    return self._pool.waiting

  def pending(self) -> int:
    """Number of completions put and not yet drained."""
    return self._put - self._drained

  def stats(self) -> dict[str, float]:
    """Counts and times of the pool, as `Pool.stats` has them."""
    return self._pool.stats()
