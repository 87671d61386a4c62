"""The worker processes: handing jobs out, deadlines, retries, and nothing left behind.

Each worker has a thread here that starts it, gives it one job at a time and kills it (SIGKILL: a
busy interpreter hears nothing else) when the job's time is up. What then becomes of the job:

  time is up                 -> 'timeout', never tried again: it would only take as long again
  out of memory              -> 'memory'
  crashed twice by itself    -> 'memory': SymPy at its limits dies of signals too
  died otherwise, or our bug -> once more on a new process, then 'error'
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping

import numpy as np

from magistral_jax.records import Verdict
from magistral_jax.verifiers import reward
from magistral_jax.verifiers.process import Process, WorkerDied
from magistral_jax.verifiers.worker import pack

ATTEMPTS = 2
START_TIMEOUT_S = 120.0    # Importing SymPy from a cold disk on a loaded machine.
START_ATTEMPTS = 3
MIN_MEMORY_MB = 256        # The worker itself, SymPy loaded.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


@dataclasses.dataclass(eq=False)
class _Task:
  job: Mapping
  message: bytes             # The job as a worker reads it.
  future: concurrent.futures.Future
  submitted: float
  attempts: int = 0


class Pool:
  """Judges completions in killable processes; a context manager.

  Args:
    workers: processes, each with one job at a time.
    timeout_s: what one job may take once a ready worker has it.
    memory_mb: address space of a worker.
    rewards: format, correct, length_max, length_cache, length_penalty.
  """

  def __init__(self, workers: int, *, timeout_s: float, memory_mb: int, rewards: Mapping):
    if workers < 1:
      raise ValueError(f'runtime.verifier_workers is {workers}; it must be at least 1.')
    if not 0 < timeout_s < float('inf'):
      raise ValueError(f'verifiers.timeout_s is {timeout_s}; it must be a finite time above 0.')
    if memory_mb < MIN_MEMORY_MB:
      raise ValueError(f'verifiers.memory_mb is {memory_mb}, but a worker with SymPy loaded needs '
                       f'{MIN_MEMORY_MB}: raise verifiers.memory_mb.')
    reward.check_rewards(**rewards)
    self._timeout_s, self._rewards = timeout_s, dict(rewards)
    self._settings = json.dumps(
        dict(memory_mb=int(memory_mb), parent=os.getpid(), rewards=self._rewards))
    self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
    self._lock = threading.Lock()
    self._counts = collections.Counter()
    self._latencies_s = collections.deque(maxlen=2048)
    self._processes: dict[int, Process] = {}
    self._closing = threading.Event()
    self._threads = [threading.Thread(target=self._serve, args=(i,), name=f'verifier-{i}',
                                      daemon=True) for i in range(workers)]
    for thread in self._threads:
      thread.start()

  def __enter__(self) -> Pool:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def submit(self, job: Mapping) -> concurrent.futures.Future[Verdict]:
    """Queues one job (`reward.score` says what it holds) and returns at once.

    The future always gets a Verdict, of status 'error' if need be; it is cancelled by `close`. How
    many jobs may wait is the caller's to bound.
    """
    reward.check_domain(job['domain'])
    future, job = concurrent.futures.Future(), dict(job)
    message = pack({'job': job})
    # Under the lock, so that no job is queued behind the end marks of `close`.
    with self._lock:
      if self._closing.is_set():
        raise RuntimeError('The verifier pool is closed.')
      self._counts['submitted'] += 1
      self._tasks.put(_Task(job, message, future, time.monotonic()))
    return future

  def pids(self) -> list[int]:
    """Of the processes that run now."""
    with self._lock:
      return [p.pid for p in self._processes.values()]

  def stats(self) -> dict[str, float]:
    """Counts since the start and the latency, queueing included, of the latest 2048 jobs."""
    with self._lock:
      counts, latencies = self._counts.copy(), list(self._latencies_s)
    p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (0.0, 0.0)
    return dict(
        queue_depth=counts['submitted'] - counts['taken'],
        in_flight=counts['taken'] - counts['done'],
        restarts=counts['restarts'], errors=counts['errors'], timeouts=counts['timeouts'],
        done=counts['done'], latency_p50_s=float(p50), latency_p99_s=float(p99))

  def close(self) -> None:
    """Kills the workers and cancels what was not judged. Safe to call twice."""
    with self._lock:
      self._closing.set()
      for _ in self._threads:
        self._tasks.put(None)
      for process in self._processes.values():
        process.kill()
    for thread in self._threads:
      thread.join(timeout=30.0)
    while True:
      try:
        task = self._tasks.get_nowait()
      except queue.Empty:
        return
      if task is not None:
        task.future.cancel()

  def _serve(self, index: int) -> None:
    """The life of one worker's thread: a new process whenever the last one is gone."""
    # The kernel ties a child's life to the thread that started it: the same one, to the end.
    # Loads while the program still starts; if it fails, the first job tries again and says why.
    with contextlib.suppress(WorkerDied, OSError):
      self._ready(index)
    while (task := self._tasks.get()) is not None:
      with self._lock:
        self._counts['taken'] += 1
      verdict = None
      while verdict is None and not self._closing.is_set():
        verdict = self._attempt_safely(index, task)
      if verdict is None or (verdict.status == 'error' and self._closing.is_set()):
        task.future.cancel()
        continue
      with self._lock:
        self._counts['done'] += 1
        self._counts['errors'] += verdict.status == 'error'
        self._counts['timeouts'] += verdict.status == 'timeout'
        self._latencies_s.append(time.monotonic() - task.submitted)
      if task.future.set_running_or_notify_cancel():
        task.future.set_result(verdict)
    self._drop(index)

  def _attempt_safely(self, index: int, task: _Task) -> Verdict | None:
    """The sandbox border: whatever goes wrong on this side is an 'error' too, not a lost job."""
    try:
      return self._attempt(index, task)
    except Exception as e:
      self._drop(index)
      return Verdict('error', 0.0, dict(format=0.0, correct=0.0, length=0.0), detail=repr(e)[:1000])

  def _attempt(self, index: int, task: _Task) -> Verdict | None:
    """Tries a task once; None if it has another try. A worker already dead costs no try."""
    unjudged = lambda status, detail: reward.score_unjudged(
        task.job, status, detail, **self._rewards)
    try:
      process = self._ready(index)
    except (WorkerDied, OSError) as e:
      return unjudged('error', f'no worker could be started: {e}')
    task.attempts += 1
    deadline = time.monotonic() + self._timeout_s
    try:
      reply = process.exchange(task.message, deadline)
    except TimeoutError:
      self._drop(index)
      return unjudged('timeout', f'not judged within {self._timeout_s} s')
    except WorkerDied:
      words = process.last_words()
      code = self._drop(index)
      if task.attempts < ATTEMPTS:
        return None
      crashed = -code in _CRASHES
      return unjudged('memory' if crashed else 'error',
                      f'the worker died {ATTEMPTS} times, last with code {code}: {words}')
    if 'verdict' in reply:
      return Verdict(**reply['verdict'])
    self._drop(index)
    if 'memory' in reply:
      return unjudged('memory', reply['memory'])
    return None if task.attempts < ATTEMPTS else unjudged('error', reply['error'])

  def _ready(self, index: int) -> Process:
    """The worker, started and loaded. Raises WorkerDied when several starts fail."""
    words = ''
    for _ in range(START_ATTEMPTS):
      process = self._processes.get(index)
      if process and process.alive():
        return process
      if process:
        self._drop(index)
      with self._lock:
        if self._closing.is_set():
          break
        process = self._processes[index] = Process(self._settings)
        self._counts['starts'] += 1
        self._counts['restarts'] = max(0, self._counts['starts'] - len(self._threads))
      try:
        process.exchange(b'', time.monotonic() + START_TIMEOUT_S)
        return process
      except (WorkerDied, TimeoutError) as e:
        words = process.last_words() or repr(e)
        self._drop(index)
    raise WorkerDied(words)

  def _drop(self, index: int) -> int:
    """Kills the worker, if there is one; returns its exit code."""
    with self._lock:
      process = self._processes.pop(index, None)
    return process.bury() if process else 0
