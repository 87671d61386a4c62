"""Samplers on several devices, and on devices apart from the trainer's."""
import jax
import numpy as np

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.weights.snapshot import Publisher

# Both tests compile for these devices; the trainer below has 0 to 3.
OWN = (4, 5)


def devices_of(tree):
  return {d.id for leaf in jax.tree.leaves(tree) for d in leaf.devices()}


def test_two_devices_draw_the_tokens_of_one(tiny):
  prompts, how = [tiny.prompt(i) for i in range(6)], tiny.how(samples=2)
  two = tiny.sampler(on=tiny.engine(devices=OWN), start=tiny.snapshot(0, devices=OWN))
  tiny.assert_same(tiny.run(two, prompts, how), tiny.run(tiny.sampler(), prompts, how))
  pages = two._state.pages.keys
  assert len(pages.devices()) == 2 and not pages.sharding.is_fully_replicated


def test_a_sampler_on_devices_of_its_own(tiny):
  """Trains on four devices, samples on two others, and swaps weights in flight."""
  trainer = sharding.make_mesh(jax.devices()[:4], fsdp=2, tensor=2)
  axes = decoder.definition(tiny.CONFIG)[1]
  lay_out = lambda tree: jax.device_put(tree, sharding.tree_named(trainer, sharding.TRAINER, axes))
  publisher, engine = Publisher(tiny.CONFIG, tiny.mesh(*OWN)), tiny.engine(devices=OWN)
  first, second = (publisher.snapshot(lay_out(tiny.snapshot(v).params), v) for v in (0, 1))
  assert devices_of(first.params) == set(OWN)

  def run(sampler, newer):
    for ordinal in range(4):
      sampler.submit(tiny.prompt(ordinal), tiny.how(samples=2))
    done = sampler.step() + sampler.step()
    sampler.offer(newer)
    return {(c.ordinal, c.sample): c for c in done} | tiny.finish(sampler)

  sampler = EngineSampler(
      engine, first, decode=lambda ids: ' '.join(map(str, ids)), end_ids=(tiny.EOS,))
  apart = run(sampler, second)
  assert devices_of(sampler._state) == set(OWN)
  same = run(tiny.sampler(), tiny.snapshot(1))
  tiny.assert_same(apart, same)
  assert any(len(c.versions) == 2 for c in apart.values())
  assert {k: c.versions for k, c in apart.items()} == {k: c.versions for k, c in same.items()}
  assert np.array_equal(first.params['norm'], tiny.snapshot(0).params['norm'])
