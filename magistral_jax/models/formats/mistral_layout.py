"""Mistral's own folders: params.json to ModelConfig and back, and the names of the tensors.

    folder/params.json
    folder/consolidated.safetensors           or several consolidated*.safetensors

Mistral publishes its models in this layout; mistral-inference and vLLM read it. The heads of q and
k are in rotary pairs (layout.py). Quantized weights, low-rank projections, sliding windows and
scaled positions are refused by the name of their key.
"""

import pathlib
import re

from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.formats import layout, reading, safetensors
from magistral_jax.models.formats.fields import Fields, read_json

DESCRIPTION = 'params.json'
SINGLE = 'consolidated.safetensors'
INDEX = 'consolidated.safetensors.index.json'

TEXT = {
    'embed': 'tok_embeddings.weight',
    'layers.attention_norm': 'layers.{layer}.attention_norm.weight',
    'layers.attention.q': 'layers.{layer}.attention.wq.weight',
    'layers.attention.k': 'layers.{layer}.attention.wk.weight',
    'layers.attention.v': 'layers.{layer}.attention.wv.weight',
    'layers.attention.o': 'layers.{layer}.attention.wo.weight',
    'layers.ffn_norm': 'layers.{layer}.ffn_norm.weight',
    'layers.ffn.w1': 'layers.{layer}.feed_forward.w1.weight',
    'layers.ffn.w3': 'layers.{layer}.feed_forward.w3.weight',
    'layers.ffn.w2': 'layers.{layer}.feed_forward.w2.weight',
    'layers.moe.gate': 'layers.{layer}.feed_forward.gate.weight',
    'layers.moe.w1': 'layers.{layer}.feed_forward.experts.{expert}.w1.weight',
    'layers.moe.w3': 'layers.{layer}.feed_forward.experts.{expert}.w3.weight',
    'layers.moe.w2': 'layers.{layer}.feed_forward.experts.{expert}.w2.weight',
    'norm': 'norm.weight',
    'output': 'output.weight',
}
TOWER = {
    'vision.patch': 'vision_encoder.patch_conv.weight',
    'vision.norm_pre': 'vision_encoder.ln_pre.weight',
    # The layers of an image tower have the names of the decoder's.
    **{f'vision.{leaf}': f'vision_encoder.transformer.{name}' for leaf, name in TEXT.items()
       if leaf.startswith('layers.')},
    'adapter.norm': 'pre_mm_projector_norm.weight',
    'adapter.merger': 'patch_merger.merging_layer.weight',
    'adapter.w1': 'vision_language_adapter.w_in.weight',
    'adapter.b1': 'vision_language_adapter.w_in.bias',
    'adapter.w2': 'vision_language_adapter.w_out.weight',
    'adapter.b2': 'vision_language_adapter.w_out.bias',
}
PAIRS = frozenset(f'{of}layers.attention.{name}' for of in ('', 'vision.') for name in 'qk')
MULTIMODAL = r'(vision_encoder|vision_language_adapter|patch_merger|pre_mm_projector_norm)\..*'

# Key of params.json -> field of ModelConfig.
SHAPE = {'n_layers': 'layers', 'dim': 'dim', 'n_heads': 'heads', 'n_kv_heads': 'kv_heads',
         'head_dim': 'head_dim', 'hidden_dim': 'ffn_dim', 'vocab_size': 'vocab'}
LONGEST = ('max_position_embeddings', 'max_seq_len')
EXPERTS = {'num_experts': 'experts', 'num_experts_per_tok': 'experts_per_token'}
TOWER_SHAPE = {'num_hidden_layers': 'layers', 'hidden_size': 'dim', 'num_attention_heads': 'heads',
               'intermediate_size': 'ffn_dim', 'patch_size': 'patch', 'image_size': 'side'}
