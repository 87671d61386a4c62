"""Faults at random moments of a run on a cluster: kills, freezes and delays of every role.

    python tests/faults/campaign.py --faults=50 --seed=0

Trains the quickstart's model, smaller, with every role in a process of its own, and strikes one
process after another: SIGKILL; SIGSTOP for good, which the watch must notice; SIGSTOP for a while,
which nobody may take for a death. Afterwards each ordinal must have been trained once or be
accounted for, accuracy must have been reached, and no process may be left. Prints what was struck,
what came of it and what it cost, and one JSON object. --roles=fake has no model behind it, for the
wires alone. Exit status 1 if anything does not hold.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

import jax
import psutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from magistral_jax import check, cluster, entry, hosts, train  # noqa: E402
from magistral_jax.orchestration.display import Display  # noqa: E402
from magistral_jax.orchestration.health import Health  # noqa: E402

KINDS = ('kill', 'freeze', 'delay')
OVERRIDES = {
    'total_steps': 10_000, 'data.max_prompt_tokens': 8, 'data.arithmetic.max_terms': 2,
    'model.layers': 2, 'model.dim': 96, 'model.heads': 3, 'model.kv_heads': 1, 'trainer.unroll': 1,
    'model.ffn_dim': 256, 'cold_start.steps': 200, 'cold_start.examples': 4096,
    'sampler.slots': 64, 'sampler.max_new_tokens': 32, 'batching.prompts_per_batch': 8,
    'batching.row_tokens': 64, 'batching.patience_batches': 10_000, 'evaluation.every': 0,
    'evaluation.problems': 64, 'evaluation.max_new_tokens': 32, 'checkpoints.every': 5,
    'mesh.trainer.fsdp': 4, 'runtime.mode': 'ray', 'runtime.trainers': 2, 'runtime.samplers': 2,
    'runtime.verifier_hosts': 2, 'runtime.heartbeat_s': 8.0, 'runtime.restarts': 5}
FAKE = {'cold_start.steps': 0, 'model.layers': 1, 'checkpoints.every': 3,
        'batching.row_tokens': 128}


class Striker(threading.Thread):
  """Strikes a process, waits until the run is well again, and strikes the next."""

  def __init__(self, run, place, health, *, faults: int, seed: int, most_s: float):
    super().__init__(name='striker', daemon=True)
    self._run, self._place, self._health = run, place, health
    self._faults, self._rng, self._most_s = faults, random.Random(seed), most_s
    self.struck: list[dict] = []
    self.failure: str | None = None
    self.pids: set[int] = set()

  def run(self) -> None:
    for number in range(self._faults):
      kind = KINDS[number % len(KINDS)]
      if not self._well():
        self.failure = f'not well again within {self._most_s:.0f} s of {self.struck[-1:]}'
        break
      time.sleep(self._rng.uniform(0, 1.5))
      handle = self._rng.choice(self._place.handles)
      pid, lost = handle.where.get('pid'), handle.lost
      if pid is None:
        continue
      began, step = time.monotonic(), self._run.trainer.version
      self._strike(pid, kind)
      well = self._well()
      self.struck.append(dict(
          role=handle.name, kind=kind, at_step=step, seconds=time.monotonic() - began,
          restarted=handle.lost > lost))
      if not well:
        self.failure = f'not well again within {self._most_s:.0f} s of {self.struck[-1]}'
        break
    # No more updates than the run has made: it ends, and holds its last exam.
    self._health.enough.set()

  def _strike(self, pid: int, kind: str) -> None:
    try:
      os.kill(pid, signal.SIGKILL if kind == 'kill' else signal.SIGSTOP)
      if kind == 'delay':
        time.sleep(self._rng.uniform(0.5, 3.0))
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
      pass                    # It went down with the trainer's other process.

  def _well(self) -> bool:
    """Waits until every role lives and two more updates have been made."""
    until, version, seen = time.monotonic() + self._most_s, None, 0
    while time.monotonic() < until and not self._health.stopping.is_set():
      self.pids |= {h.where.get('pid') for h in self._place.handles} - {None}
      now = getattr(getattr(self._run, 'trainer', None), 'version', None)
      if now is not None and now != version:
        version, seen = now, seen + 1
      if seen > 2 and all(h.where for h in self._place.handles):
        return True
      time.sleep(0.05)
    return False


class Enough(Health):
  """Health that can also end the run well, at the next update."""

  def __init__(self, deadline_s):
    super().__init__(deadline_s)
    self.enough = threading.Event()


class Run(train.Run):
  """A run that ends when there have been faults enough."""

  def _loop(self):
    loop = super()._loop()
    update = loop.update
    def update_and_look(batch):
      update(batch)
      if self.health.enough.is_set():
        loop.patience = 0     # Nothing left to learn: the loop ends as it ends when all is solved.
    loop.update = update_and_look
    return loop


def campaign(workdir: pathlib.Path, *, faults: int, seed: int, roles, overrides: dict,
             most_s: float) -> dict:
  """Runs it; returns what was struck and what holds."""
  c = entry.load_config(str(ROOT / 'configs' / 'quickstart.py'))
  c.update_from_flattened_dict(overrides)
  health = Enough(c.runtime.deadline_s)
  began = time.monotonic()
  with cluster.Cluster(c, workdir, roles=roles) as place:
    run = Run(c, workdir, Display(c.total_steps, False), health, check.prepare(c),
              place.verifier(), place)
    striker = Striker(run, place, health, faults=faults, seed=seed, most_s=most_s)
    striker.start()
    guard = jax.config.jax_transfer_guard
    try:
      run.train()
    finally:
      # A run sets it for its whole process, which here may have other things to do.
      jax.config.update('jax_transfer_guard', guard)
      health.enough.set()
      run.close()
    striker.join(most_s)
  summary = json.loads((workdir / 'summary.json').read_text())
  return dict(
      seconds=time.monotonic() - began, struck=striker.struck, failure=striker.failure,
      left_behind=left_behind(striker.pids), accounts=accounts(workdir, run.trainer.version),
      accuracy_cold_start=summary['accuracy_cold_start'],
      accuracy_final=summary['accuracy_final'], steps=summary['steps'],
      groups_failed=summary['groups_failed'])


def left_behind(pids: set[int], patience_s: float = 30.0) -> list[int]:
  """Which of the processes still run some time after the end."""
  until = time.monotonic() + patience_s
  def alive(pid):
    try:
      return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
      return False
  while time.monotonic() < until and any(map(alive, pids)):
    time.sleep(0.2)
  return sorted(pid for pid in pids if alive(pid))


def accounts(workdir: pathlib.Path, steps: int) -> list[str]:
  """What is wrong with the books: completions that stand twice, updates that lack some."""
  lines = [json.loads(line) for line in (workdir / 'rollouts.jsonl').read_text().splitlines()]
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
  """What does not hold."""
  wrong = list(found['accounts'])
  if found['failure']:
    wrong.append(found['failure'])
  if found['left_behind']:
    wrong.append(f'processes {found["left_behind"]} are left behind')
  if found['accuracy_final'] < least_accuracy:
    wrong.append(f'accuracy {found["accuracy_final"]:.3f} is below {least_accuracy}')
  return wrong


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--faults', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--roles', choices=('real', 'fake'), default='real')
  parser.add_argument('--least_accuracy', type=float, default=0.8)
  parser.add_argument('--most_s', type=float, default=300.0, help='for one recovery')
  args = parser.parse_args()
  roles, overrides = hosts, OVERRIDES
  if args.roles == 'fake':
    from tests.orchestration import fake_hosts as roles
    overrides, args.least_accuracy = OVERRIDES | FAKE, 0.0
  with tempfile.TemporaryDirectory() as workdir:
    found = campaign(pathlib.Path(workdir), faults=args.faults, seed=args.seed, roles=roles,
                     overrides=overrides, most_s=args.most_s)
  for strike in found['struck']:
    print(f'{strike["role"]:12} {strike["kind"]:7} at update {strike["at_step"]:4}: well again '
          f'after {strike["seconds"]:5.1f} s{", restarted" if strike["restarted"] else ""}')
  wrong = verdict(found, args.least_accuracy)
  print(json.dumps(found | dict(wrong=wrong)))
  sys.exit(bool(wrong))


if __name__ == '__main__':
  main()
