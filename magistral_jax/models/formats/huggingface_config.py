"""The fields of config.json to ModelConfig and back, with transformers' defaults.

A field that would change the computation and is not implemented (biases, scaled rotary positions,
sliding windows, attention that is not causal, layers that differ, quantized weights) is refused by
its name, and so is code of the model's own, which is never run. A field that is not named here
changes nothing that the classes of transformers compute.

Reference: configurations and models of transformers 5.24.0, whose every field was looked at.
"""

import pathlib
from collections.abc import Callable

from magistral_jax.models import vision
from magistral_jax.models.config import ModelConfig, VisionConfig
from magistral_jax.models.formats.fields import Fields, read_json

# Defaults of transformers for fields that config.json leaves out.
DEFAULTS = {
    'llama': dict(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008,
        vocab_size=32000, rms_norm_eps=1e-6, rope_theta=1e4, sliding_window=None,
        max_position_embeddings=2048),
    'mistral': dict(
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=32000, rms_norm_eps=1e-6, rope_theta=1e4,
        sliding_window=4096, max_position_embeddings=131072),
}
DEFAULTS['mixtral'] = DEFAULTS['mistral'] | dict(
    rms_norm_eps=1e-5, rope_theta=1e6, sliding_window=None, num_local_experts=8,
    num_experts_per_tok=2)
# The same for the classes that join a tower to a language model, and for the tower itself.
WRAPPERS = {
    'llava': dict(
        image_token_index=32000, multimodal_projector_bias=True, projector_hidden_act='gelu',
        vision_feature_layer=-2, vision_feature_select_strategy='default'),
    'mistral3': dict(
        image_token_index=10, multimodal_projector_bias=False, projector_hidden_act='gelu',
        vision_feature_layer=-1, spatial_merge_size=2),
}
# Kind of the language model where text_config has no model_type.
INNER = {'llava': 'llama', 'mistral3': 'mistral'}
TOWER_DEFAULTS = dict(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
    num_channels=3, image_size=1024, patch_size=16, hidden_act='gelu', rope_theta=1e4)
# A constant in the code of transformers, not a field of the config.
TOWER_NORM_EPS = 1e-5
# Fields of the language model that do not concern its shape and are kept in an export.
KEPT = ('bos_token_id', 'eos_token_id', 'pad_token_id', 'max_position_embeddings',
        'initializer_range', 'router_aux_loss_coef')
# Fields that would change the computation, and the only values that are accepted.
ONLY = {
    'hidden_act': ('silu', 'swish'), 'attention_bias': (False, None), 'mlp_bias': (False, None),
    'partial_rotary_factor': (1, None), 'quantization_config': (None,), 'is_causal': (True,),
    'use_bidirectional_attention': (False, None),
    'attention_chunk_size': (None,), 'kv_sharing_modes': (None,), 'per_layer_config': (None, {}),
}
# Names of a layer whose attention sees every earlier token.
FULL_ATTENTION = ('full_attention', 'attention')
# Kinds of rotary positions that are the plain ones where their factor is 1.
NEUTRAL_AT_ONE = ('linear', 'proportional')


def parse(
    file: pathlib.Path, dtype: str, vision: bool, has_head: Callable[[], bool]) -> ModelConfig:
  """The shape that a config.json describes.

  Args:
    vision: False leaves an image tower out.
    has_head: whether an output matrix is among the tensors, for configs that do not say.
  Raises:
    ValueError: a field is missing or unsupported; the message names it.
  """
  found = read_json(file)
  model_type = found.get('model_type')
  if model_type not in (*DEFAULTS, *WRAPPERS):
    raise ValueError(f'{file}: model_type={model_type!r} is unsupported: only '
                     f'{", ".join((*DEFAULTS, *WRAPPERS))}.')
  _check_code(Fields(file, found))
  if model_type in DEFAULTS:
    text = Fields(file, found, DEFAULTS[model_type])
    return ModelConfig(**_text(text, model_type), tied=text.flag('tie_word_embeddings'),
                       dtype=dtype)
  whole = Fields(file, found, WRAPPERS[model_type])
  for key in ('quantization_config', 'per_layer_config'):
    whole.only(key, ONLY[key])
  inner = whole.section('text_config')
  kind = inner.get('model_type', INNER[model_type])
  if kind not in DEFAULTS:
    raise ValueError(f'{file}: text_config.model_type={kind!r} is unsupported: only '
                     f'{", ".join(DEFAULTS)}.')
  text = Fields(file, inner, DEFAULTS[kind], 'text_config.')
  tower = _tower(whole, model_type) if vision else None
  return ModelConfig(**_text(text, kind), tied=_tied(whole, text, has_head), dtype=dtype,
                     vision=tower)


