"""Actors without a model: the roles of tests/fakes.py, for processes that Ray starts."""
import dataclasses
import json
import os
import pathlib
import socket
import threading
import time

import ray

from magistral_jax.records import Verdict
from magistral_jax.runtime.checkpoint_proxy import Reading
from magistral_jax.trainer.role import DivergedError
from magistral_jax.weights.manifest import Manifest
from magistral_jax.weights.role import Taken
from tests import fakes


class TrainerActor:
  """Counts the batches it was given; a checkpoint is that count and a record."""

  def __init__(self, config):
    self._c = json.loads(config)
    self._version = 0

  def address(self):
    return f'{socket.gethostname()}:0'

  def join(self, coordinator, processes, process, timeout_s):
    self._process, self._processes = process, processes

  def span(self):
    rows = self._c['trainer']['microbatch_rows'] // self._processes
    return rows * self._process, rows * (self._process + 1)

  def new(self, keep_weights, changed):
    self._version = 0
    return 0

  def train(self, share):
    time.sleep(0.01)
    self._version += 1
    rows = [len(rows) for rows in share.minibatches]
    return dict(tokens=float(sum(int(r.mask.sum()) for r in share.minibatches)), loss=0.0,
                rows=float(sum(rows)))

  def supervised(self, rows):
    time.sleep(0.01)
    self._version += 1
    return dict(loss=1.0)

  def stage(self, lineage, version):
    return Manifest(lineage, version, self._processes, ())

  def _files(self, folder):
    found = pathlib.Path(folder).glob('*.json') if os.path.isdir(folder) else []
    return sorted(found, key=lambda path: int(path.stem))

  def steps(self, folder, keep):
    return [int(path.stem) for path in self._files(folder)]

  def begin(self, folder, keep, version):
    new = self._process == 0 and version not in self.steps(folder, keep)
    return f'{version}.json' if new else None

  def write(self, folder, keep, name, record, metric):
    if self._process == 0:
      os.makedirs(folder, exist_ok=True)
      half = (pathlib.Path(folder) / name).with_suffix('.half')
      half.write_text(json.dumps(record))
      half.rename(half.with_suffix('.json'))
    return True

  def give_up(self, folder, keep):
    pass

  def await_score(self, folder, keep, version):
    pass

  def score(self, folder, keep, version, accuracy):
    return any(int(path.stem) == version for path in self._files(folder))

  def restored(self, folder, keep, step, changed):
    self._version = step
    return Reading(step, json.loads((pathlib.Path(folder) / f'{step}.json').read_text()))

  def set_aside(self, folder, keep, steps):
    assert not steps

  def wait(self, folder, keep):
    return 0

  def close(self, folder, keep):
    pass


class SamplerActor:
  """A fake sampler whose weights are a version."""

  def __init__(self, config):
    self._sampler = fakes.FakeSampler(slots=json.loads(config)['sampler']['slots'])
    self._lineage = -1

  def take(self, manifest, lenders):
    assert manifest.holders == len(lenders)
    assert manifest.lineage >= self._lineage, 'older weights than before'
    self._lineage = manifest.lineage
    self._sampler.offer(fakes.WeightSnapshot(manifest.version, None, manifest.lineage))
    return Taken('host', dict(weights=1, weights_bytes=8, weights_s=0.001))

  def serve(self, orders):
    for order in orders:
      if order.prompt.problem.text == 'poison':
        os._exit(1)
      if order.prompt.problem.text == 'hang':
        time.sleep(10_000)
      self._sampler.submit(order.prompt, order.sampling)
    time.sleep(0.002)
    finished = self._sampler.step()
    self._sampler.finished.clear()
    return finished, dict(version=self._sampler.version, counts=dict(self._sampler.counts),
                          short_of_pages=False)

  def abandon(self):
    self._sampler.abandon()


class VerifierActor:
  """Judges one call later: half of each group is right."""

  def __init__(self, config):
    self._waiting = []

  def exchange(self, jobs, wait_s):
    judged, self._waiting = self._waiting, []
    for key, completion, _ in jobs:
      right = float(completion.sample % 2)
      self._waiting.append((key, Verdict('correct' if right else 'wrong', right, {}, 'x')))
    return judged, dict(queue_depth=len(self._waiting), restarts=0)


