"""GGUF files of the Llama family: metadata to ModelConfig, tensors to the parameter tree.

Quantized tensors are dequantized a few rows at a time. Files of several parts, experts, scaled
rotary positions and sliding windows are refused. tokens/subword.py reads the tokenizer inside.

The heads of q and k are in rotary pairs (layout.py): llama.cpp's converter reorders their rows.
"""

import gguf
import numpy as np

from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import layout, reading

NAMES = {
    'embed': 'token_embd.weight',
    'layers.attention_norm': 'blk.{layer}.attn_norm.weight',
    'layers.attention.q': 'blk.{layer}.attn_q.weight',
    'layers.attention.k': 'blk.{layer}.attn_k.weight',
    'layers.attention.v': 'blk.{layer}.attn_v.weight',
    'layers.attention.o': 'blk.{layer}.attn_output.weight',
    'layers.ffn_norm': 'blk.{layer}.ffn_norm.weight',
    'layers.ffn.w1': 'blk.{layer}.ffn_gate.weight',
    'layers.ffn.w3': 'blk.{layer}.ffn_up.weight',
    'layers.ffn.w2': 'blk.{layer}.ffn_down.weight',
    'norm': 'output_norm.weight',
    'output': 'output.weight',
}
PAIRS = frozenset({'layers.attention.q', 'layers.attention.k'})


def read_config(path: str, *, dtype: str, vision: bool = True) -> ModelConfig:
  """The shape of the model in a GGUF file; ValueError names the key that is unsupported.

  Args:
    vision: ignored, since such a file never holds an image tower.
  """
  del vision
  return _config(path, _open(path), dtype)


def open_weights(path: str, config: ModelConfig) -> reading.FileWeights:
  """The tensors of a file, compared with the config but not read yet."""
  return reading.FileWeights(Gguf(path), layout.FileLayout(NAMES, pairs=PAIRS), config)


class Gguf:
  """An opened GGUF file, as a layout.TensorSource."""

  def __init__(self, path: str):
    self.path = path
    self._tensors = {tensor.name: tensor for tensor in _open(path).tensors}
    # GGUF lists the innermost axis first.
    self.shapes = {name: tuple(map(int, reversed(tensor.shape)))
                   for name, tensor in self._tensors.items()}

  def dtype(self, name: str) -> np.dtype:
    """Type of the rows: float32, to which quantized numbers are converted."""
    return np.dtype(np.float32)

  def rows(self, name: str, rows: slice) -> np.ndarray:
    """Some rows of a tensor, dequantized."""
    tensor = self._tensors[name]
    try:
      return gguf.dequantize(tensor.data[rows], tensor.tensor_type)
    except NotImplementedError as error:
      raise ValueError(f'{self.path}: tensor {name!r} is of type {tensor.tensor_type.name}, which '
                       f'cannot be read: quantize to another type, such as Q8_0.') from error


def fields(path: str) -> dict:
  """Fields of the file's metadata beside the shape, under the names of config.json."""
  found = _open(path).fields
  keys = {'bos_token_id': 'tokenizer.ggml.bos_token_id',
          'eos_token_id': 'tokenizer.ggml.eos_token_id',
          'pad_token_id': 'tokenizer.ggml.padding_token_id',
          'max_position_embeddings': 'llama.context_length'}
  return {name: int(found[key].contents()) for name, key in keys.items() if key in found}


def chat_template(path: str) -> str | None:
  """The template of conversations (Jinja) in the file, or None."""
  found = _open(path).fields.get('tokenizer.chat_template')
  return found.contents() if found else None


def _open(path: str) -> gguf.GGUFReader:
  try:
    return gguf.GGUFReader(path)
  except (ValueError, IndexError) as error:   # A short file ends in the middle of an array.
    raise ValueError(f'{path}: no readable GGUF file ({error}).') from error


def _config(path: str, reader: gguf.GGUFReader, dtype: str) -> ModelConfig:
  fields = reader.fields
  architecture = fields['general.architecture'].contents()
  if architecture != 'llama':
    raise ValueError(f'{path}: general.architecture={architecture!r} is unsupported: only '
                     f"'llama', which Mistral and SmolLM files also name.")

  def get(key, default=None):
    full = f'llama.{key}'
    if full in fields:
      return fields[full].contents()
    if default is None:
      raise ValueError(f'{path}: the key {full} is missing.')
    return default

  shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
  if NAMES['embed'] not in shapes:
    raise ValueError(f'{path}: tensor {NAMES["embed"]!r} is missing.')
  heads, dim = get('attention.head_count'), get('embedding_length')
  kv_heads = get('attention.head_count_kv', heads)
  for key, value in (('head_count', heads), ('head_count_kv', kv_heads)):
    if isinstance(value, list):
      raise ValueError(f'{path}: llama.attention.{key}={value} differs from layer to layer, which '
                       f'is unsupported.')
  head_dim = get('attention.key_length', dim // heads)
  _refuse(path, get, fields, head_dim)
  return ModelConfig(
      family='mistral', layers=get('block_count'), dim=dim, heads=heads, kv_heads=kv_heads,
      head_dim=head_dim, ffn_dim=get('feed_forward_length'), vocab=int(shapes[NAMES['embed']][1]),
      rope_theta=_decimal(get('rope.freq_base', 10000.0)),
      norm_eps=_decimal(get('attention.layer_norm_rms_epsilon')),
      tied=NAMES['output'] not in shapes, dtype=dtype)


def _refuse(path: str, get, fields, head_dim: int) -> None:
  """Raises ValueError for a key that would change the computation and is not implemented."""
  context = get('context_length')
  split = fields['split.count'].contents() if 'split.count' in fields else 1
  allowed = (
      ('split.count', split, split <= 1, 'merge the parts with llama-gguf-split'),
      ('llama.rope.scaling.type', get('rope.scaling.type', 'none'),
       get('rope.scaling.type', 'none') == 'none', 'scaled rotary positions are unsupported'),
      ('llama.rope.dimension_count', get('rope.dimension_count', head_dim),
       get('rope.dimension_count', head_dim) == head_dim, f'only whole heads ({head_dim}) rotate'),
      ('llama.attention.value_length', get('attention.value_length', head_dim),
       get('attention.value_length', head_dim) == head_dim, f'keys have {head_dim}'),
      ('llama.attention.sliding_window', get('attention.sliding_window', context),
       get('attention.sliding_window', context) >= context,
       f'windows below llama.context_length={context} are unsupported'),
      ('llama.expert_count', get('expert_count', 0), not get('expert_count', 0),
       'experts are unsupported'),
  )
  for key, value, fine, reason in allowed:
    if not fine:
      raise ValueError(f'{path}: {key}={value!r}: {reason}.')


def _decimal(value: float) -> float:
  """The shortest decimal of a number that the file holds in float32: 1e-5, not 9.99999975e-06."""
  return float(str(np.float32(value)))