def _check_code(fields: Fields) -> None:
  """Raises ValueError if a folder brings code of its own that computes the model."""
  owns = [name for name in fields.section('auto_map')
          if name.startswith(('AutoModel', 'AutoConfig'))]
  if owns:
    raise fields.error('auto_map', f'names code that comes with the model ({owns[0]}), which is '
                       f'never run here. Where it computes what the class of transformers does, '
                       f'write null')


def _tower(whole: Fields, model_type: str) -> VisionConfig:
  """The image tower from the fields of the whole model."""
  tower = Fields(whole.file, whole.section('vision_config'), TOWER_DEFAULTS, 'vision_config.')
  if model_type == 'llava' or 'model_type' in tower.values:
    tower.values.setdefault('model_type', None)
    tower.only('model_type', ('pixtral',))
  layers, dim, heads = (tower.whole(key) for key in (
      'num_hidden_layers', 'hidden_size', 'num_attention_heads'))
  tower.only('hidden_act', ('silu', 'swish'))
  tower.only('num_channels', (3,))
  tower.only('head_dim', (dim // heads, None))
  tower.only('per_layer_config', ONLY['per_layer_config'])
  whole.only('projector_hidden_act', ('gelu',))
  # The output of the last layer; transformers also has it under its number and in a list of one.
  whole.only('vision_feature_layer', (-1, layers, [-1], [layers]))
  merge = whole.whole('spatial_merge_size') if model_type == 'mistral3' else 1
  if model_type == 'mistral3' and merge == 1:
    raise whole.error('spatial_merge_size', 'is unsupported: only 2 or more')
  if model_type == 'llava':
    whole.only('vision_feature_select_strategy', ('full',))
  image_token = 'image_token_id' if whole.get('image_token_id') is not None else 'image_token_index'
  if isinstance(whole.need(image_token), bool) or not isinstance(whole.need(image_token), int):
    raise whole.error(image_token, 'must be a whole number')
  return VisionConfig(
      layers=layers, dim=dim, heads=heads, head_dim=dim // heads,
      ffn_dim=tower.whole('intermediate_size'), patch=_side(tower, 'patch_size'),
      side=_side(tower, 'image_size'), rope_theta=_rope_theta(tower, ('axial', 'default')),
      norm_eps=TOWER_NORM_EPS, merge=merge, biases=whole.flag('multimodal_projector_bias'),
      image_token=whole.need(image_token))


def _side(tower: Fields, key: str) -> int:
  """A number of pixels, which some files have twice, for height and width."""
  value = tower.get(key)
  if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
    tower = Fields(tower.file, {key: value[0]}, within=tower.within)
  return tower.whole(key)


def _text(fields: Fields, kind: str) -> dict:
  """Arguments of ModelConfig from the fields of a language model."""
  for key, values in ONLY.items():
    fields.only(key, values)
  layers, dim, heads = (fields.whole(key) for key in (
      'num_hidden_layers', 'hidden_size', 'num_attention_heads'))
  _check_attention(fields, layers)
  optional = lambda key, default: default if fields.get(key) is None else fields.whole(key)
  experts = {}
  if kind == 'mixtral':
    # transformers takes either name.
    count = 'num_experts' if 'num_experts' in fields.values else 'num_local_experts'
    experts = dict(experts=fields.whole(count),
                   experts_per_token=fields.whole('num_experts_per_tok'))
  return experts | dict(
      family='mixtral' if experts else 'mistral', layers=layers, dim=dim, heads=heads,
      kv_heads=optional('num_key_value_heads', heads), head_dim=optional('head_dim', dim // heads),
      ffn_dim=fields.whole('intermediate_size'), vocab=fields.whole('vocab_size'),
      rope_theta=_rope_theta(fields, ('default',)), norm_eps=fields.number('rms_norm_eps'))


def _check_attention(fields: Fields, layers: int) -> None:
  """Raises ValueError unless every layer's attention sees every earlier token."""
  window, longest = fields.get('sliding_window'), fields.whole('max_position_embeddings')
  if window is not None and fields.whole('sliding_window') < longest:
    raise fields.error(
        'sliding_window', f'is smaller than max_position_embeddings={longest}, which is '
        f'unsupported: attention here sees every earlier token. Where the model has no window, '
        f'write null')
  kinds = fields.get('layer_types')
  full = isinstance(kinds, list) and all(kind in FULL_ATTENTION for kind in kinds)
  if kinds is not None and not (full and len(kinds) == layers):
    raise fields.error('layer_types', f'is unsupported: only {FULL_ATTENTION[0]!r} for all of '
                       f'{layers} layers')


def _rope_theta(fields: Fields, plain: tuple[str, ...]) -> float:
  """The base of the rotary angles, from the field of its own or, in newer files, a section.

  Args:
    plain: kinds of rotary positions that are implemented.
  """
  for key in ('rope_scaling', 'rope_parameters'):
    section = Fields(fields.file, fields.section(key), within=f'{fields.within}{key}.')
    kind = section.values.get('rope_type', section.values.get('type', 'default'))
    neutral = kind in NEUTRAL_AT_ONE and section.values.get('factor') == 1
    if kind not in plain and not neutral:
      raise ValueError(f'{fields.file}: {fields.within}{key} of type {kind!r} is unsupported: only '
                       f'plain rotary positions are implemented.')
    section.only('partial_rotary_factor', ONLY['partial_rotary_factor'])
    for name, value in section.values.items():
      if isinstance(value, dict):
        raise section.error(name, 'is unsupported: all layers rotate alike here')
  # As in transformers, where only one of the two sections is read.
  key = 'rope_scaling' if fields.section('rope_scaling') else 'rope_parameters'
  section = Fields(fields.file, fields.section(key), within=f'{fields.within}{key}.')
  return (section if 'rope_theta' in section.values else fields).number('rope_theta')


def _tied(whole: Fields, text: Fields, has_head: Callable[[], bool]) -> bool:
  """Whether a multimodal model's head is its embedding.

  Versions of transformers took the field from the outer or the inner section, with either default.
  Where the two are absent or disagree, the presence of a head among the tensors decides.
  """
  key = 'tie_word_embeddings'
  said = {section.flag(key) for section in (whole, text) if section.get(key) is not None}
  return said.pop() if len(said) == 1 else not has_head()


def kept(file: pathlib.Path) -> dict:
  """The KEPT fields of a config.json."""
  found = read_json(file)
  found = found | (found.get('text_config') or {})
  return {key: found[key] for key in KEPT if key in found}


def describe(config: ModelConfig, kept: dict, dtype: str) -> dict:
  """The fields of config.json for a model.

  Args:
    kept: more fields of the language model, such as those that `companions.fields` returns.
    dtype: type of the tensors.
  """
  text = kept | dict(
      model_type='mistral', hidden_size=config.dim, intermediate_size=config.ffn_dim,
      num_hidden_layers=config.layers, num_attention_heads=config.heads,
      num_key_value_heads=config.kv_heads, head_dim=config.head_dim, vocab_size=config.vocab,
      rope_theta=config.rope_theta, rms_norm_eps=config.norm_eps, hidden_act='silu',
      sliding_window=None, tie_word_embeddings=config.tied, torch_dtype=dtype)
  if config.family == 'mixtral':
    text |= dict(model_type='mixtral', num_local_experts=config.experts,
                 num_experts_per_tok=config.experts_per_token)
  if config.vision is None:
    return dict(architectures=[f'{text["model_type"].title()}ForCausalLM']) | text
  # Tools look for the tokens that end a text in either section.
  tokens = {key: kept[key] for key in kept if key.endswith('_token_id')}
  return tokens | _describe_wrapper(config.vision) | dict(
      text_config=text, tie_word_embeddings=config.tied, torch_dtype=dtype)


def _describe_wrapper(tower: VisionConfig) -> dict:
  """The fields of a tower, and of the class that joins it to a language model."""
  fields = dict(
      projector_hidden_act='gelu', vision_feature_layer=-1, image_token_index=tower.image_token,
      multimodal_projector_bias=tower.biases, vision_config=dict(
          model_type='pixtral', hidden_size=tower.dim, intermediate_size=tower.ffn_dim,
          num_hidden_layers=tower.layers, num_attention_heads=tower.heads,
          head_dim=tower.head_dim, num_channels=3, image_size=tower.side,
          patch_size=tower.patch, rope_theta=tower.rope_theta, hidden_act='silu'))
  if tower.merge > 1:
    return fields | dict(architectures=['Mistral3ForConditionalGeneration'], model_type='mistral3',
                         spatial_merge_size=tower.merge)
  return fields | dict(architectures=['LlavaForConditionalGeneration'], model_type='llava',
                       vision_feature_select_strategy='full', image_seq_length=1)


def preprocessing(tower: VisionConfig) -> dict[str, dict]:
  """Files and their fields that tell transformers' PixtralProcessor how to cut images for a tower.

  Mistral's own layout says the same in params.json and tekken.json.
  """
  processor = dict(processor_class='PixtralProcessor')
  return {
      'preprocessor_config.json': processor | dict(
          image_processor_type='PixtralImageProcessor', do_convert_rgb=True, do_resize=True,
          size=dict(longest_edge=tower.side), resample=3,
          patch_size=dict(height=tower.patch, width=tower.patch),
          do_rescale=True, rescale_factor=1 / 255, do_normalize=True,
          image_mean=list(vision.MEAN), image_std=list(vision.STD)),
      'processor_config.json': processor | dict(
          patch_size=tower.patch, spatial_merge_size=tower.merge, image_token='[IMG]',
          image_break_token='[IMG_BREAK]', image_end_token='[IMG_END]')}
