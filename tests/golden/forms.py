"""Forms of config.json: a change of a file, and what becomes of its model.

test_saved_by_transformers.py holds them against transformers, and test_config_forms.py without it.
"""

# The same model, one that is refused, or else the base of its rotary positions.
SAME, REFUSED = 'same', 'refused'
PLAIN = dict(rope_type='default', rope_theta=1e4)
FORMS = [
    (dict(rope_parameters=None), 1e4), (dict(rope_parameters={}), 1e4),
    (dict(rope_parameters=None, rope_theta=5e5), 5e5), (dict(rope_theta=7e5), SAME),
    (dict(rope_parameters=dict(rope_theta=5e5)), 5e5),
    (dict(rope_parameters=dict(rope_type='default'), rope_theta=7e5), 7e5),
    (dict(rope_parameters=dict(type='default'), rope_theta=7e5), 7e5),
    (dict(rope_parameters=PLAIN | dict(rope_theta=5e5), rope_theta=7e5), 5e5),
    (dict(rope_parameters=PLAIN | dict(rope_theta=5e5), rope_theta=None), 5e5),
    (dict(rope_scaling=PLAIN | dict(rope_theta=3e5)), 3e5),
    (dict(rope_scaling=dict(type='default'), rope_theta=2e5), 2e5),
    (dict(rope_scaling=None), SAME), (dict(rope_scaling={}), SAME),
    (dict(rope_parameters=dict(rope_type='linear', factor=1.0, rope_theta=5e5)), 5e5),
    (dict(rope_parameters=PLAIN | dict(factor=8.0)), 1e4),
    (dict(rope_parameters=PLAIN | dict(partial_rotary_factor=1.0)), 1e4),
    (dict(rope_parameters=PLAIN | dict(type='yarn')), 1e4),
    (dict(rope_parameters=dict(rope_type='linear', factor=2.0)), REFUSED),
    (dict(rope_parameters=dict(rope_type='dynamic', factor=2.0)), REFUSED),
    (dict(rope_parameters=dict(
        rope_type='yarn', factor=2.0, original_max_position_embeddings=64)), REFUSED),
    (dict(rope_scaling=dict(
        rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=64)), REFUSED),
    (dict(rope_parameters=dict(rope_type='longrope', short_factor=[1.0] * 4, long_factor=[2.0] * 4,
                               original_max_position_embeddings=64)), REFUSED),
    (dict(rope_parameters=dict(rope_type='axial', rope_theta=1e4)), REFUSED),
    (dict(rope_parameters=dict(rope_type=None, rope_theta=1e4)), REFUSED),
    (dict(rope_parameters=dict(rope_type='mrope', mrope_section=[1, 1, 2])), REFUSED),
    (dict(rope_parameters=dict(full_attention=PLAIN)), REFUSED),
    (dict(rope_parameters=PLAIN | dict(partial_rotary_factor=0.5)), REFUSED),
    (dict(rope_parameters=[1e4]), REFUSED), (dict(rope_parameters='default'), REFUSED),
    (dict(rope_parameters=None, rope_theta=None), REFUSED),
    (dict(rope_parameters=dict(rope_type='default', rope_theta=None)), REFUSED),
    *[(dict(rope_parameters=None, rope_theta=theta), REFUSED) for theta in ('1e4', 0, -1.0, True)],
    (dict(is_causal=True), SAME), (dict(is_causal=False), REFUSED),
    (dict(is_causal=None), REFUSED),
    (dict(per_layer_config={}), SAME),
    (dict(per_layer_config={'1': dict(intermediate_size=8)}), REFUSED),
    (dict(sliding_window=512), SAME), (dict(sliding_window=16), REFUSED),
    (dict(attention_chunk_size=16), REFUSED),
    (dict(layer_types=['sliding_attention'] * 2), REFUSED),
    (dict(quantization_config=dict(quant_method='fp8')), REFUSED),
    (dict(hidden_act='swish'), SAME), (dict(hidden_act='gelu'), REFUSED),
    (dict(hidden_size=32.0), REFUSED), (dict(num_hidden_layers='2'), REFUSED),
    (dict(rms_norm_eps='1e-5'), REFUSED), (dict(rms_norm_eps=None), REFUSED),
    (dict(tie_word_embeddings='false'), REFUSED), (dict(vocab_size=None), REFUSED),
    (dict(invented_by='someone', auto_map={}), SAME),
]

# The same for fields of vision_config.
TOWER_FORMS = [
    (dict(rope_parameters=dict(rope_type='axial', rope_theta=100.0)), 100.0),
    (dict(rope_parameters=dict(rope_type='default', rope_theta=100.0)), 100.0),
    (dict(rope_parameters=dict(rope_type='axial'), rope_theta=50.0), 50.0),
    (dict(rope_parameters=None), 1e4), (dict(rope_parameters=None, rope_theta=50.0), 50.0),
    (dict(rope_parameters=dict(rope_type='yarn', factor=2.0)), REFUSED),
    (dict(rope_parameters=None, rope_theta=None), REFUSED),
    (dict(head_dim=12), 100.0), (dict(head_dim=8), REFUSED), (dict(head_dim=None), 100.0),
    (dict(hidden_act='gelu'), REFUSED), (dict(num_channels=1), REFUSED),
    (dict(attention_dropout=0.5, initializer_range=0.5), 100.0),
]

# Family, a change of the fields around a tower, and whether it is the same model or refused.
WRAPPER_FORMS = [
    *[('pixtral', dict(vision_feature_layer=layer), True) for layer in ([-1], 2)],
    *[('pixtral', dict(vision_feature_layer=layer), False) for layer in (-2, 1, [-1, -2])],
    ('pixtral', dict(vision_feature_select_strategy='default'), False),
    ('pixtral', dict(projector_hidden_act='relu'), False),
    ('pixtral', dict(spatial_merge_size=3, image_seq_length=9), True),
    ('mistral3', dict(vision_feature_select_strategy='default'), True),
    ('mistral3', dict(vision_feature_layer=[2]), True),
    ('mistral3', dict(per_layer_config={'0': dict(hidden_act='relu')}), False),
    ('mistral3', dict(multimodal_projector_bias='no'), False),
]
