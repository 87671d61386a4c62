"""What orchestration/roles.py promises, kept by the local, the remote and the fake of each role.

The remote ones are the real proxies; the actors behind them are fakes in this process.
"""
import contextlib
import inspect

import numpy as np
import pytest

from magistral_jax.batching.batch import make_batch
from magistral_jax.batching.groups import make_group
from magistral_jax.experiment import checks
from magistral_jax.orchestration import roles
from magistral_jax.orchestration.roles import Lost, RoleStatus
from magistral_jax.records import STATUSES, Completion, Problem, Prompt, Verdict
from magistral_jax.runtime import local
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from magistral_jax.trainer.role import MeshTrainer
from magistral_jax.verifiers.role import PoolVerifier
from tests import fakes, tiny

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import (  # noqa: E402
  checkpoint_proxy,
  ray_cluster,
  sampler_proxy,
  trainer_proxy,
  verifier_proxy,
  weight_proxy,
)
from tests.runtime import fake_actors  # noqa: E402
from tests.runtime.in_process import InProcessHandle  # noqa: E402

KINDS = ('local', 'remote', 'fake')
CLASSES = {
    roles.Sampler: (EngineSampler, sampler_proxy.RemoteSampler, fakes.FakeSampler),
    roles.Verifier: (PoolVerifier, verifier_proxy.RemoteVerifier, fakes.FakeVerifier),
    roles.Trainer: (MeshTrainer, trainer_proxy.RemoteTrainer, fakes.FakeTrainer),
    roles.WeightPublisher: (local.LocalPublisher, weight_proxy.RemotePublisher,
                            fakes.FakePublisher),
    roles.Checkpoints: (local.LocalCheckpoints, checkpoint_proxy.RemoteCheckpoints,
                        fakes.FakeCheckpoints),
    roles.Runtime: (local.LocalRuntime, ray_cluster.ClusterRuntime, fakes.FakeRuntime)}
PAIRS = [pytest.param(promise, kept, id=f'{promise.__name__}-{kind}')
         for promise, classes in CLASSES.items()
         for kind, kept in zip(KINDS, classes, strict=True)]
# Seconds that a real worker may take for a verdict on a slow machine.
PATIENCE_S = 120.0
TRAINING, EVALUATION = Sampling(2, 1.0, 1.0, 8), Sampling(3, 0.0, 1.0, 8)


def members(promise):
  return {name: value for name, value in vars(promise).items() if not name.startswith('_')}


@pytest.mark.parametrize('promise, kept', PAIRS)
def test_every_promised_method_is_there_with_the_same_parameters(promise, kept):
  assert members(promise)
  for name, value in members(promise).items():
    found = inspect.getattr_static(kept, name)
    assert isinstance(found, property) == isinstance(value, property), name
    if inspect.isfunction(value):
      shape = lambda f: [(p.name, p.kind, p.default)
                         for p in inspect.signature(f).parameters.values()]
      assert shape(found) == shape(value), name


def test_the_comparison_of_parameters_sees_a_difference():
  class Other(fakes.FakeVerifier):
    def drain(self, wait_s=1.0):
      return []
  with pytest.raises(AssertionError, match='drain'):
    test_every_promised_method_is_there_with_the_same_parameters(roles.Verifier, Other)
  with pytest.raises(AttributeError, match='train'):
    test_every_promised_method_is_there_with_the_same_parameters(roles.Trainer, Other)


class InProcessCluster(ray_cluster.ClusterRuntime):
  """A cluster without Ray: its actors are objects of this process."""

  def _connect(self):
    pass

  def _start(self, kind, number, make):
    return self._watchdog.add(InProcessHandle(f'{kind}-{number}', make, self._text))


@contextlib.contextmanager
def runtime_of(kind, workdir):
  mode = 'ray' if kind == 'remote' else 'threads'
  c = tiny.shrink(tiny.load(), **{'runtime.mode': mode, 'runtime.deadline_s': PATIENCE_S})
  made = dict(local=lambda: local.LocalRuntime(c, checks.prepare(c)),
              remote=lambda: InProcessCluster(c, workdir, roles=fake_actors),
              fake=fakes.FakeRuntime)[kind]()
  with made as runtime:
    yield runtime


