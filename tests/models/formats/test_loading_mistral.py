"""Loading of folders as Mistral publishes them: params.json and consolidated.safetensors."""
import json
import shutil

import jax
import numpy as np
import pytest

from magistral_jax.models import layers
from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import checkpoint
from tests.published import (
  CONFIG,
  PARAMS,
  H,
  K,
  N,
  draw_tensors,
  mistral_tensors,
  write_huggingface,
  write_mistral,
)


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('files', [
    ['consolidated.safetensors'],
    ['consolidated.00.safetensors', 'consolidated.01.safetensors'],
    ['consolidated-00001-of-00002.safetensors', 'consolidated-00002-of-00002.safetensors'],
])
def test_it_is_the_same_model_as_its_hugging_face_form(tmp_path, files):
  tensors = draw_tensors()
  path = write_mistral(tmp_path / 'mistral', tensors, files=files)
  assert checkpoint.kind(path) == 'mistral'
  assert checkpoint.read_config(path, dtype='float32') == CONFIG
  hf = write_huggingface(tmp_path / 'hf', tensors)
  same(checkpoint.load(path, CONFIG), checkpoint.load(hf, CONFIG))


def test_heads_turn_as_mistral_inference_turns_neighbours(tmp_path):
  """Complex numbers over neighbouring rows of the file give the attention scores of our layers."""
  tensors = mistral_tensors(draw_tensors())
  path = write_mistral(tmp_path / 'mistral', draw_tensors())
  attention = checkpoint.load(path, CONFIG)['layers']['attention']
  x = np.random.default_rng(7).standard_normal((5, CONFIG.dim), np.float32)
  frequency = CONFIG.rope_theta ** (-np.arange(0, H, 2) / H)
  turn = np.exp(1j * np.arange(5)[:, None, None] * frequency)

  def turned(name, heads):
    y = (x @ tensors[f'layers.1.attention.{name}.weight'].T).reshape(5, heads, H // 2, 2)
    return (y[..., 0] + 1j * y[..., 1]) * turn

  q, k = turned('wq', N), turned('wk', K)
  expected = np.einsum('tnh,snh->nts', q, np.repeat(k, N // K, 1).conj()).real
  cos_sin = layers.rotary(np.arange(5)[None], H, CONFIG.rope_theta)
  ours_q, ours_k = (layers.rotate(np.einsum('td,dnh->tnh', x, attention[name][1])[None], cos_sin)[0]
                    for name in 'qk')
  ours = np.einsum('tnh,snh->nts', ours_q, np.repeat(ours_k, N // K, 1))
  np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-3)


def test_what_the_file_does_not_say(tmp_path):
  """The default base of rotation in mistral-inference is 1e6."""
  params = {key: value for key, value in PARAMS.items() if key != 'rope_theta'}
  path = write_mistral(tmp_path, draw_tensors(), params | dict(sliding_window=None, moe=None))
  assert checkpoint.read_config(path, dtype='bfloat16') == ModelConfig(
      **vars(CONFIG) | dict(dtype='bfloat16', rope_theta=1e6))


@pytest.mark.parametrize('change, words', [
    (dict(n_kv_heads=None), "key 'n_kv_heads' is missing"),
    (dict(sliding_window=4096), 'sliding_window=4096 is unsupported'),
    (dict(sliding_window='4096', max_position_embeddings=32768), 'sliding_window=4096'),
    (dict(quantization=dict(qformat_weight='fp8_e4m3')), 'quantization=.* is unsupported'),
    (dict(yarn=dict(factor=16.0)), 'yarn=.* is unsupported'),
    (dict(llama_4_scaling=dict(beta=0.1)), 'llama_4_scaling=.* is unsupported'),
    (dict(q_lora_rank=1024), 'q_lora_rank=1024 is unsupported'),
    (dict(use_biases=True), 'use_biases=True is unsupported: only False'),
])
def test_an_unsupported_key_is_named(tmp_path, change, words):
  path = write_mistral(tmp_path, {}, PARAMS | change)
  with pytest.raises(ValueError, match=words) as error:
    checkpoint.read_config(path, dtype='float32')
  assert 'params.json' in str(error.value)


def test_a_window_as_long_as_the_context_is_none(tmp_path):
  path = write_mistral(tmp_path, {}, PARAMS | dict(sliding_window=512, max_position_embeddings=512))
  assert checkpoint.read_config(path, dtype='float32') == CONFIG


@pytest.mark.parametrize('change, words', [
    (lambda t: t.pop('model.layers.1.mlp.up_proj.weight'),
     "'layers.1.feed_forward.w3.weight' is missing; a decoder of 2 layers"),
    (lambda t: t.update({'model.layers.0.mlp.up_proj.weight': np.zeros((41, 32), np.float32)}),
     r"'layers.0.feed_forward.w3.weight' has shape \(41, 32\), but .* \(40, 32\)"),
    (lambda t: t.update({'model.layers.0.self_attn.q_proj.lora': np.zeros(4, np.float32)}),
     "'layers.0.attention.wq.lora' of shape .* does not belong"),
    (lambda t: t.update({'model.norm.weight': np.zeros(32, np.int8)}),
     "'norm.weight' is of type I8, which cannot be read: take an unquantized checkpoint"),
])
def test_a_tensor_that_does_not_fit_is_named(tmp_path, change, words):
  tensors = draw_tensors()
  change(tensors)
  with pytest.raises(ValueError, match=words):
    checkpoint.load(write_mistral(tmp_path, tensors), CONFIG)


def test_files_that_are_not_there_or_cannot_be_trusted(tmp_path):
  files = [f'consolidated-{i:05}-of-00003.safetensors' for i in (1, 2, 3)]
  path = write_mistral(tmp_path / 'a', draw_tensors(), files=files)
  (tmp_path / 'a' / files[1]).unlink()
  with pytest.raises(ValueError, match='consolidated-00002-of-00003.safetensors: missing; 3 files'):
    checkpoint.load(path, CONFIG)
  path = write_mistral(tmp_path / 'b', draw_tensors())
  (tmp_path / 'b/consolidated.safetensors').rename(tmp_path / 'b/consolidated.00.pth')
  with pytest.raises(ValueError, match='consolidated.00.pth is a pickle'):
    checkpoint.load(path, CONFIG)
  shutil.copytree(write_mistral(tmp_path / 'c', draw_tensors()), tmp_path / 'd')
  (tmp_path / 'd/consolidated.safetensors').rename(tmp_path / 'd/consolidated.00.safetensors')
  shutil.copy(tmp_path / 'c/consolidated.safetensors', tmp_path / 'd')
  with pytest.raises(ValueError, match='is also in another file of the folder'):
    checkpoint.load(str(tmp_path / 'd'), CONFIG)


def test_of_two_layouts_in_a_folder_the_whole_one_is_read(tmp_path):
  """Published folders often hold both; Hugging Face's layout is chosen where both are complete."""
  tensors = draw_tensors()
  path = write_huggingface(tmp_path, tensors)
  write_mistral(tmp_path, draw_tensors(seed=1))
  assert checkpoint.kind(path) == 'huggingface'
  np.testing.assert_array_equal(checkpoint.load(path, CONFIG)['embed'],
                                tensors['model.embed_tokens.weight'])
  (tmp_path / 'model.safetensors').unlink()
  assert checkpoint.kind(path) == 'mistral'
  np.testing.assert_array_equal(checkpoint.load(path, CONFIG)['embed'],
                                draw_tensors(seed=1)['model.embed_tokens.weight'])
  (tmp_path / 'consolidated.safetensors').unlink()
  (tmp_path / 'params.json').write_text(json.dumps(PARAMS))
  with pytest.raises(ValueError, match='there is neither model.safetensors nor'):
    checkpoint.load(path, CONFIG)
