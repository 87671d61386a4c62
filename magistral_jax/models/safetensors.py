"""Hugging Face folders of MistralForCausalLM and LlamaForCausalLM: read, and written.

    folder/config.json
    folder/model.safetensors                  or several, with model.safetensors.index.json

Both classes compute the same function here; what only one of them can do (biases, scaled rotary
positions, sliding windows, quantized weights) is refused by the name of its field.
"""

import json
import pathlib
import re

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from magistral_jax.models import convert
from magistral_jax.models.config import ModelConfig

NAMES = {
    'embed': 'model.embed_tokens.weight',
    'layers.attention_norm': 'model.layers.{}.input_layernorm.weight',
    'layers.attention.q': 'model.layers.{}.self_attn.q_proj.weight',
    'layers.attention.k': 'model.layers.{}.self_attn.k_proj.weight',
    'layers.attention.v': 'model.layers.{}.self_attn.v_proj.weight',
    'layers.attention.o': 'model.layers.{}.self_attn.o_proj.weight',
    'layers.ffn_norm': 'model.layers.{}.post_attention_layernorm.weight',
    'layers.ffn.w1': 'model.layers.{}.mlp.gate_proj.weight',
    'layers.ffn.w3': 'model.layers.{}.mlp.up_proj.weight',
    'layers.ffn.w2': 'model.layers.{}.mlp.down_proj.weight',
    'norm': 'model.norm.weight',
    'output': 'lm_head.weight',
}
INDEX = 'model.safetensors.index.json'
SINGLE = 'model.safetensors'
# Old exports store what rope_theta already says.
DERIVED = re.compile(r'model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq')

# What transformers takes for a field that config.json leaves out, where that matters here.
DEFAULTS = {
    'llama': dict(sliding_window=None, max_position_embeddings=2048),
    'mistral': dict(num_key_value_heads=8, sliding_window=4096, max_position_embeddings=131072),
}
# Fields that would change the computation, and the only values they may have.
ONLY = {
    'hidden_act': ('silu', 'swish'), 'attention_bias': (False, None), 'mlp_bias': (False, None),
    'partial_rotary_factor': (1, None), 'quantization_config': (None,),
}


def read_config(path: str, *, dtype: str) -> ModelConfig:
  """The shape of the model in a folder; ValueError names the field that is unsupported."""
  file = pathlib.Path(path) / 'config.json'
  fields = _json(file)
  model_type = fields.get('model_type')
  if model_type not in DEFAULTS:
    raise ValueError(f'{file}: model_type={model_type!r} is unsupported: only '
                     f'{" and ".join(DEFAULTS)}.')
  fields = DEFAULTS[model_type] | fields

  def need(key):
    if fields.get(key) is None:
      raise ValueError(f'{file}: the field {key!r} is missing.')
    return fields[key]

  for key, values in ONLY.items():
    if key in fields and fields[key] not in values:
      raise ValueError(f'{file}: {key}={fields[key]!r} is unsupported: only {values[0]!r}.')
  window, longest = fields['sliding_window'], fields['max_position_embeddings']
  if window is not None and window < longest:
    raise ValueError(f'{file}: sliding_window={window} is smaller than '
                     f'max_position_embeddings={longest}, which is unsupported: attention here '
                     f'sees every earlier token. Where the model has no window, write null.')
  dim, heads = need('hidden_size'), need('num_attention_heads')
  return ModelConfig(
      family='mistral', layers=need('num_hidden_layers'), dim=dim, heads=heads,
      kv_heads=fields.get('num_key_value_heads') or heads,
      head_dim=fields.get('head_dim') or dim // heads, ffn_dim=need('intermediate_size'),
      vocab=need('vocab_size'), rope_theta=_rope_theta(file, fields),
      norm_eps=float(fields.get('rms_norm_eps', 1e-6)),
      tied=bool(fields.get('tie_word_embeddings', False)), dtype=dtype)


def _rope_theta(file, fields) -> float:
  """The base of the rotary angles; config.json has kept it in two places over the years."""
  theta = fields.get('rope_theta', 10000.0)
  for key in ('rope_scaling', 'rope_parameters'):
    scaling = fields.get(key) or {}
    kind = scaling.get('rope_type', scaling.get('type', 'default'))
    if kind != 'default':
      raise ValueError(f'{file}: {key} of type {kind!r} is unsupported: only plain rotary '
                       f'positions are implemented.')
    part = scaling.get('partial_rotary_factor', 1)
    if part != 1:
      raise ValueError(f'{file}: {key}.partial_rotary_factor={part} is unsupported: only whole '
                       f'heads rotate.')
    theta = scaling.get('rope_theta', theta)
  return float(theta)


def load(path: str, config: ModelConfig, shardings, param_dtype: str):
  """The parameter tree of a folder; see convert.load."""
  source = Folder(path)
  head, embed = NAMES['output'], NAMES['embed']
  if config.tied and head in source.shapes and embed in source.shapes:
    # Some exports write a tied head all the same; it must then be what it is tied to.
    if not np.array_equal(source.rows(head, slice(None)), source.rows(embed, slice(None))):
      raise ValueError(f'{path}: tensor {head!r} differs from {embed!r} although config.json says '
                       f'tie_word_embeddings=true: set it to false.')
    del source.shapes[head]
  return convert.load(source, NAMES, config, shardings, param_dtype)


