"""Conversion: every format to every other, bit for bit, and never an incomplete folder."""
import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from magistral_jax import convert, tokens
from magistral_jax.models.formats import (
  checkpoint,
  companions,
  conversion,
  export,
  reading,
  workdir,
)
from tests.golden import vision as golden
from tests.published import (
  CONFIG,
  FIELDS,
  PARAMS,
  draw_tensors,
  mistral_tensors,
  write_gguf,
  write_huggingface,
  write_mistral,
)

FILES = {'hf': 'model.safetensors', 'mistral': 'consolidated.safetensors'}
COMPANIONS = ('tokenizer.json', 'tokenizer_config.json', 'tekken.json', 'generation_config.json',
              'LICENSE')


def bits(tensors):
  return {name: (array.dtype, array.shape, array.tobytes()) for name, array in tensors.items()}


def write_companions(path, names=COMPANIONS):
  for name in names:
    (path / name).write_text(json.dumps({'the': name}) if name.endswith('.json') else name)


@pytest.mark.parametrize('dtype, through', [
    ('float32', ['mistral', 'hf']), ('bfloat16', ['orbax', 'mistral', 'orbax', 'hf']),
    ('float16', ['hf', 'orbax', 'hf'])])
def test_a_round_trip_gives_the_same_bits(tmp_path, dtype, through):
  tensors = {name: array.astype(dtype) for name, array in draw_tensors().items()}
  path = write_huggingface(tmp_path / 'start', tensors, FIELDS | dict(eos_token_id=[2, 5]))
  write_companions(tmp_path / 'start')
  for i, form in enumerate(through):
    target = str(tmp_path / f'{i}')
    done = conversion.convert(path, target, form)
    assert done['copied'] == sorted(COMPANIONS) and done['parameters'] == CONFIG.parameters
    assert checkpoint.kind(target) == conversion.FORMATS[form]
    if form == 'mistral':
      assert bits(load_file(f'{target}/{FILES[form]}')) == bits(mistral_tensors(tensors))
      assert json.loads((tmp_path / f'{i}/params.json').read_text()) == PARAMS | dict(
          max_position_embeddings=4096)
    path = target
  assert bits(load_file(f'{path}/{FILES["hf"]}')) == bits(tensors)
  fields = json.loads((tmp_path / f'{i}/config.json').read_text())
  assert fields['torch_dtype'] == dtype and fields['max_position_embeddings'] == 4096
  # params.json has no key for end tokens: generation_config.json, which was copied, keeps them.
  assert fields.get('eos_token_id') == (None if 'mistral' in through else [2, 5])
  settings = json.loads((tmp_path / f'{i}/generation_config.json').read_text())
  assert settings == {'the': 'generation_config.json', 'eos_token_id': [2, 5]}
  assert fields | dict(torch_dtype='', eos_token_id='') == FIELDS | dict(
      torch_dtype='', eos_token_id='')


def test_numbers_are_rounded_when_asked(tmp_path):
  path = write_mistral(tmp_path / 'a', draw_tensors())
  for form in conversion.FORMATS:
    conversion.convert(path, str(tmp_path / form), form, dtype='bfloat16')
    loaded = checkpoint.load(str(tmp_path / form), CONFIG, param_dtype=None)
    expected = checkpoint.load(path, CONFIG, param_dtype='bfloat16')
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)
    assert loaded['embed'].dtype == jax.numpy.bfloat16


def test_a_gguf_file_becomes_a_folder(tmp_path):
  path = write_gguf(tmp_path / 'model.gguf', draw_tensors())
  conversion.convert(path, str(tmp_path / 'out'), 'hf')
  assert bits(load_file(tmp_path / 'out/model.safetensors')) == bits(draw_tensors())
  fields = json.loads((tmp_path / 'out/config.json').read_text())
  assert fields['max_position_embeddings'] == 4096 and fields['rope_theta'] == 1e6


def test_the_tokenizer_inside_a_gguf_file_comes_along(tmp_path):
  def tokenizer(writer):
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('smollm')
    writer.add_token_list(['<end>', 'a', 'b', 'ab', '1', '\u0120', '<start>'])
    writer.add_token_types([3, 1, 1, 1, 1, 1, 3])
    writer.add_token_merges(['a b'])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(6)
    writer.add_add_bos_token(True)
    writer.add_chat_template('{{ messages }}')
  path = write_gguf(tmp_path / 'model.gguf', draw_tensors(), more=tokenizer)
  for form in conversion.FORMATS:
    out = str(tmp_path / form)
    done = conversion.convert(path, out, form)
    assert done['copied'] == ['tokenizer.json', 'tokenizer_config.json']
    before, after = tokens.load_tokenizer('gguf', path), tokens.load_tokenizer('auto', out)
    text = 'ab 11<end>ba'
    assert after.encode(text) == before.encode(text) != []
    assert (after.eos_id, after.bos_id, after.pad_id) == (0, 6, 0)
    assert after.special('<start>') == 6 and after.decode([3, 5, 4, 0]) == 'ab 1'
  assert json.loads((tmp_path / 'hf/tokenizer_config.json').read_text())['chat_template'] == (
      '{{ messages }}')
  assert json.loads((tmp_path / 'hf/config.json').read_text())['eos_token_id'] == 0
  known = workdir.read_experiment(str(tmp_path / 'orbax'))['tokenizer']
  assert known == dict(kind='auto', path=str(tmp_path / 'orbax'))


