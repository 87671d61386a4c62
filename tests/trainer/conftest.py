"""Toy policy of an embedding, one mixing matrix and an output matrix."""
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import records, sharding
from magistral_jax.trainer import optimizer as optimizers
from magistral_jax.trainer import role, state, step

AXES = dict(embed=('vocab', 'embed'), mix=('embed', 'ffn'), out=('embed', 'vocab'))
LOSS = dict(name='clipped', clip_low=0.2, clip_high=0.28, clip_schedule='constant',
            final_clip_high=0.0, importance_cap=0.0, kl_coef=0.0, kl_reference='none', kl_ema=0.99,
            entropy_coef=0.0, router_aux_coef=0.0, vocab_chunk=0, steps=0)
OPTIMIZER = dict(name='adamw', learning_rate=1e-2, warmup_steps=2,
                 schedule='constant', final_learning_rate=0.0, steps=0, beta1=0.9,
                 beta2=0.95, eps=1e-8, weight_decay=0.0, clip_norm=1.0)
VOCAB, WIDTH = 32, 16


def forward(params, tokens, positions, segments):
  """Mixes each token with the mean of those before it in its own sequence."""
  x = params['embed'][tokens] + 0.1 * jnp.sin(positions)[..., None]
  t = jnp.arange(tokens.shape[1])
  seen = (segments[:, :, None] == segments[:, None, :]) & (t[:, None] >= t[None, :])
  mean = jnp.einsum('bts,bsd->btd', seen / seen.sum(-1, keepdims=True), x)
  return jnp.tanh((x + mean) @ params['mix'])


def head(params):
  return params['out']


def params(mesh):
  """Seeded parameters with the shardings of their axes."""
  rng = np.random.default_rng(0)
  shapes = dict(embed=(VOCAB, WIDTH), mix=(WIDTH, WIDTH), out=(WIDTH, VOCAB))
  return {name: jax.device_put(
      rng.normal(0, 0.5, shape).astype(np.float32),
      sharding.named(mesh, sharding.TRAINER, AXES[name])) for name, shape in shapes.items()}


def mesh(fsdp=1, tensor=1):
  return sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, tensor=tensor)


def build(mesh, *, loss=None, optimizer=None, temperature=1.0, whole_rows=False):
  """Initial state and compiled steps of the toy policy."""
  loss, weights = {**LOSS, **(loss or {})}, params(mesh)
  chain = optimizers.make_optimizer(**{**OPTIMIZER, **(optimizer or {})})
  first = state.init_state(weights, chain, kl_reference=loss['kl_reference'])
  return first, step.make_step(
      forward, head, chain, first, step.LossConfig(**loss), temperature=temperature,
      vocab_shards=mesh.shape['tensor'], whole_rows=whole_rows)


def trainer(*, fsdp=1, tensor=1, microbatch_rows=4, max_bad_steps=3, parity_versions=0, **kwargs):
  on = mesh(fsdp, tensor)
  return role.MeshTrainer(*build(on, **kwargs), mesh=on, microbatch_rows=microbatch_rows,
                          max_bad_steps=max_bad_steps, parity_versions=parity_versions)


def rows(number=8, length=12, seed=0):
  """Random rows of two sequences each, with weights that add up to 1."""
  rng = np.random.default_rng(seed)
  shape = (number, length)
  segments = np.broadcast_to(1 + (np.arange(length) >= length // 2), shape).astype(np.int32)
  positions = np.broadcast_to(np.arange(length) % (length // 2), shape).astype(np.int32)
  mask = positions >= 2
  weight = rng.random(shape) * mask
  return records.Rows(
      tokens=rng.integers(0, VOCAB, shape, dtype=np.int32),
      targets=rng.integers(0, VOCAB, shape, dtype=np.int32),
      segments=segments, positions=positions, mask=mask,
      weight=(weight / weight.sum()).astype(np.float32),
      advantage=rng.normal(0, 1, shape).astype(np.float32) * mask,
      sampler_logp=rng.normal(-3.5, 0.5, shape).astype(np.float32) * mask)


def scores(params, rows, temperature=1.0):
  """Log-probabilities [R, T] of the targets, by the toy's forward pass alone."""
  with jax.transfer_guard('allow'):
    hidden = forward(jax.device_get(params), rows.tokens, rows.positions, rows.segments)
    logp = jax.nn.log_softmax(hidden @ jax.device_get(params['out']) / temperature)
    return np.take_along_axis(np.array(logp), rows.targets[..., None], axis=-1)[..., 0]


def batch(*minibatches, parity=()):
  """Batch around rows; of its one group nothing is trained."""
  completion = records.Completion(0, 0, np.array([1]), np.zeros(1), ((0, 0),), 'stop', '', 0.)
  prompt = records.Prompt(0, records.Problem('', '', '', ''), np.array([1]))
  group = records.Group(prompt, (completion,), ())
  return records.Batch((group,), minibatches, 1.0, parity)


@pytest.fixture(scope='session')
def toy():
  return types.SimpleNamespace(
      forward=forward, head=head, params=params, mesh=mesh, build=build, trainer=trainer,
      rows=rows, scores=scores, batch=batch, LOSS=LOSS, OPTIMIZER=OPTIMIZER, VOCAB=VOCAB,
      WIDTH=WIDTH)