class Folder:
  """A convert.Source: all safetensors files of a folder; nothing is read before it is asked for."""

  def __init__(self, path: str):
    self.path, folder = path, pathlib.Path(path)
    self._open, self.shapes = {}, {}
    for file in _files(folder):
      try:
        tensors = safe_open(file, framework='np')
      except SafetensorError as error:
        raise ValueError(f'{file}: no readable safetensors file ({error}).') from error
      for name in sorted(tensors.keys()):
        if DERIVED.fullmatch(name):
          continue
        if name in self._open:
          raise ValueError(f'{file}: tensor {name!r} also stands in another file of the folder.')
        self._open[name] = tensors
        self.shapes[name] = tuple(tensors.get_slice(name).get_shape())

  def rows(self, name: str, rows: slice) -> np.ndarray:
    return self._open[name].get_slice(name)[rows]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  if not (folder / INDEX).exists():
    if not (folder / SINGLE).exists():
      raise ValueError(f'{folder}: there is neither {SINGLE} nor {INDEX}.')
    return [folder / SINGLE]
  files = sorted({folder / name for name in _json(folder / INDEX)['weight_map'].values()})
  for file in files:
    if not file.exists():
      raise ValueError(f'{file}: missing, although {INDEX} names it.')
  return files


def _json(file: pathlib.Path) -> dict:
  if not file.exists():
    raise ValueError(f'{file}: missing.')
  try:
    return json.loads(file.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{file}: no valid JSON ({error}).') from error


def save(params, config: ModelConfig, path: str, *, fields: dict, file_bytes: int) -> None:
  """Writes a folder that `load` and transformers' MistralForCausalLM read.

  Args:
    params: parameter tree whose arrays this process can read whole; written in their own dtype.
    path: the folder; made if missing. Checkpoint files of the same name are replaced.
    fields: more of config.json, such as eos_token_id or max_position_embeddings.
    file_bytes: a file is closed before it grows beyond this.
  """
  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  leaves = {convert.leaf_name(keys): leaf for keys, leaf in jax.tree.leaves_with_path(params)}
  plan = _plan(leaves, config, file_bytes)
  if len(plan) == 1:
    files = [SINGLE]
  else:
    files = [f'model-{i + 1:05}-of-{len(plan):05}.safetensors' for i in range(len(plan))]
  tensors = _tensors(leaves, config)
  for file, names in zip(files, plan, strict=True):
    part = dict(next(tensors) for _ in names)
    assert list(part) == names
    save_file(part, folder / file, metadata={'format': 'pt'})
  (folder / INDEX).unlink(missing_ok=True)   # One of an earlier, larger export would mislead.
  if len(plan) > 1:
    weight_map = {name: file for file, names in zip(files, plan, strict=True) for name in names}
    size = sum(leaf.nbytes for leaf in leaves.values())
    _write_json(folder / INDEX, dict(metadata=dict(total_size=size), weight_map=weight_map))
  dtype = str(leaves['embed'].dtype)
  _write_json(folder / 'config.json', _fields(config, dtype) | fields)


def _plan(leaves, config, file_bytes) -> list[list[str]]:
  """Names of the tensors of each file, in the order of `_tensors`."""
  plan, used = [[]], 0
  for leaf, array in leaves.items():
    names = convert.tensor_names(leaf, NAMES[leaf], config)
    size = array.nbytes // len(names)
    for tensor in names:
      if plan[-1] and used + size > file_bytes:
        plan.append([])
        used = 0
      plan[-1].append(tensor)
      used += size
  return plan


def _tensors(leaves, config):
  """Yields (name, numpy array) of every tensor of the file, fetching one leaf at a time."""
  for leaf, array in leaves.items():
    host = jax.device_get(array)
    layers = host if leaf.startswith('layers.') else [host]
    for tensor, layer in zip(convert.tensor_names(leaf, NAMES[leaf], config), layers, strict=True):
      yield tensor, convert.to_file(leaf, layer)


def _fields(config: ModelConfig, dtype: str) -> dict:
  return dict(
      architectures=['MistralForCausalLM'], model_type='mistral', hidden_size=config.dim,
      intermediate_size=config.ffn_dim, num_hidden_layers=config.layers,
      num_attention_heads=config.heads, num_key_value_heads=config.kv_heads,
      head_dim=config.head_dim, vocab_size=config.vocab, rope_theta=config.rope_theta,
      rms_norm_eps=config.norm_eps, hidden_act='silu', sliding_window=None,
      tie_word_embeddings=config.tied, torch_dtype=dtype)


def _write_json(file: pathlib.Path, value: dict) -> None:
  file.write_text(json.dumps(value, indent=2) + '\n', encoding='utf-8')