def test_a_large_model_is_cut_into_files(tmp_path, monkeypatch):
  monkeypatch.setattr(export, 'FILE_BYTES', 9000)
  path = write_mistral(tmp_path / 'a', draw_tensors())
  conversion.convert(path, str(tmp_path / 'b'), 'hf')
  index = json.loads((tmp_path / 'b/model.safetensors.index.json').read_text())
  files = sorted(set(index['weight_map'].values()))
  assert len(files) > 3 and files[0] == f'model-00001-of-{len(files):05}.safetensors'
  together = {}
  for file in files:
    assert (tmp_path / 'b' / file).stat().st_size < 9000 + 2000
    together |= load_file(tmp_path / 'b' / file)
  assert bits(together) == bits(draw_tensors()) and index['weight_map'].keys() == together.keys()
  assert index['metadata']['total_size'] == 4 * CONFIG.parameters


def make_run(path, first, steps):
  """Writes a workdir as a run leaves it: a checkpoint for each step, with its measured value."""
  path.mkdir()
  workdir.write_experiment(str(path), CONFIG, dict(kind='huggingface', path=first),
                           dict(model=dict(checkpoint=first)))
  for step, value in steps.items():
    params = jax.tree.map(lambda x, s=step: x + s, checkpoint.load(first, CONFIG))
    workdir.save_params(str(path), params, step)
    if value is not None:
      workdir.write_score(str(path / 'checkpoints'), step, value)
  return str(path)


def test_a_run_exports_its_newest_or_best_checkpoint(tmp_path):
  first = write_huggingface(tmp_path / 'first', draw_tensors(), FIELDS | dict(eos_token_id=7))
  write_companions(tmp_path / 'first')
  run = make_run(tmp_path / 'run', first, {2: 0.5, 4: 0.75, 5: 0.75, 6: None})
  for which, step in (('newest', '6'), ('best', '4'), ('2', '2')):
    target = tmp_path / which
    done = conversion.convert(run, str(target), 'hf', step=which)
    assert done['step'] == step and done['copied'] == sorted(COMPANIONS)
    np.testing.assert_array_equal(load_file(target / 'model.safetensors')['model.norm.weight'],
                                  draw_tensors()['model.norm.weight'] + int(step))
    assert json.loads((target / 'config.json').read_text())['eos_token_id'] == 7
    assert json.loads((target / 'tokenizer.json').read_text()) == {'the': 'tokenizer.json'}
  for which in ('7', '-2', '\u00b2', '9' * 5000):
    with pytest.raises(ValueError, match=r"no checkpoint '.*': .*best or .* \[2, 4, 5, 6\]"):
      conversion.convert(run, str(tmp_path / 'x'), 'hf', step=which)
  (tmp_path / 'run/checkpoints/6/state/_METADATA').unlink()
  with pytest.raises(ValueError, match=r'checkpoints/6 is damaged \(state/_METADATA cannot'):
    conversion.convert(run, str(tmp_path / 'x'), 'hf', step='newest')
  with pytest.raises(ValueError, match='--step=best chooses among .* a workdir'):
    conversion.convert(first, str(tmp_path / 'x'), 'hf', step='best')


def test_a_run_of_bytes_exports_a_tokenizer_its_end_and_how_it_was_prompted(tmp_path, capsys):
  path = tmp_path / 'run'
  path.mkdir()
  first = write_huggingface(tmp_path / 'first', draw_tensors())
  data = dict(template='plain', system_prompt='')
  workdir.write_experiment(str(path), CONFIG, dict(kind='bytes', path=''),
                           dict(data=data, model=dict(checkpoint='')), end_ids=[2])
  workdir.save_params(str(path), checkpoint.load(first, CONFIG), 1)
  convert.main(convert.parse(['', f'--from={path}', f'--to={tmp_path / "hf"}', '--format=hf']))
  said = capsys.readouterr()
  done = json.loads(said.out)
  assert done['copied'] == ['tokenizer.json', 'tokenizer_config.json'] and done['prompt'] == data
  assert 'prompt the model as it was trained' in said.err
  assert tokens.load_tokenizer('auto', str(tmp_path / 'hf')).eos_id == 2
  assert json.loads((tmp_path / 'hf/config.json').read_text())['eos_token_id'] == 2


