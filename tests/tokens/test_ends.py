"""Every token that the files of a model name as an end ends a completion."""
import base64
import json

import pytest
import tokenizers
from tokenizers import AddedToken, models

from magistral_jax.experiment import build
from magistral_jax.models.formats import checkpoint, companions, conversion, workdir
from magistral_jax.tokens import load_tokenizer
from tests import tiny
from tests.published import CONFIG, FIELDS, draw_tensors, write_gguf, write_huggingface

# Llama 3 Instruct as it was published: the tokenizer's end is that of a document, and
# generation_config.json lists that of a turn beside it.
DOCUMENT, TURN, MESSAGE, CONTROL = 0, 1, 2, 3
NAMES = ['<|end_of_text|>', '<|eot_id|>', '<|eom_id|>', '<|reserved|>', 'a', 'b']


def write_tokenizer(path, eos='<|end_of_text|>', **files):
  """A folder with a tokenizer of NAMES and JSON files beside it."""
  made = tokenizers.Tokenizer(models.WordLevel({name: i for i, name in enumerate(NAMES)}, 'a'))
  made.add_special_tokens([AddedToken(name, special=True) for name in NAMES[:4]])
  made.save(str(path / 'tokenizer.json'))
  (path / 'tokenizer_config.json').write_text(json.dumps(dict(eos_token=eos)))
  for name, fields in files.items():
    (path / f'{name}.json').write_text(json.dumps(fields))
  return str(path)


@pytest.mark.parametrize('files, ends, why', [
    ({}, (DOCUMENT,), 'the tokenizer alone'),
    (dict(generation_config=dict(eos_token_id=[DOCUMENT, MESSAGE, TURN])),
     (DOCUMENT, MESSAGE, TURN), 'a list'),
    (dict(generation_config=dict(eos_token_id=TURN)), (DOCUMENT, TURN), 'a number'),
    (dict(generation_config=dict(eos_token_id=None), config=dict(eos_token_id=[TURN])),
     (DOCUMENT, TURN), 'null: the model has what config.json says'),
    (dict(config=dict(eos_token_id=[TURN, MESSAGE])), (DOCUMENT, TURN, MESSAGE), 'no such file'),
    (dict(config=dict(text_config=dict(eos_token_id=TURN))), (DOCUMENT, TURN), 'a wrapper'),
    (dict(config=dict(eos_token_id=4)), (DOCUMENT,), 'a default of config.json that is a letter'),
    (dict(generation_config=dict(eos_token_id=[TURN]), config=dict(eos_token_id=[MESSAGE])),
     (DOCUMENT, TURN), 'generation_config.json replaces config.json'),
    (dict(generation_config=dict(eos_token_id=4, _from_model_config=True),
          config=dict(eos_token_id=4)), (DOCUMENT,), 'the same default in both files'),
    (dict(generation_config=dict(eos_token_id=-1)), (DOCUMENT,), '-1 stands for none'),
    (dict(generation_config=dict(eos_token_id=[])), (DOCUMENT,), 'an empty list'),
])
def test_end_tokens_of_a_folder(tmp_path, files, ends, why):
  path = write_tokenizer(tmp_path, **files)
  for place in (path, path + '/tokenizer.json'):
    tokenizer = load_tokenizer('huggingface', place)
    assert (tokenizer.eos_id, tokenizer.end_ids) == (DOCUMENT, ends), why
  assert tokenizer.decode([4, *ends, CONTROL]) == tokenizer.decode([4, CONTROL])


@pytest.mark.parametrize('files, words', [
    (dict(generation_config=dict(eos_token_id='</s>')), "eos_token_id='</s>' must be a whole"),
    (dict(generation_config=dict(eos_token_id=[1, None])), r'eos_token_id=\[1, None\] must be'),
    (dict(generation_config=[1]), 'it holds list instead of an object'),
])
def test_end_tokens_that_are_none_are_named_with_their_file(tmp_path, files, words):
  path = write_tokenizer(tmp_path, **files)
  with pytest.raises(ValueError, match=f'generation_config.json: {words}'):
    load_tokenizer('huggingface', path)


