"""The mixture of experts against its formula, computed expert by expert and token by token."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import moe
from magistral_jax.models.decoder import REMAT
from magistral_jax.sharding import SAMPLER, TRAINER, Layout

B, T, D, F, E, K = 4, 10, 16, 24, 4, 2
INNER = ('expert', 'expert_embed', 'expert_ffn')
AXES = dict(x=('row', 'position', None), logits=('row', 'position', None), w1=INNER, w3=INNER,
            w2=('expert', 'expert_ffn', 'expert_embed'))


@pytest.fixture(scope='module')
def arrays():
  rng = np.random.default_rng(0)
  normal = lambda scale, *shape: (scale * rng.normal(size=shape)).astype(np.float32)
  return dict(x=normal(1, B, T, D), logits=normal(1, B, T, E), w1=normal(.3, E, D, F),
              w3=normal(.3, E, D, F), w2=normal(.3, E, F, D))


def formula(x, logits, w1, w3, w2):
  """The output y = sum_i softmax(top2(g))_i SwiGLU_i(x), with all but two logits set to -inf."""
  least = jnp.sort(logits)[..., -K, None]
  share = jax.nn.softmax(jnp.where(logits >= least, logits, -jnp.inf))
  outputs = [(jax.nn.silu(x @ w1[e]) * (x @ w3[e])) @ w2[e] for e in range(E)]
  return sum(share[..., e, None] * outputs[e] for e in range(E))


def ours(x, logits, w1, w3, w2, layout=None):
  return moe.mixture(x, *moe.route(logits, K), w1, w3, w2, layout)


def value_and_gradients(function, arrays):
  def loss(arrays):
    out = function(**arrays)
    return jnp.sum(jnp.sin(out)), out
  return jax.jit(jax.grad(loss, has_aux=True))(arrays)


@pytest.fixture(scope='module')
def expected(arrays):
  return value_and_gradients(formula, arrays)


def assert_close(actual, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-5, rtol=0), actual, expected)


def test_output_and_gradients_are_the_formulas(arrays, expected):
  assert_close(value_and_gradients(ours, arrays), expected)


def test_given_experts_are_taken_instead_of_the_largest_logits(arrays):
  """Weighs them by their own logits, whose gradients are those of a softmax over them alone."""
  rng = np.random.default_rng(1)
  given = np.argsort(rng.random((B, T, E)), axis=-1)[..., :K].astype(np.uint8)
  taken = (given[..., None] == np.arange(E)).any(-2)
  replayed = lambda x, logits, w1, w3, w2: moe.mixture(
      x, *moe.route(logits, K, given), w1, w3, w2, None)
  # The formula takes the largest: those given are made the largest, by a constant.
  same = lambda x, logits, **w: formula(x, jnp.where(taken, logits + 50.0, logits), **w)
  assert_close(value_and_gradients(replayed, arrays), value_and_gradients(same, arrays))


@pytest.mark.parametrize('rules, sizes', [
    (TRAINER, dict(fsdp=2, expert=2, sequence=1, tensor=2)),
    (TRAINER, dict(fsdp=1, expert=4, sequence=2, tensor=1)),
    (SAMPLER, dict(expert=2, tensor=4)), (SAMPLER, dict(expert=4, tensor=1))])
def test_devices_that_share_the_experts_are_one_device(arrays, expected, rules, sizes):
  devices = np.prod(list(sizes.values()))
  layout = Layout(sharding.make_mesh(jax.devices()[:devices], **sizes), rules)
  cut = {name: jax.device_put(array, sharding.named(layout.mesh, rules, AXES[name]))
         for name, array in arrays.items()}
  assert cut['w1'].addressable_shards[0].data.size * devices == cut['w1'].size
  assert_close(value_and_gradients(functools.partial(ours, layout=layout), cut), expected)


def test_no_token_is_dropped_when_all_choose_the_same_experts(arrays):
  """The worst possible routing leaves some devices without any row."""
  same = arrays | dict(logits=arrays['logits'] + np.array([0, 50, 0, 49], np.float32))
  layout = Layout(sharding.make_mesh(jax.devices()[:4], expert=4, tensor=1), SAMPLER)
  for where in (None, layout):
    out = jax.jit(functools.partial(ours, layout=where))(**same)
    np.testing.assert_allclose(out, formula(**same), atol=5e-5, rtol=0)


@pytest.mark.parametrize('remat', ['none', 'ffn'])
@pytest.mark.parametrize('crowd', [0, 50])
@pytest.mark.parametrize('rules', [SAMPLER, TRAINER], ids=['sampler', 'trainer'])
def test_devices_with_little_room_compute_the_same(arrays, monkeypatch, rules, crowd, remat):
  """Some devices get more rows than is usual, all of the first with `crowd`, others fewer."""
  monkeypatch.setattr(moe, 'WORTH', 1)
  monkeypatch.setattr(moe, '_WHOLE', 1)
  monkeypatch.setattr(moe, 'ROOM', 1.05)
  usual, most = moe.buffers(B * T, K, 1, E)
  same = arrays | dict(logits=arrays['logits'] + np.array([crowd, 0, 0, 0], np.float32))
  chosen, _ = moe.route(same['logits'], K)
  given = np.bincount(np.asarray(chosen).reshape(-1), minlength=E)
  assert usual < most and given.min() <= usual < given.max()
  layout = Layout(sharding.make_mesh(jax.devices()[:4], expert=4, tensor=1), rules)
  function = functools.partial(ours, layout=layout)
  if REMAT[remat] is not None:
    function = jax.checkpoint(function, policy=REMAT[remat])
  assert_close(value_and_gradients(function, same), value_and_gradients(formula, same))


def test_the_backward_pass_keeps_no_more_than_the_usual_room(arrays, monkeypatch):
  """With remat 'ffn' the two products before the gate, of the usual program, are kept: no other."""
  monkeypatch.setattr(moe, 'WORTH', 1)
  monkeypatch.setattr(moe, '_WHOLE', 1)
  (usual, most), here = moe.buffers(B * T, K, 1, E), slice(0, 1)
  chosen, share = moe.route(arrays['logits'], K)
  def loss(x, w1, w3, w2):
    return jnp.sum(x + moe._local(x, chosen, share, w1, w3, w2, 0, experts=E, kernel='tiles'))
  weights = [arrays[name][None, here] for name in ('w1', 'w3', 'w2')]
  _, pull = jax.vjp(jax.checkpoint(loss, policy=REMAT['ffn']), arrays['x'], *weights)
  kept = [array.shape for array in jax.tree.leaves(pull) if hasattr(array, 'shape')]
  assert kept.count((usual, F)) == 2 and not any(most in shape for shape in kept)


@pytest.mark.parametrize('sizes', [None, dict(expert=2, tensor=2)])
def test_experts_are_read_out_of_the_stack_of_all_layers(arrays, sizes):
  layout = sizes and Layout(sharding.make_mesh(jax.devices()[:4], **sizes), SAMPLER)
  stack = lambda name: np.stack([np.full_like(arrays[name], 1e30), arrays[name],
                                 np.full_like(arrays[name], -1e30)])
  out = jax.jit(lambda layer: moe.mixture(
      arrays['x'], *moe.route(arrays['logits'], K), *map(stack, ('w1', 'w3', 'w2')), layout,
      layer))(1)
  np.testing.assert_allclose(out, formula(**arrays), atol=5e-5, rtol=0)


def test_tokens_do_not_change_one_another(arrays):
  """A token's output is the same among other tokens, on which sampler and trainer rely."""
  alone = jax.jit(ours)(**arrays | dict(x=arrays['x'][:1, :1], logits=arrays['logits'][:1, :1]))
  np.testing.assert_allclose(alone[0, 0], jax.jit(ours)(**arrays)[0, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize('sizes', [None, dict(expert=2, tensor=2)])
def test_padding_meets_no_expert(arrays, sizes):
  """Padding gives zeros, and its content reaches neither other tokens nor a gradient."""
  layout = sizes and Layout(sharding.make_mesh(jax.devices()[:4], **sizes), SAMPLER)
  real = np.arange(B * T).reshape(B, T) % 3 > 0

  def masked(x, logits, w1, w3, w2):
    chosen, share = moe.route(logits, K)
    return moe.mixture(x, moe.only_real(chosen, real, E), share, w1, w3, w2, layout)

  only = lambda **arrays: jnp.where(real[..., None], formula(**arrays), 0)
  expected = value_and_gradients(only, arrays)
  dirty = arrays | dict(x=np.where(real[..., None], arrays['x'], 1e30).astype(np.float32))
  assert_close(value_and_gradients(masked, dirty), expected)


def test_shares_are_a_softmax_over_the_chosen_in_float32():
  logits = jnp.array([1.0, 3.0, 2.0, -1.0])
  chosen, share = moe.route(logits.astype(jnp.bfloat16), 2)
  assert chosen.tolist() == [1, 2] and share.dtype == jnp.float32
  np.testing.assert_allclose(share, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=1e-6)


def test_bfloat16_stays_bfloat16(arrays):
  half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), arrays)
  out = jax.jit(ours)(**half)
  assert out.dtype == jnp.bfloat16
  logits = np.asarray(half['logits'], np.float32)   # The same choices on both sides.
  np.testing.assert_allclose(out, formula(**arrays | dict(logits=logits)), atol=0.15, rtol=0)
