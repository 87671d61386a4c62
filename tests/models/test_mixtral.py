"""Mixtral against transformers: one device and several, whole rows and decoding."""
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from magistral_jax import records, sharding
from magistral_jax.models import decoder, grouped
from magistral_jax.models.cache import token_bytes
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint
from magistral_jax.sampler.engine import Engine
from magistral_jax.sampler.role import EngineSampler
from magistral_jax.sampler.slots import Sampling
from magistral_jax.sharding import SAMPLER, TRAINER, Layout

GOLDEN = Path(__file__).resolve().parent.parent / 'golden' / 'mixtral'
CONFIG = ModelConfig(
    family='mixtral', layers=2, dim=32, heads=4, kv_heads=2, head_dim=10, ffn_dim=24, vocab=96,
    rope_theta=1e6, norm_eps=1e-5, tied=False, dtype='float32', experts=4, experts_per_token=2)
ROW_TOKENS = 152


def lines(name):
  return [json.loads(line) for line in (GOLDEN / name).read_text().splitlines()]


@pytest.fixture(scope='module')
def params():
  """The golden checkpoint, put together tensor by tensor from its names."""
  tensors = load_file(GOLDEN / 'model.safetensors')
  layers = lambda name: np.stack([tensors[f'model.layers.{i}.{name}.weight'] for i in range(2)])
  heads = lambda name, n: layers(f'self_attn.{name}').reshape(2, n, 10, 32).transpose(0, 3, 1, 2)
  experts = lambda w: np.stack(
      [layers(f'block_sparse_moe.experts.{e}.{w}') for e in range(4)], 1).swapaxes(2, 3)
  return {
      'embed': tensors['model.embed_tokens.weight'], 'norm': tensors['model.norm.weight'],
      'output': tensors['lm_head.weight'].T,
      'layers': {
          'attention_norm': layers('input_layernorm'),
          'ffn_norm': layers('post_attention_layernorm'),
          'attention': {
              'q': heads('q_proj', 4), 'k': heads('k_proj', 2), 'v': heads('v_proj', 2),
              'o': layers('self_attn.o_proj').swapaxes(1, 2).reshape(2, 4, 10, 32)},
          'moe': {'gate': layers('block_sparse_moe.gate').swapaxes(1, 2),
                  'w1': experts('w1'), 'w2': experts('w2'), 'w3': experts('w3')}}}


def test_the_tree_of_a_mixture(params):
  shapes = jax.tree.map(np.shape, decoder.abstract(CONFIG))
  assert shapes == jax.tree.map(np.shape, params)
  assert 'ffn' not in shapes['layers']
  assert set(decoder.definition(CONFIG)[1]['layers']['moe']) == {'gate', 'w1', 'w2', 'w3'}


def test_a_published_folder_is_read_as_its_names_say(params):
  config = checkpoint.read_config(str(GOLDEN), dtype='float32')
  assert config == CONFIG
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load(str(GOLDEN), config), params)


def row_logps(params, tokens, segments, layout=None):
  """Log-probabilities [B, T, V] of one sequence a row, and the routers' logits."""
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  hidden, routers = decoder.routed_rows(
      CONFIG, params, tokens, positions, segments, layout=layout)
  return jax.nn.log_softmax(decoder.logits(params, hidden)), routers


@pytest.fixture(scope='module')
def scored():
  """Sequences of many lengths in 8 rows, and their log-probabilities by transformers."""
  golden = lines('scores.jsonl')
  tokens = np.zeros((8, ROW_TOKENS), np.int32)
  for row, line in enumerate(golden):
    tokens[row, :len(line['tokens'])] = line['tokens']
  lengths = np.array([len(line['tokens']) for line in golden] + [0, 0])
  return tokens, (np.arange(ROW_TOKENS) < lengths[:, None]).astype(np.int32), golden


def assert_scores(logps, golden):
  for row, line in enumerate(golden):
    n = len(line['tokens'])
    chosen = np.asarray(logps)[row, np.arange(n - 1), line['tokens'][1:]]
    np.testing.assert_allclose(chosen, line['logprobs'][1:], atol=1e-4, rtol=0)


def test_log_probs_are_those_of_transformers(params, scored):
  tokens, segments, golden = scored
  assert_scores(jax.jit(row_logps)(params, tokens, segments)[0], golden)


@pytest.mark.parametrize('sizes', [
    dict(fsdp=2, expert=2, sequence=1, tensor=2), dict(fsdp=1, expert=4, sequence=2, tensor=1)])
def test_eight_devices_are_one_device(params, scored, sizes):
  tokens, segments, golden = scored
  layout = Layout(sharding.make_mesh(jax.devices(), **sizes), TRAINER)
  cut = jax.device_put(
      params, sharding.tree_named(layout.mesh, TRAINER, decoder.definition(CONFIG)[1]))
  assert cut['layers']['moe']['w1'].addressable_shards[0].data.size * 8 == 2 * 4 * 32 * 24
  rows = sharding.named(layout.mesh, TRAINER, ('row', None))
  run = jax.jit(functools.partial(row_logps, layout=layout))
  assert_scores(run(cut, *jax.device_put((tokens, segments), rows))[0], golden)


