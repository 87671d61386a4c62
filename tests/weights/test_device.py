"""Weights taken from another process are those that were staged, or none."""
import dataclasses
import itertools
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import transfer

from magistral_jax.weights import device, role
from magistral_jax.weights.manifest import WeightError, WeightsGone
from tests.weights import peers

SOON_S = 0.5
numbers = itertools.count(1)


@pytest.fixture(scope='module')
def processes():
  """Two peer processes, started together."""
  both = [peers.Process(), peers.Process()]
  yield both
  for process in both:
    process.end()


@pytest.fixture(scope='module')
def trainer(processes):
  return processes[0]


def staged(trainer, dtype='bfloat16', fault=None, processes=1):
  manifest, *same = trainer.call('stage', next(numbers), dtype, fault, processes)
  assert all(other == manifest for other in same)
  return manifest


def lent_by(trainer, manifest, **timeout):
  return lambda transport: trainer.call('lend', manifest.version, transport, **timeout)


def check_equal(received, expected, dtype):
  assert jax.tree.structure(received) == jax.tree.structure(expected)
  for mine, theirs in zip(jax.tree.leaves(received), jax.tree.leaves(expected), strict=True):
    assert mine.dtype == dtype
    np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs.astype(dtype)))


@pytest.mark.parametrize('transport', ['device', 'host'])
@pytest.mark.parametrize('dtype, holders', [('float32', 1), ('bfloat16', 3)])
def test_weights_arrive_bit_for_bit_in_the_samplers_layout(
    trainer, params, transport, dtype, holders):
  manifest = staged(trainer, dtype, processes=holders)
  assert manifest.holders == holders
  received, taken = peers.receiver(dtype, [transport]).take(manifest, lent_by(trainer, manifest))
  check_equal(received, params, dtype)
  wanted = peers.laid_out(peers.sampler_mesh(), peers.sharding.SAMPLER)
  for leaf, target in zip(jax.tree.leaves(received), jax.tree.leaves(wanted), strict=True):
    assert leaf.sharding.is_equivalent_to(target, leaf.ndim)
  assert taken.transport == transport
  assert taken.figures[f'weights_{transport}_bytes'] == manifest.bytes
  assert manifest.bytes == (32 * 16 + 5 * 16 * 24 + 1) * jnp.dtype(dtype).itemsize


@pytest.mark.parametrize('fault, words', [
    (peers.flipped, 'arrived damaged'), (peers.swapped, 'arrived damaged'),
    (peers.reinterpreted, 'in float16 cut over 1'), (peers.turned, 'on one was announced'),
    (peers.cut, 'cut over 2 devices'), (peers.lost, 'pieces of version')])
def test_what_is_not_as_announced_is_refused_and_comes_by_the_cpu(trainer, params, fault, words):
  manifest = staged(trainer, fault=fault)
  with pytest.raises(WeightError, match=words):
    peers.receiver(transports=['device']).take(manifest, lent_by(trainer, manifest))
  received, taken = peers.receiver().take(manifest, lent_by(trainer, manifest))
  check_equal(received, params, 'bfloat16')
  assert taken.transport == 'host' and taken.figures['weights_device_failures'] == 1
  assert taken.figures['weights_recovery_s'] > 0 and words in taken.words


def test_a_transport_that_fails_again_and_again_is_given_up_and_the_log_says_so(trainer, caplog):
  caplog.set_level('WARNING', logger='absl')    # Programs that ran in this process change it.
  receiver, asked = peers.receiver(), []
  for _ in range(role.PATIENCE + 1):
    manifest = staged(trainer, fault=peers.cut)
    def ask(transport, manifest=manifest):
      asked.append(transport)
      return trainer.call('lend', manifest.version, transport)
    assert receiver.take(manifest, ask)[1].transport == 'host'
  assert asked == ['device', 'host'] * role.PATIENCE + ['host']
  assert 'come by host from now on: device failed 3 times' in caplog.text


def test_a_late_sampler_is_told_so_and_gets_the_newest(trainer, params):
  old, new = staged(trainer), staged(trainer)
  receiver = peers.receiver()
  received, taken = receiver.take(old, lent_by(trainer, old))
  assert received is None and taken.transport == ''
  assert f'the newest is {new.version}' in taken.words
  received, taken = receiver.take(new, lent_by(trainer, new))
  check_equal(received, params, 'bfloat16')
  assert taken.transport == 'device' and taken.figures['weights_recovery_s'] > 0


