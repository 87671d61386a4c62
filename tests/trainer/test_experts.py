"""Train steps of a mixture of experts: devices, microbatches, balance loss, metrics."""
import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.sharding import TRAINER, Layout
from magistral_jax.trainer import optimizer as optimizers
from magistral_jax.trainer import role, state, step

CONFIG = ModelConfig(
    family='mixtral', layers=2, dim=16, heads=4, kv_heads=2, head_dim=4, ffn_dim=8, vocab=32,
    rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32', experts=4, experts_per_token=2)
SIZES = dict(one=dict(fsdp=1, expert=1, sequence=1, tensor=1),
             eight=dict(fsdp=2, expert=2, sequence=1, tensor=2))


@pytest.fixture(scope='module')
def weights():
  """Weights drawn by numpy: the decoder's own take seconds to compile."""
  rng = np.random.default_rng(0)
  draw = lambda path, x: (np.ones(x.shape, x.dtype) if 'norm' in jax.tree_util.keystr(path)
                          else rng.normal(0, x.shape[-1] ** -0.5, x.shape).astype(x.dtype))
  return jax.tree.map_with_path(draw, decoder.abstract(CONFIG))


@pytest.fixture(scope='module')
def batch(toy):
  """Batch of eight rows whose last positions are padding, as packing leaves them."""
  rows = toy.rows(number=8)
  empty = np.arange(12) >= 10
  arrays = {name: array for name, array in vars(rows).items() if array is not None}
  blank = {name: np.where(empty, 0, array).astype(array.dtype) for name, array in arrays.items()}
  blank['weight'] /= blank['weight'].sum()
  return toy.batch(dataclasses.replace(rows, **blank))


def with_routes(batch, seed):
  """The batch with experts drawn for every token, as a sampler with other weights had them."""
  rows, = batch.minibatches
  order = np.random.default_rng(seed).random((*rows.tokens.shape, CONFIG.layers, CONFIG.experts))
  routes = np.argsort(order, axis=-1)[..., :CONFIG.experts_per_token].astype(np.uint8)
  rows = dataclasses.replace(rows, routes=routes.reshape(*rows.tokens.shape, -1))
  return dataclasses.replace(batch, minibatches=(rows,))


@pytest.fixture(scope='module')
def train(weights, batch, toy):
  """Function that takes one step of plain descent, each kind once; parameters and metrics."""
  descent = optimizers.make_optimizer(
      **toy.OPTIMIZER | dict(name='sgd', beta1=0.0, clip_norm=0.0, warmup_steps=0))

  @functools.cache
  def train(devices, microbatch_rows, coef, replayed=None):
    sizes = SIZES[devices]
    mesh = sharding.make_mesh(jax.devices()[:math.prod(sizes.values())], **sizes)
    cut = sharding.tree_named(mesh, TRAINER, decoder.definition(CONFIG)[1])
    first = state.init_state(jax.device_put(weights, cut), descent, kl_reference='none')
    forward = lambda params, *rows, **more: decoder.routed_rows(
        CONFIG, params, *rows, **more, layout=Layout(mesh, TRAINER), remat='full')
    loss = step.LossConfig(**toy.LOSS | dict(router_aux_coef=coef))
    steps = step.make_step(
        forward, decoder.head, descent, first, loss, temperature=1.0, routed=CONFIG)
    trainer = role.MeshTrainer(
        first, steps, mesh=mesh, microbatch_rows=microbatch_rows, max_bad_steps=1)
    metrics = trainer.train(batch if replayed is None else with_routes(batch, replayed))
    return jax.device_get(trainer.params), metrics

  return train


def assert_same(actual, expected, atol=2e-6):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4),
               actual, expected)


def test_eight_devices_take_the_step_of_one(train):
  one, many = train('one', 8, 0.1), train('eight', 8, 0.1)
  assert_same(many[0], one[0])
  assert_same(many[1], one[1], atol=1e-5)


def test_eight_devices_replay_the_experts_of_the_sampler_as_one_does(train):
  one, many, own = train('one', 8, 0.1, 0), train('eight', 8, 0.1, 0), train('one', 8, 0.1)
  assert_same(many[0], one[0])
  assert_same(many[1], one[1], atol=1e-5)
  # Of 2 of 4 drawn at random one half is another choice than the routers'.
  assert one[1]['router_flips'] == pytest.approx(0.5, abs=0.15) and not own[1]['router_flips']
  assert abs(one[1]['loss'] - own[1]['loss']) > 1e-4


def test_microbatches_add_up(train):
  """Compares exactly without a balance loss; with one, each microbatch has its own."""
  whole, parts = (train('one', n, 0.0) for n in (8, 2))
  assert_same(parts[0], whole[0])
  aux = parts[1]['router_aux'], whole[1]['router_aux']
  assert_same(parts[1] | dict(router_aux=0), whole[1] | dict(router_aux=0), atol=1e-5)
  # A weighted mean over the microbatches: near the whole's.
  assert aux[1] == pytest.approx(aux[0], rel=0.1) and min(aux) > 1.9


def test_the_balance_loss_moves_only_what_it_should(weights, train):
  """Checks that its gradient reaches the routers and its value counts in the loss."""
  without, with_aux = (train('one', 8, coef) for coef in (0.0, 0.1))
  gap = with_aux[1]['loss'] - without[1]['loss']
  assert gap == pytest.approx(0.1 * without[1]['router_aux'], rel=1e-3)
  moved = lambda found: found[0]['layers']['moe']['gate'] - weights['layers']['moe']['gate']
  assert np.abs(moved(with_aux) - moved(without)).max() > 1e-5
  # The balance of routers has no influence on the experts of the last layer.
  experts = lambda found: found[0]['layers']['moe']['w2'][-1]
  np.testing.assert_allclose(experts(with_aux), experts(without), atol=1e-7)


def test_what_the_routers_did_is_reported(train):
  _, metrics = train('one', 8, 0.1)
  usage = [metrics[f'router_usage_{e}'] for e in range(CONFIG.experts)]
  assert sum(usage) == pytest.approx(1) and 0.25 <= metrics['router_usage_max'] <= 0.5
  assert 0 < metrics['router_repeat_first'] < metrics['router_repeat_any'] < 1
