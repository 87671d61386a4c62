"""Checkpoints and configs as the installed transformers writes them (extra `peers`).

What is read here computes what transformers computes, and what would compute something else is
refused: for every family, every form of its fields, and every field that its config has.
"""
import dataclasses
import importlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from magistral_jax.evaluation import score_files, scoring
from magistral_jax.models.formats import checkpoint, conversion, huggingface_config
from tests.golden import drawn_images
from tests.golden.forms import FORMS, REFUSED, SAME, TOWER_FORMS, WRAPPER_FORMS

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers', minversion='5.0')
make_golden, make_vision = (
    importlib.import_module(f'tests.golden.{name}') for name in ('make_golden', 'make_vision'))

# Every test says which version it was.
VERSION = f'transformers {transformers.__version__}'
FOLDER = pathlib.Path(__file__).parent
# patch_size and image_size of the towers.
TOWERS = dict(pixtral=(4, 32), mistral3=(8, 40))
NAMES = ['llama', 'mistral', 'mixtral', *TOWERS]
COMMON = make_golden.COMMON | dict(max_position_embeddings=256)
named = pytest.mark.parametrize('name', NAMES, ids=[f'{name} by {VERSION}' for name in NAMES])


def build(name):
  """A model of a family with the config class's own defaults but for its size."""
  tf = transformers
  text = tf.MistralConfig(**COMMON, sliding_window=None, rope_parameters=dict(
      rope_type='default', rope_theta=1e6))
  tower = lambda side: tf.PixtralVisionConfig(**make_vision.VISION, image_size=side)
  common = dict(text_config=text, image_token_index=make_vision.IMAGE)
  model = {
      'llama': lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**COMMON)),
      'mistral': lambda: tf.MistralForCausalLM(tf.MistralConfig(**COMMON)),
      'mixtral': lambda: tf.MixtralForCausalLM(tf.MixtralConfig(**COMMON, num_local_experts=4)),
      'pixtral': lambda: tf.LlavaForConditionalGeneration(tf.LlavaConfig(
          **common, vision_config=tower(32), vision_feature_layer=-1,
          vision_feature_select_strategy='full')),
      'mistral3': lambda: tf.Mistral3ForConditionalGeneration(tf.Mistral3Config(
          **common, vision_config=tower(40)))}[name]()
  return make_golden.draw(model, 3).float()