@pytest.fixture(scope='module', params=KINDS)
def runtime(request, tmp_path_factory):
  """One for all tests of a kind: what is compiled is compiled once."""
  with runtime_of(request.param, tmp_path_factory.mktemp(request.param)) as made:
    made.kind = request.param
    yield made


def prompt(ordinal, purpose='training'):
  return fakes.FakeStream().prompt(ordinal, purpose)


def finish(sampler):
  """Steps until nothing is open; the completions, each once."""
  done = []
  while sampler.open:
    done += sampler.step()
  assert len({(c.ordinal, c.sample) for c in done}) == len(done)
  return done


def batch():
  """Four groups of drawn tokens, by version 0."""
  rng, groups = np.random.default_rng(0), []
  tokens = lambda n: rng.integers(3, 60, n).astype(np.int32)
  for ordinal in range(4):
    asked = Prompt(ordinal, Problem(str(ordinal), 'p', 'x', 'fake'), tokens(5))
    groups.append(make_group(asked, [
        (Completion(ordinal, i, tokens(8), -rng.random(8).astype(np.float32), ((0, 0),), 'stop',
                    '', 0.1), Verdict('wrong', float(i % 2), {})) for i in range(4)]))
  return make_batch(groups, minibatches=1, row_tokens=64, normalizer='group', microbatch_rows=4,
                    advantage_norm='minibatch', max_new_tokens=8)


def test_sampler_writes_each_sample_of_a_prompt_once_with_the_weights_it_was_offered(runtime):
  trainer = runtime.trainer()
  sampler, = runtime.samplers(runtime.publisher.snapshots(trainer, 0))
  offer = lambda version: sampler.offer(*runtime.publisher.snapshots(trainer, version))
  assert sampler.has_capacity and not sampler.pinned and sampler.open == 0
  assert sampler.step() == [] and sampler.version == 0
  assert not sampler.waits_for.startswith('waiting')
  sampler.submit(prompt(7), TRAINING)
  assert sampler.open == TRAINING.samples and not sampler.pinned
  done = finish(sampler)
  assert {(c.ordinal, c.sample, c.versions) for c in done} == {(7, 0, ((0, 0),)), (7, 1, ((0, 0),))}
  assert sampler.counts['tokens'] == sum(len(c.tokens) for c in done)
  # While it is pinned it keeps the newest weights of then, however many come later.
  sampler.withdraw()
  offer(1)
  sampler.pin()
  offer(2)
  assert sampler.pinned and sampler.has_capacity
  while sampler.pinned_version is None:            # It is on its way.
    assert sampler.has_capacity
  assert sampler.pinned_version == 1
  sampler.submit(prompt(8), TRAINING)
  sampler.submit(prompt(-1, 'evaluation'), EVALUATION)
  assert sampler.open == TRAINING.samples + EVALUATION.samples
  before = sampler.counts['evaluation_tokens']
  done = finish(sampler)
  assert {c.versions for c in done} == {((0, 1),)} and sampler.pinned_version == 1
  assert {c.purpose for c in done if c.ordinal == -1} == {'evaluation'}
  assert sampler.counts['evaluation_tokens'] - before == sum(
      len(c.tokens) for c in done if c.ordinal == -1)
  sampler.unpin()
  assert not sampler.pinned and sampler.pinned_version is None and sampler.has_capacity
  sampler.submit(prompt(9), TRAINING)
  assert {c.versions for c in finish(sampler)} == {((0, 2),)} and sampler.version == 2
  # What was abandoned never comes.
  sampler.submit(prompt(10), TRAINING)
  sampler.submit(prompt(-2, 'evaluation'), EVALUATION)
  sampler.pin()
  sampler.step()
  sampler.abandon()
  assert sampler.open == 0 and not sampler.pinned and sampler.step() == []
  sampler.submit(prompt(11), TRAINING)
  assert {c.ordinal for c in finish(sampler)} == {11}