# Defaults and constants of mistral-inference.
ROPE_THETA, TOWER_NORM_EPS = 1e6, 1e-5
TOWER_DEFAULTS = dict(rope_theta=1e4, adapter_bias=True, image_token_id=10)

# Keys that do not change the computation, or that are read elsewhere in this file.
KNOWN = {*SHAPE, *LONGEST, 'norm_eps', 'rope_theta', 'tied_embeddings', 'sliding_window',
         'max_batch_size', 'vision_encoder', 'moe'}
# Keys that would change the computation, and the only values that are accepted.
ONLY = {'use_biases': (False,), 'causal': (True,), 'model_type': ('transformer',),
        'activation': ('silu',)}
TOWER_KNOWN = {*TOWER_SHAPE, *TOWER_DEFAULTS, 'max_image_size', 'spatial_merge_size',
               'add_pre_mm_projector_layer_norm', 'image_break_token_id', 'image_end_token_id'}
TOWER_ONLY = {'num_channels': (3,), 'mm_projector_id': ('patch_merge', '')}


def read_config(path: str, *, dtype: str, vision: bool = True) -> ModelConfig:
  """The shape of the model in a folder.

  Args:
    vision: False leaves an image tower out.
  Raises:
    ValueError: a key is missing or unsupported; the message names it.
  """
  file = pathlib.Path(path) / DESCRIPTION
  params = Fields(file, dict(rope_theta=ROPE_THETA) | _stated(read_json(file)))
  _refuse(params, KNOWN, ONLY)
  # Some published files have this number as a string.
  if str(window := params.get('sliding_window')).isdigit():
    params.values['sliding_window'] = int(window)
  longest = [key for key in LONGEST if key in params.values]
  if 'sliding_window' in params.values and not (
      longest and params.whole('sliding_window') >= params.whole(longest[0])):
    raise params.error('sliding_window', 'is unsupported: attention here sees every earlier token. '
                       'Where the model has no window, write null')
  moe = Fields(file, _stated(params.section('moe')), within='moe.')
  _refuse(moe, set(EXPERTS), {})
  tower = params.section('vision_encoder')
  return ModelConfig(
      family='mixtral' if moe.values else 'mistral', **_shape(params, SHAPE), dtype=dtype,
      **_shape(moe, EXPERTS if moe.values else {}), norm_eps=params.number('norm_eps'),
      rope_theta=params.number('rope_theta'), tied=params.flag('tied_embeddings'),
      vision=_tower(file, tower) if tower and vision else None)


def _tower(file: pathlib.Path, section: dict) -> VisionConfig:
  params = Fields(file, TOWER_DEFAULTS | _stated(section), within='vision_encoder.')
  _refuse(params, TOWER_KNOWN, TOWER_ONLY)
  merges = params.get('mm_projector_id') == 'patch_merge'
  if merges != params.flag('add_pre_mm_projector_layer_norm'):
    raise ValueError(f'{file}: vision_encoder has only one of mm_projector_id="patch_merge" and '
                     f'add_pre_mm_projector_layer_norm=true, which is unsupported.')
  shape = _shape(params, TOWER_SHAPE | ({'spatial_merge_size': 'merge'} if merges else {}))
  if params.get('max_image_size'):
    shape['side'] = params.whole('max_image_size')
  return VisionConfig(
      **dict(merge=1) | shape, head_dim=shape['dim'] // shape['heads'],
      norm_eps=TOWER_NORM_EPS, rope_theta=params.number('rope_theta'),
      biases=params.flag('adapter_bias'), image_token=params.whole('image_token_id'))


def _stated(section: dict) -> dict:
  """The keys of a section that are not null, which stands for a key that is missing."""
  return {key: value for key, value in section.items() if value is not None}


def _shape(params: Fields, table: dict[str, str]) -> dict[str, int]:
  for key in table:
    if key not in params.values:
      where = f' in {params.within[:-1]}' if params.within else ''
      raise ValueError(f'{params.file}: the key {key!r} is missing{where}.')
  return {field: params.whole(key) for key, field in table.items()}


