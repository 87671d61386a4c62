"""The fields of config.json to ModelConfig and back, with transformers' defaults.

A field that would change the computation and is not implemented (biases, scaled rotary positions,
sliding windows, quantized weights) is refused by its name.
"""

import json
import pathlib
from collections.abc import Callable

from magistral_jax.models import vision
from magistral_jax.models.config import ModelConfig, VisionConfig

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
        vision_feature_layer=-2, vision_feature_select_strategy='default', spatial_merge_size=1),
    'mistral3': dict(
        image_token_index=10, multimodal_projector_bias=False, projector_hidden_act='gelu',
        vision_feature_layer=-1, vision_feature_select_strategy='full', spatial_merge_size=2),
}
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
    'partial_rotary_factor': (1, None), 'quantization_config': (None,),
}


def parse(
    file: pathlib.Path, dtype: str, vision: bool, has_head: Callable[[], bool]) -> ModelConfig:
  """The shape that a config.json describes.

  Args:
    vision: False leaves an image tower out.
    has_head: whether an output matrix is among the tensors, for configs that do not say.
  Raises:
    ValueError: a field is missing or unsupported; the message names it.
  """
  fields = read_json(file)
  model_type = fields.get('model_type')
  if model_type not in (*DEFAULTS, *WRAPPERS):
    raise ValueError(f'{file}: model_type={model_type!r} is unsupported: only '
                     f'{", ".join((*DEFAULTS, *WRAPPERS))}.')
  text, tower = fields, None
  if model_type in WRAPPERS:
    text = fields.get('text_config') or {}
    if text.get('model_type') not in DEFAULTS:
      raise ValueError(f'{file}: text_config.model_type={text.get("model_type")!r} is '
                       f'unsupported: only {", ".join(DEFAULTS)}.')
    text = dict(text, tie_word_embeddings=_tied(fields, text, has_head),
                quantization_config=fields.get('quantization_config'))
    tower = _tower(file, WRAPPERS[model_type] | fields) if vision else None
  return ModelConfig(**_text(file, text, DEFAULTS[text['model_type']]), dtype=dtype, vision=tower)


def _tower(file, fields: dict) -> VisionConfig:
  """The image tower from the fields of the whole model."""
  tower = TOWER_DEFAULTS | (fields.get('vision_config') or {})
  merge, patched = fields['spatial_merge_size'], fields['model_type'] == 'mistral3'
  for key, value, allowed in (
      ('vision_config.model_type', tower.get('model_type'), 'pixtral'),
      ('vision_config.hidden_act', tower['hidden_act'], 'silu'),
      ('vision_config.num_channels', tower['num_channels'], 3),
      ('projector_hidden_act', fields['projector_hidden_act'], 'gelu'),
      ('vision_feature_layer', fields['vision_feature_layer'], -1),
      ('vision_feature_select_strategy', fields['vision_feature_select_strategy'], 'full'),
      ('spatial_merge_size', merge, max(2, merge) if patched else 1)):
    if value != allowed:
      raise ValueError(f'{file}: {key}={value!r} is unsupported: only {allowed!r}.')
  heads = tower['num_attention_heads']
  return VisionConfig(
      layers=tower['num_hidden_layers'], dim=tower['hidden_size'], heads=heads,
      head_dim=tower.get('head_dim') or tower['hidden_size'] // heads,
      ffn_dim=tower['intermediate_size'], patch=tower['patch_size'], side=tower['image_size'],
      rope_theta=_rope_theta(file, tower), norm_eps=TOWER_NORM_EPS, merge=merge,
      biases=fields['multimodal_projector_bias'],
      image_token=fields.get('image_token_id', fields['image_token_index']))


def _text(file, fields: dict, defaults: dict) -> dict:
  """Arguments of ModelConfig from the fields of a language model."""
  fields = defaults | fields

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
  routed = fields['model_type'] == 'mixtral'
  experts = dict(experts=need('num_local_experts'),
                 experts_per_token=need('num_experts_per_tok')) if routed else {}
  return experts | dict(
      family='mixtral' if routed else 'mistral', layers=need('num_hidden_layers'), dim=dim,
      heads=heads, kv_heads=fields.get('num_key_value_heads') or heads,
      head_dim=fields.get('head_dim') or dim // heads, ffn_dim=need('intermediate_size'),
      vocab=need('vocab_size'), rope_theta=_rope_theta(file, fields),
      norm_eps=float(need('rms_norm_eps')), tied=bool(fields.get('tie_word_embeddings', False)))


def _rope_theta(file, fields) -> float:
  """The base of the rotary angles, from the field of its own or, in newer files, a section."""
  theta = fields['rope_theta']
  for key in ('rope_scaling', 'rope_parameters'):
    scaling = fields.get(key) or {}
    kind = scaling.get('rope_type', scaling.get('type', 'default'))
    if kind != 'default':
      raise ValueError(f'{file}: {key} of type {kind!r} is unsupported: only plain rotary '
                       f'positions are implemented.')
    part = scaling.get('partial_rotary_factor')
    if part not in (1, None):
      raise ValueError(f'{file}: {key}.partial_rotary_factor={part} is unsupported: only whole '
                       f'heads rotate.')
    theta = scaling.get('rope_theta', theta)
  return float(theta)


def _tied(fields: dict, text: dict, has_head: Callable[[], bool]) -> bool:
  """Whether a multimodal model's head is its embedding.

  Versions of transformers took the field from the outer or the inner section, with either default.
  Where the two are absent or disagree, the presence of a head among the tensors decides.
  """
  key = 'tie_word_embeddings'
  said = {section[key] for section in (fields, text) if key in section}
  if len(said) == 1:
    return said.pop()
  return not has_head()


def read_json(file: pathlib.Path) -> dict:
  """A file's JSON; ValueError if it is missing or broken."""
  if not file.exists():
    raise ValueError(f'{file}: missing.')
  try:
    return json.loads(file.read_text(encoding='utf-8'))
  except ValueError as error:
    raise ValueError(f'{file}: no valid JSON ({error}).') from error


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
