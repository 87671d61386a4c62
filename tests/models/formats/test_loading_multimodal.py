"""Loading of language models with an image tower, in all published layouts and sets of names."""
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from magistral_jax.models.formats import checkpoint, layout
from tests.golden import vision as golden
from tests.published import pairs

NAMES = sorted(golden.CONFIGS)
TOWER_HEADS = golden.VISION['heads']


def same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def folder(tmp_path, name, *, tensors=lambda tensors: tensors, fields=lambda fields: fields):
  """A copy of a golden checkpoint, with its tensors and its fields changed."""
  path = tmp_path / name
  path.mkdir()
  original = golden.FOLDER / name
  save_file(tensors(load_file(original / 'model.safetensors')), path / 'model.safetensors')
  (path / 'config.json').write_text(json.dumps(
      fields(json.loads((original / 'config.json').read_text()))))
  return str(path)


def to_mistral(tensors):
  """The tensors of transformers as Mistral publishes them."""
  renamed = {}
  for name, array in tensors.items():
    tower = name.startswith('vision_tower')
    if name.endswith(('q_proj.weight', 'k_proj.weight')):
      array = pairs(array, TOWER_HEADS if tower else 4 if 'q_proj' in name else 2)
    for old, new in (
        ('language_model.model.', ''), ('language_model.', ''), ('embed_tokens', 'tok_embeddings'),
        ('lm_head', 'output'), ('input_layernorm', 'attention_norm'),
        ('post_attention_layernorm', 'ffn_norm'), ('self_attn', 'attention'),
        ('mlp', 'feed_forward'), ('gate_proj', 'w1'), ('up_proj', 'w3'), ('down_proj', 'w2'),
        ('q_proj', 'wq'), ('k_proj', 'wk'), ('v_proj', 'wv'), ('o_proj', 'wo'),
        ('vision_tower', 'vision_encoder'),
        ('multi_modal_projector.linear_1', 'vision_language_adapter.w_in'),
        ('multi_modal_projector.linear_2', 'vision_language_adapter.w_out'),
        ('multi_modal_projector.norm', 'pre_mm_projector_norm'),
        ('multi_modal_projector.patch_merger', 'patch_merger')):
      name = name.replace(old, new)
    renamed[name] = array
  return renamed


def params_json(name):
  """params.json of a golden model, with the keys that Mistral's own have."""
  t, v = golden.TEXT, golden.CONFIGS[name].vision
  tower = dict(
      hidden_size=v.dim, num_channels=3, image_size=v.side, patch_size=v.patch,
      rope_theta=v.rope_theta, intermediate_size=v.ffn_dim, num_hidden_layers=v.layers,
      num_attention_heads=v.heads, image_token_id=10, adapter_bias=v.biases)
  if v.merge > 1:
    tower |= dict(max_image_size=v.side, mm_projector_id='patch_merge', spatial_merge_size=v.merge,
                  add_pre_mm_projector_layer_norm=True, image_break_token_id=12,
                  image_end_token_id=13)
  return dict(dim=t['dim'], n_layers=t['layers'], head_dim=t['head_dim'], hidden_dim=t['ffn_dim'],
              n_heads=t['heads'], n_kv_heads=t['kv_heads'], rope_theta=t['rope_theta'],
              norm_eps=t['norm_eps'], vocab_size=t['vocab'], vision_encoder=tower)


def mistral_folder(tmp_path, name, change=lambda params: params):
  path = tmp_path / f'{name}-mistral'
  path.mkdir()
  save_file(to_mistral(load_file(golden.FOLDER / name / 'model.safetensors')),
            path / 'consolidated.safetensors')
  (path / 'params.json').write_text(json.dumps(change(params_json(name))))
  return str(path)


def rerooted(tensors):
  """Tensors under the names that transformers has in memory since 4.52."""
  def new(name):
    if name.startswith('language_model.lm_head'):
      return name.removeprefix('language_model.')
    return 'model.' + name.replace('language_model.model.', 'language_model.')
  return {new(name): array for name, array in tensors.items()}


@pytest.mark.parametrize('name', NAMES)
def test_every_layout_holds_the_same_model(tmp_path, name):
  """Files of transformers, its newer names and Mistral's layout give what the test reads itself."""
  expected = golden.load(name)
  for path in (str(golden.FOLDER / name), folder(tmp_path, name, tensors=rerooted),
               mistral_folder(tmp_path, name)):
    config = checkpoint.read_config(path, dtype='float32')
    assert config == golden.CONFIGS[name]
    same(checkpoint.load(path, config), expected)


