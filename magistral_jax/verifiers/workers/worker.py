"""The child processes that judge: fork servers, which load everything, and workers, their forks.

    python -m magistral_jax.verifiers.workers.worker FD '{"memory_mb": ..., "parent": pid,
        "rewards": {...}, "language_model": "", "sandbox": "bubblewrap", "test_limits": {...}}'

Loading SymPy takes most of a second and a fork takes a few milliseconds, so a worker can be killed
at any moment and replaced at once. A fork server never runs a job and has one thread. Its protocol
on the Unix socket FD (`ORDER`, `REPLY`), -> being what it writes:

  -> 0 once, when it is loaded
  <- FORK, worker id and three files (jobs, replies, stderr)    -> the process id of a new worker
  <- REAP, process id       -> the exit code, after the worker and its jails are killed and reaped

Only the fork server reaps, and only when ordered to, so that a process id it returned never comes
to mean another process. A worker reads and writes messages, each a length (4 bytes, big-endian)
and JSON of that length:

  -> {"ready": true} once,  then <- {"job": {...}},  -> {"verdict": {...}}, one at a time

A job that needs too much memory is answered {"memory": "..."}, one that fails in our own code
{"error": traceback}; the worker ends after either, since its state is unknown. On Linux a fork
server dies with the pool's process and a worker with its fork server, even in the middle of a job;
elsewhere they end when their socket or pipe closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
import traceback

ORDER, REPLY = struct.Struct('>ci'), struct.Struct('>i')
FORK, REAP = b'F', b'R'
_PR_SET_PDEATHSIG = 1


def pack(message) -> bytes:
  """A message as bytes: its length and its JSON."""
  body = json.dumps(message).encode()
  return struct.pack('>I', len(body)) + body


def _read(stream):
  """The next message, or None at the end of the stream."""
  head = stream.read(4)
  if len(head) < 4:
    return None
  body = stream.read(struct.unpack('>I', head)[0])
  return json.loads(body)


def _die_with(parent: int) -> None:
  """Has the kernel kill this process when its parent ends.

  A worker deep in a computation does not see its pipe close.
  """
  if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:     # The parent ended before the call above.
      os._exit(1)


def fork_server(channel: socket.socket, settings: dict) -> None:
  """Runs a fork server: loads everything, then serves orders until the channel closes."""
  _die_with(settings['parent'])
  from magistral_jax.verifiers import gym, language, reward
  from magistral_jax.verifiers.math import symbolic
  from magistral_jax.verifiers.sandbox import processes, supervise
  from magistral_jax.verifiers.sandbox.sandbox import Sandbox
  if sys.platform == 'linux':
    # A jail ties itself to its worker only milliseconds after its start. If the worker dies before
    # that, this process becomes the jail's parent and kills it.
    processes.adopt_orphans()
  symbolic.preload()
  if settings['gym']:
    gym.preload()
  # Each worker makes its sandbox at its first program, since each takes a user id of its own.
  sandbox = functools.cache(
      lambda: Sandbox(supervise.Limits(**settings['test_limits']), mode=settings['sandbox']))
  scoring = settings['rewards'] | dict(sandbox=sandbox)
  if scoring['language']:
    scoring['identify'] = language.load(settings['language_model'])
  score = lambda job: reward.score(job, **scoring)
  # Garbage collection in a worker would copy every page that it shares with the others.
  gc.collect()
  gc.freeze()
  channel.sendall(REPLY.pack(0))
  workers: set[int] = set()
  while True:
    order, files, _, _ = socket.recv_fds(channel, ORDER.size, 3)
    if len(order) < ORDER.size:
      return
    kind, number = ORDER.unpack(order)
    if kind == REAP:
      code = _reap(number)
      workers.discard(number)
      _end_orphans(workers)
      channel.sendall(REPLY.pack(code))
      continue
    here = os.getpid()
    pid = os.fork()
    if pid == 0:
      channel.close()
      _work(*files, settings, score, here)
    workers.add(pid)
    for file in files:
      os.close(file)
    channel.sendall(REPLY.pack(pid))


def _reap(pid: int) -> int:
  """Kills a worker with all that it started and returns its exit code (minus the signal)."""
  for kill in (os.kill, os.killpg):
    # The worker may have no group yet, or be dead, which macOS reports as forbidden.
    with contextlib.suppress(ProcessLookupError, PermissionError):
      kill(pid, signal.SIGKILL)
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _end_orphans(workers: set[int]) -> None:
  """Kills and reaps the processes that dead workers left to this one, until none is left."""
  while strays := _children() - workers:
    for pid in strays:
      os.kill(pid, signal.SIGKILL)     # The id is still its own: only this process reaps it.
      os.waitpid(pid, 0)


def _children() -> set[int]:
  """Process ids of this process's children; none where there is no /proc."""
  if sys.platform != 'linux':
    return set()
  with open(f'/proc/self/task/{os.getpid()}/children') as children:
    return set(map(int, children.read().split()))


def _work(jobs: int, replies: int, stderr: int, settings: dict, score, parent: int) -> None:
  """Runs a worker in a forked process; never returns."""
  code = 1
  try:
    os.setsid()
    _die_with(parent)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stderr, 1), (stderr, 2)):
      os.dup2(source, target)      # What libraries print must not reach the replies.
    for file in (jobs, replies):
      os.set_inheritable(file, False)
    # Soft limits, so that the programs it starts can be given others.
    limit, (_, most) = settings['memory_mb'] << 20, resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _judge(os.fdopen(jobs, 'rb'), os.fdopen(replies, 'wb'), settings['memory_mb'], score)
    code = 0
  except BaseException:            # Nothing above this frame would report it.
    traceback.print_exc()
  finally:
    sys.stderr.flush()
    os._exit(code)


def _judge(jobs, replies, memory_mb: int, score) -> None:
  """Judges jobs one after another until the pipe closes or a job fails in our own code."""
  send = lambda message: (replies.write(pack(message)), replies.flush())
  send({'ready': True})
  while True:
    try:
      if (message := _read(jobs)) is None:
        return
      began = time.perf_counter()
      verdict = score(message['job'])
    except MemoryError:
      send({'memory': f'more than {memory_mb} MB'})
      return
    except Exception:
      send({'error': traceback.format_exc()[-2000:]})
      return
    seconds = time.perf_counter() - began
    send({'verdict': dataclasses.asdict(verdict) | {'seconds': seconds}})


if __name__ == '__main__':
  fork_server(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
