"""The child process that judges answers: one job at a time, and it may be killed at any of them.

    python -m magistral_jax.verifiers.worker '{"memory_mb": ..., "parent": pid, "rewards": {...}}'

Messages on stdin and stdout are a length (4 bytes, big-endian) and JSON of that length:
  -> {"ready": true} once,  then <- {"job": {...}},  -> {"verdict": {...}}, one at a time.
A job that needs too much memory is answered {"memory": "..."} and one that trips over our own code
{"error": traceback}; after either the process ends, since what it holds is unsure.
It ends when stdin closes, and on Linux when its parent dies, even in the middle of a job.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback

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
  """A worker deep in a computation does not see its stdin close; the kernel tells it."""
  if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:     # It died before the call above.
      os._exit(1)


def _own_stdout():
  """The pipe to the parent; whatever libraries print goes to stderr instead."""
  stream = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)
  return stream


def main(settings: dict) -> None:
  replies = _own_stdout()
  _die_with(settings['parent'])
  from magistral_jax.verifiers import reward, symbolic
  symbolic.preload()
  limit = settings['memory_mb'] << 20
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  send = lambda message: (replies.write(pack(message)), replies.flush())
  send({'ready': True})
  while True:
    try:
      if (message := _read(sys.stdin.buffer)) is None:
        return
      began = time.perf_counter()
      verdict = reward.score(message['job'], **settings['rewards'])
    except MemoryError:
      send({'memory': f'more than {settings["memory_mb"]} MB'})
      return
    except Exception:
      send({'error': traceback.format_exc()[-2000:]})
      return
    seconds = time.perf_counter() - began
    send({'verdict': dataclasses.asdict(verdict) | {'seconds': seconds}})


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))
