"""Loading of Mixtral in both layouts, from the files that transformers wrote."""
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from magistral_jax import sharding
from magistral_jax.models import decoder
from magistral_jax.models.formats import checkpoint, reading
from tests.golden.test_golden import FOLDER
from tests.published import pairs

GOLDEN = FOLDER / 'mixtral'
LAYERS, HEADS, KV_HEADS, EXPERTS = 2, 4, 2, 4
PARAMS = dict(dim=32, n_layers=LAYERS, head_dim=10, hidden_dim=24, n_heads=HEADS,
              n_kv_heads=KV_HEADS, norm_eps=1e-5, vocab_size=96, rope_theta=1e6,
              moe=dict(num_experts=EXPERTS, num_experts_per_tok=2))


@pytest.fixture(scope='module')
def tensors():
  return load_file(GOLDEN / 'model.safetensors')


def mistral_folder(path, tensors, params=PARAMS):
  """Writes the tensors of transformers as Mistral publishes them."""
  path.mkdir()
  renamed = {}
  for name, array in tensors.items():
    if name.endswith(('q_proj.weight', 'k_proj.weight')):
      array = pairs(array, HEADS if 'q_proj' in name else KV_HEADS)
    for old, new in (
        ('model.', ''), ('embed_tokens', 'tok_embeddings'), ('lm_head', 'output'),
        ('input_layernorm', 'attention_norm'), ('post_attention_layernorm', 'ffn_norm'),
        ('self_attn', 'attention'), ('block_sparse_moe', 'feed_forward'), ('q_proj', 'wq'),
        ('k_proj', 'wk'), ('v_proj', 'wv'), ('o_proj', 'wo')):
      name = name.replace(old, new)
    renamed[name] = array
  save_file(renamed, path / 'consolidated.safetensors')
  (path / 'params.json').write_text(json.dumps(params))
  return str(path)


def test_every_expert_lands_where_its_letters_say(tensors):
  config = checkpoint.read_config(str(GOLDEN), dtype='float32')
  assert (config.family, config.experts, config.experts_per_token) == ('mixtral', EXPERTS, 2)
  moe = checkpoint.load(str(GOLDEN), config)['layers']['moe']
  for layer in range(LAYERS):
    block = f'model.layers.{layer}.block_sparse_moe'
    np.testing.assert_array_equal(moe['gate'][layer], tensors[f'{block}.gate.weight'].T)
    for expert in range(EXPERTS):
      for name in ('w1', 'w2', 'w3'):
        np.testing.assert_array_equal(
            moe[name][layer, expert], tensors[f'{block}.experts.{expert}.{name}.weight'].T)


@pytest.mark.parametrize('platform', ['cpu', ''])
def test_both_layouts_hold_the_same_model_however_it_is_cut(
    tmp_path, monkeypatch, tensors, platform):
  """Experts are cut over one axis of the mesh, and blocks are smaller than any expert."""
  path = mistral_folder(tmp_path / 'mistral', tensors)
  config = checkpoint.read_config(path, dtype='float32')
  assert config == checkpoint.read_config(str(GOLDEN), dtype='float32')
  expected = checkpoint.load(str(GOLDEN), config)
  mesh = sharding.make_mesh(jax.devices(), fsdp=2, expert=2, sequence=1, tensor=2)
  cut = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(config)[1])
  monkeypatch.setattr(reading, 'CPU_PLATFORMS', (platform,))
  loaded = reading.load(checkpoint.open_weights(path, config), config, cut, 'float32',
                        block_bytes=512)
  jax.tree.map(np.testing.assert_array_equal, loaded, expected)
  w1 = loaded['layers']['moe']['w1']
  assert w1.addressable_shards[0].data.shape[1] == EXPERTS // 2


def join_experts(tensors):
  """The tensors under the names that transformers has in memory, a layer's experts together."""
  joined = {name: x for name, x in tensors.items() if 'block_sparse_moe' not in name}
  for layer in range(LAYERS):
    old, new = f'model.layers.{layer}.block_sparse_moe', f'model.layers.{layer}.mlp'
    of = lambda w, old=old: [tensors[f'{old}.experts.{e}.{w}.weight'] for e in range(EXPERTS)]
    gate_up = [np.concatenate(pair) for pair in zip(of('w1'), of('w3'), strict=True)]
    joined |= {f'{new}.gate.weight': tensors[f'{old}.gate.weight'],
               f'{new}.experts.gate_up_proj': np.stack(gate_up),
               f'{new}.experts.down_proj': np.stack(of('w2'))}
  return joined


def test_experts_may_be_joined_in_one_tensor(tmp_path, tensors):
  """transformers saves them so where save_original_format=False."""
  shutil.copy(GOLDEN / 'config.json', tmp_path)
  save_file(join_experts(tensors), tmp_path / 'model.safetensors')
  config = checkpoint.read_config(str(tmp_path), dtype='float32')
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load(str(tmp_path), config),
               checkpoint.load(str(GOLDEN), config))


@pytest.mark.parametrize('change, words', [
    (lambda x: x[:-1], 'experts.3.w1.weight. is missing'),
    (lambda x: x[:, :-1], 'has shape .4, 47, 32., which is not that of its parts'),
    (lambda x: x[:, :-2], 'experts.0.w1.weight. has shape .23, 32.')])
def test_joined_experts_of_another_shape_are_refused(tmp_path, tensors, change, words):
  shutil.copy(GOLDEN / 'config.json', tmp_path)
  joined, name = join_experts(tensors), 'model.layers.0.mlp.experts.gate_up_proj'
  save_file(joined | {name: np.ascontiguousarray(change(joined[name]))},
            tmp_path / 'model.safetensors')
  with pytest.raises(ValueError, match=words):
    checkpoint.load(str(tmp_path), checkpoint.read_config(str(tmp_path), dtype='float32'))


def test_an_expert_that_is_missing_is_named(tmp_path, tensors):
  missing = 'model.layers.1.block_sparse_moe.experts.3.w2.weight'
  path = mistral_folder(tmp_path / 'a', {name: x for name, x in tensors.items() if name != missing})
  config = checkpoint.read_config(path, dtype='float32')
  with pytest.raises(ValueError, match="'layers.1.feed_forward.experts.3.w2.weight' is missing"):
    checkpoint.load(path, config)


@pytest.mark.parametrize('change, words', [
    (dict(num_shared_experts=1), 'num_shared_experts=1 is unsupported'),
    (dict(num_experts=None), "key 'num_experts' is missing")])
def test_other_mixtures_are_refused(tmp_path, change, words):
  path = mistral_folder(tmp_path / 'a', {}, PARAMS | dict(moe=PARAMS['moe'] | change))
  with pytest.raises(ValueError, match=words):
    checkpoint.read_config(path, dtype='float32')