# Roles with faults of their own; `Roles` says which take part.


class FaultyTrainer(TrainerActor):
  """Dies once in the cold start, between two of its checkpoints, when a checkpoint is there."""

  _folder = None

  def supervised(self, rows):
    died = self._folder and pathlib.Path(self._folder).parent / 'died'
    if died and self._version == 7 and not died.exists():
      died.touch()
      os._exit(1)
    return super().supervised(rows)

  def begin(self, folder, *args):
    self._folder = folder
    return super().begin(folder, *args)


class MortalTrainer(TrainerActor):
  """Dies wherever another role waits for it, once in each life: before its first weights have
  been fetched, at the first checkpoint, again before weights have been fetched, in an update, and
  at the last checkpoint, of update 6."""

  def stage(self, lineage, version):
    self._life = lineage
    if (lineage, version) in UNFETCHED:
      threading.Timer(0.3, os._exit, (1,)).start()
    return super().stage(lineage, version)

  def begin(self, *args):
    self._die_if(self._version, {1: 0, 4: 6})
    return super().begin(*args)

  def train(self, share):
    self._die_if(self._version, {3: 4})
    return super().train(share)

  def _die_if(self, moment, deadly):
    if deadly.get(self._life) == moment:
      os._exit(1)


# (lineage, version) of weights that their trainer takes with it.
UNFETCHED = {(0, -1), (2, 2)}


class DivergingTrainer(TrainerActor):
  """Its gradients are not finite from the third update on."""

  def train(self, share):
    if self._version == 2:
      raise DivergedError('3 steps in a row had gradients that are not finite')
    return super().train(share)


class DyingTrainer(TrainerActor):
  """Dies in every update."""

  def train(self, share):
    raise ArithmeticError('the chip is on fire')


class HangingTrainer(TrainerActor):
  """Answers pings, and never ends an update."""

  def train(self, share):
    time.sleep(10_000)


class FetchingSampler(SamplerActor):
  """Gets its weights from the trainer, which may be dead by then."""

  def take(self, manifest, lenders):
    end = time.monotonic() + 60.0
    try:
      ray.get([lender.ping.remote() for lender in lenders], timeout=60.0)
      while (manifest.lineage, manifest.version) in UNFETCHED and time.monotonic() < end:
        ray.get([lender.ping.remote() for lender in lenders], timeout=60.0)
    except ray.exceptions.RayActorError:
      return Taken('', {}, 'the trainer is gone')
    return super().take(manifest, lenders)


class IdleSampler(SamplerActor):
  """Answers, and never finishes anything."""

  def serve(self, orders):
    time.sleep(0.01)
    return [], dict(version=0, counts={}, short_of_pages=False)


class LateSampler(SamplerActor):
  """Answers late twice: its network was slow."""
  late = 2

  def serve(self, orders):
    if self.late:
      self.late -= 1
      time.sleep(3.0)
    return super().serve(orders)


class IdleVerifier(VerifierActor):
  """Takes everything, and never judges."""

  def exchange(self, jobs, wait_s):
    time.sleep(0.01)
    return [], dict(queue_depth=0)


class FragileVerifier(VerifierActor):
  """Dies of one completion, whenever it gets it."""

  def exchange(self, jobs, wait_s):
    if any((c.ordinal, c.sample) == (5, 1) for _, c, _ in jobs):
      os._exit(1)
    return super().exchange(jobs, wait_s)


class DyingVerifier(VerifierActor):
  """Dies of every completion."""

  def exchange(self, jobs, wait_s):
    if jobs:
      raise OSError('no memory left')
    return [], {}


def stuck(config, times, folder):
  """A SamplerActor, after so many starts in which the constructor never returns."""
  starts = len(list(pathlib.Path(folder).iterdir()))
  (pathlib.Path(folder) / str(starts)).touch()
  if starts < times:
    time.sleep(10_000)
  return SamplerActor(config)


@dataclasses.dataclass(frozen=True)
class Roles:
  """Stands for this module where some role is another."""
  TrainerActor: type = TrainerActor
  SamplerActor: type = SamplerActor
  VerifierActor: type = VerifierActor
