"""Published descriptions and their numbers of parameters, from shapes alone."""
import json
import math

import jax
import pytest

from magistral_jax.models import decoder
from magistral_jax.models.formats import checkpoint

SMALL_TEXT = dict(
    attention_dropout=0.0, head_dim=128, hidden_act='silu', hidden_size=5120,
    initializer_range=0.02, intermediate_size=32768, max_position_embeddings=131072,
    model_type='mistral', num_attention_heads=32, num_hidden_layers=40, num_key_value_heads=8,
    rms_norm_eps=1e-5, rope_theta=1e9, sliding_window=None, use_cache=True, vocab_size=131072)
SMALL_PARAMS = dict(
    dim=5120, n_layers=40, head_dim=128, hidden_dim=32768, n_heads=32, n_kv_heads=8,
    rope_theta=1e9, norm_eps=1e-5, vocab_size=131072)
SMALL_TOWER = dict(
    hidden_size=1024, num_channels=3, max_image_size=1540, patch_size=14, rope_theta=1e4,
    intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, adapter_bias=False,
    mm_projector_id='patch_merge', spatial_merge_size=2, add_pre_mm_projector_layer_norm=True,
    image_token_id=10, image_break_token_id=12, image_end_token_id=13, image_size=1540)
NEMO_PARAMS = dict(SMALL_PARAMS, hidden_dim=14336)
PIXTRAL_TOWER = dict(
    hidden_size=1024, num_channels=3, image_size=1024, patch_size=16, rope_theta=1e4,
    intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_token_id=10)
SMALL = 23_572_403_200
# The tower with patches of 16 pixels, less the saving of patches of 14; norm, merger and adapter.
SMALL_VISION = 403_489_792 - 3 * (16**2 - 14**2) * 1024 + 1024 + 4096 * 1024 + 6144 * 5120

PUBLISHED = {
    'Mistral-Small-24B-2501, config.json': ('config.json', dict(
        SMALL_TEXT, architectures=['MistralForCausalLM'], max_position_embeddings=32768,
        rope_theta=1e8, tie_word_embeddings=False, torch_dtype='bfloat16'), SMALL),
    'Mistral-Small-24B-2501, params.json': (
        'params.json', dict(SMALL_PARAMS, rope_theta=1e8), SMALL),
    'Mistral-Small-3.1-24B-2503, config.json': ('config.json', dict(
        architectures=['Mistral3ForConditionalGeneration'], image_token_index=10,
        model_type='mistral3', multimodal_projector_bias=False, projector_hidden_act='gelu',
        spatial_merge_size=2, text_config=SMALL_TEXT, tie_word_embeddings=False,
        torch_dtype='bfloat16', vision_config=dict(
            attention_dropout=0.0, head_dim=64, hidden_act='silu', hidden_size=1024,
            image_size=1540, initializer_range=0.02, intermediate_size=4096, model_type='pixtral',
            num_attention_heads=16, num_channels=3, num_hidden_layers=24, patch_size=14,
            rope_theta=1e4), vision_feature_layer=-1), SMALL + SMALL_VISION),
    'Mistral-Small-3.1-24B-2503, params.json': (
        'params.json', dict(SMALL_PARAMS, vision_encoder=SMALL_TOWER), SMALL + SMALL_VISION),
    'Pixtral-12B-2409, config.json': ('config.json', dict(
        architectures=['LlavaForConditionalGeneration'], image_seq_length=1, image_token_index=10,
        model_type='llava', projector_hidden_act='gelu', tie_word_embeddings=False,
        torch_dtype='bfloat16', vision_feature_layer=-1, vision_feature_select_strategy='full',
        # The number of heads is the default of the class.
        text_config=dict(head_dim=128, hidden_size=5120, intermediate_size=14336,
                         max_position_embeddings=1024000, model_type='mistral',
                         num_hidden_layers=40, num_key_value_heads=8, rms_norm_eps=1e-5,
                         rope_theta=1e9, sliding_window=None, vocab_size=131072),
        vision_config=dict(head_dim=64, hidden_act='silu', image_size=1024, model_type='pixtral',
                           patch_size=16, rope_theta=1e4)),
        12_247_782_400 + 403_489_792 + 31_467_520),
    'Pixtral-12B-2409, params.json': (
        'params.json', dict(NEMO_PARAMS, vision_encoder=PIXTRAL_TOWER),
        12_247_782_400 + 403_489_792 + 31_467_520),
    'Mistral-Nemo-2407, params.json': (
        'params.json', dict(NEMO_PARAMS, rope_theta=1e6), 12_247_782_400),
    'Mistral-7B-v0.3, params.json': ('params.json', dict(
        dim=4096, n_layers=32, head_dim=128, hidden_dim=14336, n_heads=32, n_kv_heads=8,
        norm_eps=1e-5, vocab_size=32768, rope_theta=1e6), 7_248_023_552),
    'Mixtral-8x7B-v0.1, config.json': ('config.json', dict(
        architectures=['MixtralForCausalLM'], attention_dropout=0.0, bos_token_id=1,
        eos_token_id=2, hidden_act='silu', hidden_size=4096, initializer_range=0.02,
        intermediate_size=14336, max_position_embeddings=32768, model_type='mixtral',
        num_attention_heads=32, num_experts_per_tok=2, num_hidden_layers=32,
        num_key_value_heads=8, num_local_experts=8, output_router_logits=False,
        rms_norm_eps=1e-5, rope_theta=1e6, router_aux_loss_coef=0.02, sliding_window=None,
        tie_word_embeddings=False, torch_dtype='bfloat16', use_cache=True, vocab_size=32000),
        46_702_792_704),
    'Mixtral-8x7B-v0.1, params.json': ('params.json', dict(
        dim=4096, n_layers=32, head_dim=128, hidden_dim=14336, n_heads=32, n_kv_heads=8,
        norm_eps=1e-5, vocab_size=32000, rope_theta=1e6,
        moe=dict(num_experts_per_tok=2, num_experts=8)), 46_702_792_704),
}
MODELS = sorted({name.split(',')[0] for name in PUBLISHED if 'config.json' in name})


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_number_of_parameters(tmp_path, name):
  file, fields, parameters = PUBLISHED[name]
  (tmp_path / file).write_text(json.dumps(fields))
  config = checkpoint.read_config(str(tmp_path), dtype='bfloat16')
  shapes = jax.tree.leaves(decoder.abstract(config))
  assert sum(math.prod(leaf.shape) for leaf in shapes) == parameters == config.parameters
  if config.vision:
    assert config.vision.norm_eps == 1e-5 and config.vision.image_token == 10


@pytest.mark.parametrize('model', MODELS)
def test_both_descriptions_say_the_same(tmp_path, model):
  said = []
  for name in ('config.json', 'params.json'):
    file, fields, _ = PUBLISHED[f'{model}, {name}']
    (tmp_path / model / name).mkdir(parents=True)
    (tmp_path / model / name / file).write_text(json.dumps(fields))
    said.append(checkpoint.read_config(str(tmp_path / model / name), dtype='bfloat16'))
  assert said[0] == said[1]