def test_verifier_gives_each_completion_back_once_with_a_verdict(runtime):
  verifier = runtime.verifier()
  assert verifier.drain() == [] and verifier.pending() == 0 and not verifier.full
  put = [Completion(3, i, np.arange(3), np.zeros(3, np.float32), ((0, 0),), 'stop',
                    r'<think></think>\boxed{5}', 0.1) for i in range(5)]
  for completion in put:
    verifier.put(completion, Problem('p', '2+3=?', '5', 'fake'))
  assert verifier.pending() == 5
  judged = []
  while verifier.pending():
    judged += verifier.drain(wait_s=PATIENCE_S)
  # The objects that were put: log-probabilities are not lost on the way.
  assert sorted(id(c) for c, _ in judged) == sorted(map(id, put))
  assert {verdict.status for _, verdict in judged} <= set(STATUSES)
  assert verifier.drain() == [] and verifier.pending() == 0
  assert all(isinstance(value, int | float) for value in verifier.stats().values())


def test_trainer_counts_a_version_for_each_batch_and_supervised_step(runtime):
  trainer = runtime.trainer()
  assert trainer.version == 0
  metrics = trainer.train(batch())
  assert trainer.version == 1 and metrics['tokens'] > 0 and np.isfinite(metrics['loss'])
  assert np.isfinite(trainer.supervised(batch().minibatches[0])['loss'])
  assert trainer.version == 2
  runtime.check_trainer()
  assert runtime.trainer(trainer).version == 0


def test_publisher_gives_a_snapshot_for_each_sampler(runtime):
  trainer = runtime.trainer()
  snapshots = list(runtime.publisher.snapshots(trainer, 4))
  assert len(snapshots) == len(runtime.samplers(runtime.publisher.snapshots(trainer, 0))) == 1
  assert [(snapshot.lineage, snapshot.version) for snapshot in snapshots] == [(0, 4)]


def test_checkpoints_give_back_the_trainer_and_the_record(runtime, tmp_path):
  checkpoints = runtime.checkpoints(str(tmp_path / 'checkpoints'), keep=2)
  assert checkpoints.latest() is None and checkpoints.failed_saves == 0
  trainer = runtime.trainer()
  assert checkpoints.save(trainer, dict(pairs=[(1, 2)]), None)
  trainer.train(batch())
  assert checkpoints.save(trainer, dict(pairs=[(3, 4)]), 0.5)
  checkpoints.wait()
  assert checkpoints.latest() == 1
  # A score that comes late goes to the checkpoint of its version, if there is one.
  checkpoints.await_score(0)
  assert checkpoints.score(0, 0.75) and not checkpoints.score(5, 0.25)
  checkpoints.await_score(None)
  assert not checkpoints.save(trainer, {}, None), 'it is there already'
  again, record = runtime.restored(checkpoints)
  assert again.version == 1 and record == dict(pairs=[[3, 4]])
  assert again.train(batch())['tokens'] > 0 and again.version == 2
  checkpoints.close()
  assert checkpoints.failed_saves == 0


def test_a_lost_trainer_is_back_at_its_newest_checkpoint_or_lost_for_good(runtime, tmp_path):
  checkpoints = runtime.checkpoints(str(tmp_path / 'checkpoints'), keep=2)
  trainer, error = runtime.trainer(), Lost('trainer-0 died')
  trainer.train(batch())
  checkpoints.save(trainer, dict(step=1), None)
  checkpoints.wait()
  trainer.train(batch())
  if runtime.kind == 'local':
    for bring_back in (lambda: runtime.recover(trainer, checkpoints, error),
                       lambda: runtime.restart(error)):
      with pytest.raises(Lost) as caught:
        bring_back()
      assert caught.value is error
  else:
    assert runtime.recover(trainer, checkpoints, error) == dict(step=1)
    assert trainer.version == 1 and trainer.train(batch())
  checkpoints.close()


def test_runtime_tells_of_roles_in_other_processes_alone(runtime):
  runtime.on_lost(lambda prompts: None)
  found = runtime.role_status()
  assert all(isinstance(status, RoleStatus) for status in found.values())
  assert bool(found) == (runtime.kind == 'remote')
  if found:
    assert set(found) == {'trainer-0', 'sampler-0', 'verifier-0'}
    assert all(status.where and status.heard_s is not None for status in found.values())
  assert all(isinstance(value, int | float) for value in runtime.transfers().values())