def test_an_old_folder_names_its_end_in_special_tokens_map(tmp_path):
  path = write_tokenizer(tmp_path, eos=None)
  (tmp_path / 'special_tokens_map.json').write_text('{"eos_token": {"content": "<|eom_id|>"}}')
  assert load_tokenizer('auto', path).eos_id == MESSAGE


@pytest.mark.parametrize('content, words', [
    ('[]', 'it holds list instead of an object'), ('{', 'no valid JSON')])
def test_a_broken_tokenizer_config_is_named(tmp_path, content, words):
  path = write_tokenizer(tmp_path)
  (tmp_path / 'tokenizer_config.json').write_text(content)
  with pytest.raises(ValueError, match=f'tokenizer_config.json: {words}'):
    load_tokenizer('auto', path)


def test_mistrals_own_tokenizers_read_the_file_beside_them(tmp_path):
  controls = ['<unk>', '<s>', '</s>', '[INST]', '[/INST]', '[TOOL_CALLS]']
  (tmp_path / 'tekken.json').write_text(json.dumps(dict(
      config=dict(version='v11', pattern='.', default_vocab_size=262, default_num_special_tokens=6),
      special_tokens=[dict(rank=i, token_str=name) for i, name in enumerate(controls)],
      vocab=[dict(rank=i, token_bytes=base64.b64encode(bytes([i])).decode()) for i in range(256)])))
  (tmp_path / 'generation_config.json').write_text('{"eos_token_id": [2, 5, 300]}')
  tokenizer = load_tokenizer('auto', str(tmp_path))
  assert tokenizer.end_ids == (2, 5, 300)
  assert tokenizer.decode([6 + ord('x'), 5, 2]) == 'x'


def gguf_tokenizer(**keys):
  """What writes a tokenizer of NAMES, and more keys tokenizer.ggml.*, into a GGUF file."""
  def more(writer):
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('llama-bpe')
    writer.add_token_list(NAMES)
    writer.add_token_types([3] * 4 + [1] * 2)
    writer.add_token_merges([])
    for key, value in keys.items():
      add = writer.add_array if isinstance(value, list) else writer.add_uint32
      add(f'tokenizer.ggml.{key}', value)
  return more


@pytest.mark.parametrize('keys, ends', [
    (dict(eos_token_id=DOCUMENT), {DOCUMENT, TURN, MESSAGE}),
    (dict(eos_token_id=CONTROL, eot_token_id=TURN), {CONTROL, DOCUMENT, TURN, MESSAGE}),
    (dict(eot_token_id=CONTROL), {CONTROL, DOCUMENT, TURN, MESSAGE}),
    (dict(eos_token_id=CONTROL, eom_token_id=4), {CONTROL, 4, DOCUMENT, TURN, MESSAGE}),
    (dict(eos_token_id=[CONTROL, 4]), {CONTROL, 4, DOCUMENT, TURN, MESSAGE}),
    (dict(eos_token_id=CONTROL, padding_token_id=2**32 - 1, bos_token_id=[TURN]),
     {CONTROL, DOCUMENT, TURN, MESSAGE}),
])
def test_end_tokens_of_a_gguf_file(tmp_path, keys, ends):
  """The three keys, and as in llama.cpp the control tokens that end a text by their names."""
  path = write_gguf(tmp_path / 'x.gguf', draw_tensors(), more=gguf_tokenizer(**keys))
  tokenizer = load_tokenizer('gguf', path)
  first = next(iter(keys.values()))
  assert tokenizer.eos_id == (first[0] if isinstance(first, list) else first)
  assert set(tokenizer.end_ids) == ends == set(companions.end_ids(path))


