"""Checkpoints of one small model in every published layout, written without the package."""
import json

import gguf
import numpy as np
from safetensors.numpy import save_file

from magistral_jax.models.config import ModelConfig

# No two sizes alike, so that no two axes can be confused. heads * head_dim is not hidden_size.
L, D, N, K, H, F, V = 2, 32, 4, 2, 6, 40, 56
CONFIG = ModelConfig(
    family='mistral', layers=L, dim=D, heads=N, kv_heads=K, head_dim=H, ffn_dim=F, vocab=V,
    rope_theta=1e6, norm_eps=1e-5, tied=False, dtype='float32')
FIELDS = dict(
    architectures=['MistralForCausalLM'], model_type='mistral', hidden_size=D, num_hidden_layers=L,
    num_attention_heads=N, num_key_value_heads=K, head_dim=H, intermediate_size=F, vocab_size=V,
    rope_theta=1e6, rms_norm_eps=1e-5, tie_word_embeddings=False, hidden_act='silu',
    sliding_window=None, max_position_embeddings=4096)
GGUF_KEYS = dict(
    block_count=L, context_length=4096, embedding_length=D, feed_forward_length=F,
    **{'attention.head_count': N, 'attention.head_count_kv': K, 'attention.key_length': H,
       'attention.value_length': H, 'rope.dimension_count': H})


def draw_tensors(seed=0):
  """Float32 tensors of a whole model by their Hugging Face names, the output matrix included."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.standard_normal(shape, np.float32)
  tensors = {'model.embed_tokens.weight': draw(V, D), 'model.norm.weight': draw(D),
             'lm_head.weight': draw(V, D)}
  for layer in range(L):
    tensors |= {f'model.layers.{layer}.{name}.weight': array for name, array in {
        'input_layernorm': draw(D), 'post_attention_layernorm': draw(D),
        'self_attn.q_proj': draw(N * H, D), 'self_attn.k_proj': draw(K * H, D),
        'self_attn.v_proj': draw(K * H, D), 'self_attn.o_proj': draw(D, N * H),
        'mlp.gate_proj': draw(F, D), 'mlp.up_proj': draw(F, D),
        'mlp.down_proj': draw(D, F)}.items()}
  return tensors


def write_huggingface(path, tensors, fields=FIELDS):
  path.mkdir(exist_ok=True)
  (path / 'config.json').write_text(json.dumps(fields))
  save_file(tensors, path / 'model.safetensors')
  return str(path)


MISTRAL_NAMES = {
    'model.embed_tokens': 'tok_embeddings', 'model.norm': 'norm', 'lm_head': 'output',
    'model.layers': 'layers', 'input_layernorm': 'attention_norm',
    'post_attention_layernorm': 'ffn_norm', 'self_attn.q_proj': 'attention.wq',
    'self_attn.k_proj': 'attention.wk', 'self_attn.v_proj': 'attention.wv',
    'self_attn.o_proj': 'attention.wo', 'mlp.gate_proj': 'feed_forward.w1',
    'mlp.up_proj': 'feed_forward.w3', 'mlp.down_proj': 'feed_forward.w2'}
PARAMS = dict(dim=D, n_layers=L, head_dim=H, hidden_dim=F, n_heads=N, n_kv_heads=K, norm_eps=1e-5,
              vocab_size=V, rope_theta=1e6)


def pairs(array, heads):
  """Rows of q or k from halves of a head to neighbours, by the formula of published converters."""
  halves = array.reshape(heads, 2, array.shape[0] // heads // 2, array.shape[1])
  return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))


def mistral_tensors(tensors):
  """The same tensors under the names, and in the order of rows, of Mistral's own files."""
  renamed = {}
  for name, array in tensors.items():
    for old, new in MISTRAL_NAMES.items():
      name = name.replace(old, new)
    heads = {'wq': N, 'wk': K}.get(name.split('.')[-2])
    renamed[name] = pairs(array, heads) if heads and array.ndim == 2 else array
  return renamed


def write_mistral(path, tensors, params=PARAMS, files=('consolidated.safetensors',)):
  """Writes a folder with params.json; the tensors are spread over `files`."""
  path.mkdir(exist_ok=True)
  (path / 'params.json').write_text(json.dumps(params))
  renamed = list(mistral_tensors(tensors).items())
  for i, file in enumerate(files):
    save_file(dict(renamed[i::len(files)]), path / file)
  return str(path)


GGUF_NAMES = {
    'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', 'lm_head': 'output',
    'input_layernorm': 'attn_norm', 'post_attention_layernorm': 'ffn_norm',
    'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v',
    'self_attn.o_proj': 'attn_output', 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up',
    'mlp.down_proj': 'ffn_down'}


def write_gguf(path, tensors, keys=GGUF_KEYS, architecture='llama', quantized=None,
               more=lambda writer: None):
  """Writes a GGUF file as llama.cpp's converter does: with the rows of q and k reordered."""
  writer = gguf.GGUFWriter(path, architecture)
  add = {str: writer.add_string, list: writer.add_array, bool: writer.add_bool,
         float: writer.add_float32, int: writer.add_uint32}
  for key, value in keys.items():
    add[type(value)](f'llama.{key}', value)
  writer.add_float32('llama.rope.freq_base', 1e6)
  writer.add_float32('llama.attention.layer_norm_rms_epsilon', 1e-5)
  more(writer)
  for name, array in tensors.items():
    name = name.removesuffix('.weight').replace('model.layers.', 'blk.')
    for old, new in GGUF_NAMES.items():
      name = name.replace(old, new)
    if name.endswith('attn_q'):
      array = pairs(array, N)
    if name.endswith('attn_k'):
      array = pairs(array, K)
    if quantized and array.ndim == 2 and array.shape[1] % 32 == 0:
      writer.add_tensor(f'{name}.weight', gguf.quantize(array, quantized), raw_dtype=quantized)
    else:
      writer.add_tensor(f'{name}.weight', array)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return str(path)
