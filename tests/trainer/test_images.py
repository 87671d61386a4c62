"""Training on rows with images: the same identities, and towers that are frozen or trained."""
import functools

import jax
import numpy as np
import optax
import pytest

from magistral_jax import sharding
from magistral_jax.batching import packing
from magistral_jax.models import decoder
from magistral_jax.trainer import optimizer, role, state, step
from tests.golden import vision as golden

NAME = 'mistral3'
CONFIG = golden.CONFIGS[NAME]
PATCHES = packing.Patches(row_patches=256, pixels=3 * CONFIG.vision.patch ** 2)
SGD = dict(name='sgd', learning_rate=0.1, warmup_steps=0,
           schedule='constant', final_learning_rate=0.0, steps=0, beta1=0.0, beta2=0.95, eps=1e-8,
           weight_decay=0.0, clip_norm=0.0)
TOWER = ('vision', 'adapter')


def sequences():
  """Golden prompts and completions, with advantages."""
  rng, found = np.random.default_rng(0), []
  for (prompt, completion), advantage in zip(golden.prompts(NAME), (-1.0, 0.7, -0.5), strict=True):
    found.append(packing.PackedSequence(
        prompt.tokens, np.array(completion), 0.02, advantage,
        rng.normal(-1, 0.5, len(completion)).astype(np.float32), prompt.images))
  return found


def packed(row_tokens=256):
  return packing.pack(sequences(), row_tokens=row_tokens, rows_multiple=1, patches=PATCHES)


def one_a_row():
  """Packs each sequence into a row of its own."""
  rows = [packing.pack([s], row_tokens=256, rows_multiple=1, patches=PATCHES)
          for s in sequences()]
  join = lambda get: np.concatenate([get(r) for r in rows])
  images = type(rows[0].images)(**{
      name: join(lambda r: getattr(r.images, name)) for name in vars(rows[0].images)})
  return type(rows[0])(images=images, **{
      name: join(lambda r: getattr(r, name)) for name in vars(rows[0])
      if name != 'images' and getattr(rows[0], name) is not None})


@functools.cache
def trainer_parts(fsdp, tensor, frozen, loss, **how):
  mesh = sharding.make_mesh(jax.devices()[:fsdp * tensor], fsdp=fsdp, tensor=tensor)
  axes = decoder.definition(CONFIG)[1]
  shardings = sharding.tree_named(mesh, sharding.TRAINER, axes)
  chain = optimizer.make_optimizer(**SGD | how)
  first = lambda: state.init_state(jax.device_put(golden.load(NAME), shardings), chain,
                                   kl_reference='none', frozen=frozen)
  return mesh, first, step.make_step(
      functools.partial(decoder.forward_rows, CONFIG), decoder.head, chain, first(),
      step.LossConfig(**dict(loss)), temperature=1.0, vocab_shards=tensor, frozen=frozen)


def train(rows, toy, *, updates=1, fsdp=1, tensor=1, microbatch_rows=1, frozen=(), **how):
  """Trains on these rows for some updates; returns the trainer."""
  mesh, first, compiled = trainer_parts(fsdp, tensor, frozen, tuple(toy.LOSS.items()), **how)
  trainer = role.MeshTrainer(first(), compiled, mesh=mesh, microbatch_rows=microbatch_rows,
                             max_bad_steps=1)
  for _ in range(updates):
    trainer.metrics = trainer.train(toy.batch(rows))
  return trainer


@pytest.mark.parametrize('why, rows, how', [
    ('a row for each sequence, in microbatches', one_a_row, dict(microbatch_rows=1)),
    ('eight devices', one_a_row, dict(fsdp=4, tensor=2, microbatch_rows=4)),
])
def test_same_step(toy, why, rows, how):
  """Trains the tower as well: packed = one by one = microbatches = eight devices."""
  assert len(packed()) == 1 and len(one_a_row()) == 3
  expected, actual = train(packed(), toy), train(rows(), toy, **how)
  assert expected.metrics['grad_norm'] > 0.1
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-4, err_msg=why),
               *(jax.device_get(t.params) for t in (expected, actual)))
  for key, value in expected.metrics.items():
    np.testing.assert_allclose(actual.metrics[key], value, rtol=2e-4, atol=1e-5, err_msg=key)


def moved(trainer):
  """Whether each leaf has changed since the start, {leaf: bool}."""
  flat = lambda tree: {jax.tree_util.keystr(path): np.asarray(leaf)
                       for path, leaf in jax.tree.leaves_with_path(tree)}
  before, after = flat(golden.load(NAME)), flat(jax.device_get(trainer.params))
  return {key: not np.array_equal(before[key], after[key]) for key in before}


def test_a_frozen_tower_stays_as_it_is_and_costs_no_state(toy):
  trainer = train(packed(), toy, updates=2, frozen=TOWER, name='adamw', weight_decay=0.1)
  changed = moved(trainer)
  for key, value in changed.items():
    assert value != any(name in key for name in TOWER), key
  assert set(optax.tree.get(trainer.state.opt_state, 'mu')) == set(trainer.params) - set(TOWER)
  assert set(trainer.params) >= set(TOWER)


def test_a_tower_that_is_trained_moves_in_every_part(toy):
  assert all(moved(train(packed(), toy)).values())
