"""Peers in one process tree: every implementation in a process of its own, measured in turns.

A worker is the benchmark's own script, started with `--worker=NAME` under the interpreter that has
the implementation installed. It sets itself up once and then waits on its standard input, using no
CPU, so thread pools never meet. Imports nothing outside the standard library: peers' interpreters
need nothing of ours.

    parent   ask ours | ask transformers | ask ours | ask transformers ...
    worker   {"seed": 1}  ->  {"tokens": 4096, "seconds": 30.1, "cpu_seconds": 51.8}
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import shown


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
      reply = timed(lambda: call(**message))
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
  shown.add_flag(parser)
  args = parser.parse_args()
  if not (args.worker or args.checkpoint):
    parser.error('--checkpoint is missing: name a GGUF file or a Hugging Face folder.')
  return args


def present(python: str, modules: str) -> bool:
  """Whether an interpreter can import `modules`, separated by commas."""
  return subprocess.run([python, '-c', f'import {modules}'], capture_output=True).returncode == 0


def take_turns(workers: list[Worker], repeats: int, warmup: int) -> dict[str, list[dict]]:
  """`repeats` replies of each worker after `warmup` that do not count, asked one after another.

  Every other round is in reverse order, so that a machine that slows down favours no worker.
  """
  replies = {worker.name: [] for worker in workers}
  for seed in range(warmup + repeats):
    for worker in workers[::-1] if seed % 2 else workers:
      reply = worker.ask(seed=seed)
      print(f'{worker.name} {seed}: {reply}', file=sys.stderr)
      replies[worker.name].append(reply)
  return {name: found[warmup:] for name, found in replies.items()}


def timed(work) -> dict:
  """What `work()` returns, with its wall seconds and the CPU seconds of all threads.

  On a machine that others use too, CPU seconds are the steadier of the two.
  """
  began, cpu = time.monotonic(), time.process_time()
  found = work()
  return dict(found, seconds=time.monotonic() - began, cpu_seconds=time.process_time() - cpu)


def cpu_seconds(replies: dict[str, list[dict]]) -> dict[str, float]:
  """Median CPU seconds of a repeat."""
  return medians({name: [run['cpu_seconds'] for run in runs] for name, runs in replies.items()})


def speeds(replies: dict[str, list[dict]]) -> dict[str, list[float]]:
  """Tokens per second of every repeat."""
  return {name: [reply['tokens'] / reply['seconds'] for reply in runs]
          for name, runs in replies.items()}


def repeated_ratios(values: dict[str, list[float]], peers) -> dict[str, list[float]]:
  """{'ours/peer': how many times as fast ours is in each repeat}."""
  found = {}
  for ours in [name for name in values if name not in peers]:
    for peer in [name for name in values if name in peers]:
      each = [a / b for a, b in zip(values[ours], values[peer], strict=True)]
      found[f'{ours}/{peer}'] = [round(ratio, 3) for ratio in each]
  return found


def medians(values: dict[str, list[float]]) -> dict[str, float]:
  return {name: round(statistics.median(each), 1) for name, each in values.items()}


def report(benchmark: str, args: argparse.Namespace, defaults, peers, about: dict[str, dict],
           replies: dict[str, list[dict]], **own) -> dict:
  """What a benchmark found: its settings, the machine, `own` figures, speeds, ratios.

  Args:
    defaults: names of the settings on the command line.
    peers: names of all contestants that are not ours; those that did not run are told.
    about: what each contestant said of itself.
  """
  found = speeds(replies)
  each = repeated_ratios(found, peers)
  return dict(
      benchmark=benchmark, checkpoint=pathlib.Path(args.checkpoint).name,
      **{name: getattr(args, name) for name in defaults}, **machine(), about=about,
      missing=[name for name in peers if name not in about], **own,
      tokens_per_s=medians(found), cpu_seconds=cpu_seconds(replies),
      ratios={pair: round(statistics.median(ratios), 3) for pair, ratios in each.items()},
      ratios_of_repeats=each)


def machine() -> dict:
  """What else the figures depend on."""
  return dict(cpus=os.cpu_count(), load_1min=round(os.getloadavg()[0], 2))
