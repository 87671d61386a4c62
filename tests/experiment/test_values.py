"""A config has the keys that it chooses, and no others; overrides choose other ones."""
import pytest

from magistral_jax.experiment import cli, schema, values
from tests import tiny

ARITHMETIC = dict(operations='+-', min_terms=2, max_terms=3, max_number=9)
NAMES = sorted(path.stem for path in tiny.CONFIGS.glob('*.py'))


def read(*overrides, name='quickstart'):
  c = cli.read_config(['train', f'--config={tiny.CONFIGS / name}.py',
                       *(f'--config.{text}' for text in overrides)])
  values.check_limits(c)
  return c


@pytest.mark.parametrize('name', NAMES)
def test_a_config_has_exactly_the_keys_that_it_chooses(name):
  values.check_limits(tiny.load(name))


def test_every_key_stands_once_and_only_conditional_ones_have_a_starting_value():
  assert len(schema.KEYS) == sum(len(section.keys) for section in schema.SECTIONS)
  unconditional = {key for section in schema.SECTIONS if not section.when
                   for key in section.names()}
  for key, described in schema.KEYS.items():
    assert (described.start is None) == (key in unconditional), key
    assert key in unconditional or described.limit.allows(described.start), key
    assert described.meaning.endswith('.'), key
  # What chooses a section is there in every config, and in every part of a mix.
  assert {section.when.key for section in schema.SECTIONS if section.when} <= {
      *unconditional, 'data.mix.*.source', 'data.mix.*.difficulty', 'data.mix.*.pools',
      'stages.*.opens'}


def test_another_source_brings_its_section_and_takes_the_old_one_away():
  c = read('data.source=jsonl', 'data.jsonl.path=problems.jsonl')
  assert c.data.jsonl.to_dict() == dict(path='problems.jsonl', held_out_path='', held_out=200,
                                       fields='')
  assert 'arithmetic' not in c.data
  c = read('data.tfds.held_out=20', 'data.source=tfds', 'data.tfds.path=a', name='smollm2_math')
  assert c.data.tfds.to_dict() == dict(path='a', held_out=20) and 'jsonl' not in c.data


def test_a_mix_has_parts_of_any_name():
  c = read('data.source=mix', 'data.mix.sums.source=arithmetic', 'data.mix.sums.weight=3',
           'data.mix.code_2.jsonl.path=a.jsonl')
  assert c.data.mix.sums.to_dict() == dict(source='arithmetic', weight=3.0, domain='',
                                           difficulty='none', pools=False, arithmetic=ARITHMETIC)
  assert c.data.mix.code_2.to_dict() == dict(source='jsonl', weight=1.0, domain='',
                                             difficulty='none', pools=False, jsonl=dict(
                                                 path='a.jsonl', held_out_path='', held_out=200,
                                                 fields=''))
  values.change(c, {'data.mix.sums.source': 'jsonl'})
  assert 'arithmetic' not in c.data.mix.sums and c.data.mix.sums.jsonl.held_out == 200
  values.change(c, {'data.source': 'arithmetic'})
  assert 'mix' not in c.data and c.data.arithmetic.max_terms == 3
  values.check_limits(c)
  assert schema.general('data.mix.code_2.jsonl.path') == 'data.mix.*.jsonl.path'
  assert schema.find('data.mix.code_2.jsonl.path').start == '' and not schema.find('data.mix.a.b')


@pytest.mark.parametrize('overrides, words', [
    (['data.source=mix'], "data.source is 'mix' and data.mix names nothing: add data.mix.NAME, "),
    (['data.source=mix', 'data.mix.a=3'], 'would replace a whole section: set its keys one by one'),
    (['data.mix.a.weight=1'], "is only read where data.source is 'mix', and here data.source="),
    (['data.source=mix', 'data.mix.a.weigth=1'], 'did you mean data.mix.*.weight?'),
    (['data.source=mix', 'data.mix.a.source=mix'], "data.mix.a.source='mix' must be one of arith"),
    (['data.source=mix', 'data.mix.a.weight=-1'], 'data.mix.a.weight=-1.0 must be a finite numb'),
    (['data.source=mix', 'data.mix.a.tfds.path=b'], "where data.mix.a.source is 'tfds', and here"),
])
def test_a_part_of_a_mix_that_cannot_be_is_refused(overrides, words):
  with pytest.raises(ValueError) as error:
    read(*overrides)
  assert words in str(error.value)


