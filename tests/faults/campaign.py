"""Faults at random moments of a run on a cluster: kills, freezes, delays, cuts of every role.

    python tests/faults/campaign.py --faults=50 --seed=0 [--network] [--transport=device]

Trains the quickstart with every role in a process of its own, and strikes one process after
another, first in the evaluations and the cold start before the loop, then in the loop, at last in
the final evaluation: SIGKILL; SIGSTOP for good, which the watchdog must notice; SIGSTOP for a
while, which must not count as a death; SIGSTOP most of the time, which makes the process slow; with
--network, its network cut for longer than the watchdog allows, and for less. Afterwards each
ordinal must have been trained once or be accounted for, accuracy must have been reached, and no
process may be left.
Prints what was struck, what came of it and what it cost, and one JSON object. --roles=fake puts
fakes without a model behind the loop. Exit status 1 if anything does not hold.
"""

import argparse
import collections
import contextlib
import copy
import json
import os
import pathlib
import random
import signal
import statistics
import sys
import tempfile
import threading
import time

import jax
import psutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from magistral_jax import rollouts  # noqa: E402
from magistral_jax.experiment import checks, cli, values  # noqa: E402
from magistral_jax.orchestration import run as runs  # noqa: E402
from magistral_jax.orchestration.display import Display  # noqa: E402
from magistral_jax.orchestration.health import Health  # noqa: E402
from magistral_jax.runtime import actors, launch, ray_cluster  # noqa: E402
from tests.faults import network  # noqa: E402

KINDS = ('kill', 'freeze', 'delay', 'slow')
NETWORK = ('cut', 'flicker')
DEADLY = ('kill', 'freeze', 'cut')
BEFORE = ('evaluation: start', 'cold start', 'cold start', 'evaluation: cold_start')
AFTER = ('evaluation: final',)
OVERRIDES = {
    'batching.patience_batches': 10_000, 'evaluation.every': 20, 'checkpoints.every': 5,
    # Beyond the last update of the quickstart, where its rate is 0, there may be faults to come.
    'optimizer.final_learning_rate': 1e-4,
    'mesh.trainer.fsdp': 4, 'runtime.mode': 'ray', 'runtime.trainers': 2, 'runtime.samplers': 2,
    'runtime.verifiers': 2, 'runtime.heartbeat_s': 8.0, 'runtime.restarts': 5}
FAKE = {
    'total_steps': 1, 'cold_start.steps': 0, 'data.max_prompt_tokens': 8,
    'data.arithmetic.max_terms': 2, 'model.layers': 1, 'trainer.unroll': 1,
    'sampler.max_new_tokens': 32, 'batching.prompts_per_batch': 8, 'batching.row_tokens': 128,
    'evaluation.max_new_tokens': 32, 'checkpoints.every': 3}


