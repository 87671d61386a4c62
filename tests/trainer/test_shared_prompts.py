"""Training on rows in which completions share their prompt is training on each sequence alone."""
import functools

import jax
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.batching import packing
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.trainer import optimizer, role, state, step
from tests.golden import vision as golden

SGD = dict(name='sgd', learning_rate=1.0, warmup_steps=0, schedule='constant',
           final_learning_rate=0.0, steps=0, beta1=0.0, beta2=0.95, eps=1e-8, weight_decay=0.0,
           clip_norm=0.0)
SHAPE = dict(layers=2, dim=16, heads=4, kv_heads=2, head_dim=4, ffn_dim=24, vocab=32,
             rope_theta=1e4, norm_eps=1e-5, tied=True, dtype='float32')
DENSE = ModelConfig(family='mistral', **SHAPE)
EXPERTS = ModelConfig(family='mixtral', experts=4, experts_per_token=2, **SHAPE)
IMAGES = golden.CONFIGS['mistral3']
PATCHES = packing.Patches(row_patches=256, pixels=3 * IMAGES.vision.patch ** 2)


def drawn(config):
  """Weights drawn by numpy: the decoder's own take seconds to compile."""
  rng = np.random.default_rng(0)
  draw = lambda path, x: (np.ones(x.shape, x.dtype) if 'norm' in jax.tree_util.keystr(path)
                          else rng.normal(0, x.shape[-1] ** -0.5, x.shape).astype(x.dtype))
  return jax.tree.map_with_path(draw, decoder.abstract(config))


def sequences(config, prompts):
  """Three completions of each prompt; with experts, those that a sampler chose for every token."""
  rng, found = np.random.default_rng(1), []
  for tokens, images in prompts:
    chosen = lambda n: np.argsort(rng.random((n, config.layers, config.experts)), -1)[
        ..., :config.experts_per_token].reshape(n, -1).astype(np.uint8)
    shared = chosen(len(tokens) - 1) if config.experts else None
    for length in (7, 4, 1):
      found.append(packing.PackedSequence(
          tokens, rng.integers(0, config.vocab, length, dtype=np.int32), 0.03, rng.normal(),
          rng.normal(-3, 0.5, length).astype(np.float32), images,
          np.concatenate([shared, chosen(length)]) if config.experts else None))
  return found


def text():
  """Two prompts of different lengths."""
  rng = np.random.default_rng(2)
  return [(rng.integers(0, DENSE.vocab, n, dtype=np.int32), ()) for n in (9, 6)]


@functools.cache
def parts(config, coef, devices, whole_rows, loss):
  """Mesh, compiled steps, and a function that gives a first state."""
  mesh = sharding.make_mesh(jax.devices()[:np.prod(devices)],
                            **dict(zip(('fsdp', 'expert', 'sequence', 'tensor'), devices,
                                       strict=True)))
  cut = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  chain = optimizer.make_optimizer(**SGD)
  weights = golden.load('mistral3') if config.vision else drawn(config)
  first = lambda: state.init_state(jax.device_put(weights, cut), chain, kl_reference='none')
  forward = decoder.routed_rows if config.experts else decoder.forward_rows
  return mesh, first, step.make_step(
      functools.partial(forward, config, layout=sharding.Layout(mesh, sharding.TRAINER)),
      decoder.head, chain, first(), step.LossConfig(**dict(loss) | dict(router_aux_coef=coef)),
      temperature=1.0, routed=config if config.experts else None, whole_rows=whole_rows)


def after(config, rows, toy, *, coef=0.0, devices=(1, 1, 1, 1), whole_rows=False):
  """Parameters and metrics after one step of plain descent on these rows, in one microbatch."""
  mesh, first, steps = parts(config, coef, devices, whole_rows, tuple(toy.LOSS.items()))
  trainer = role.MeshTrainer(first(), steps, mesh=mesh, microbatch_rows=len(rows),
                             max_bad_steps=1)
  metrics = trainer.train(toy.batch(rows))
  return jax.device_get(trainer.params), metrics


def assert_same(actual, expected):
  """Compares parameters and metrics, but for pairs, of which sharing leaves some out."""
  assert expected[1]['grad_norm'] > 0.05
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
               actual[0], expected[0])
  for key, value in expected[1].items():
    if 'repeat' not in key:
      np.testing.assert_allclose(actual[1][key], value, rtol=2e-5, atol=1e-5, err_msg=key)


ONE_EACH = [[0, 3], [1, 4], [2, 5]]   # No two sequences of one prompt in a row.


@pytest.mark.parametrize('alone', [dict(), dict(share_prompts=True)],
                         ids=['rows that cannot share', 'rows that have nothing to share'])
def test_same_step(toy, alone):
  many = sequences(DENSE, text())
  pack = functools.partial(packing.pack, many, row_tokens=64, rows_multiple=4)
  alone, shared = pack(layout=ONE_EACH, **alone), pack(share_prompts=True)
  filled = lambda rows: int((rows.segments > 0).sum())
  assert filled(alone) == 3 * 8 + 3 * 5 + 24 and filled(shared) == 8 + 5 + 24
  assert_same(after(DENSE, shared, toy, whole_rows=True),
              after(DENSE, alone, toy, whole_rows=True))


def test_same_step_of_replayed_experts_that_are_balanced(toy):
  """One device and eight, over which the positions of a row are cut, too."""
  many = sequences(EXPERTS, text())
  pack = functools.partial(packing.pack, many, row_tokens=64, rows_multiple=4, share_prompts=True)
  expected = after(EXPERTS, pack(layout=ONE_EACH), toy, coef=0.1)
  for devices in ((1, 1, 1, 1), (1, 2, 2, 2)):
    assert_same(after(EXPERTS, pack(), toy, coef=0.1, devices=devices), expected)


def test_same_step_with_images(toy):
  """The tower is trained as well, and reads an image of a shared prompt once."""
  prompt, _ = golden.prompts('mistral3')[0]
  many = sequences(IMAGES, [(prompt.tokens, prompt.images)])
  pack = functools.partial(packing.pack, many, row_tokens=256, rows_multiple=3, patches=PATCHES,
                           share_prompts=True)
  alone, shared = pack(layout=[[0], [1], [2]]), pack()
  read = lambda rows: int((rows.images.segments > 0).sum())
  assert read(alone) == 3 * read(shared) > 0 and not shared.segments[1:].any()
  assert_same(after(IMAGES, shared, toy), after(IMAGES, alone, toy))