def peer(path, dtype=torch.float64):
  """The model that transformers makes of a folder, every tensor of which it must use."""
  fields = json.loads((pathlib.Path(path) / 'config.json').read_text())
  model, info = getattr(transformers, fields['architectures'][0]).from_pretrained(
      path, dtype=dtype, output_loading_info=True, experts_implementation='eager')
  assert not any(info[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  return model.eval()


def lines(name, model):
  """Sequences, some with images, and their log-probabilities by transformers."""
  if name in TOWERS:
    return list(make_vision.lines(model, *TOWERS[name], seed=5))
  return list(make_golden.score(model, 5))


def assert_same_scores(name, path, folder, expected):
  """Our log-probabilities of a checkpoint are the ones expected."""
  drawn_images.write(folder / 'images', drawn_images.SMALL)
  (folder / 'lines').mkdir()
  file = folder / 'lines' / 'in.jsonl'
  file.write_text('\n'.join(map(json.dumps, expected)))
  config = checkpoint.read_config(path, dtype='float32')
  sequences, images = score_files.read_sequences(str(file), None, config)
  scorer = scoring.load_scorer(path, config, fsdp=1, tensor=1)
  scores = scorer(sequences, images=images) if name in TOWERS else scorer(sequences)
  for line, ours in zip(expected, scores, strict=True):
    np.testing.assert_allclose(ours, np.array(line['logprobs'][1:], np.float32), atol=5e-5, rtol=0)


@named
@pytest.mark.parametrize('how', [
    {}, dict(max_shard_size='40KB'), dict(save_original_format=False)],
    ids=['as by default', 'in several files', 'under the names in memory'])
def test_what_the_installed_version_saves_is_read(tmp_path, name, how):
  print(f'{name} saved by {VERSION}, torch {torch.__version__}')
  path = str(tmp_path / 'saved')
  build(name).save_pretrained(path, **how)
  assert_same_scores(name, path, tmp_path, lines(name, peer(path)))


@named
def test_exports_are_read_back_with_the_same_scores(tmp_path, name):
  """Text and images: the export is the same model in transformers, number by number."""
  path, out = str(tmp_path / 'saved'), str(tmp_path / 'out')
  build(name).save_pretrained(path)
  conversion.convert(path, out, 'hf')
  before, after = (lines(name, peer(folder)) for folder in (path, out))
  assert after == before
  assert_same_scores(name, out, tmp_path, before)


@pytest.fixture(scope='module', params=['llama', 'mistral', 'mixtral'])
def text_model(request, tmp_path_factory):
  """Name and folder of a saved language model."""
  path = tmp_path_factory.mktemp(request.param) / 'saved'
  build(request.param).save_pretrained(path)
  return request.param, path


def changed(path, target, change):
  """A copy of a folder with fields of config.json changed."""
  shutil.copytree(path, target)
  fields = json.loads((path / 'config.json').read_text())
  (target / 'config.json').write_text(json.dumps(fields | change))
  return str(target)


def logits(path):
  tokens = torch.arange(20, 60)[None]
  with torch.no_grad():
    return peer(path, torch.float32)(tokens).logits


def described(path, target):
  """The same weights with a config.json that holds what is read from the other one."""
  shutil.copytree(path, target)
  config = checkpoint.read_config(path, dtype='float32')
  fields = huggingface_config.describe(config, dict(max_position_embeddings=256), 'float32')
  (target / 'config.json').write_text(json.dumps(fields))
  return config, str(target)


@pytest.mark.parametrize('change, outcome', FORMS, ids=[
    f'{json.dumps(change)} {VERSION}' for change, _ in FORMS])
def test_forms_of_config_json(tmp_path, text_model, change, outcome):
  """What is read is, written down plainly, the model that transformers makes of the file."""
  name, saved = text_model
  path = changed(saved, tmp_path / 'form', change)
  if outcome == REFUSED:
    with pytest.raises(ValueError, match='config.json: '):
      checkpoint.read_config(path, dtype='float32')
    return
  config, plain = described(path, tmp_path / 'plain')
  theta = (1e6 if name == 'mixtral' else 1e4) if outcome == SAME else outcome
  if name == 'mixtral' and outcome == 1e4 and not (
      change.get('rope_parameters') or change.get('rope_scaling')):
    theta = 1e6      # Mixtral's default.
  assert config.rope_theta == theta
  assert torch.equal(logits(path), logits(plain))


# Fields of the config classes that change nothing here: another value than the default, and why.
HARMLESS = {
    'attention_dropout': 0.5, 'router_jitter_noise': 0.5,     # While training alone.
    'initializer_range': 0.5, 'pretraining_tp': 2, 'use_cache': False, 'router_aux_loss_coef': 0.5,
    'output_hidden_states': True, 'output_router_logits': True, 'return_dict': True,
    'dtype': 'bfloat16', 'chunk_size_feed_forward': 8,        # How the same numbers are computed.
    'bos_token_id': 7, 'eos_token_id': [7, 8], 'pad_token_id': 9, 'is_encoder_decoder': False,
    'architectures': None, 'transformers_version': '4.0.0', 'id2label': {'0': 'a', '1': 'b'},
    'label2id': dict(a=0, b=1), 'problem_type': 'regression', 'image_seq_length': 7,
}
# Fields that are read, and those that only some values of are taken.
READ = {'head_dim', 'num_key_value_heads', 'tie_word_embeddings', 'rope_parameters', 'text_config',
        'vision_config', *huggingface_config.ONLY, *huggingface_config.TOWER_DEFAULTS}
CONFIGS = dict(llama='LlamaConfig', mistral='MistralConfig', mixtral='MixtralConfig',
               llava='LlavaConfig', mistral3='Mistral3Config', tower='PixtralVisionConfig')


@pytest.mark.parametrize('kind', CONFIGS, ids=[f'{kind} {VERSION}' for kind in CONFIGS])
def test_every_field_of_the_config_classes_has_been_decided(kind):
  """A new field of a newer version fails here until somebody has looked at it."""
  fields = {field.name for field in dataclasses.fields(getattr(transformers, CONFIGS[kind]))}
  read = huggingface_config.DEFAULTS.get(kind) or huggingface_config.WRAPPERS.get(kind) or {}
  assert sorted(fields - READ - set(read) - set(HARMLESS)) == []


@pytest.mark.parametrize('field', HARMLESS, ids=[f'{field} {VERSION}' for field in HARMLESS])
def test_a_field_that_changes_nothing_refuses_no_model(tmp_path, text_model, field):
  _, saved = text_model
  architectures = json.loads((saved / 'config.json').read_text())['architectures']
  path = changed(saved, tmp_path / 'form', {field: HARMLESS[field]})
  config, plain = described(path, tmp_path / 'plain')
  assert config == checkpoint.read_config(str(saved), dtype='float32')
  if field == 'architectures':       # transformers itself does not need them; `peer` does.
    path = changed(saved, tmp_path / 'named', dict(architectures=architectures))
  assert torch.equal(logits(path), logits(plain))


@pytest.mark.parametrize('name', TOWERS)
@pytest.mark.parametrize('change, outcome', TOWER_FORMS, ids=[
    f'{json.dumps(change)} {VERSION}' for change, _ in TOWER_FORMS])
def test_forms_of_a_tower(tmp_path, name, change, outcome):
  """The tower of the golden models, whose images transformers reads with either config."""
  saved = FOLDER / name
  tower = json.loads((saved / 'config.json').read_text())['vision_config']
  path = changed(saved, tmp_path / 'form', dict(vision_config=tower | change))
  if outcome == REFUSED:
    with pytest.raises(ValueError, match='config.json: .*vision_config'):
      checkpoint.read_config(path, dtype='float32')
    return
  config, plain = described(path, tmp_path / 'plain')
  assert config.vision.rope_theta == outcome
  assert lines(name, peer(path)) == lines(name, peer(plain))


@pytest.mark.parametrize('name, change, same', WRAPPER_FORMS)
def test_forms_of_what_joins_a_tower_to_a_language_model(tmp_path, name, change, same):
  path = changed(FOLDER / name, tmp_path / 'form', change)
  if not same:
    with pytest.raises(ValueError, match=f'config.json: {next(iter(change))}'):
      checkpoint.read_config(path, dtype='float32')
    return
  config, plain = described(path, tmp_path / 'plain')
  assert config == checkpoint.read_config(str(FOLDER / name), dtype='float32')
  assert lines(name, peer(path)) == lines(name, peer(plain))