def test_routers_choose_as_in_transformers(params):
  golden = json.loads((GOLDEN / 'balance.json').read_text())
  tokens = np.array(golden['tokens'])
  real = np.arange(tokens.shape[1]) < np.array(golden['lengths'])[:, None]
  routers = jax.jit(row_logps)(params, tokens, real.astype(np.int32))[1]
  expected = np.array(golden['routers']).reshape(routers.shape)
  np.testing.assert_allclose(routers[:, real], expected[:, real], atol=1e-4, rtol=0)


# One device, and experts over two; that eight devices compute the same stands above.
@pytest.mark.parametrize('sizes', [
    dict(expert=1, tensor=1), pytest.param(dict(expert=2, tensor=1), marks=pytest.mark.long)])
def test_greedy_decoding_writes_what_transformers_writes(params, sizes):
  """Decoding goes through pages, slots and batches of unlike lengths; both samples are the same."""
  mesh = sharding.make_mesh(jax.devices()[:sizes['expert']], **sizes)
  engine = Engine(CONFIG, mesh, slots=6, pages=100, page_tokens=4, slot_pages=12, decode_steps=4,
                  nucleus=False, end_ids=(), seed=0)
  cut = jax.device_put(params, sharding.tree_named(mesh, SAMPLER, decoder.definition(CONFIG)[1]))
  sampler = EngineSampler(engine, records.WeightSnapshot(0, cut), decode=str, end_ids=())
  golden = lines('greedy.jsonl')
  for ordinal, line in enumerate(golden):
    sampler.submit(records.Prompt(ordinal, records.Problem('', '', '', ''),
                                  np.array(line['prompt'], np.int32)), Sampling(2, 0.0, 1.0, 24))
  done = []
  while sampler.open and len(done) < 100:
    done += sampler.step()
  assert len(done) == 2 * len(golden)
  for completion in done:
    assert completion.tokens.tolist() == golden[completion.ordinal]['tokens']


@pytest.fixture
def dispatched(monkeypatch):
  """Collects how many rows every grouped product has."""
  found, product = [], grouped.product

  def counting(x, w, sizes, kernel):
    jax.debug.callback(lambda sizes: found.append(int(sizes.sum())), sizes)
    return product(x, w, sizes, kernel)

  monkeypatch.setattr(grouped, 'product', counting)
  return found


def test_padding_of_rows_takes_no_row_of_a_product(params, dispatched):
  segments = np.array([[1, 1, 1, 2, 2, 0, 0, 0], [0] * 8, [1] * 7 + [0]])
  jax.block_until_ready(jax.jit(row_logps)(params, np.ones_like(segments), segments))
  jax.effects_barrier()
  assert dispatched == [2 * 12] * 3 * CONFIG.layers


def test_idle_slots_and_the_rest_of_a_bucket_take_no_row_of_a_product(params, dispatched):
  engine = Engine(CONFIG, sharding.make_mesh(jax.devices()[:1], expert=1, tensor=1), slots=6,
                  pages=100, page_tokens=4, slot_pages=12, decode_steps=1, nucleus=False,
                  end_ids=(), seed=0)
  sampler = EngineSampler(engine, records.WeightSnapshot(0, jax.device_put(params)), decode=str,
                    end_ids=())
  # Nine tokens are prefilled, in a bucket of 16; then two samples take three steps.
  sampler.submit(records.Prompt(0, records.Problem('', '', '', ''), np.arange(10, dtype=np.int32)),
                 Sampling(2, 0.0, 1.0, 3))
  while sampler.open:
    sampler.step()
  jax.effects_barrier()
  per_forward = dispatched[::3 * CONFIG.layers]
  assert per_forward[0] == 2 * 9 and set(per_forward[1:]) <= {0, 2 * 2} and 4 in per_forward


def test_mixtral_has_its_published_size():
  """The model has 46.7B parameters, of which 12.9B are active; nothing is allocated."""
  config = ModelConfig(
      family='mixtral', layers=32, dim=4096, heads=32, kv_heads=8, head_dim=128, ffn_dim=14336,
      vocab=32000, rope_theta=1e6, norm_eps=1e-5, tied=False, dtype='bfloat16', experts=8,
      experts_per_token=2)
  shapes = decoder.abstract(config)
  assert sum(x.size for x in jax.tree.leaves(shapes)) == config.parameters == 46_702_792_704
  assert config.active_parameters == 12_879_925_248
  assert shapes['layers']['moe']['w2'].shape == (32, 8, 14336, 4096)
  assert token_bytes(config, 'model') == 128 * 1024


@pytest.mark.parametrize('change, words', [
    (dict(experts=0), "model.family='mixtral' does not go with model.experts=0"),
    (dict(family='mistral'), "model.family='mistral' does not go with model.experts=4"),
    (dict(experts_per_token=5), 'model.experts_per_token=5 must be at most model.experts=4')])
def test_an_impossible_mixture_is_refused_by_its_key(change, words):
  fields = {name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__}
  with pytest.raises(ValueError, match=words):
    ModelConfig(**fields | change)
