"""Identities of the compiled step: microbatches, meshes, chunks, references."""
import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from magistral_jax.trainer import state as states
from magistral_jax.trainer.optimizer import make_optimizer


def on_cpu(tree):
  return jax.tree.map(np.array, jax.device_get(tree))


def trained(trainer, *minibatches, toy):
  metrics = trainer.train(toy.batch(*minibatches))
  return on_cpu(trainer.params), metrics


@pytest.fixture(scope='module')
def expected(toy):
  """Parameters and metrics after one step in one microbatch on one device."""
  return trained(toy.trainer(microbatch_rows=8), toy.rows(), toy=toy)


@pytest.mark.parametrize('why, kwargs', [
    ('microbatches', dict(microbatch_rows=2)),
    ('a last microbatch that is not full', dict(microbatch_rows=3)),
    ('only trained positions pass the head', dict(microbatch_rows=8, whole_rows=True)),
    ('8 devices', dict(fsdp=4, tensor=2, microbatch_rows=8)),
    ('8 devices and chunks', dict(fsdp=2, tensor=4, microbatch_rows=4, loss=dict(vocab_chunk=8))),
])
def test_same_step(toy, expected, why, kwargs):
  params, metrics = trained(toy.trainer(**kwargs), toy.rows(), toy=toy)
  chex.assert_trees_all_close(params, expected[0], rtol=2e-4, atol=2e-5)
  for key, value in expected[1].items():
    np.testing.assert_allclose(metrics[key], value, rtol=2e-4, atol=1e-5, err_msg=f'{why}: {key}')


def test_gradient_against_autodiff_of_the_plain_formula(toy):
  """SGD at rate 1 without clipping moves the weights by exactly the gradient."""
  rows = toy.rows()
  trainer = toy.trainer(temperature=0.7, optimizer=dict(
      name='sgd', learning_rate=1.0, warmup_steps=0, beta1=0.0, clip_norm=0.0))
  before = on_cpu(trainer.params)

  def loss(params):
    hidden = toy.forward(params, rows.tokens, rows.positions, rows.segments)
    logp = jax.nn.log_softmax(hidden @ toy.head(params) / 0.7)
    logp = jnp.take_along_axis(logp, rows.targets[..., None], axis=-1)[..., 0]
    r = jnp.exp(jnp.where(rows.mask, logp - rows.sampler_logp, 0.0))
    gain = jnp.minimum(r * rows.advantage, jnp.clip(r, 0.8, 1.28) * rows.advantage)
    return -jnp.sum(rows.weight * gain)

  value, gradient = jax.value_and_grad(loss)(jax.tree.map(jnp.array, before))
  after, metrics = trained(trainer, rows, toy=toy)
  np.testing.assert_allclose(metrics['loss'], value, rtol=1e-5)
  np.testing.assert_allclose(metrics['grad_norm'], optax.tree.norm(gradient), rtol=1e-5)
  moved = jax.tree.map(lambda a, b: a - b, before, after)
  chex.assert_trees_all_close(moved, on_cpu(gradient), rtol=1e-3, atol=1e-5)


def test_state_keeps_its_shardings_and_moments_lie_like_parameters(toy):
  trainer = toy.trainer(fsdp=4, tensor=2)
  described = lambda: jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), trainer.state)
  before = described()
  trainer.train(toy.batch(toy.rows()))
  assert described() == before
  moments = optax.tree.get(trainer.state.opt_state, 'mu')
  assert moments['out'].sharding == trainer.params['out'].sharding
  # An eighth of the array on each of 8 devices: no device holds it whole.
  assert {s.data.shape for s in moments['out'].addressable_shards} == {(4, 16)}


def test_abstract_state_describes_the_state(toy):
  state, _ = toy.build(toy.mesh(4, 2), loss=dict(kl_reference='fixed'))
  abstract = states.abstract_state(
      state.params, make_optimizer(**toy.OPTIMIZER), kl_reference='fixed')
  described = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), tree)
  assert described(abstract) == described(state)


def test_low_precision_parameters_have_float32_moments(toy):
  weights = jax.tree.map(lambda p: p.astype(jnp.bfloat16), toy.params(toy.mesh()))
  state = states.init_state(weights, optax.adamw(1e-3), kl_reference='fixed')
  assert {x.dtype for x in jax.tree.leaves(state.opt_state) if x.ndim} == {jnp.dtype('float32')}
  assert state.reference['mix'].dtype == jnp.bfloat16


def test_reference_none_fixed_and_ema(toy):
  first = on_cpu(toy.params(toy.mesh()))
  assert toy.trainer().state.reference is None
  for reference in ('fixed', 'ema'):
    trainer = toy.trainer(loss=dict(kl_reference=reference, kl_coef=0.1, kl_ema=0.75))
    metrics = trainer.train(toy.batch(toy.rows()))
    assert metrics['kl_reference'] == 0.0, 'the reference starts as the policy'
    now = on_cpu(trainer.params)
    expected = first if reference == 'fixed' else jax.tree.map(
        lambda a, b: 0.75 * a + 0.25 * b, first, now)
    chex.assert_trees_all_close(on_cpu(trainer.state.reference), expected, rtol=1e-5, atol=1e-7)
    assert trainer.train(toy.batch(toy.rows()))['kl_reference'] > 0


def test_entropy_bonus_raises_entropy(toy):
  scores = {}
  for coefficient in (0.0, 1.0):
    trainer = toy.trainer(loss=dict(entropy_coef=coefficient))
    for _ in range(5):
      scores[coefficient] = trainer.train(toy.batch(toy.rows()))['entropy']
  assert scores[1.0] > scores[0.0]


def test_log_probabilities_are_those_at_the_sampler_temperature(toy):
  trainer, rows = toy.trainer(temperature=0.5), toy.rows()
  drawn = np.where(rows.mask, toy.scores(trainer.params, rows, 0.5), 0.0).astype(np.float32)
  metrics = trainer.train(toy.batch(dataclasses.replace(rows, sampler_logp=drawn)))
  assert metrics['sampler_gap_max'] < 1e-4


@pytest.mark.parametrize('loss, sentence', [
    (dict(name='ppo'), "loss.name is 'ppo': choose one of clipped, truncated"),
    (dict(clip_low=1.5), 'loss.clip_low is 1.5'),
    (dict(clip_high=-0.1), 'loss.clip_high is -0.1'),
    (dict(clip_schedule='step'), "loss.clip_schedule is 'step': choose one of constant, linear"),
    (dict(kl_coef=0.1), 'loss.kl_coef is 0.1 but loss.kl_reference is none'),
    (dict(kl_reference='old'), "loss.kl_reference is 'old'"),
    (dict(kl_reference='ema', kl_ema=1.0), 'loss.kl_ema is 1.0'),
])
def test_what_cannot_work_is_named(toy, loss, sentence):
  with pytest.raises(ValueError, match=sentence):
    toy.build(toy.mesh(), loss=loss)


def test_greedy_sampling_cannot_be_trained_on(toy):
  with pytest.raises(ValueError, match='sampler.temperature is 0'):
    toy.build(toy.mesh(), temperature=0.0)
