"""GGUF files of the Llama family: metadata to ModelConfig, tensors to the parameter tree.

Quantized tensors are dequantized a few rows at a time. A key "llama.*" that would change the
computation and is not implemented (experts, scaled rotary positions, sliding windows, attention
that is not causal, ...) is refused by its name, and so is a key that is not known here, unless it
is switched off. tokens/subword.py reads the tokenizer inside.

Reference for keys and defaults: the loader of llama.cpp.

The heads of q and k are in rotary pairs (layout.py): llama.cpp's converter reorders their rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from magistral_jax.models.config import ModelConfig
from magistral_jax.models.formats import layout, reading
from magistral_jax.tokens import ends

if TYPE_CHECKING:
  import gguf

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

# Keys, without "llama.", that `_config` reads.
READ = {'block_count', 'embedding_length', 'attention.head_count', 'attention.head_count_kv',
        'attention.key_length', 'feed_forward_length', 'rope.freq_base',
        'attention.layer_norm_rms_epsilon'}
# Keys that do not change the computation of a model that `_refuse` lets pass.
HARMLESS = {'context_length', 'vocab_size', 'pooling_type', 'attention.layer_norm_epsilon',
            'rope.scaling.original_context_length', 'rope.scaling.finetuned',
            'rope.scaling.yarn_beta_fast', 'rope.scaling.yarn_beta_slow'}
_SCALED = 'scaled rotary positions are unsupported'
# Keys that would change the computation: the values that do not, and why others are refused. Any
# other key is fine where it is off.
NEUTRAL = {
    # Without a type llama.cpp takes 'linear', which its factor decides.
    'rope.scaling.type': (('none', 'linear'), _SCALED), 'rope.scaling.factor': ((0, 1), _SCALED),
    'rope.scale_linear': ((0, 1), _SCALED), 'rope.scaling.attn_factor': ((1,), _SCALED),
    'rope.scaling.alpha': ((0, 1), _SCALED), 'rope.scaling.yarn_ext_factor': ((-1, 0), _SCALED),
    'rope.scaling.yarn_attn_factor': ((1,), _SCALED),
    'attention.causal': ((True,), 'attention here sees earlier tokens alone'),
    'use_parallel_residual': ((False,), 'attention and feed-forward come one after the other here'),
    'expert_count': ((0,), 'experts are unsupported'),
    'logit_scale': ((0, 1), 'logits are not scaled here'),
    'residual_scale': ((0, 1), 'residuals are not scaled here'),
    'embedding_scale': ((0, 1), 'embeddings are not scaled here'),
    'tensor_data_layout': (('Meta AI original pth', 'reference'), 'the order of rows is unknown'),
}
OFF = (0, False, '', [])


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
    import gguf
    tensor = self._tensors[name]
    try:
      return gguf.dequantize(tensor.data[rows], tensor.tensor_type)
    except NotImplementedError as error:
      raise ValueError(f'{self.path}: tensor {name!r} is of type {tensor.tensor_type.name}, which '
                       f'cannot be read: quantize to another type, such as Q8_0.') from error


def fields(path: str) -> dict:
  """Fields of the file's metadata beside the shape, under the names of config.json."""
  found = _open(path).fields
  def read(key):
    name = f'tokenizer.ggml.{key}'
    return found[name].contents() if name in found else None
  one = lambda key: next(iter(ends.gguf_ids(key, read(key), 0, path)), None)
  ids = list(ends.of_gguf(read, path))
  kept = dict(bos_token_id=one('bos_token_id'), pad_token_id=one('padding_token_id'),
              eos_token_id=ids if len(ids) > 1 else ids[0] if ids else None)
  if 'llama.context_length' in found:
    kept['max_position_embeddings'] = int(found['llama.context_length'].contents())
  return {name: value for name, value in kept.items() if value is not None}


def chat_template(path: str) -> str | None:
  """The template of conversations (Jinja) in the file, or None."""
  found = _open(path).fields.get('tokenizer.chat_template')
  return found.contents() if found else None


def _open(path: str) -> gguf.GGUFReader:
  import gguf  # It loads other tokenizers, half a second that no other model is to pay.
  try:
    return gguf.GGUFReader(path)
  except (ValueError, IndexError, KeyError) as error:   # A short file ends within an array.
    raise ValueError(f'{path}: no readable GGUF file ({error}).') from error