@pytest.mark.parametrize('name', NAMES)
def test_the_language_model_alone(tmp_path, name):
  expected = {key: leaf for key, leaf in golden.load(name).items()
              if key not in ('vision', 'adapter')}
  for path in (str(golden.FOLDER / name), folder(tmp_path, name, tensors=rerooted),
               mistral_folder(tmp_path, name)):
    config = checkpoint.read_config(path, dtype='float32', vision=False)
    assert config == dataclasses.replace(golden.CONFIGS[name], vision=None)
    same(checkpoint.load(path, config), expected)


def test_a_tensor_of_the_tower_that_does_not_fit_is_named(tmp_path):
  def drop(tensors):
    del tensors['multi_modal_projector.linear_1.bias']
    return tensors
  path = folder(tmp_path, 'pixtral', tensors=drop)
  with pytest.raises(ValueError, match="'multi_modal_projector.linear_1.bias' is missing"):
    checkpoint.load(path, golden.CONFIGS['pixtral'])
  shutil.rmtree(path)
  path = folder(tmp_path, 'pixtral', tensors=lambda t: t | {
      'vision_tower.patch_conv.bias': np.zeros(4, np.float32)})
  with pytest.raises(ValueError, match="'vision_tower.patch_conv.bias' .* does not belong"):
    checkpoint.load(path, golden.CONFIGS['pixtral'])


def change_at(key, value):
  """A function that sets a field, such as 'vision_config.hidden_act', of a dict."""
  def change(fields):
    *outer, last = key.split('.')
    inner = fields
    for name in outer:
      inner = inner[name]
    inner.update({last: value})
    return fields
  return change


@pytest.mark.parametrize('name, key, value, words', [
    ('pixtral', 'vision_config.hidden_act', 'gelu', "vision_config.hidden_act='gelu' .* 'silu'"),
    ('pixtral', 'vision_feature_select_strategy', 'default', "only 'full'"),
    ('pixtral', 'vision_feature_layer', -2, 'vision_feature_layer=-2 is unsupported: only -1'),
    ('pixtral', 'vision_config.model_type', 'clip_vision_model', "only 'pixtral'"),
    ('mistral3', 'spatial_merge_size', 1, 'spatial_merge_size=1 is unsupported: only 2'),
    ('mistral3', 'text_config.model_type', 'ministral3', "text_config.model_type='ministral3'"),
    ('mistral3', 'text_config.rope_parameters', dict(rope_type='yarn'), "of type 'yarn'"),
    ('mistral3', 'quantization_config', dict(quant_method='fp8'), 'quantization_config='),
])
def test_an_unsupported_field_is_named(tmp_path, name, key, value, words):
  path = folder(tmp_path, name, fields=change_at(key, value))
  with pytest.raises(ValueError, match=words):
    checkpoint.read_config(path, dtype='float32')


@pytest.mark.parametrize('key, value, words', [
    ('vision_encoder.mm_projector_id', 'mlp', "mm_projector_id='mlp' is unsupported"),
    ('vision_encoder.add_pre_mm_projector_layer_norm', False, 'has only one of mm_projector_id'),
    ('vision_encoder.patch_size', None, "key 'patch_size' is missing"),
    ('vision_encoder.audio', True, 'audio=True is unsupported'),
])
def test_an_unsupported_key_is_named(tmp_path, key, value, words):
  path = mistral_folder(tmp_path, 'mistral3', change_at(key, value))
  with pytest.raises(ValueError, match=words):
    checkpoint.read_config(path, dtype='float32')


@pytest.mark.parametrize('outer, inner, tied', [
    (None, None, False), (True, False, False), (True, None, True), (None, False, False)])
def test_where_the_config_does_not_say_the_files_tell_whether_a_head_is_tied(
    tmp_path, outer, inner, tied):
  """Early exports have no field, and later ones have two that contradict each other."""
  def change(fields):
    for section, value in ((fields, outer), (fields['text_config'], inner)):
      del section['tie_word_embeddings']
      if value is not None:
        section['tie_word_embeddings'] = value
    return fields
  path = folder(tmp_path, 'mistral3', fields=change)
  assert checkpoint.read_config(path, dtype='float32').tied == tied


def test_the_table_of_axes_covers_every_leaf():
  """A leaf without an entry would be found only when a user loads a model that has it."""
  for config in golden.CONFIGS.values():
    for leaf, shape in layout.leaf_shapes(config).items():
      assert len(layout.axes(leaf)[0]) == len(shape) - ('layers.' in leaf)
