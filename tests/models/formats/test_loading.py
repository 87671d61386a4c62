"""Loading of checkpoints as llama.cpp and Hugging Face lay them out."""
import dataclasses
import json
import struct

import gguf
import jax
import ml_dtypes
import numpy as np
import pytest

from magistral_jax import sharding
from magistral_jax.models import decoder, rounded
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint, export, layout, reading, workdir
from tests.published import (
  CONFIG,
  FIELDS,
  GGUF_KEYS,
  D,
  F,
  H,
  L,
  N,
  draw_tensors,
  write_gguf,
  write_huggingface,
  write_mistral,
)


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_every_weight_lands_where_its_letters_say(tmp_path):
  tensors = draw_tensors()
  path = write_huggingface(tmp_path / 'hf', tensors)
  assert checkpoint.read_config(path, dtype='float32') == CONFIG
  params = checkpoint.load(path, CONFIG)
  layer = lambda name: tensors[f'model.layers.1.{name}.weight']
  attention, ffn = params['layers']['attention'], params['layers']['ffn']
  x = np.random.default_rng(1).standard_normal((D,), np.float32)
  flat = lambda y: np.asarray(y).reshape(-1)
  einsum = lambda *args: flat(np.einsum(*args))
  for name, array in (('q', attention['q']), ('k', attention['k']), ('v', attention['v'])):
    np.testing.assert_allclose(einsum('d,dnh->nh', x, array[1]),
                               layer(f'self_attn.{name}_proj') @ x, rtol=1e-5, atol=1e-5)
  heads = np.random.default_rng(2).standard_normal((N, H), np.float32)
  np.testing.assert_allclose(einsum('nh,nhd->d', heads, attention['o'][1]),
                             layer('self_attn.o_proj') @ flat(heads), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(ffn['w1'][1], layer('mlp.gate_proj').T)
  np.testing.assert_array_equal(ffn['w3'][1], layer('mlp.up_proj').T)
  np.testing.assert_array_equal(ffn['w2'][1], layer('mlp.down_proj').T)
  np.testing.assert_array_equal(params['layers']['attention_norm'][1], layer('input_layernorm'))
  np.testing.assert_array_equal(params['layers']['ffn_norm'][1], layer('post_attention_layernorm'))
  np.testing.assert_array_equal(params['embed'], tensors['model.embed_tokens.weight'])
  np.testing.assert_array_equal(params['norm'], tensors['model.norm.weight'])
  np.testing.assert_array_equal(decoder.head(params), tensors['lm_head.weight'].T)


def test_gguf_is_the_same_model_as_its_hugging_face_original(tmp_path):
  tensors = draw_tensors()
  hf = write_huggingface(tmp_path / 'hf', tensors)
  path = write_gguf(tmp_path / 'model.gguf', tensors)
  assert checkpoint.read_config(path, dtype='float32') == CONFIG
  same(checkpoint.load(path, CONFIG), checkpoint.load(hf, CONFIG))


def test_gguf_without_an_output_matrix_is_tied(tmp_path):
  tensors = draw_tensors()
  del tensors['lm_head.weight']
  path = write_gguf(tmp_path / 'model.gguf', tensors)
  config = checkpoint.read_config(path, dtype='bfloat16')
  assert config.tied and config.dtype == 'bfloat16'
  params = checkpoint.load(path, config)
  np.testing.assert_array_equal(decoder.head(params), tensors['model.embed_tokens.weight'].T)


@pytest.mark.parametrize('quantization, error', [('Q8_0', .02), ('Q4_1', .2), ('BF16', .01)])
def test_quantized_tensors_come_back_close(tmp_path, quantization, error):
  tensors = draw_tensors()
  hf = write_huggingface(tmp_path / 'hf', tensors)
  kind = gguf.GGMLQuantizationType[quantization]
  path = write_gguf(tmp_path / 'model.gguf', tensors, quantized=kind)
  exact, loaded = checkpoint.load(hf, CONFIG), checkpoint.load(path, CONFIG)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=error, rtol=.01), loaded, exact)
  assert np.any(loaded['layers']['attention']['q'] != exact['layers']['attention']['q'])


