"""Keys of GGUF files: what changes the computation is refused, what changes nothing is not."""
import re

import numpy as np
import pytest

from magistral_jax.models.formats import checkpoint
from tests.published import CONFIG, GGUF_KEYS, F, H, K, L, N, draw_tensors, write_gguf


def read(tmp_path, more=None, **changes):
  """The config of a file whose keys are changed; None drops a key."""
  keys = {key: value for key, value in (GGUF_KEYS | (more or {}) | changes).items()
          if value is not None}
  path = tmp_path / 'model.gguf'
  return checkpoint.read_config(write_gguf(path, draw_tensors(), keys), dtype='float32')


@pytest.mark.parametrize('key, value', [
    ('rope.scaling.factor', 4.0), ('rope.scaling.factor', 0.5), ('rope.scale_linear', 2.0),
    ('rope.scaling.attn_factor', 0.5), ('rope.scaling.alpha', 50.0),
    ('rope.scaling.yarn_ext_factor', 1.0), ('rope.scaling.yarn_attn_factor', 0.8),
    ('rope.scaling.type', 'yarn'), ('rope.scaling.type', 'longrope'),
    ('rope.scaling.type', ['none', 'yarn']), ('rope.dimension_sections', [1, 1, 1, 0]),
    ('rope.dimension_count', H // 2), ('attention.causal', False), ('use_parallel_residual', True),
    ('attention.scale', 0.5), ('attention.clamp_kqv', 8.0), ('attention.max_alibi_bias', 8.0),
    ('attention.sliding_window', 64), ('attention.value_length', H + 2), ('expert_count', 8),
    ('expert_used_count', 2), ('logit_scale', 0.5), ('residual_scale', 0.2),
    ('embedding_scale', 12.0), ('final_logit_softcapping', 30.0), ('attn_logit_softcapping', 50.0),
    ('attention.q_lora_rank', 64), ('tensor_data_layout', 'transposed'),
    ('embedding_length_out', 8), ('nextn_predict_layers', 1), ('invented.yesterday', 'by someone'),
])
def test_a_key_that_changes_the_computation_is_refused_by_its_name(tmp_path, key, value):
  with pytest.raises(ValueError, match=re.escape(f'model.gguf: llama.{key}={value!r}')):
    read(tmp_path, {key: value})


@pytest.mark.parametrize('key, value', [
    ('rope.scaling.factor', 1.0), ('rope.scaling.factor', 0.0), ('rope.scale_linear', 1.0),
    ('rope.scaling.type', 'none'), ('rope.scaling.type', 'linear'),
    ('rope.scaling.attn_factor', 1.0),
    ('rope.scaling.original_context_length', 8192), ('rope.scaling.finetuned', True),
    ('rope.scaling.yarn_beta_fast', 32.0), ('attention.causal', True),
    ('use_parallel_residual', False), ('attention.scale', H ** -0.5), ('attention.scale', 0.0),
    ('attention.sliding_window', 4096), ('attention.sliding_window', 0),
    ('vocab_size', CONFIG.vocab),
    ('tensor_data_layout', 'Meta AI original pth'), ('expert_count', 0), ('pooling_type', 1),
    ('logit_scale', 1.0), ('attention.clamp_kqv', 0.0), ('invented.yesterday', 0),
    ('attention.layer_norm_epsilon', 1e-5), ('embedding_length_out', CONFIG.dim),
])
def test_a_key_that_changes_nothing_does_not_refuse_a_model(tmp_path, key, value):
  assert read(tmp_path, {key: value}) == CONFIG


@pytest.mark.parametrize('key, value', [
    ('feed_forward_length', F), ('attention.head_count', N), ('attention.head_count_kv', K),
    ('attention.key_length', H), ('rope.dimension_count', H)])
def test_an_array_with_one_value_for_all_layers_is_that_value(tmp_path, key, value):
  assert read(tmp_path, {key: [value] * L}) == CONFIG
  with pytest.raises(ValueError, match=rf'llama.{key}=\[{value}, {value * 2}\]'):
    read(tmp_path, {key: [value, value * 2]})
  with pytest.raises(ValueError, match=rf'llama.{key}=\[{value}, {value}, {value}\]'):
    read(tmp_path, {key: [value] * (L + 1)})


@pytest.mark.parametrize('key, value, words', [
    ('feed_forward_length', None, 'the key llama.feed_forward_length is missing'),
    ('block_count', None, 'the key llama.block_count is missing'),
    ('block_count', [2, 2], r'llama.block_count=\[2, 2\]'),
    ('attention.head_count', 0, 'llama.attention.head_count=0 must be a whole number above 0'),
    ('embedding_length', '32', "llama.embedding_length='32' must be a whole number above 0"),
    ('feed_forward_length', 40.0, 'llama.feed_forward_length=40.0 must be a whole number'),
    ('embedding_length', True, 'llama.embedding_length=True must be a whole number'),
])
def test_a_shape_that_is_none_is_one_sentence(tmp_path, key, value, words):
  with pytest.raises(ValueError, match=f'model.gguf: {words}'):
    read(tmp_path, {key: value})


@pytest.mark.parametrize('key, value, words', [
    ('general.type', 'adapter', "general.type='adapter' is unsupported"),
    ('general.type', 'mmproj', "general.type='mmproj' is unsupported"),
    ('split.count', 3, 'split.count=3: merge the parts with llama-gguf-split'),
])
def test_a_file_that_is_no_whole_model_is_refused(tmp_path, key, value, words):
  def more(writer):
    add = writer.add_string if isinstance(value, str) else writer.add_uint32
    add(key, value)
  path = write_gguf(tmp_path / 'model.gguf', draw_tensors(), more=more)
  with pytest.raises(ValueError, match=words):
    checkpoint.read_config(path, dtype='float32')


def test_scaled_rotations_as_a_tensor_are_refused(tmp_path):
  """Llama 3.1 files have no key for their rotary positions, only a tensor."""
  path = write_gguf(tmp_path / 'model.gguf',
                    draw_tensors() | {'rope_freqs.weight': np.ones(H // 2, np.float32)})
  with pytest.raises(ValueError, match="'rope_freqs.weight' .* scaled rotations"):
    checkpoint.load(path, checkpoint.read_config(path, dtype='float32'))