class Striker(threading.Thread):
  """Strikes a process, waits until the run has recovered, and strikes the next."""

  def __init__(self, run, runtime, health, *, faults: int, seed: int, kinds, phases,
               heartbeat_s: float, most_s: float):
    super().__init__(name='striker', daemon=True)
    self._run, self._runtime, self._health = run, runtime, health
    self._faults, self._rng, self._kinds = faults, random.Random(seed), kinds
    self._before, self._after = phases
    self._heartbeat_s, self._most_s = heartbeat_s, most_s
    self.struck: list[dict] = []
    self.failure: str | None = None
    self.processes: set[psutil.Process] = set()

  def run(self) -> None:
    for phase in self._before:
      self._await(phase)
      self._fault(0.0, 0.5)
    self._await('reinforcement learning')
    while len(self.struck) < self._faults - len(self._after) and not self.failure:
      usual_s = self._recovered()
      if usual_s is None:
        self.failure = f'not recovered within {self._most_s:.0f} s of {self.struck[-1:]}'
        break
      # An update takes its time without a fault too.
      self._fault(usual_s, 1.5)
    # The run ends after its current update, and holds its final evaluation.
    self._health.enough.set()
    for phase in self._after:
      self._await(phase)
      self._fault(0.0, 0.5)

  def _await(self, phase: str) -> None:
    """Returns when the run has come to this phase, or is over."""
    while phase not in self._run.display.phases and not self._over():
      time.sleep(0.05)

  def _over(self) -> bool:
    return bool(self.failure or self._health.stopping.is_set() or self._run.over.is_set())

  def _fault(self, usual_s: float, pause_s: float) -> None:
    """Strikes one process after a pause of at most so long; waits until the run has recovered."""
    time.sleep(self._rng.uniform(0, pause_s))
    kind = self._kinds[len(self.struck) % len(self._kinds)]
    handle = self._rng.choice([h for h in self._runtime.handles if h.where] or [None])
    if handle is None or self._over():
      return
    lost = handle.lost
    strike = dict(role=handle.name, kind=kind, at=self._run.display.position())
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
      self._strike(handle.where['pid'], kind)
    recovered_s = self._recovered(until=lambda: kind not in DEADLY or handle.lost > lost)
    strike |= dict(seconds=time.monotonic() - began, restarted=handle.lost > lost)
    if recovered_s is None:
      self.failure = f'not recovered within {self._most_s:.0f} s of {strike}'
    strike['lost_s'] = max(0.0, strike['seconds'] - usual_s)
    self.struck.append(strike)
    print(describe(strike), flush=True)

  def _strike(self, pid: int, kind: str) -> None:
    a_while = self._rng.uniform(0.5, 3.0)
    if kind == 'kill':
      os.kill(pid, signal.SIGKILL)
    elif kind == 'freeze':
      os.kill(pid, signal.SIGSTOP)
    elif kind == 'delay':
      stopped(pid, a_while)
    elif kind == 'slow':
      for _ in range(40):
        stopped(pid, 0.2)
        time.sleep(0.05)
    else:
      cut = network.Cut(pid)
      try:
        # Longer than the watchdog allows: it comes back after others have replaced it.
        time.sleep(a_while + (1.5 * self._heartbeat_s if kind == 'cut' else 0))
      finally:
        cut.heal()

  def _recovered(self, until=lambda: True) -> float | None:
    """Seconds until every role lives and the run has made one step; None if it takes too long.

    One step, so that 50 faults fit into the updates in which there is something to learn: where
    nearly all is solved an update takes minutes.
    """
    began, first = time.monotonic(), self._run.display.reached
    while time.monotonic() - began < self._most_s and not self._health.stopping.is_set():
      for pid in {h.where.get('pid') for h in self._runtime.handles} - {None}:
        with contextlib.suppress(psutil.NoSuchProcess):
          self.processes.add(psutil.Process(pid))   # Not equal to a later process of that id.
      if self._run.over.is_set() or (self._run.display.reached > first and until()
                                     and all(h.where for h in self._runtime.handles)):
        return time.monotonic() - began
      time.sleep(0.05)
    return None


class Watched(Display):
  """A display that shows nothing and counts the steps of the run."""

  def __init__(self, total_steps: int):
    self.phases: list[str] = []
    self.reached = 0
    super().__init__(total_steps, False)

  def phase(self, name: str, total_steps: int, **how) -> None:
    super().phase(name, total_steps, **how)
    self._best = 0
    self.phases.append(name)

  def update(self, figures) -> None:
    super().update(figures)
    # Of an evaluation, the number of answers. Steps that are made again after a loss do not count.
    done = figures.get('step') or 0
    if done > self._best:
      self._best, self.reached = done, self.reached + 1

  def position(self) -> str:
    """Where the run is: 'cold start 12'."""
    return f'{self.phases[-1]} {self._best}'


def stopped(pid: int, seconds: float) -> None:
  """Stops a process for a while."""
  os.kill(pid, signal.SIGSTOP)
  time.sleep(seconds)
  os.kill(pid, signal.SIGCONT)


def describe(strike: dict) -> str:
  return (f'{strike["role"]:12} {strike["kind"]:7} at {strike["at"]:26}: recovered '
          f'after {strike["seconds"]:5.1f} s, {strike["lost_s"]:5.1f} s of them lost'
          f'{", restarted" if strike["restarted"] else ""}')


class Enough(Health):
  """Health that can also end the run as a success, at an update after the last fault."""

  def __init__(self, deadline_s):
    super().__init__(deadline_s)
    self.enough = threading.Event()


class Run(runs.Run):
  """A run that ends when there have been enough faults and updates."""

  def _loop(self):
    loop = super()._loop()
    update = loop.update
    def update_and_look(batch):
      update(batch)
      if self.health.enough.is_set() and self.trainer.version >= self.least_steps:
        loop.exhaustion.patience = 0     # The loop ends as it does when all problems are solved.
    loop.update = update_and_look
    return loop