def _refuse(params: Fields, known: set, only: dict) -> None:
  """Raises ValueError for a key that would change the computation."""
  for key, value in params.values.items():
    params.only(key, only.get(key, (value,)))
    # A key that is switched off changes nothing.
    if key not in known and key not in only and value not in (False, {}, []):
      raise params.error(key, 'is unsupported: it is not a key of a plain model of this kind, and '
                         'may change what the model computes')


def has_weights(path: str) -> bool:
  """Whether a folder holds tensors in this layout."""
  return any(pathlib.Path(path).glob('consolidated*'))


def open_weights(path: str, config: ModelConfig) -> reading.FileWeights:
  """The tensors of a folder, compared with the config but not read yet."""
  source = safetensors.Files(path, files(pathlib.Path(path)))
  return reading.FileWeights(source, form_of(config), config)


def form_of(config: ModelConfig) -> layout.FileLayout:
  """Layout of a model's tensors."""
  if config.vision:
    return layout.FileLayout(TEXT | TOWER, pairs=PAIRS)
  return layout.FileLayout(TEXT, pairs=PAIRS, unread=MULTIMODAL)


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder, in order.

  Raises:
    ValueError: there are none, one is missing, or the weights are pickled.
  """
  found = sorted(folder.glob('consolidated*.safetensors'))
  if not found:
    pickled = sorted(folder.glob('consolidated*.pt*'))
    raise ValueError(f'{folder}: there is no consolidated*.safetensors' + (
        f': {pickled[0].name} is a pickle, which can run any program and is never opened; take '
        f'the safetensors files.' if pickled else '.'))
  # A name such as consolidated-00001-of-00003.safetensors gives the number of files.
  counts = {int(m[1]) for file in found if (m := re.search(r'-of-(\d+)\.', file.name))}
  has_index = (folder / INDEX).exists()
  if folder / SINGLE in found and (has_index or counts):
    # As in mistral-inference: an earlier export left the index or the parts beside it.
    return [folder / SINGLE]
  if has_index:
    return safetensors.indexed(folder / INDEX)
  wanted = {folder / f'consolidated-{i + 1:05}-of-{n:05}.safetensors'
            for n in counts for i in range(n)}
  for file in sorted(wanted):
    if not file.exists():
      raise ValueError(f'{file}: missing; {len(wanted)} files make the model.')
  return sorted(wanted) or found


def fields(path: str) -> dict:
  """Fields of params.json beside the shape, under the names of config.json."""
  params = read_json(pathlib.Path(path) / DESCRIPTION)
  longest = params.get('max_position_embeddings') or params.get('max_seq_len')
  return dict(max_position_embeddings=longest) if longest else {}


def describe(config: ModelConfig, kept: dict) -> dict:
  """The keys of params.json for a model; `kept` has more fields under the names of config.json."""
  params = {key: getattr(config, field) for key, field in SHAPE.items()}
  params |= dict(norm_eps=config.norm_eps, rope_theta=config.rope_theta)
  if config.tied:
    params['tied_embeddings'] = True
  if 'max_position_embeddings' in kept:
    params['max_position_embeddings'] = kept['max_position_embeddings']
  if config.family == 'mixtral':
    params['moe'] = {key: getattr(config, field) for key, field in EXPERTS.items()}
  tower = config.vision
  if tower:
    params['vision_encoder'] = dict(
        {key: getattr(tower, field) for key, field in TOWER_SHAPE.items()}, num_channels=3,
        rope_theta=tower.rope_theta, adapter_bias=tower.biases, image_token_id=tower.image_token)
    if tower.merge > 1:
      params['vision_encoder'] |= dict(
          spatial_merge_size=tower.merge, mm_projector_id='patch_merge',
          add_pre_mm_projector_layer_norm=True, max_image_size=tower.side)
  return params