def _config(path: str, reader: gguf.GGUFReader, dtype: str) -> ModelConfig:
  values = {name: field.contents() for name, field in reader.fields.items()
            if not name.startswith('tokenizer.')}
  _refuse_other_kinds(path, values)
  shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
  if NAMES['embed'] not in shapes:
    raise ValueError(f'{path}: tensor {NAMES["embed"]!r} is missing.')
  keys = _Keys(path, values)
  dim, heads = keys.whole('embedding_length'), keys.whole('attention.head_count')
  config = ModelConfig(
      family='mistral', layers=keys.layers, dim=dim, heads=heads,
      kv_heads=keys.whole('attention.head_count_kv', heads),
      head_dim=keys.whole('attention.key_length', dim // heads),
      ffn_dim=keys.whole('feed_forward_length'), vocab=int(shapes[NAMES['embed']][1]),
      rope_theta=_decimal(keys.number('rope.freq_base', 10000.0)),
      norm_eps=_decimal(keys.number('attention.layer_norm_rms_epsilon')),
      tied=NAMES['output'] not in shapes, dtype=dtype)
  _refuse(path, keys, config)
  return config


def _refuse_other_kinds(path: str, values: dict) -> None:
  """Raises ValueError for a file that is no whole language model of the Llama family."""
  architecture = values.get('general.architecture')
  if architecture != 'llama':
    raise ValueError(f'{path}: general.architecture={architecture!r} is unsupported: only '
                     f"'llama', which Mistral and SmolLM files also name.")
  kind = values.get('general.type', 'model')
  if kind != 'model':
    raise ValueError(f'{path}: general.type={kind!r} is unsupported: only a whole model can be '
                     f'read; merge an adapter into its model first.')
  parts = values.get('split.count', 1)
  if parts > 1:
    raise ValueError(f'{path}: split.count={parts}: merge the parts with llama-gguf-split.')


class _Keys:
  """The keys of a file that begin with 'llama.', without that prefix."""

  def __init__(self, path: str, values: dict):
    self._path = path
    self.values = {name.removeprefix('llama.'): value for name, value in values.items()
                   if name.startswith('llama.')}
    self.layers = 0        # Number of values of an array, which has one for each layer.
    self.layers = self.whole('block_count')

  def whole(self, key: str, default: int | None = None) -> int:
    """A whole number above 0; ValueError if the key is missing or has another value."""
    value = self._get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
      raise ValueError(f'{self._path}: llama.{key}={value!r} must be a whole number above 0.')
    return value

  def number(self, key: str, default: float | None = None) -> float:
    """A number above 0; ValueError if the key is missing or has another value."""
    value = self._get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
      raise ValueError(f'{self._path}: llama.{key}={value!r} must be a number above 0.')
    return value

  def same(self, value):
    """The one value of all layers where a file has an array of them; else the value itself."""
    if isinstance(value, list) and value and len(value) == self.layers:
      return value[0] if value.count(value[0]) == len(value) else value
    return value

  def _get(self, key, default):
    value = self.values.get(key, default)
    if value is None:
      raise ValueError(f'{self._path}: the key llama.{key} is missing.')
    one = self.same(value)
    if isinstance(one, list):
      raise ValueError(f'{self._path}: llama.{key}={value} differs from layer to layer, or is not '
                       f'one value for each of {self.layers} layers, which is unsupported.')
    return one


def _refuse(path: str, keys: _Keys, config: ModelConfig) -> None:
  """Raises ValueError for a key that would change the computation and is not implemented."""
  head, scale = config.head_dim, config.head_dim ** -0.5
  context = keys.values.get('context_length', math.inf)
  numbers = {
      'rope.dimension_count': (lambda x: x == head, f'only whole heads ({head}) rotate'),
      'attention.value_length': (lambda x: x == head, f'keys have {head}'),
      'attention.sliding_window': (
          lambda x: x == 0 or x >= context,
          f'windows below llama.context_length={context} are unsupported'),
      'attention.scale': (lambda x: x == 0 or math.isclose(x, scale, rel_tol=1e-6),
                          f'only {scale}, the inverse root of {head}'),
      'embedding_length_out': (lambda x: x == config.dim, f'embeddings have {config.dim}'),
  }
  unknown = 'it is not a key of a plain Llama model, and may change what the model computes'
  for key in dict.fromkeys((*numbers, *keys.values)):
    if key not in keys.values or key in READ or key in HARMLESS:
      continue
    one = keys.same(value := keys.values[key])
    if key in numbers:
      test, reason = numbers[key]
      fine = isinstance(one, int | float) and test(one)
    else:
      neutral, reason = NEUTRAL.get(key, (OFF, unknown))
      fine = one in neutral
    if not fine:
      raise ValueError(f'{path}: llama.{key}={value!r}: {reason}.')


def _decimal(value: float) -> float:
  """The shortest decimal of a number that the file holds in float32: 1e-5, not 9.99999975e-06."""
  return float(str(np.float32(value)))