def campaign(workdir: pathlib.Path, *, faults: int, seed: int, roles, overrides: dict,
             most_s: float, kinds=KINDS, phases=((), ())) -> dict:
  """Holds a campaign; returns the faults and what was found after them."""
  c = cli.load_config(str(ROOT / 'configs' / 'quickstart.py'))
  values.change(c, overrides)
  least_steps, horizon = c.total_steps, copy.deepcopy(c)
  c.total_steps = 100_000
  health = Enough(c.runtime.deadline_s)
  began = time.monotonic()
  # The learning rate falls over as many updates as in the quickstart.
  with ray_cluster.ClusterRuntime(horizon, workdir, roles=roles) as runtime:
    run = Run(c, workdir, checks.prepare(c), runtime, runtime.verifier(), health,
              Watched(c.total_steps))
    run.least_steps, run.over = least_steps, threading.Event()
    striker = Striker(run, runtime, health, faults=faults, seed=seed, kinds=kinds,
                      phases=phases, heartbeat_s=c.runtime.heartbeat_s, most_s=most_s)
    striker.start()
    guard = jax.config.jax_transfer_guard
    try:
      run.train()
    finally:
      # A run sets it for its whole process, which here may have other things to do.
      jax.config.update('jax_transfer_guard', guard)
      health.enough.set()
      run.over.set()
      run.close()
    striker.join(most_s)
  summary = json.loads((workdir / 'summary.json').read_text())
  return dict(
      seconds=time.monotonic() - began, struck=striker.struck, failure=striker.failure,
      left_behind=left_behind(striker.processes), accounts=accounts(workdir, run.trainer.version),
      accuracy_cold_start=summary['accuracy_cold_start'],
      accuracy_final=summary['accuracy_final'], steps=summary['steps'],
      groups_failed=summary['groups_failed'])


def left_behind(processes, patience_s: float = 30.0) -> list[int]:
  """Ids of the processes that still run some time after the end."""
  _, alive = psutil.wait_procs(processes, timeout=patience_s)
  return sorted(process.pid for process in alive)


def accounts(workdir: pathlib.Path, steps: int) -> list[str]:
  """Faults in the run's files: completions that stand twice, updates that lack some."""
  lines = list(rollouts.read(workdir))
  twice = [key for key, n in collections.Counter(
      (line['ordinal'], line['sample']) for line in lines).items() if n > 1]
  trained = collections.Counter(line['step'] for line in lines if line['fate'] == 'trained')
  sizes = set(trained.values())
  wrong = [f'completion {key} stands twice' for key in twice[:5]]
  if sorted(trained) != list(range(1, steps + 1)) or len(sizes) > 1:
    wrong.append(f'{len(trained)} of {steps} updates have completions, of {sizes} each')
  fates = collections.defaultdict(set)
  for line in lines:
    fates[line['ordinal']].add(line['fate'])
  wrong += [f'prompt {o} has fates {f}' for o, f in fates.items() if len(f) > 1][:5]
  return wrong


def verdict(found: dict, least_accuracy: float) -> list[str]:
  """Everything that does not hold, one sentence each."""
  wrong = list(found['accounts'])
  if found['failure']:
    wrong.append(found['failure'])
  if found['left_behind']:
    wrong.append(f'processes {found["left_behind"]} are left behind')
  if found['accuracy_final'] < least_accuracy:
    wrong.append(f'accuracy {found["accuracy_final"]:.3f} is below {least_accuracy}')
  return wrong


def summarise(struck: list[dict]) -> None:
  """Prints the time lost for each kind of fault and each kind of role."""
  lost = collections.defaultdict(list)
  for strike in struck:
    lost[strike['kind'], strike['role'].split('-')[0]].append(strike['lost_s'])
  print('fault    role      times   lost: median     most')
  for (kind, role), seconds in sorted(lost.items()):
    print(f'{kind:8} {role:9} {len(seconds):5} {statistics.median(seconds):12.1f} s '
          f'{max(seconds):6.1f} s')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--faults', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--roles', choices=('real', 'fake'), default='real')
  parser.add_argument('--least_accuracy', type=float, default=0.9)
  parser.add_argument('--most_s', type=float, default=300.0, help='for one recovery')
  parser.add_argument('--transport', choices=('host', 'device'), default='host')
  parser.add_argument('--network', action='store_true', help='cut it too; needs root')
  args = parser.parse_args()
  if args.network:
    network.enter()
  roles, phases = actors, (BEFORE, AFTER)
  overrides = OVERRIDES | {'runtime.transport': args.transport}
  if args.roles == 'fake':
    from tests.runtime import fake_actors as roles
    overrides, phases, args.least_accuracy = overrides | FAKE, ((), ()), 0.0
  with tempfile.TemporaryDirectory() as workdir:
    launch.keep_compiled(pathlib.Path(workdir))
    found = campaign(pathlib.Path(workdir), faults=args.faults, seed=args.seed, roles=roles,
                     overrides=overrides, most_s=args.most_s,
                     kinds=KINDS + NETWORK * args.network, phases=phases)
  summarise(found['struck'])
  wrong = verdict(found, args.least_accuracy)
  print(json.dumps(found | dict(wrong=wrong)))
  sys.exit(bool(wrong))


if __name__ == '__main__':
  main()