def test_companions_of_two_tokenizers_are_never_mixed(tmp_path):
  first = write_huggingface(tmp_path / 'first', draw_tensors())
  write_companions(tmp_path / 'first')
  other = tmp_path / 'other'
  other.mkdir()
  write_companions(other, ['tekken.json'])
  (tmp_path / 'run').mkdir()
  workdir.write_experiment(str(tmp_path / 'run'), CONFIG, dict(kind='tekken', path=str(other)),
                           dict(model=dict(checkpoint=first)))
  out = tmp_path / 'out'
  out.mkdir()
  assert companions.copy(str(tmp_path / 'run'), out) == [
      'LICENSE', 'generation_config.json', 'tekken.json']


def test_what_a_run_began_with_may_be_gone_and_is_told(tmp_path):
  first = write_huggingface(tmp_path / 'first', draw_tensors())
  run = make_run(tmp_path / 'run', first, {1: None})
  (tmp_path / 'first').rename(tmp_path / 'moved')
  done = conversion.convert(run, str(tmp_path / 'out'), 'hf')
  assert done['copied'] == [] and done['not_found'] == [first]
  assert checkpoint.read_config(str(tmp_path / 'out'), dtype='float32') == CONFIG


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path):
  path = write_mistral(tmp_path / 'a', draw_tensors())
  full = tmp_path / 'full'
  full.mkdir()
  (full / 'file').write_text('')
  with pytest.raises(ValueError, match='full. exists and is not an empty folder'):
    conversion.convert(path, str(full), 'hf')
  with pytest.raises(ValueError, match='exists and is not an empty folder'):
    conversion.convert(path, str(full / 'file'), 'hf')
  (tmp_path / 'empty').mkdir()
  conversion.convert(path, str(tmp_path / 'empty'), 'hf')
  # Conversion fails in the middle, when the partial folder already exists.
  (tmp_path / 'a/params.json').write_text(json.dumps(PARAMS | dict(hidden_dim=8)))
  with pytest.raises(ValueError, match='has shape'):
    conversion.convert(path, str(tmp_path / 'b'), 'hf')
  assert sorted(file.name for file in tmp_path.iterdir()) == ['a', 'empty', 'full']


KILLED = '''
import sys, time
from magistral_jax.models.formats import conversion, layout
to_file = layout.to_file
def slow(leaf, *arguments, **options):
  if leaf == 'norm':
    print('halfway', flush=True)
    time.sleep(60)
  return to_file(leaf, *arguments, **options)
layout.to_file = slow
conversion.convert(sys.argv[1], sys.argv[2], 'mistral')
'''


