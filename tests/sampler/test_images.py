"""Prompts with images, sampled by the real engine with the golden models that read them."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.batching import packing
from magistral_jax.models import decoder
from magistral_jax.records import WeightSnapshot
from magistral_jax.sampler.engine import Engine
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from tests.golden import vision as golden

NAMES = sorted(golden.CONFIGS)
NEW, EOS, PAGE = 20, 2, 8
SLOT_PAGES = 10


@functools.cache
def engine(name, devices=1, pages=4 * SLOT_PAGES + 1):
  mesh = sharding.make_mesh(jax.devices()[:devices], tensor=devices)
  return Engine(golden.CONFIGS[name], mesh, slots=4, pages=pages, page_tokens=PAGE,
                slot_pages=SLOT_PAGES, decode_steps=4, nucleus=False, end_ids=(EOS,), seed=0)


def sample(engine, name, *, samples=1, temperature=0.0):
  """Samples all golden prompts; returns the sampler and {(prompt, sample): completion}."""
  axes = decoder.definition(engine.config)[1]
  params = jax.device_put(
      golden.load(name), sharding.tree_named(engine.mesh, sharding.SAMPLER, axes))
  sampler = EngineSampler(engine, WeightSnapshot(0, params), decode=str, end_ids=(EOS,))
  for prompt, _ in golden.prompts(name):
    sampler.submit(prompt, Sampling(samples, temperature, 1.0, NEW))
  done = []
  while sampler.open:
    done += sampler.step()
  return sampler, {(c.ordinal, c.sample): c for c in done}


@pytest.mark.parametrize('name', NAMES)
def test_greedy_tokens_are_those_of_transformers(name):
  """Covers completions with the placeholder, which is a plain token when drawn."""
  sampler, done = sample(engine(name), name, samples=2)
  for prompt, completion in golden.prompts(name):
    for i in range(2):
      np.testing.assert_array_equal(done[prompt.ordinal, i].tokens, completion)
  # A group's prompt is encoded once.
  assert sampler.counts['prefilled_tokens'] == sum(
      len(prompt.tokens) - 1 for prompt, _ in golden.prompts(name))
  programs = engine(name).compilations()
  sample(engine(name), name)
  assert engine(name).compilations() == programs


@pytest.mark.parametrize('name', NAMES)
def test_prefill_and_decoding_are_the_forward_pass_of_packed_rows(name):
  """Compares the recorded log-probabilities with the trainer's, on a few packed rows."""
  config = golden.CONFIGS[name]
  done = sample(engine(name), name, samples=2, temperature=1.0)[1]
  prompts = [prompt for prompt, _ in golden.prompts(name)]
  rows = packing.pack(
      [packing.PackedSequence(prompts[c.ordinal].tokens, c.tokens, 1.0, 0.0, c.sampler_logp,
                              prompts[c.ordinal].images) for c in done.values()],
      row_tokens=192, rows_multiple=1,
      patches=packing.Patches(row_patches=256, pixels=3 * config.vision.patch ** 2))
  assert (rows.images.segments.max(1) > 1).any()

  @jax.jit
  def logps(params, rows, images):
    hidden = decoder.forward_rows(config, params, *rows, images=images)
    return jax.nn.log_softmax(decoder.logits(params, hidden))

  every = logps(golden.load(name), (rows.tokens, rows.positions, rows.segments),
                vars(rows.images))
  chosen = jnp.take_along_axis(every, rows.targets[..., None], -1)[..., 0]
  np.testing.assert_allclose(chosen[rows.mask], rows.sampler_logp[rows.mask], atol=2e-5)
  assert rows.mask.sum() == sum(len(c.tokens) for c in done.values())


def test_two_devices_and_a_prompt_written_again_draw_the_same(scarce):
  """Also runs with few pages, where a sequence is preempted and prefilled again with images."""
  name = 'pixtral'
  expected = sample(engine(name), name, samples=2, temperature=1.0)[1]
  for on in (engine(name, devices=2), engine(name, pages=SLOT_PAGES + 2)):
    sampler, done = sample(on, name, samples=2, temperature=1.0)
    for key, completion in expected.items():
      np.testing.assert_array_equal(done[key].tokens, completion.tokens)
      np.testing.assert_allclose(done[key].sampler_logp, completion.sampler_logp, atol=2e-5)
  assert sampler.counts['preemptions'] > 0