def test_an_end_token_beyond_a_gguf_vocabulary_is_named(tmp_path):
  more = gguf_tokenizer(eos_token_id=DOCUMENT, eot_token_id=6)
  path = write_gguf(tmp_path / 'x.gguf', draw_tensors(), more=more)
  for read in (lambda: load_tokenizer('gguf', path), lambda: companions.end_ids(path)):
    with pytest.raises(ValueError, match='tokenizer.ggml.eot_token_id=6 is no token of the 6'):
      read()


def test_a_gguf_without_any_end_says_what_to_do(tmp_path):
  def more(writer):
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('gpt-2')
    writer.add_token_list(['a'])
    writer.add_token_types([1])
    writer.add_token_merges([])
  path = write_gguf(tmp_path / 'x.gguf', draw_tensors(), more=more)
  with pytest.raises(ValueError, match="no tokenizer.ggml.eos_token_id: take its tokenizer.json"):
    load_tokenizer('gguf', path)


def test_a_run_stops_at_the_ends_of_template_tokenizer_and_checkpoint(tmp_path):
  """The tokenizer may lie in another folder than the model that lists the ends."""
  model, own = tmp_path / 'model', tmp_path / 'own'
  write_huggingface(model, draw_tensors())
  (model / 'generation_config.json').write_text(json.dumps(dict(eos_token_id=[DOCUMENT, MESSAGE])))
  own.mkdir()
  c = tiny.load(**{'tokenizer.kind': 'huggingface', 'tokenizer.path': write_tokenizer(own),
                   'model.checkpoint': str(model), 'data.template': 'plain'})
  tokenizer = build.tokenizer(c)
  assert build.end_ids(c, tokenizer) == (DOCUMENT, MESSAGE)
  c.model.checkpoint = ''
  assert build.end_ids(c, tokenizer) == (DOCUMENT,)
  c.data.template = 'llama3'
  assert build.end_ids(c, tokenizer) == (TURN, DOCUMENT)
  c.data.template = 'plain'
  c.model.checkpoint = str(tmp_path / 'run')
  (tmp_path / 'run').mkdir()
  workdir.write_experiment(c.model.checkpoint, CONFIG, dict(kind='bytes', path=''), {},
                           end_ids=[TURN, DOCUMENT])
  assert build.end_ids(c, tokenizer) == (DOCUMENT, TURN)


@pytest.mark.parametrize('form', ['hf', 'mistral', 'orbax'])
@pytest.mark.parametrize('stated, ends', [
    (None, [5]), ([2], [2, 5]), ([5, 2], [5, 2]), (2, [2, 5])])
def test_exports_name_every_end_token(tmp_path, form, stated, ends):
  """Whatever the first file said, what is read from the export ends where the run ended."""
  first = tmp_path / 'first'
  write_huggingface(first, draw_tensors(), FIELDS)
  if stated is not None:
    (first / 'generation_config.json').write_text(
        json.dumps(dict(eos_token_id=stated, temperature=0.5)))
  run = tmp_path / 'run'
  run.mkdir()
  workdir.write_experiment(
      str(run), CONFIG, dict(kind='bytes', path=''), dict(model=dict(checkpoint=str(first))),
      end_ids=[5])
  workdir.save_params(str(run), checkpoint.load(str(first), CONFIG), 1)
  out = tmp_path / 'out'
  conversion.convert(str(run), str(out), form)
  file = out / 'generation_config.json'
  settings = json.loads(file.read_text()) if file.exists() else {}
  if stated is not None:
    assert settings['temperature'] == 0.5
  if form == 'hf':
    said = settings or json.loads((out / 'config.json').read_text())
  elif form == 'mistral':
    said = settings
  else:
    said = dict(eos_token_id=list(companions.end_ids(str(out))))
  found = said['eos_token_id']
  assert (found if isinstance(found, list) else [found]) == (ends if form != 'orbax' else [5])
