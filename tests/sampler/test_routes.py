"""The experts that a sampler records are those that its tokens took, all the way to the rows."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magistral_jax import records, sharding
from magistral_jax.batching.packing import PackedSequence, pack
from magistral_jax.models import decoder
from magistral_jax.models.config import ModelConfig
from magistral_jax.sampler.engine import Engine, Extras
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from tests.models import drawn

CONFIG = ModelConfig(family='mixtral', layers=2, dim=16, heads=4, kv_heads=2, head_dim=8,
                     ffn_dim=24, vocab=24, rope_theta=1e4, norm_eps=1e-5, tied=False,
                     dtype='float32', experts=4, experts_per_token=2)
EOS, NEW, LONGEST, PAGE = 2, 20, 32, 8
NUMBERS = CONFIG.layers * CONFIG.experts_per_token


@functools.cache
def engine(devices=1):
  mesh = sharding.make_mesh(jax.devices()[:devices], expert=devices, tensor=1)
  return Engine(CONFIG, mesh, slots=4, pages=24, page_tokens=PAGE, slot_pages=LONGEST // PAGE,
                decode_steps=4, nucleus=False, end_ids=(EOS,), seed=0,
                extras=Extras(routes=True))


@functools.cache
def weights(*, level=False):
  """Seeded parameters; with `level`, routers that find all experts alike, so that 0 and 1 win."""
  params = drawn.parameters(CONFIG)
  if level:
    moe = params['layers']['moe'] | dict(gate=jnp.zeros_like(params['layers']['moe']['gate']))
    params = params | dict(layers=params['layers'] | dict(moe=moe))
  return params


def prompts(purpose='training'):
  """Four prompts, the first one a single token."""
  rng = np.random.default_rng(0)
  return [records.Prompt(i, records.Problem(str(i), '', '', ''),
                         rng.integers(3, CONFIG.vocab, n, dtype=np.int32), purpose=purpose)
          for i, n in enumerate((1, 4, 5, 9))]


def sampler(on):
  axes = decoder.definition(CONFIG)[1]
  cut = jax.device_put(weights(), sharding.tree_named(on.mesh, sharding.SAMPLER, axes))
  return EngineSampler(on, records.WeightSnapshot(0, cut), decode=str, end_ids=(EOS,))


def sample(on, purpose='training', offer=None, preempt=False):
  """Two completions of every prompt; `offer` and `preempt` come after the first dispatch."""
  role, done = sampler(on), []
  for prompt in prompts(purpose):
    role.submit(prompt, Sampling(2, 1.0, 1.0, NEW))
  while role.open:
    done += role.step()
    for slot in list(role._active) if preempt else ():
      role._preempt(slot)
    preempt = False
    if offer is not None:
      role.offer(offer)
  return role, sorted(done, key=lambda c: (c.ordinal, c.sample))


@jax.jit
def _forward(params, tokens, segments, routes=None):
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  hidden, routing = decoder.routed_rows(CONFIG, params, tokens, positions, segments, routes=routes)
  return decoder.logits(params, hidden), decoder.chosen(routing, CONFIG.experts_per_token)


def own_routes(prompt, completion):
  """The experts that a full forward pass chooses for all tokens but the last."""
  tokens = np.concatenate([prompt.tokens, completion.tokens])[:-1]
  row = np.pad(tokens, (0, LONGEST - len(tokens)))[None]
  segments = (np.arange(LONGEST) < len(tokens)).astype(np.int32)[None]
  return np.asarray(_forward(weights(), row, segments)[1])[0, :len(tokens)]


def assert_routes(completions, of=own_routes):
  for completion in completions:
    prompt = prompts()[completion.ordinal]
    assert completion.routes.dtype == np.uint8
    np.testing.assert_array_equal(completion.routes, of(prompt, completion))


@pytest.mark.parametrize('devices', [1, pytest.param(2, marks=pytest.mark.long)])
def test_recorded_experts_are_those_of_the_forward_pass(devices):
  """Also of sequences that were preempted, whose keys are computed twice."""
  role, done = sample(engine(devices), preempt=True)
  assert len(done) == 8 and len({tuple(row) for c in done for row in c.routes}) > 4
  again = role.counts['prefilled_tokens'] - sum(len(prompt.tokens) - 1 for prompt in prompts())
  assert again > 16, 'four sequences of four tokens or more'
  assert_routes(done)


def test_experts_follow_the_weights_that_change_in_flight():
  offer = records.WeightSnapshot(1, weights(level=True))
  _, done = sample(engine(), offer=offer)
  spanning = [c for c in done if len(c.versions) == 2]
  assert spanning
  for completion in spanning:
    prompt = prompts()[completion.ordinal]
    # A token's experts are known once the next one is drawn, by the weights that draw it.
    before = len(prompt.tokens) - 1 + completion.versions[1][0]
    np.testing.assert_array_equal(completion.routes[:before],
                                  own_routes(prompt, completion)[:before])
    assert (completion.routes[before:] == [0, 1] * CONFIG.layers).all()
    assert len(completion.routes) == len(prompt.tokens) + len(completion.tokens) - 1


def test_nothing_is_recorded_of_evaluations_which_are_not_trained_on():
  _, done = sample(engine(), 'evaluation')
  assert all(c.routes is None for c in done)


def test_packed_rows_replay_what_was_recorded():
  """Own choices change nothing, whatever shares a row; others change the log-probabilities."""
  _, done = sample(engine())
  sequences = [PackedSequence(prompts()[c.ordinal].tokens, c.tokens, 1.0,
                              sampler_logp=c.sampler_logp, routes=c.routes) for c in done]
  rows = pack(sequences, row_tokens=2 * LONGEST, rows_multiple=1)
  assert len(rows) < len(sequences) and rows.routes.shape == (len(rows), 2 * LONGEST, NUMBERS)

  @jax.jit
  def logps(params, routes):
    hidden = decoder.forward_rows(CONFIG, params, rows.tokens, rows.positions, rows.segments,
                                  routes=routes)
    found = jax.nn.log_softmax(decoder.logits(params, hidden))
    return jnp.take_along_axis(found, rows.targets[..., None], axis=2)[..., 0]

  gap = lambda params, routes: np.abs(np.asarray(logps(params, routes)) - rows.sampler_logp)[
      rows.mask].max()
  assert gap(weights(), rows.routes) < 1e-5
  assert gap(weights(), (rows.routes + 1) % CONFIG.experts) > 1e-3
