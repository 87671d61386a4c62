"""Samplers that hold their matrices in eight bits."""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.experiment import checks
from magistral_jax.experiment.values import change
from magistral_jax.models import decoder, rounded
from magistral_jax.records import WeightSnapshot
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.weights.snapshot import Publisher
from tests import tiny as toys

PAIR = (4, 5)


def publish(tiny, version, devices=(0,)):
  """Rounded weights of a version, as a trainer in this process gives them to a sampler."""
  publisher = Publisher(tiny.CONFIG, tiny.mesh(*devices), 'int8')
  return publisher.snapshot(tiny.snapshot(version).params, version)


def dequantised(params):
  """Weights in float32 that the rounded ones stand for, made by numpy."""
  def whole(path, leaf):
    name = '.'.join(key.key for key in path)
    if name not in rounded.INPUTS:
      return np.asarray(leaf)
    over = tuple(range(1, 1 + rounded.INPUTS[name]))
    return np.asarray(leaf.values, np.float32) * np.expand_dims(np.asarray(leaf.scales), over)
  return jax.tree.map_with_path(whole, params, is_leaf=lambda x: isinstance(x, rounded.Rounded))


def gaps(tiny, params, prompts, done):
  """|sampled - full forward pass| of all tokens."""
  return np.concatenate([
      np.abs(tiny.completion_logps(params, prompts[ordinal], c)[np.arange(len(c.tokens)), c.tokens]
             - c.sampler_logp) for (ordinal, _), c in done.items()])


@pytest.mark.parametrize('values, samples', [
    (dict(), 3),
    # Few pages: sequences are preempted and prefilled again.
    pytest.param(dict(slots=7, decode_steps=1, pages=26), 4, marks=pytest.mark.long),
    pytest.param(dict(draft_tokens=3, draft_slots=4), 3, marks=pytest.mark.long),
    pytest.param(dict(kv_dtype='int8'), 3, marks=pytest.mark.long)], ids=str)
def test_decode_is_prefill_is_the_full_pass_with_the_same_weights(tiny, values, samples):
  prompts = [tiny.prompt(i, length) for i, length in enumerate((5, 7, 8))]
  engine, snapshot = tiny.engine(**values), publish(tiny, 0)
  sampler = tiny.sampler(on=engine, start=snapshot)
  done = tiny.run(sampler, prompts, tiny.how(samples, max_new_tokens=24))
  near = gaps(tiny, dequantised(snapshot.params), prompts, done)
  far = gaps(tiny, tiny.snapshot(0).params, prompts, done)
  assert near.size > 60 and 1e-3 < far.mean() < 0.1
  # Where pages are rounded, too, the full pass has other keys.
  assert near.max() < 1e-5 if 'kv_dtype' not in values else near.mean() < far.mean()
  if 'pages' in values:
    assert sampler.counts['preemptions']
  tiny.assert_all_returned(sampler, engine)
  # The trainer's own forward pass takes them as they are, which is how a server scores texts.
  np.testing.assert_allclose(gaps(tiny, snapshot.params, prompts, done), near, atol=1e-5)


def test_a_sampler_holds_no_matrix_but_integers(tiny):
  sampler = tiny.sampler(start=publish(tiny, 0))
  for tree in (sampler.snapshot.params, sampler._params):
    for part in ('attention', 'ffn'):
      for held in tree['layers'][part].values():
        assert {x.dtype for x in jax.tree.leaves(held.values)} == {jnp.dtype('int8')}
        assert {x.dtype for x in jax.tree.leaves(held.scales)} == {jnp.dtype('float32')}


def test_a_swap_in_flight_compiles_nothing_and_keeps_older_keys(tiny):
  prompt, number = tiny.prompt(2, 9), 24
  engine, weights = tiny.engine(), [publish(tiny, version) for version in (0, 1)]
  sampler = tiny.sampler(on=engine, start=weights[0])
  sampler.submit(prompt, tiny.how(1, temperature=0.0, max_new_tokens=number))
  sampler.step()
  compiled = engine.compilations()
  sampler.offer(weights[1])
  done, = tiny.finish(sampler).values()
  assert [version for _, version in done.versions] == [0, 1]
  assert engine.compilations() == compiled
  # By hand: each token by the weights of its version, over keys that the older ones wrote.
  swap_at = done.versions[1][0]
  tokens, logps = by_hand(tiny, prompt, done, swap_at, [dequantised(w.params) for w in weights])
  np.testing.assert_array_equal(done.tokens, tokens)
  np.testing.assert_allclose(done.sampler_logp, logps, atol=1e-5)


def by_hand(tiny, prompt, done, swap_at, weights):
  """Greedy tokens and their log-probabilities by an engine with weights in float32."""
  sampler = tiny.sampler(start=WeightSnapshot(0, jax.device_put(weights[0])))
  sampler.submit(prompt, tiny.how(1, temperature=0.0, max_new_tokens=len(done.tokens)))
  sampler.step()
  sampler.offer(WeightSnapshot(1, jax.device_put(weights[1])))
  exact, = tiny.finish(sampler).values()
  assert exact.versions[1][0] == swap_at
  return exact.tokens, exact.sampler_logp


def test_two_devices_with_pieces_of_the_integers_sample_as_one_does(tiny):
  prompts, how = [tiny.prompt(i) for i in range(4)], tiny.how(samples=2)
  snapshot = publish(tiny, 0, PAIR)
  two = tiny.sampler(on=tiny.engine(devices=PAIR), start=snapshot)
  one = tiny.sampler(start=publish(tiny, 0))
  tiny.assert_same(tiny.run(two, prompts, how), tiny.run(one, prompts, how))
  q = snapshot.params['layers']['attention']['q']
  assert q.values.sharding.shard_shape(q.values.shape)[2] == 2
  assert q.scales.sharding.shard_shape(q.scales.shape)[1] == 2


@pytest.mark.long
def test_a_trainer_on_four_devices_publishes_to_two_others(tiny):
  mesh = sharding.make_mesh(jax.devices()[:4], fsdp=2, tensor=2)
  axes = decoder.definition(tiny.CONFIG)[1]
  cut = jax.device_put(tiny.snapshot(0).params, sharding.tree_named(mesh, sharding.TRAINER, axes))
  apart = Publisher(tiny.CONFIG, tiny.mesh(*PAIR), 'int8').snapshot(cut, 0)
  for mine, alone in zip(jax.tree.leaves(apart.params), jax.tree.leaves(
      publish(tiny, 0).params), strict=True):
    np.testing.assert_array_equal(mine, alone)
  sampler = EngineSampler(tiny.engine(devices=PAIR), apart, decode=lambda ids: '',
                          end_ids=(tiny.EOS,))
  assert tiny.run(sampler, [tiny.prompt(0)], tiny.how(2))


def test_experts_are_not_rounded(tmp_path):
  c = toys.shrink(toys.load('mixtral_8x7b_rl'))
  change(c, toys.needs(c, tmp_path) | {'sampler.weight_dtype': 'int8'})
  with pytest.raises(ValueError, match=r"sampler.weight_dtype='int8' rounds no experts, of which "
                     r"the model has 4 in each layer: set it to 'model'"):
    checks.prepare(c)