def test_what_the_file_says_of_a_chosen_section_stays():
  c = read('data.jsonl.path=a.jsonl', 'cold_start.steps=7', name='smollm2_math')
  assert (c.data.jsonl.path, c.data.jsonl.held_out) == ('a.jsonl', 200)
  assert (c.cold_start.steps, c.cold_start.rows, c.cold_start.learning_rate) == (7, 4, 1e-4)


@pytest.mark.parametrize('overrides, there, gone', [
    (['cold_start.steps=0'], ['cold_start.steps'], ['cold_start.rows', 'cold_start.path']),
    (['model.vision=trained'], ['model.tower.layers', 'batching.row_patches'], []),
    (['model.family=mixtral'], ['model.experts', 'loss.router_aux_coef'], []),
    (['loss.kl_reference=fixed'], ['loss.kl_coef'], ['loss.kl_ema']),
    (['loss.kl_reference=ema'], ['loss.kl_coef', 'loss.kl_ema'], []),
    (['verifiers.sandbox=unsafe'], ['verifiers.code_tests', 'verifiers.test_memory_mb'], []),
    (['verifiers.length_max=10'], ['verifiers.length_cache', 'verifiers.length_penalty'], []),
    (['verifiers.language=0.1'], ['verifiers.language_model'], []),
    (['optimizer.name=sgd'], ['optimizer.beta1'], ['optimizer.beta2', 'optimizer.eps']),
    (['runtime.mode=ray', 'runtime.trainers=2'], ['runtime.trainers', 'runtime.transport'], []),
])
def test_one_value_chooses_the_keys_that_go_with_it(overrides, there, gone):
  keys = dict(values.flat(read(*overrides)))
  assert set(there) <= keys.keys() and not set(gone) & keys.keys()


@pytest.mark.parametrize('override, words', [
    ('data.jsonl.path=a', "--config.data.jsonl.path='a' is only read where data.source is 'jsonl', "
     "and here data.source='arithmetic': change that too, or leave data.jsonl.path out."),
    ('model.tower.layers=2', "where model.vision is 'frozen' or 'trained', and here model.vision="),
    ('verifiers.length_cache=2', 'where verifiers.length_max is above 0, and here verifiers.le'),
    ('runtime.transport=device', "where runtime.mode is 'ray' or 'ray_lockstep', and here runt"),
])
def test_an_override_that_nothing_would_read_is_refused(override, words):
  with pytest.raises(ValueError) as error:
    read(override)
  assert words in f'--config.{error.value}'


def test_an_override_may_take_a_section_away_only_whole():
  with pytest.raises(ValueError, match='cold_start.rows=8 is only read where cold_start.steps is'):
    read('cold_start.steps=0', 'cold_start.rows=8')


def test_a_section_has_the_starting_values_of_what_it_does_not_choose():
  c = tiny.load()
  assert 'kl_coef' not in c.loss
  loss = values.filled(c, 'loss')
  assert loss['kl_coef'] == 0.0 and loss['kl_ema'] == 0.99 and loss['clip_high'] == 0.28
  assert set(values.filled(c, 'data')) == {'source', 'max_prompt_tokens', 'template',
                                           'system_prompt'}


def test_leaves_of_nested_dicts_have_dotted_names():
  assert dict(values.flat({'a': 1, 'b': {'c': 2, 'd': {'e': 3}}})) == {
      'a': 1, 'b.c': 2, 'b.d.e': 3}


def test_a_config_that_was_read_takes_no_new_keys():
  c = read()
  c.sampler.slots = 3
  with pytest.raises(AttributeError, match='locked'):
    c.sampler.slotz = 3
