"""Hosts without a model: the roles of tests/fakes.py, in processes that Ray starts."""
import json
import os
import pathlib
import socket
import time

from magistral_jax.records import Verdict
from magistral_jax.weights.manifest import Manifest
from magistral_jax.weights.role import Taken
from tests import fakes


class TrainerHost:
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

  def stage(self, lineage, version):
    return Manifest(lineage, version, self._processes, ())

  def _files(self, folder):
    found = pathlib.Path(folder).glob('*.json') if os.path.isdir(folder) else []
    return sorted(found, key=lambda path: int(path.stem))

  def latest(self, folder, keep):
    files = self._files(folder)
    return int(files[-1].stem) if files else None

  def save(self, folder, keep, step, record, metric):
    if self._process == 0:
      os.makedirs(folder, exist_ok=True)
      half = pathlib.Path(folder) / f'{step}.half'
      half.write_text(json.dumps(record))
      half.rename(half.with_suffix('.json'))
    return True

  def restored(self, folder, keep, changed):
    newest = self._files(folder)[-1]
    self._version = int(newest.stem)
    return self._version, json.loads(newest.read_text())

  def wait(self, folder, keep):
    return 0

  def close(self, folder, keep):
    pass


class SamplerHost:
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
      self._sampler.submit(order.prompt, order.sampling, pinned=order.pinned)
    time.sleep(0.002)
    finished = self._sampler.step()
    self._sampler.finished.clear()
    return finished, dict(version=self._sampler.version, counts=dict(self._sampler.counts))

  def abandon(self):
    self._sampler.abandon()


class VerifierHost:
  """Judges one call later: half of each group is right."""

  def __init__(self, config):
    self._waiting = []

  def exchange(self, jobs, wait_s):
    judged, self._waiting = self._waiting, []
    for key, completion, _ in jobs:
      right = float(completion.sample % 2)
      self._waiting.append((key, Verdict('correct' if right else 'wrong', right, {}, 'x')))
    return judged, dict(queue_depth=len(self._waiting), restarts=0)


