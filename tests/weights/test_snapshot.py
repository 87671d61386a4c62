"""Snapshots are copies in the sampler's layout and dtype that outlive the trainer's next step."""
import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import records, sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.trainer.optimizer import make_optimizer
from magistral_jax.trainer.role import MeshTrainer
from magistral_jax.trainer.state import init_state
from magistral_jax.trainer.step import LossConfig, make_step
from magistral_jax.weights.snapshot import Publisher

CONFIG = ModelConfig(family='mistral', layers=1, dim=16, heads=2, kv_heads=2, head_dim=8,
                     ffn_dim=16, vocab=16, rope_theta=1e4, norm_eps=1e-5, tied=True,
                     dtype='float32')
LOSS = LossConfig(name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant',
                  final_clip_high=0.0, importance_cap=0.0, kl_coef=0.0, kl_reference='none',
                  kl_ema=0.99, entropy_coef=0.0, router_aux_coef=0.0, vocab_chunk=0, steps=0)


def lay_out(mesh):
  shardings = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(CONFIG)[1])
  return jax.device_put(initial_weights(), shardings)


@functools.cache
def initial_weights():
  rng = np.random.default_rng(0)
  draw = lambda leaf: rng.normal(0, 0.25, leaf.shape).astype(leaf.dtype)
  return jax.tree.map(draw, decoder.abstract(CONFIG))


def on_cpu(tree):
  return jax.tree.map(np.array, jax.device_get(tree))


def trainer_mesh(first=0, fsdp=1, tensor=1):
  return sharding.make_mesh(
      jax.devices()[first:first + fsdp * tensor], fsdp=fsdp, tensor=tensor)


def sampler_mesh(first=0, tensor=1):
  return sharding.make_mesh(jax.devices()[first:first + tensor], tensor=tensor)


def addresses(tree):
  return {shard.data.unsafe_buffer_pointer()
          for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards}


@pytest.mark.parametrize('trainer, sampler', [
    (dict(), dict()),
    (dict(fsdp=2, tensor=2), dict()),
    (dict(fsdp=2, tensor=2), dict(tensor=2)),
    (dict(tensor=2), dict(tensor=2)),
    (dict(fsdp=4), dict(first=4, tensor=2)),
    (dict(first=2), dict()),
], ids=str)
def test_a_snapshot_is_a_copy_in_the_samplers_layout(trainer, sampler):
  mesh = sampler_mesh(**sampler)
  params = lay_out(trainer_mesh(**trainer))
  snapshot = Publisher(CONFIG, mesh).snapshot(params, 7)
  assert snapshot.version == 7
  wanted = sharding.tree_named(mesh, sharding.SAMPLER, decoder.definition(CONFIG)[1])
  for leaf, target in zip(jax.tree.leaves(snapshot.params), jax.tree.leaves(wanted), strict=True):
    assert leaf.sharding.is_equivalent_to(target, leaf.ndim) and leaf.dtype == jnp.float32
  assert not addresses(snapshot.params) & addresses(params)
  jax.tree.map(lambda x: x.delete(), params)
  chex.assert_trees_all_equal(on_cpu(snapshot.params), initial_weights())


def test_a_donated_train_step_does_not_delete_the_snapshot():
  mesh = trainer_mesh()
  optimizer = make_optimizer(name='adamw', learning_rate=1e-2, warmup_steps=1,
                             schedule='constant', final_learning_rate=0.0, steps=0, beta1=0.9,
                             beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0)
  state = init_state(lay_out(mesh), optimizer, kl_reference='none')
  step = make_step(lambda params, *rows: decoder.forward_rows(CONFIG, params, *rows),
                   decoder.head, optimizer, state, LOSS, temperature=1.0)
  trainer = MeshTrainer(state, step, mesh=mesh, microbatch_rows=2, max_bad_steps=1)
  snapshot = Publisher(CONFIG, sampler_mesh()).snapshot(trainer.params, trainer.version)
  before, donated = on_cpu(trainer.params), trainer.params
  trainer.supervised(some_rows())
  assert any(leaf.is_deleted() for leaf in jax.tree.leaves(donated))
  chex.assert_trees_all_equal(on_cpu(snapshot.params), before)
  later = Publisher(CONFIG, sampler_mesh()).snapshot(trainer.params, trainer.version)
  assert (snapshot.version, later.version) == (0, 1)
  chex.assert_trees_all_equal(on_cpu(later.params), on_cpu(trainer.params))
  assert np.abs(on_cpu(later.params)['embed'] - before['embed']).max() > 1e-3


def some_rows():
  rng, shape = np.random.default_rng(0), (2, 8)
  tokens = rng.integers(0, CONFIG.vocab, shape, dtype=np.int32)
  zeros = np.zeros(shape, np.float32)
  return records.Rows(
      tokens=tokens, targets=np.roll(tokens, -1, axis=1), segments=np.ones(shape, np.int32),
      positions=np.tile(np.arange(8, dtype=np.int32), (2, 1)), mask=np.ones(shape, bool),
      weight=zeros + 1 / 16, advantage=zeros, sampler_logp=zeros)


@pytest.mark.parametrize('sampler', [dict(), dict(first=4, tensor=2)], ids=str)
def test_bfloat16_samplers_get_rounded_copies(sampler):
  config = dataclasses.replace(CONFIG, dtype='bfloat16')
  params = lay_out(trainer_mesh(fsdp=2))
  snapshot = Publisher(config, sampler_mesh(**sampler)).snapshot(params, 1)
  for copy, leaf in zip(jax.tree.leaves(snapshot.params), jax.tree.leaves(params), strict=True):
    assert copy.dtype == jnp.bfloat16 and leaf.dtype == jnp.float32
    np.testing.assert_array_equal(
        np.array(copy, np.float32), np.array(leaf.astype(jnp.bfloat16), np.float32))


def test_a_snapshot_is_taken_under_a_runs_transfer_guard():
  params = lay_out(trainer_mesh(fsdp=2, tensor=2))
  publisher = Publisher(CONFIG, sampler_mesh(first=4, tensor=2))
  with jax.transfer_guard('disallow'):
    publisher.snapshot(params, 1)