def test_a_killed_convert_leaves_no_folder_under_the_name(tmp_path):
  path = write_mistral(tmp_path / 'a', draw_tensors())
  with subprocess.Popen([sys.executable, '-c', KILLED, path, str(tmp_path / 'out')],
                        stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == 'halfway\n'
    process.kill()
  left = [file.name for file in tmp_path.iterdir() if file.name != 'a']
  assert len(left) == 1 and left[0].startswith('out.partial-')
  conversion.convert(path, str(tmp_path / 'out'), 'hf')
  assert bits(load_file(tmp_path / 'out/model.safetensors')) == bits(draw_tensors())


@pytest.mark.parametrize('arguments, words', [
    (['--format=hf'], 'required: --to'),
    (['--to=x', '--format=hf'], '--from is missing'),
    (['--to=x', '--from=here'], '--format is missing'),
    (['--to=x', '--from=here', '--format=hf'], "error: --from='here' does not exist"),
    (['--to=x', '--language_model=a', '--into=b'], "error: --language_model='a' does not exist"),
    (['--to=x', '--into=here'], '--language_model is missing'),
    (['--to=x', '--language_model=a', '--into=b', '--from=c'], '--from'),
])
def test_mistakes_on_the_command_line_are_one_sentence(arguments, words, capsys):
  with pytest.raises(SystemExit) as stop:
    convert.main(convert.parse(['convert', *arguments]))
  assert stop.value.code == 2
  assert words in (error := capsys.readouterr().err) and error.count('\n') == 1


def test_permissions_are_those_of_a_new_folder(tmp_path):
  path = write_mistral(tmp_path / 'a', draw_tensors())
  conversion.convert(path, str(tmp_path / 'b'), 'hf')
  (tmp_path / 'c').mkdir()
  assert os.stat(tmp_path / 'b').st_mode == os.stat(tmp_path / 'c').st_mode


def golden_folder(name):
  return str(golden.FOLDER / name)


@pytest.mark.parametrize('name', [*sorted(golden.CONFIGS), 'mixtral'])
def test_what_transformers_wrote_makes_the_round_trip(tmp_path, name):
  """Towers and experts come back bit for bit through both other formats."""
  path, original = golden_folder(name), load_file(golden.FOLDER / name / 'model.safetensors')
  config = checkpoint.read_config(path, dtype='float32')
  before = json.loads((golden.FOLDER / name / 'config.json').read_text())
  for i, form in enumerate(['mistral', 'orbax', 'hf']):
    conversion.convert(path, path := str(tmp_path / f'{i}'), form)
    assert checkpoint.read_config(path, dtype='float32') == config
  assert bits(load_file(f'{path}/model.safetensors')) == bits(original)
  after = json.loads((tmp_path / '2/config.json').read_text())
  assert (after['architectures'], after['model_type']) == (
      before['architectures'], before['model_type'])


@pytest.mark.parametrize('name, patch, merge', [('pixtral', 4, 1), ('mistral3', 4, 2)])
def test_how_images_are_cut_is_written_unless_it_was_copied(tmp_path, name, patch, merge):
  tower = golden.CONFIGS[name].vision
  assert (tower.patch, tower.merge) == (patch, merge)
  conversion.convert(golden_folder(name), str(tmp_path / 'bare'), 'mistral')
  conversion.convert(str(tmp_path / 'bare'), str(tmp_path / 'hf'), 'hf')
  read = lambda path: json.loads(path.read_text())
  processor = read(tmp_path / 'hf/preprocessor_config.json')
  assert processor['size'] == dict(longest_edge=tower.side)
  assert processor['patch_size'] == dict(height=patch, width=patch)
  assert processor['image_mean'] == [0.48145466, 0.4578275, 0.40821073]
  assert processor['image_std'] == [0.26862954, 0.26130258, 0.27577711]
  whole = read(tmp_path / 'hf/processor_config.json')
  assert (whole['patch_size'], whole['spatial_merge_size']) == (patch, merge)
  # In Mistral's layout params.json has it; published files are copied and not replaced.
  encoder = read(tmp_path / 'bare/params.json')['vision_encoder']
  assert (encoder['patch_size'], encoder.get('spatial_merge_size', 1)) == (patch, merge)
  (tmp_path / 'bare/preprocessor_config.json').write_text('{"published": true}')
  for form in ('hf', 'mistral'):
    conversion.convert(str(tmp_path / 'bare'), str(tmp_path / f'kept-{form}'), form)
    assert read(tmp_path / f'kept-{form}/preprocessor_config.json') == dict(published=True)
    assert not (tmp_path / f'kept-{form}/processor_config.json').exists()


@pytest.mark.parametrize('name, trained', [('pixtral', 'orbax'), ('mistral3', 'mistral')])
def test_a_trained_language_model_goes_back_under_its_tower(tmp_path, name, trained):
  """The language model is the new one; tower, adapter and format are the old ones."""
  whole, config = golden_folder(name), dataclasses.replace(golden.CONFIGS[name], vision=None)
  changed = jax.tree.map(lambda x: x + 1, checkpoint.load(whole, config))
  if trained == 'orbax':
    path = tmp_path / 'run'
    path.mkdir()
    workdir.write_experiment(str(path), config, dict(kind='bytes', path=''), {})
    workdir.save_params(str(path), changed, 3)
  else:
    path = tmp_path / 'folder'
    with export.whole_folder(str(path)) as folder:
      export.write_mistral(reading.TreeWeights(changed), config, folder)
  done = conversion.reunite(str(path), whole, str(tmp_path / 'out'))
  assert done['format'] == 'hf' and done['parameters'] == golden.CONFIGS[name].parameters
  before = load_file(golden.FOLDER / name / 'model.safetensors')
  after = load_file(tmp_path / 'out/model.safetensors')
  assert before.keys() == after.keys()
  for tensor in before:
    moved = tensor.startswith('language_model.')
    np.testing.assert_array_equal(after[tensor], before[tensor] + 1 if moved else before[tensor])
  # The other format, with rounded numbers.
  conversion.reunite(str(path), whole, str(tmp_path / 'other'), 'mistral', dtype='bfloat16')
  loaded = checkpoint.load(str(tmp_path / 'other'), golden.CONFIGS[name])
  np.testing.assert_array_equal(
      loaded['embed'], np.asarray(changed['embed']).astype('bfloat16').astype(np.float32))


def test_a_language_model_of_another_shape_is_refused(tmp_path):
  whole = golden_folder('pixtral')
  path = write_huggingface(tmp_path / 'a', draw_tensors())
  with pytest.raises(ValueError, match='has head_dim=6 and --into=.* head_dim=8'):
    conversion.reunite(path, whole, str(tmp_path / 'out'))
  with pytest.raises(ValueError, match='--into=.* has no image tower'):
    conversion.reunite(path, path, str(tmp_path / 'out'))
