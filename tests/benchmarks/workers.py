"""Peers in one process tree: every implementation in a process of its own, measured in turns.

A worker is the benchmark's own script, started with `--worker=NAME` under the interpreter that has
the implementation installed. It sets itself up once and then waits on its standard input, using no
CPU, so thread pools never meet. Imports nothing outside the standard library: peers' interpreters
need nothing of ours.

    parent   ask ours | ask transformers | ask ours | ask transformers ...
    worker   {"new_tokens": 128, "seed": 1}  ->  {"tokens": 4096, "seconds": 30.1}
"""

import argparse
import json
import os
import statistics
import subprocess
import sys


class Worker:
  """One implementation in a process of its own; `about` is what it says of itself."""

  def __init__(self, script: str, name: str, python: str, settings: dict):
    self.name = name
    self._process = subprocess.Popen(
        [python, script, f'--worker={name}'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True)
    self.about = self.ask(**settings)

  def ask(self, **message) -> dict:
    """Sends a message and waits for the reply."""
    self._process.stdin.write(json.dumps(message) + '\n')
    self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(f'The worker {self.name} ended with status {self._process.wait()}; what '
                         f'it said stands above.')
    return json.loads(line)

  def close(self) -> None:
    """Ends the process: it has nothing more to read."""
    self._process.stdin.close()
    self._process.wait()


def serve(set_up) -> None:
  """Runs a worker: the first message is `set_up`'s arguments, every later one a call.

  Args:
    set_up: (**settings) -> (dict about the implementation, callable of keyword arguments -> dict).
  """
  # Libraries print; only replies may reach the parent.
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  call = None
  for line in sys.stdin:
    message = json.loads(line)
    if call is None:
      reply, call = set_up(**message)
    else:
      reply = call(**message)
    replies.write(json.dumps(reply) + '\n')
    replies.flush()


def arguments(doc: str, peers: dict[str, str], **defaults) -> argparse.Namespace:
  """Command line with an integer for each of `defaults` and an interpreter for each peer."""
  parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--checkpoint', help='GGUF file or Hugging Face folder')
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  for name in peers:
    parser.add_argument(f'--{name}_python', default=sys.executable,
                        help='interpreter that has it; this one if not given')
  for name, value in defaults.items():
    parser.add_argument(f'--{name}', type=int, default=value, help=f'default {value}')
  args = parser.parse_args()
  if not (args.worker or args.checkpoint):
    parser.error('--checkpoint is missing: name a GGUF file or a Hugging Face folder.')
  return args


def present(python: str, modules: str) -> bool:
  """Whether an interpreter can import `modules`, separated by commas."""
  return subprocess.run([python, '-c', f'import {modules}'], capture_output=True).returncode == 0


def take_turns(workers: list[Worker], repeats: int, **message) -> dict[str, list[dict]]:
  """`repeats` replies of each worker, asked one after another; the first round is not counted."""
  replies = {worker.name: [] for worker in workers}
  for seed in range(repeats + 1):
    for worker in workers:
      reply = worker.ask(seed=seed, **message)
      print(f'{worker.name} {seed}: {reply}', file=sys.stderr)
      if seed:
        replies[worker.name].append(reply)
  return replies


def speeds(replies: dict[str, list[dict]]) -> dict[str, list[float]]:
  """Tokens per second of every repeat."""
  return {name: [reply['tokens'] / reply['seconds'] for reply in runs]
          for name, runs in replies.items()}


def ratios(values: dict[str, list[float]], ours: str) -> dict[str, dict]:
  """How many times as fast as each other one `ours` is: of each repeat, and their median."""
  found = {}
  for name, others in values.items():
    if name != ours:
      each = [a / b for a, b in zip(values[ours], others, strict=True)]
      found[f'{ours}/{name}'] = dict(median=round(statistics.median(each), 3),
                                     repeats=[round(r, 3) for r in each])
  return found


def medians(values: dict[str, list[float]]) -> dict[str, float]:
  return {name: round(statistics.median(each), 1) for name, each in values.items()}


def machine() -> dict:
  """What else the figures depend on."""
  return dict(cpus=os.cpu_count(), load_1min=round(os.getloadavg()[0], 2))
