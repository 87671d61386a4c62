"""A checkpoint of T trainer processes is taken up by any other number of them."""
import contextlib

import numpy as np
import pytest

from magistral_jax.batching.batch import make_batch
from magistral_jax.batching.groups import make_group
from magistral_jax.experiment import build
from magistral_jax.orchestration.ledger import Ledger
from magistral_jax.records import Completion, Problem, Prompt, Verdict
from tests import tiny

pytest.importorskip('ray', reason='the extra [cluster] is not installed')
from magistral_jax.runtime import ray_cluster  # noqa: E402
from magistral_jax.runtime.actor_handle import ActorHandle, Watchdog  # noqa: E402
from magistral_jax.runtime.checkpoint_proxy import RemoteCheckpoints  # noqa: E402
from magistral_jax.runtime.trainer_proxy import RemoteTrainer, TrainerGang  # noqa: E402
from tests.runtime import telling_actors  # noqa: E402

pytestmark = pytest.mark.usefixtures('ray_here')
DEVICES, DEADLINE_S = 4, 300.0


@contextlib.contextmanager
def processes(c, number):
  """So many trainer processes with a mesh over the same devices."""
  env = dict(JAX_PLATFORMS='cpu', PYTHONPATH=ray_cluster._ROOT,
             XLA_FLAGS=f'--xla_force_host_platform_device_count={DEVICES // number}')
  options = dict(num_cpus=0, resources=dict(trainer=1), runtime_env=dict(env_vars=env))
  with Watchdog(60.0) as watch:
    handles = [watch.add(ActorHandle(
        f'trainer-{i}', telling_actors.TrainerActor, (c.to_json_best_effort(),), options=options,
        restarts=0)) for i in range(number)]
    try:
      gang = TrainerGang(handles, deadline_s=DEADLINE_S, microbatch_rows=c.trainer.microbatch_rows)
      gang.wait_ready()
      yield gang
    finally:
      for handle in handles:
        handle.kill()


def batch(c, seed, version=0):
  """Four groups of tokens drawn by a version."""
  rng = np.random.default_rng(seed)
  tokens = lambda n: rng.integers(3, 60, n).astype(np.int32)
  groups = []
  for ordinal in range(4):
    prompt = Prompt(ordinal, Problem(str(ordinal), 'p', 'x', 'fake'), tokens(5))
    scored = [(Completion(ordinal, i, tokens(8), -rng.random(8).astype(np.float32),
                          ((0, version),), 'stop', '', 0.1), Verdict('wrong', float(i % 2), {}))
              for i in range(4)]
    groups.append(make_group(prompt, scored))
  return make_batch(groups, minibatches=1, row_tokens=c.batching.row_tokens, normalizer='group',
                    microbatch_rows=c.trainer.microbatch_rows, advantage_norm='minibatch',
                    max_new_tokens=8, parity=build.parity_room(c))


def ledger():
  """One with every kind of fate, and some on their way."""
  book = Ledger(None)
  for _ in range(9):
    book.issue()
  for ordinal, fate in {0: 'trained', 1: 'filtered', 4: 'trained', 6: 'stale'}.items():
    book.settle(ordinal, fate)
  return book


@pytest.mark.long
@pytest.mark.parametrize('saves, restores', [(1, 2), (2, 1)])
def test_state_ledger_and_the_next_update_are_the_same(tmp_path, saves, restores):
  c = tiny.shrink(tiny.load(), **{'runtime.mode': 'ray', 'mesh.trainer.fsdp': DEVICES,
                                  'trainer.microbatch_rows': DEVICES})
  folder, record = str(tmp_path / 'checkpoints'), dict(ledger=ledger().record())
  with processes(c, saves) as gang:
    trainer = RemoteTrainer(gang, gang.all('new', False, {})[0], 0)
    for seed in range(2):
      trainer.train(batch(c, seed))
    before = gang.all('numbers')[0]
    checkpoints = RemoteCheckpoints(gang, folder, 2)
    assert checkpoints.save(trainer, record, None)
    checkpoints.wait()
    metrics = trainer.train(batch(c, 2, version=2))
    after = gang.all('numbers')[0]
  with processes(c, restores) as gang:
    version, found = RemoteCheckpoints(gang, folder, 2).restore({})
    assert version == 2 and found == {'ledger': _as_json(record['ledger'])}
    again = Ledger(None)
    again.restore(found['ledger'])
    assert [again.issue() for _ in range(7)] == [2, 3, 5, 7, 8, 9, 10]
    restored = gang.all('numbers')[0]
    assert restored.keys() == before.keys() and any('mu' in key for key in before)
    for key, value in before.items():
      np.testing.assert_array_equal(restored[key], value, err_msg=key)
    trainer = RemoteTrainer(gang, version, 0)
    again = trainer.train(batch(c, 2, version=2))
    assert again['parity_tokens'] == metrics['parity_tokens'] > 0
    for key in ('loss', 'logprob_gap_mean', 'logprob_gap_max'):
      assert again[key] == pytest.approx(metrics[key], abs=1e-6), key
    for key, value in gang.all('numbers')[0].items():
      np.testing.assert_allclose(value, after[key], rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.long
def test_a_disk_that_fails_one_process_stops_none_and_mixes_no_checkpoints(tmp_path):
  c = tiny.shrink(tiny.load(), **{'runtime.mode': 'ray', 'mesh.trainer.fsdp': DEVICES,
                                  'trainer.microbatch_rows': DEVICES})
  folder = str(tmp_path / 'checkpoints')
  with processes(c, 2) as gang:
    trainer = RemoteTrainer(gang, gang.all('new', False, {})[0], 0)
    checkpoints, numbers = RemoteCheckpoints(gang, folder, 3), {}
    def save(step):
      begun = checkpoints.save(trainer, dict(step=step), None)
      checkpoints.wait()
      return begun, checkpoints.latest(), checkpoints.failed_saves
    for step in (1, 2):
      trainer.train(batch(c, step))
      assert save(step) == (True, step, 0)
      numbers[step] = gang.all('numbers')[0]
    # Its writers hear of it in the background or at once; the other process is not held up.
    for process in (0, 1):
      gang.all('write_at_most', process, 100)
      trainer.train(batch(c, 3))
      assert save(trainer.version)[1:] == (2, process + 1)
      gang.all('write_at_most', process, -1)
    assert save(trainer.version) == (True, 4, 2)
    # Damage that one process alone finds.
    for unreadable in (4, 2):
      gang.all('cannot_read', 1, unreadable)
    version, record = checkpoints.restore({})
    assert (version, record) == (1, dict(step=1))
    for key, value in gang.all('numbers')[0].items():
      np.testing.assert_array_equal(value, numbers[1][key], err_msg=key)


def _as_json(book):
  return dict(book, settled=[list(pair) for pair in book['settled']])
