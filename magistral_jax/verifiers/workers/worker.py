"""The child processes that judge: a nursery that has loaded everything, and its forks, the workers.

    python -m magistral_jax.verifiers.workers.worker FD '{"memory_mb": ..., "parent": pid,
        "rewards": {...}, "language_model": "", "sandbox": "bubblewrap", "test_limits": {...}}'

Loading SymPy takes most of a second and a fork a few milliseconds, so a worker may be killed at any
moment and is back at once. The nursery never runs a job, has one thread, and does three things on
the Unix socket FD (`ORDER`, `REPLY`):

  -> 0 once, when it is loaded
  <- FORK, seat and three files (jobs, replies, stderr)    -> the process id of a new worker
  <- BURY, process id                        -> kills and reaps it and its jails; its exit code

Only the nursery reaps, and only on order, so that a process id it gave never means another process.
A worker reads and writes messages: a length (4 bytes, big-endian) and JSON of that length.
  -> {"ready": true} once,  then <- {"job": {...}},  -> {"verdict": {...}}, one at a time.
A job that needs too much memory is answered {"memory": "..."} and one that trips over our own code
{"error": traceback}; after either the worker ends, since what it holds is unsure.
On Linux a nursery dies with the pool's process and workers with their nursery, even in the middle
of a job; elsewhere they end when their socket or pipe closes.
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
FORK, BURY = b'F', b'B'
_PR_SET_PDEATHSIG = 1


def pack(message) -> bytes:
  body = json.dumps(message).encode()
  return struct.pack('>I', len(body)) + body


def _read(stream):
  """The next message, None at the end of the stream."""
  head = stream.read(4)
  if len(head) < 4:
    return None
  body = stream.read(struct.unpack('>I', head)[0])
  return json.loads(body)


def _die_with(parent: int) -> None:
  """A worker deep in a computation does not see its pipe close; the kernel tells it."""
  if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:     # It died before the call above.
      os._exit(1)


def nursery(channel: socket.socket, settings: dict) -> None:
  """Serves orders until the channel closes."""
  _die_with(settings['parent'])
  from magistral_jax.verifiers import language, reward
  from magistral_jax.verifiers.math import symbolic
  from magistral_jax.verifiers.sandbox import supervise
  from magistral_jax.verifiers.sandbox.sandbox import Limits, Sandbox
  if sys.platform == 'linux':
    # A jail ties itself to its worker only milliseconds after it was started. If the worker dies
    # before that, the jail falls to this process, which ends it.
    supervise.adopt_orphans()
  symbolic.preload()
  # Made by each worker, at its first program: each takes a user id of its own.
  sandbox = functools.cache(
      lambda: Sandbox(Limits(**settings['test_limits']), mode=settings['sandbox']))
  means = settings['rewards'] | dict(sandbox=sandbox)
  if means['language']:
    means['identify'] = language.load(settings['language_model'])
  score = lambda job: reward.score(job, **means)
  # A collection in a worker would copy every page that it shares with the others.
  gc.collect()
  gc.freeze()
  channel.sendall(REPLY.pack(0))
  workers: set[int] = set()
  while True:
    order, files, _, _ = socket.recv_fds(channel, ORDER.size, 3)
    if len(order) < ORDER.size:
      return
    kind, number = ORDER.unpack(order)
    if kind == BURY:
      code = _bury(number)
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


def _bury(pid: int) -> int:
  """Kills a worker with all that it started; its exit code, minus the signal that ended it."""
  for kill in (os.kill, os.killpg):
    # It may have no group yet, or be dead (which macOS calls forbidden).
    with contextlib.suppress(ProcessLookupError, PermissionError):
      kill(pid, signal.SIGKILL)
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _end_orphans(workers: set[int]) -> None:
  """Kills what fell to this process from dead workers, until no more falls to it."""
  while strays := _children() - workers:
    for pid in strays:
      os.kill(pid, signal.SIGKILL)     # Its number is its own: nobody else reaps it.
      os.waitpid(pid, 0)


def _children() -> set[int]:
  if sys.platform != 'linux':
    return set()
  with open(f'/proc/self/task/{os.getpid()}/children') as children:
    return set(map(int, children.read().split()))


def _work(jobs: int, replies: int, stderr: int, settings: dict, score, parent: int) -> None:
  """The life of a worker; never returns."""
  code = 1
  try:
    os.setsid()
    _die_with(parent)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stderr, 1), (stderr, 2)):
      os.dup2(source, target)      # What libraries print is no reply.
    for file in (jobs, replies):
      os.set_inheritable(file, False)
    # Soft limits, so that a program that it starts can be given others.
    limit, (_, most) = settings['memory_mb'] << 20, resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _judge(os.fdopen(jobs, 'rb'), os.fdopen(replies, 'wb'), settings['memory_mb'], score)
    code = 0
  except BaseException:            # The end of this process: nothing above would tell of it.
    traceback.print_exc()
  finally:
    sys.stderr.flush()
    os._exit(code)


def _judge(jobs, replies, memory_mb: int, score) -> None:
  """Judges one job after the other until there are no more, or one of them breaks something."""
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
  nursery(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
