"""Every form of config.json that transformers writes or takes, read without it.

tests/golden/test_saved_by_transformers.py holds the same forms against transformers itself.
"""
import dataclasses
import json

import pytest

from magistral_jax.models.formats import checkpoint
from tests.golden.forms import FORMS, REFUSED, SAME, TOWER_FORMS, WRAPPER_FORMS
from tests.golden.test_golden import FOLDER


def read(tmp_path, name, change, within=None):
  """The config that is read from a golden model's fields with some changed."""
  fields = json.loads((FOLDER / name / 'config.json').read_text())
  if within:
    change = {within: fields[within] | change}
  (tmp_path / 'config.json').write_text(json.dumps(fields | change))
  return checkpoint.read_config(str(tmp_path), dtype='float32')


def original(name):
  return checkpoint.read_config(str(FOLDER / name), dtype='float32')


@pytest.mark.parametrize('name', ['llama', 'mistral', 'mixtral'])
@pytest.mark.parametrize('change, outcome', FORMS, ids=[json.dumps(change) for change, _ in FORMS])
def test_forms_of_a_language_model(tmp_path, name, change, outcome):
  if outcome == REFUSED:
    with pytest.raises(ValueError, match=f'config.json: .*({"|".join(change)})'):
      read(tmp_path, name, change)
    return
  expected = original(name)
  if outcome != SAME:
    # Without any section and base, the base is the family's.
    bare = 'rope_theta' not in change and not change.get('rope_parameters')
    theta = 1e6 if name == 'mixtral' and bare and not change.get('rope_scaling') else outcome
    expected = dataclasses.replace(expected, rope_theta=theta)
  assert read(tmp_path, name, change) == expected


@pytest.mark.parametrize('name', ['pixtral', 'mistral3'])
@pytest.mark.parametrize('change, outcome', TOWER_FORMS, ids=[
    json.dumps(change) for change, _ in TOWER_FORMS])
def test_forms_of_a_tower(tmp_path, name, change, outcome):
  if outcome == REFUSED:
    with pytest.raises(ValueError, match=f'config.json: .*vision_config.*({"|".join(change)})'):
      read(tmp_path, name, change, 'vision_config')
    return
  expected = original(name)
  assert read(tmp_path, name, change, 'vision_config') == dataclasses.replace(
      expected, vision=dataclasses.replace(expected.vision, rope_theta=outcome))


@pytest.mark.parametrize('name, change, same', WRAPPER_FORMS)
def test_forms_of_what_joins_a_tower_to_a_language_model(tmp_path, name, change, same):
  if same:
    assert read(tmp_path, name, change) == original(name)
  else:
    with pytest.raises(ValueError, match=f'config.json: {next(iter(change))}'):
      read(tmp_path, name, change)


@pytest.mark.parametrize('change, words', [
    (dict(text_config=dict(model_type='qwen3')), "text_config.model_type='qwen3' is unsupported"),
    (dict(text_config=[]), r'text_config=\[\] must be an object'),
    (dict(vision_config='pixtral'), "vision_config='pixtral' must be an object"),
    (dict(image_token_index='<image>'), "image_token_index='<image>' must be a whole number"),
])
def test_sections_that_are_none(tmp_path, change, words):
  with pytest.raises(ValueError, match=f'config.json: {words}'):
    read(tmp_path, 'mistral3', change)


@pytest.mark.parametrize('name', ['llama', 'mixtral', 'mistral3'])
def test_code_that_comes_with_a_model_is_never_taken_for_the_known_one(tmp_path, name):
  for said in (None, {}, dict(AutoTokenizer=['tokenization_x.X', None]), dict(
      AutoProcessor='processing_x.X')):
    assert read(tmp_path, name, dict(auto_map=said)) == original(name)
  for owner in ('AutoModelForCausalLM', 'AutoModel', 'AutoConfig'):
    with pytest.raises(ValueError, match=rf'auto_map=.*code that comes with the model \({owner}\)'):
      read(tmp_path, name, dict(auto_map={owner: 'modeling_x.X', 'AutoTokenizer': 'x.X'}))
  with pytest.raises(ValueError, match='auto_map=.* must be an object'):
    read(tmp_path, name, dict(auto_map='modeling_x.X'))


@pytest.mark.parametrize('name, within', [
    ('llama', None), ('mistral', None), ('mixtral', None), ('mistral3', 'text_config')])
def test_attention_to_later_tokens_is_refused(tmp_path, name, within):
  for said in (False, None):
    assert read(tmp_path, name, dict(use_bidirectional_attention=said), within) == original(name)
  with pytest.raises(ValueError, match='use_bidirectional_attention=True is unsupported'):
    read(tmp_path, name, dict(use_bidirectional_attention=True), within)


def test_an_adapter_beside_the_weights_is_refused(tmp_path):
  (tmp_path / 'adapter_config.json').write_text('{"peft_type": "LORA"}')
  with pytest.raises(ValueError, match='adapter_config.json: the weights of an adapter'):
    read(tmp_path, 'llama', {})


@pytest.mark.parametrize('key', ['patch_size', 'image_size'])
def test_a_side_may_be_written_as_two(tmp_path, key):
  tower = json.loads((FOLDER / 'pixtral/config.json').read_text())['vision_config']
  side = tower[key]
  assert read(tmp_path, 'pixtral', {key: [side, side]}, 'vision_config') == original('pixtral')
  for wrong in ([side, side + 1], [side], 'large', 0):
    with pytest.raises(ValueError, match=f'vision_config.{key}=.* must be a whole number'):
      read(tmp_path, 'pixtral', {key: wrong}, 'vision_config')


def test_either_name_of_the_number_of_experts(tmp_path):
  """transformers takes `num_experts` for `num_local_experts`, and before it."""
  assert read(tmp_path, 'mixtral', dict(num_experts=3, num_local_experts=4)).experts == 3


@pytest.mark.parametrize('content', ['[]', '1', '"a"', 'null'])
def test_a_file_that_holds_no_object(tmp_path, content):
  for name in ('config.json', 'params.json'):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf'{name}: it holds \w+ instead of an object'):
      checkpoint.read_config(str(tmp_path), dtype='float32')
    (tmp_path / name).unlink()