def test_what_is_on_loan_outlives_the_next_version_and_the_next_step(processes, params):
  trainer = processes[1]
  manifest = staged(trainer)
  leases = trainer.call('lend', manifest.version, 'device')
  trainer.call('step')        # Deletes the parameters that were copied.
  newer = staged(trainer)
  received, _ = peers.receiver().take(manifest, lambda transport: leases)
  check_equal(received, params, 'bfloat16')
  received, _ = peers.receiver().take(newer, lent_by(trainer, newer))
  check_equal(received, jax.tree.map(lambda x: x * 2, params), 'bfloat16')


def test_what_is_not_offered_is_waited_for_no_longer_than_the_deadline(trainer, params):
  manifest = staged(trainer)
  lease, = trainer.call('lend', manifest.version, 'device')
  unknown = dataclasses.replace(lease, numbers=tuple(n + 2**40 for n in lease.numbers))
  closed = dataclasses.replace(lease, address=f'{peers.IP}:1')
  hasty = peers.receiver(transports=['device'], deadline_s=SOON_S)
  with pytest.raises(WeightError, match='not within 0.5 s'):
    hasty.take(manifest, lambda transport: [unknown])
  with pytest.raises(WeightError, match='Nothing listens at'):
    hasty.take(manifest, lambda transport: [closed])
  received, taken = peers.receiver().take(manifest, lent_by(trainer, manifest))
  check_equal(received, params, 'bfloat16')


def test_no_number_serves_twice(trainer):
  manifest = staged(trainer)
  leases = [trainer.call('lend', manifest.version, 'device')[0] for _ in range(3)]
  used = [number for lease in leases for number in lease.numbers]
  assert len(set(used)) == 3 * len(manifest.pieces)
  # A restarted process uses others.
  lives = [device.DeviceLender(peers.IP, 1.0).lend([jnp.ones(2)]).numbers[0] for _ in range(3)]
  assert len({*lives, *used}) == len(lives) + len(used)


def test_a_backend_without_device_transfer_is_refused(params, monkeypatch):
  monkeypatch.setattr(transfer, 'start_transfer_server', unsupported)
  with pytest.raises(WeightError, match='not available in this process: no such thing'):
    device.DeviceLender(peers.IP, 1.0).lend([])


def unsupported(*_, **__):
  raise RuntimeError('no such thing')


def test_a_frozen_trainer_is_given_up_and_asked_again_later(processes, params):
  trainer = processes[1]
  manifest = staged(trainer)
  leases = trainer.call('lend', manifest.version, 'device')
  receiver = peers.receiver(deadline_s=SOON_S)
  trainer.signal(signal.SIGSTOP)
  def ask(transport):
    return leases if transport == 'device' else trainer.call(
        'lend', manifest.version, transport, timeout_s=SOON_S)
  received, taken = receiver.take(manifest, ask)
  assert received is None and 'not within 0.5 s; host: no answer' in taken.words
  trainer.signal(signal.SIGCONT)
  received, taken = peers.receiver().take(manifest, lent_by(trainer, manifest))
  assert taken.transport == 'device'
  chex.assert_tree_all_finite(received)


def test_a_puller_that_dies_does_not_harm_the_trainer(processes, params):
  trainer, puller = processes
  manifest = staged(trainer)
  leases = trainer.call('lend', manifest.version, 'device')
  with pytest.raises(WeightsGone, match='dead'):
    puller.call('pull_and_die', leases, manifest)
  received, taken = peers.receiver().take(manifest, lent_by(trainer, manifest))
  check_equal(received, params, 'bfloat16')
  assert taken.transport == 'device'


def test_a_dead_trainer_is_noticed_and_another_is_taken_from(processes, params):
  dead, alive = processes[0], peers.Process()
  manifest = staged(dead)
  leases = dead.call('lend', manifest.version, 'device')
  receiver = peers.receiver()
  dead.end()
  def ask(transport):
    return leases if transport == 'device' else dead.call('lend', manifest.version, transport)
  received, taken = receiver.take(manifest, ask)
  assert received is None and taken.words.endswith('host: dead')
  try:
    manifest = staged(alive)
    received, taken = receiver.take(manifest, lent_by(alive, manifest))
  finally:
    alive.end()
  check_equal(received, params, 'bfloat16')
  assert taken.transport == 'device' and taken.figures['weights_recovery_s'] > 0