@pytest.mark.parametrize('kind', ['huggingface', 'gguf'])
def test_arrays_are_read_into_their_shardings(tmp_path, kind):
  tensors = draw_tensors()
  path = (write_huggingface(tmp_path / 'hf', tensors) if kind == 'huggingface'
          else write_gguf(tmp_path / 'model.gguf', tensors))
  assert checkpoint.kind(path) == kind
  mesh = sharding.make_mesh(jax.devices(), fsdp=4, tensor=2)
  cut = sharding.tree_named(mesh, sharding.TRAINER, decoder.definition(CONFIG)[1])
  params = checkpoint.load(path, CONFIG, cut)
  jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim) or pytest.fail(str(s)),
               params, cut)
  q = params['layers']['attention']['q']
  assert q.addressable_shards[0].data.shape == (L, D // 4, N // 2, H)
  same(params, checkpoint.load(path, CONFIG))


@pytest.mark.parametrize('kind', ['huggingface', 'workdir'])
def test_matrices_are_rounded_as_they_are_read(tmp_path, kind):
  path = write_huggingface(tmp_path / 'hf', draw_tensors())
  exact = checkpoint.load(path, CONFIG)
  if kind == 'workdir':
    path = tmp_path / 'run'
    path.mkdir()
    workdir.save(str(path), exact, CONFIG, dict(kind='bytes', path=''), {}, ())
  mesh = sharding.make_mesh(jax.devices()[:2], tensor=2)
  cut = sharding.tree_named(mesh, sharding.SAMPLER, decoder.definition(CONFIG)[1])
  found = checkpoint.load(str(path), CONFIG, cut, param_dtype='bfloat16', weight_dtype='int8')
  wanted = rounded.held(dataclasses.replace(CONFIG, dtype='bfloat16'), exact, 'int8')
  same(found, wanted)
  axes = sharding.tree_named(mesh, sharding.SAMPLER, rounded.axes(CONFIG, 'int8'))
  jax.tree.map(lambda x, s: x.sharding == s or pytest.fail(str(s)), found, axes)


class CountingSource:
  """Zero tensors of one leaf, with a record of the rows that were read."""

  def __init__(self, shape):
    self.path, self._shape, self.read = '', shape, []
    self.shapes = {}

  def dtype(self, name):
    return np.dtype(np.float32)

  def rows(self, name, rows):
    self.read.append((rows.start, rows.stop))
    return np.zeros((rows.stop - rows.start, *self._shape[1:]), np.float32)


def test_only_the_rows_asked_for_are_read(monkeypatch):
  source, whole = CountingSource((N * H, D)), slice(None)
  monkeypatch.setattr(layout, 'check', lambda *_: None)
  weights = reading.FileWeights(source, layout.FileLayout({'layers.attention.q': 'q'}), CONFIG)
  part = weights.read('layers.attention.q', (1,), (slice(0, 8), slice(2, 4), whole))
  assert part.shape == (8, 2, H) and source.read == [(2 * H, 4 * H)]


@pytest.mark.parametrize('param_dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('file_bytes', [2**30, 9000])
def test_export_gives_the_same_bits_back(tmp_path, param_dtype, tied, file_bytes):
  config = ModelConfig(**vars(CONFIG) | dict(tied=tied))
  params = jax.tree.map(lambda x: x.astype(param_dtype), decoder.init(config, seed=3))
  folder = tmp_path / 'out' / 'model'
  export.save_huggingface(params, config, folder, fields=dict(eos_token_id=2),
                              file_bytes=file_bytes)
  assert (folder / 'model.safetensors.index.json').exists() == (file_bytes == 9000)
  fields = json.loads((folder / 'config.json').read_text())
  assert fields['eos_token_id'] == 2 and fields['architectures'] == ['MistralForCausalLM']
  assert checkpoint.read_config(str(folder), dtype='float32') == config
  loaded = checkpoint.load(str(folder), config, param_dtype=param_dtype)
  assert jax.tree.structure(loaded) == jax.tree.structure(params)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(
      np.asarray(a).view(np.uint8), np.asarray(b).view(np.uint8)), loaded, params)


def test_a_smaller_export_over_a_larger_one_leaves_no_index(tmp_path):
  params = decoder.init(CONFIG, seed=3)
  export.save_huggingface(params, CONFIG, tmp_path, file_bytes=9000)
  export.save_huggingface(decoder.init(CONFIG, seed=4), CONFIG, tmp_path)
  same(checkpoint.load(str(tmp_path), CONFIG), decoder.init(CONFIG, seed=4))


def test_a_larger_export_over_a_smaller_one_leaves_no_single_file(tmp_path):
  export.save_huggingface(decoder.init(CONFIG, seed=4), CONFIG, tmp_path)
  export.save_huggingface(decoder.init(CONFIG, seed=3), CONFIG, tmp_path, file_bytes=9000)
  same(checkpoint.load(str(tmp_path), CONFIG), decoder.init(CONFIG, seed=3))


@pytest.mark.parametrize('stale', [
    'shards that exist', 'shards that do not', 'no index', 'nothing that is JSON'])
def test_the_single_file_is_read_whatever_index_lies_beside_it(tmp_path, stale):
  """As in transformers: a later save in one file does not remove the index of an earlier one."""
  export.save_huggingface(decoder.init(CONFIG, seed=3), CONFIG, tmp_path, file_bytes=9000)
  index = tmp_path / 'model.safetensors.index.json'
  if stale == 'shards that do not':
    for shard in tmp_path.glob('model-*'):
      shard.unlink()
  elif stale != 'shards that exist':
    index.write_text('{}' if stale == 'no index' else 'broken')
  path = write_huggingface(tmp_path, draw_tensors(5))
  assert index.exists()
  same(checkpoint.load(path, CONFIG), checkpoint.load(
      write_huggingface(tmp_path / 'alone', draw_tensors(5)), CONFIG))
  # The same in Mistral's layout, as in mistral-inference.
  shards = ('consolidated-00001-of-00002.safetensors', 'consolidated-00002-of-00002.safetensors')
  both = write_mistral(tmp_path / 'mistral', draw_tensors(6), files=shards)
  if stale != 'shards that exist':
    (tmp_path / 'mistral/consolidated.safetensors.index.json').write_text('broken')
  write_mistral(tmp_path / 'mistral', draw_tensors(5))
  same(checkpoint.load(both, CONFIG), checkpoint.load(path, CONFIG))


@pytest.mark.parametrize('named', ['other.safetensors', 'other.safetensors.index.json'])
def test_config_json_may_name_the_file_of_the_weights(tmp_path, named):
  path = write_huggingface(tmp_path, draw_tensors(5), FIELDS | dict(transformers_weights=named))
  with pytest.raises(ValueError, match=f'{named}: missing, although config.json names it'):
    checkpoint.load(path, CONFIG)
  (tmp_path / 'model.safetensors').rename(tmp_path / 'other.safetensors')
  write_huggingface(tmp_path / 'newer', draw_tensors(6))
  (tmp_path / 'newer/model.safetensors').rename(tmp_path / 'model.safetensors')
  if named.endswith('json'):
    (tmp_path / named).write_text(json.dumps(dict(weight_map=dict(a='other.safetensors'))))
  same(checkpoint.load(path, CONFIG), checkpoint.load(
      write_huggingface(tmp_path / 'alone', draw_tensors(5)), CONFIG))
  for wrong in ('../other.safetensors', ['other.safetensors']):
    write_huggingface(tmp_path, {}, FIELDS | dict(transformers_weights=wrong))
    with pytest.raises(ValueError, match='must be the name of a file in the folder'):
      checkpoint.load(path, CONFIG)


@pytest.mark.parametrize('content', ['{}', '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_named(tmp_path, content):
  (tmp_path / 'config.json').write_text(json.dumps(FIELDS))
  (tmp_path / 'model.safetensors.index.json').write_text(content)
  with pytest.raises(ValueError, match='index.json: no index of tensors: "weight_map" must be'):
    checkpoint.load(str(tmp_path), CONFIG)


def test_bfloat16_files_load_as_float32(tmp_path):
  tensors = {name: array.astype(ml_dtypes.bfloat16) for name, array in draw_tensors().items()}
  params = checkpoint.load(write_huggingface(tmp_path, tensors), CONFIG)
  assert params['embed'].dtype == np.float32
  np.testing.assert_array_equal(
      params['embed'], tensors['model.embed_tokens.weight'].astype(np.float32))


def test_a_llama_folder_of_either_generation_is_read(tmp_path):
  """Old files leave fields out, and new files keep rope_theta in a section."""
  fields = {key: value for key, value in FIELDS.items()
            if key not in ('rope_theta', 'head_dim', 'num_key_value_heads', 'sliding_window')}
  write_huggingface(tmp_path, {}, fields | dict(model_type='llama', attention_bias=False))
  config = checkpoint.read_config(str(tmp_path), dtype='float32')
  assert (config.rope_theta, config.head_dim, config.kv_heads) == (1e4, D // N, N)
  write_huggingface(tmp_path, {}, fields | dict(
      model_type='llama', head_dim=None,
      rope_parameters=dict(rope_type='default', rope_theta=5e5)))
  config = checkpoint.read_config(str(tmp_path), dtype='float32')
  assert (config.rope_theta, config.head_dim) == (5e5, D // N)


@pytest.mark.parametrize('change, words', [
    (dict(model_type='qwen2'), "model_type='qwen2' is unsupported: only llama, mistral"),
    (dict(sliding_window=1024), 'sliding_window=1024 is smaller than max_position_embeddings=4096'),
    (dict(rope_scaling=dict(rope_type='yarn', factor=4)), "rope_scaling of type 'yarn'"),
    (dict(rope_scaling=dict(type='linear', factor=2)), "rope_scaling of type 'linear'"),
    (dict(rope_parameters=dict(rope_type='llama3')), "rope_parameters of type 'llama3'"),
    (dict(hidden_act='gelu'), "hidden_act='gelu' is unsupported: only 'silu'"),
    (dict(attention_bias=True), 'attention_bias=True is unsupported'),
    (dict(partial_rotary_factor=0.5), 'partial_rotary_factor=0.5 is unsupported'),
    (dict(quantization_config=dict(bits=4)), 'quantization_config='),
    (dict(hidden_size=None), "the field 'hidden_size' is missing"),
])
def test_an_unsupported_field_is_named(tmp_path, change, words):
  path = write_huggingface(tmp_path, {}, FIELDS | change)
  with pytest.raises(ValueError, match=words) as error:
    checkpoint.read_config(path, dtype='float32')
  assert 'config.json' in str(error.value)


def test_mistral_without_a_sliding_window_field_has_one(tmp_path):
  """The default of transformers is 4096 where config.json has no field."""
  fields = {key: value for key, value in FIELDS.items() if key != 'sliding_window'}
  path = write_huggingface(tmp_path, {}, fields | dict(max_position_embeddings=32768))
  with pytest.raises(ValueError, match='sliding_window=4096 .* write null'):
    checkpoint.read_config(path, dtype='float32')


@pytest.mark.parametrize('kind', ['huggingface', 'gguf'])
@pytest.mark.parametrize('change, words', [
    (lambda t: t.pop('model.layers.1.mlp.up_proj.weight'), 'is missing; a decoder of 2 layers'),
    (lambda t: t.update({'model.layers.0.mlp.up_proj.weight': np.zeros((F + 1, D), np.float32)}),
     r'has shape \(41, 32\), but the config of the checkpoint makes it \(40, 32\)'),
    (lambda t: t.update({'model.layers.0.self_attn.q_proj.bias': np.zeros(4, np.float32)}),
     'does not belong to a decoder of this kind'),
    (lambda t: t.update({'model.layers.2.mlp.up_proj.weight': np.zeros((F, D), np.float32)}),
     'does not belong'),
])
def test_a_tensor_that_is_missing_or_extra_or_misshapen_is_named(tmp_path, kind, change, words):
  tensors = draw_tensors()
  change(tensors)
  path = (write_huggingface(tmp_path / 'hf', tensors) if kind == 'huggingface'
          else write_gguf(tmp_path / 'model.gguf', tensors))
  named = {'huggingface': r'up_proj|q_proj\.bias', 'gguf': r'ffn_up|attn_q\.bias'}[kind]
  with pytest.raises(ValueError, match=rf"tensor '.*({named}).*' .*{words}"):
    checkpoint.load(path, CONFIG)


def test_a_tied_head_that_is_written_all_the_same(tmp_path):
  tensors, config = draw_tensors(), ModelConfig(**vars(CONFIG) | dict(tied=True))
  fields = FIELDS | dict(tie_word_embeddings=True)
  with pytest.raises(ValueError, match="'lm_head.weight' differs .* tie_word_embeddings=true"):
    checkpoint.load(write_huggingface(tmp_path, tensors, fields), config)
  tensors['lm_head.weight'] = tensors['model.embed_tokens.weight']
  assert 'output' not in checkpoint.load(write_huggingface(tmp_path, tensors, fields), config)


@pytest.mark.parametrize('change, words', [
    ({'attention.key_length': 8}, 'llama.rope.dimension_count=6: only whole heads'),
    ({'rope.scaling.type': 'yarn'}, "llama.rope.scaling.type='yarn': scaled rotary"),
    ({'attention.sliding_window': 64}, 'llama.attention.sliding_window=64: windows below'),
    ({'expert_count': 8}, 'llama.expert_count=8: experts are unsupported'),
    ({'attention.head_count_kv': [2, 1]}, r'llama.attention.head_count_kv=\[2, 1\] differs'),
])
def test_an_unsupported_gguf_key_is_named(tmp_path, change, words):
  path = write_gguf(tmp_path / 'model.gguf', draw_tensors(), GGUF_KEYS | change)
  with pytest.raises(ValueError, match=words):
    checkpoint.read_config(path, dtype='float32')


def test_other_gguf_architectures_are_refused(tmp_path):
  path = write_gguf(tmp_path / 'model.gguf', draw_tensors(), architecture='gemma')
  with pytest.raises(ValueError, match="general.architecture='gemma' is unsupported"):
    checkpoint.read_config(path, dtype='float32')


def test_a_gguf_file_that_was_cut_short_is_refused(tmp_path):
  write_gguf(tmp_path / 'model.gguf', draw_tensors())
  whole = (tmp_path / 'model.gguf').read_bytes()
  # A header may also tell of many fields without names.
  for content in (whole[:200], whole[:len(whole) // 2], whole[:4] + struct.pack(
      '<IQQ', 3, 1 << 60, 1 << 60) + bytes(100)):
    (tmp_path / 'short.gguf').write_bytes(content)
    with pytest.raises(ValueError, match='short.gguf: no readable GGUF file'):
      checkpoint.read_config(str(tmp_path / 'short.gguf'), dtype='float32')


def test_damaged_and_incomplete_folders_are_refused(tmp_path):
  path = write_huggingface(tmp_path / 'hf', draw_tensors())
  weights = tmp_path / 'hf' / 'model.safetensors'
  whole = weights.read_bytes()
  weights.write_bytes(whole[:-100])
  with pytest.raises(ValueError, match="model.safetensors: .* ends before tensor '.*' does"):
    checkpoint.load(path, CONFIG)
  weights.unlink()
  with pytest.raises(ValueError, match='neither model.safetensors nor model.safetensors.index'):
    checkpoint.load(path, CONFIG)
  index = tmp_path / 'hf' / 'model.safetensors.index.json'
  index.write_text(json.dumps(dict(weight_map={'a': 'model-00001-of-00002.safetensors'})))
  with pytest.raises(ValueError, match='model-00001-of-00002.safetensors: missing, although'):
    checkpoint.load(path, CONFIG)
  (tmp_path / 'hf' / 'config.json').write_text('{')
  with pytest.raises(ValueError, match='config.json: no valid JSON'):
    checkpoint.read_config(path, dtype='float32')


@pytest.mark.parametrize('make, words', [
    (lambda p: p / 'nothing',
     'does not exist: .* give a GGUF file, a folder as published, or the workdir of a run'),
    (lambda p: 'MistralAI/Some-Model-1.5',
     'does not exist: .* `hf download MistralAI/Some-Model-1.5 --local-dir FOLDER`'),
    (lambda p: p, 'is a folder without config.json or params.json'),
    (lambda p: (p / 'x.safetensors').write_text('x') and p / 'x.safetensors',
     'is a file but no GGUF file'),
])
def test_what_is_no_checkpoint_is_refused(tmp_path, make, words):
  with pytest.raises(ValueError, match=words):
    checkpoint.read_config(str(make(tmp_path)), dtype='float32')
