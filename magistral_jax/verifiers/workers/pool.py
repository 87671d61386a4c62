"""The pool of worker processes: dispatch, deadlines, retries, restarts.

Each worker has a thread here, which gets it from a fork server, dispatches one job at a time to it
and kills it when the job's time is up (with SIGKILL, the only signal that a busy interpreter acts
on). The outcome of the job:

  its CPU time is used up    -> 'timeout', never retried: it would only take as long again
  the wall time passed       -> as it used little CPU time: retried once, and nothing of this pool
                                beside it, then 'error', for then it is the machine that is busy,
                                or the worker that hangs
  out of memory              -> 'memory'
  crashed twice by itself    -> 'memory': SymPy at its limits dies of signals too
  killed from outside        -> retried on a new process, up to KILLED_ATTEMPTS times, then 'error'
  ended otherwise, failed in
  our code or in the sandbox -> retried once on a new process, then 'error'

A worker that dies is restarted at once, with a job in hand or without.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue

import numpy as np

from magistral_jax.records import Verdict
from magistral_jax.verifiers import language, reward
from magistral_jax.verifiers.code import judge
from magistral_jax.verifiers.sandbox.supervise import Limits
from magistral_jax.verifiers.workers import replies
from magistral_jax.verifiers.workers.fork_server import START_ATTEMPTS, ForkServers
from magistral_jax.verifiers.workers.gate import SharedGate
from magistral_jax.verifiers.workers.process import Process, WorkerDied
from magistral_jax.verifiers.workers.worker import pack

ATTEMPTS = 2
KILLED_ATTEMPTS = 5        # The job does not kill its worker itself, but may use too much memory.
READY_TIMEOUT_S = 60.0     # A forked worker is ready within milliseconds, unless the machine swaps.
IDLE_S = 0.2               # Interval at which a worker without a job is checked.
WALL_PER_CPU = 8.0         # Wall time that a check may take for its CPU time on a busy machine.
MIN_MEMORY_MB = 256        # Address space of a worker with SymPy loaded.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class _CpuTimeUsed(Exception):
  """Raised when the check of a completion has used up its CPU time."""


@dataclasses.dataclass(eq=False)
class _Task:
  """A job with its future; `submitted` is a time.monotonic."""
  job: Mapping
  future: concurrent.futures.Future
  submitted: float
  attempts: int = 0
  starved: bool = False     # A check whose wall time passed before it had its CPU time.


class Pool:
  """Judges completions in killable processes; a context manager.

  Args:
    workers: number of processes, each with one job at a time.
    timeout_s: CPU time of one job, and WALL_PER_CPU times as much wall time once a ready worker has
      it; of a program, wall time beside that of its compilation and tests.
    memory_mb: address space of a worker.
    queue: number of waiting jobs from which the pool is `full`.
    rewards: format, correct, length_max, length_cache, length_penalty, language, code_reward, as
      `reward.check_rewards` has them.
    language_model: path, as `language.load` takes it; read only where the language pays.
    sandbox: one of `sandbox.MODES`; a worker makes its sandbox at its first program.
    test_timeout_s, test_memory_mb: CPU time and memory of one test of a program.
    gym: whether workers have the scorers of Reasoning Gym loaded when they begin.
  Raises:
    ValueError: a value that cannot work, by its key.
  """

  def __init__(self, workers: int, *, timeout_s: float, memory_mb: int, queue: int,
               rewards: Mapping, language_model: str, sandbox: str, test_timeout_s: float,
               test_memory_mb: int, gym: bool = False):
    if workers < 1:
      raise ValueError(f'runtime.verifier_workers is {workers}; it must be at least 1.')
    if not 0 < timeout_s < float('inf'):
      raise ValueError(f'verifiers.timeout_s is {timeout_s}; it must be a finite time above 0.')
    if memory_mb < MIN_MEMORY_MB:
      raise ValueError(f'verifiers.memory_mb is {memory_mb}, but a worker with SymPy loaded needs '
                       f'{MIN_MEMORY_MB}: raise verifiers.memory_mb.')
    reward.check_rewards(**rewards)
    self._timeout_s, self._most_waiting = timeout_s, queue
    self._scoring = dict(rewards)
    if rewards['language']:
      self._scoring['identify'] = language.load(language_model)
    # CPU time decides; a program that gets a fifteenth of a core still has all of it.
    test_limits = dict(time_s=test_timeout_s, idle_s=test_timeout_s, wall_s=15 * test_timeout_s,
                       memory_mb=test_memory_mb)
    self._test_limits = Limits(**test_limits)
    self._fork_servers = ForkServers(json.dumps(dict(
        memory_mb=int(memory_mb), parent=os.getpid(), rewards=dict(rewards),
        language_model=language_model, sandbox=sandbox, test_limits=test_limits, gym=gym)))
    self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
    self._lock, self._gate = threading.Lock(), SharedGate()
    self._counts = collections.Counter()
    self._times_s = collections.defaultdict(lambda: collections.deque(maxlen=2048))
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
    """Queues one job, in the form that `reward.score` takes, and returns at once.

    The future always gets a Verdict, of status 'error' if need be, unless `close` cancels it. This
    call never blocks and the queue has no bound: callers check `full` first.

    Raises:
      ValueError: no verifier judges the job's domain.
      RuntimeError: the pool is closed.
    """
    reward.check_domain(job['domain'])
    future = concurrent.futures.Future()
    # Under the lock, so that no job is queued behind the end marks of `close`.
    with self._lock:
      if self._closing.is_set():
        raise RuntimeError('The verifier pool is closed.')
      self._counts['submitted'] += 1
      self._tasks.put(_Task(dict(job), future, time.monotonic()))
    return future

  @property
  def full(self) -> bool:
    """Whether at least `queue` jobs wait for a worker; new prompts should not be started then."""
    return self.waiting >= self._most_waiting

  @property
  def waiting(self) -> int:
    """Number of jobs that no worker has begun."""
    return self._counts['submitted'] - self._counts['taken']

  def pids(self) -> list[int]:
    """Process ids of the live workers."""
    with self._lock:
      return [p.pid for p in self._processes.values()]

  def stats(self) -> dict[str, float]:
    """Counts since the start, and percentiles in seconds over the latest 2048 jobs of each domain.

    Latency is the time from `submit` to the verdict; service is the time without queueing.
    """
    with self._lock:
      counts = self._counts.copy()
      times = {name: list(pairs) for name, pairs in self._times_s.items()}
      workers = len(self._processes)
    found = dict(
        workers=workers, queue_depth=counts['submitted'] - counts['taken'],
        in_flight=counts['taken'] - counts['done'], done=counts['done'],
        restarts=counts['restarts'], errors=counts['error'], timeouts=counts['timeout'],
        memory=counts['memory'], **_percentiles('', [t for ts in times.values() for t in ts]))
    for domain, pairs in times.items():
      found |= _percentiles(f'{domain}_', pairs)
    return found

  def close(self) -> None:
    """Kills the workers and cancels the jobs that were not judged. Safe to call twice."""
    with self._lock:
      self._closing.set()
      for _ in self._threads:
        self._tasks.put(None)
      for process in self._processes.values():
        process.kill()
    self._fork_servers.stop()
    for thread in self._threads:
      thread.join(timeout=30.0)
    self._fork_servers.close()
    while True:
      try:
        task = self._tasks.get_nowait()
      except Empty:
        return
      if task is not None:
        task.future.cancel()

  def _serve(self, worker_id: int) -> None:
    """Runs one worker's thread: dispatches jobs and restarts the process whenever it is gone."""
    while True:
      # Started before there is a job, so that no job waits for it. A start that fails is retried,
      # and reported, when a job comes.
      with contextlib.suppress(WorkerDied, OSError):
        self._ready(worker_id)
      try:
        task = self._tasks.get(timeout=IDLE_S)
      except Empty:
        continue
      if task is None:
        break
      with self._lock:
        self._counts['taken'] += 1
      verdict = None
      while verdict is None and not self._closing.is_set():
        verdict = self._attempt_safely(worker_id, task)
      if verdict is None or (verdict.status == 'error' and self._closing.is_set()):
        task.future.cancel()
        continue
      with self._lock:
        self._counts.update(['done', verdict.status])
        self._times_s[task.job['domain']].append(
            (time.monotonic() - task.submitted, verdict.seconds))
      if task.future.set_running_or_notify_cancel():
        task.future.set_result(verdict)
    self._drop(worker_id)

  def _attempt_safely(self, worker_id: int, task: _Task) -> Verdict | None:
    """Attempts a task; whatever fails on this side of the border becomes an 'error' verdict."""
    # Programs in jails may take minutes: no check waits longer for them than it may take itself.
    gate = self._gate.alone(self._budget_s(task.job)) if task.starved else self._gate.beside()
    try:
      with gate:
        return self._attempt(worker_id, task)
    except Exception as e:
      self._drop(worker_id)
      return Verdict('error', 0.0, dict.fromkeys(reward.PARTS, 0.0), detail=repr(e)[:1000])

  def _attempt(self, worker_id: int, task: _Task) -> Verdict | None:
    """Attempts a task once; None if it is to be retried. A worker already dead costs no attempt."""
    try:
      process = self._ready(worker_id)
    except (WorkerDied, OSError) as e:
      return self._unjudged(task, 'error', f'no worker could be started: {e}')
    task.attempts += 1
    began = time.monotonic()
    unjudged = lambda status, detail: dataclasses.replace(
        self._unjudged(task, status, detail), seconds=time.monotonic() - began)
    try:
      reply = replies.read(self._exchange(process, task.job))
    except _CpuTimeUsed:
      self._drop(worker_id)
      return unjudged('timeout', f'not judged within {self._timeout_s} s of CPU time')
    except TimeoutError:
      self._drop(worker_id)
      if task.attempts < ATTEMPTS:
        task.starved = task.job['domain'] != 'code'
        return None
      return unjudged('error', f'not judged within {self._budget_s(task.job)} s')
    except WorkerDied:
      words = process.last_words()
      ended = self._drop(worker_id)
      if task.attempts < (KILLED_ATTEMPTS if ended == -signal.SIGKILL else ATTEMPTS):
        return None
      return unjudged('memory' if -ended in _CRASHES else 'error',
                      f'the worker died {task.attempts} times, last with code {ended}: {words}')
    if reply.verdict and reply.verdict.status != 'error':
      return reply.verdict
    self._drop(worker_id)
    if reply.memory:
      return unjudged('memory', reply.memory)
    # The sandbox failed, or our own code.
    if task.attempts < ATTEMPTS:
      return None
    return reply.verdict or unjudged('error', reply.error)

  def _exchange(self, process: Process, job: Mapping):
    """The worker's reply to a job.

    Raises:
      _CpuTimeUsed: the check has used up its CPU time. Programs have limits of their own.
      TimeoutError: its wall time has passed and it has not.
      WorkerDied: as `Process.exchange`.
    """
    began, payload = time.monotonic(), pack({'job': job})
    end, before = began + self._budget_s(job), process.cpu_s()
    if job['domain'] == 'code':
      return process.exchange(payload, end)
    left = self._timeout_s
    while True:
      now, reply = time.monotonic(), None
      with contextlib.suppress(TimeoutError):
        reply = process.exchange(payload, min(end, now + max(left, IDLE_S)))
      used, payload = process.cpu_s(), b''
      # Without /proc the wall time must do.
      known = used is not None and before is not None
      left = self._timeout_s - (used - before) if known else 0.0
      # A reply that took too long counts no more than none: whether it comes before this thread
      # looks depends on what else the machine does.
      if left <= 0 and (known or reply is None):
        raise _CpuTimeUsed
      if reply is not None:
        return reply
      if time.monotonic() >= end:
        raise TimeoutError

  def _budget_s(self, job: Mapping) -> float:
    """Wall time in seconds that a job may take."""
    if job['domain'] != 'code':
      return WALL_PER_CPU * self._timeout_s
    tests = job['tests']
    return self._timeout_s + judge.budget_s(tests, tests['language'], self._test_limits)

  def _unjudged(self, task: _Task, status: str, detail: str) -> Verdict:
    """The verdict on a job whose check was cut short."""
    return reward.score_unjudged(task.job, status, detail, **self._scoring)

  def _ready(self, worker_id: int) -> Process:
    """The worker's process, started if none is alive; WorkerDied when several starts fail."""
    words, failed, killed = '', 0, 0
    while failed < START_ATTEMPTS and killed < KILLED_ATTEMPTS:
      process = self._processes.get(worker_id)
      if process and process.alive():
        return process
      self._drop(worker_id)
      process = self._fork_servers.fork(worker_id)
      with self._lock:
        self._processes[worker_id] = process
        self._counts['starts'] += 1
        self._counts['restarts'] = max(0, self._counts['starts'] - len(self._threads))
        if self._closing.is_set():
          process.kill()
      try:
        process.exchange(b'', time.monotonic() + READY_TIMEOUT_S)
        return process
      except (WorkerDied, TimeoutError) as e:
        words = process.last_words() or repr(e)
        if self._drop(worker_id) == -signal.SIGKILL and isinstance(e, WorkerDied):
          killed += 1
        else:
          failed += 1
    raise WorkerDied(words)

  def _drop(self, worker_id: int) -> int:
    """Kills and reaps the worker's process and returns its exit code; 0 if there is none."""
    with self._lock:
      process = self._processes.pop(worker_id, None)
    return process.reap() if process else 0


def _percentiles(prefix: str, pairs: list[tuple[float, float]]) -> dict[str, float]:
  """{name: seconds}, the 50th and 99th percentiles of pairs of (latency, service)."""
  found = {}
  for name, values in zip(('latency', 'service'), np.transpose(pairs or [(0.0, 0.0)]),
                          strict=True):
    p50, p99 = np.percentile(values, [50, 99])
    found |= {f'{prefix}{name}_p50_s': float(p50), f'{prefix}{name}_p99_s': float(p99)}
  return found
