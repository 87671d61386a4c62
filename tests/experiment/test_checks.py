"""Every value that cannot work is refused in one sentence, before anything is compiled."""
import dataclasses
import io
import json

import pytest
import tokenizers
from rich.console import Console
from tokenizers import models

from magistral_jax import command_line
from magistral_jax.experiment import checks, memory, model_checks, schema, values
from magistral_jax.planning import programs, sides
from tests import tiny

# What the expected words speak of, whatever values the quickstart has at present.
KNOWN = {
    'data.max_prompt_tokens': 16, 'sampler.max_new_tokens': 48, 'evaluation.max_new_tokens': 48,
    'sampler.page_tokens': 16, 'sampler.slots': 128, 'batching.row_tokens': 128,
    'batching.prompts_per_batch': 16, 'batching.minibatches': 1, 'batching.max_staleness': 3,
    'trainer.microbatch_rows': 16, 'cold_start.rows': 16, 'model.layers': 3, 'model.dim': 192,
    'model.heads': 6, 'model.kv_heads': 2, 'model.head_dim': 32, 'model.ffn_dim': 512,
    'loss.kl_reference': 'none', 'loss.clip_high': 0.28}


def config(**overrides):
  return tiny.load(**KNOWN | overrides)


def sentence(error):
  """The message of an error, which must be one sentence that ends."""
  text = str(error.value)
  assert '\n' not in text and text.endswith('.'), text
  return text


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tiny.write_folder(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def problems(tmp_path_factory):
  return tiny.write_problems(tmp_path_factory.mktemp('data') / 'problems.jsonl')


@pytest.fixture
def words_config(folder, problems):
  """words_config(**overrides): configs/smollm2_math.py with that folder and those problems."""
  return lambda **overrides: tiny.load('smollm2_math', **{
      'model.checkpoint': folder, 'tokenizer.kind': 'huggingface', 'data.jsonl.path': problems,
      'data.jsonl.held_out': 5, 'evaluation.problems': 5} | overrides)


@pytest.mark.parametrize('key, value, words', [
    ('seed', -1, 'seed=-1 must be a whole number of at least 0 and at most 2147483647'),
    ('total_steps', -1, 'total_steps=-1 must be a whole number of at least 0'),
    ('total_steps', True, 'total_steps=True must be a whole number'),
    ('tokenizer.kind', 'byte', "tokenizer.kind='byte' must be one of bytes, huggingface, gguf,"),
    ('tokenizer.path', 'nowhere', "tokenizer.path='nowhere' is not read where tokenizer.kind is '"),
    ('tokenizer.kind', 'gguf', 'set model.checkpoint, which brings its own, or tokenizer.path'),
    ('data.source', 'sums', "data.source='sums' must be one of arithmetic, jsonl, tfds"),
    ('data.template', 'alpaca', "data.template='alpaca' must be one of plain, chatml"),
    ('data.max_prompt_tokens', 0, 'data.max_prompt_tokens=0 must be a whole number of at least 1'),
    ('data.arithmetic.min_terms', 1, 'data.arithmetic.min_terms=1 must be a whole number of at'),
    ('model.family', 'gpt', "model.family='gpt' must be one of mistral"),
    ('model.dtype', 'float16', "model.dtype='float16' must be one of float32, bfloat16"),
    ('mesh.trainer_topology', 'v5p:8x8', "must be '' (this machine) or a TPU slice such as"),
    ('model.layers', 0, 'model.layers=0 must be a whole number of at least 1'),
    ('model.head_dim', 7, 'model.head_dim=7 must be even'),
    ('model.heads', 5, 'model.heads=5 is no multiple of model.kv_heads=2'),
    ('model.norm_eps', 0.0, 'model.norm_eps=0.0 must be a finite number above 0'),
    ('model.tied', 1, 'model.tied=1 must be true or false'),
    ('cold_start.mistakes', 1.5, 'cold_start.mistakes=1.5 must be a finite number between 0 and 1'),
    ('cold_start.rows', 10, 'cold_start.rows=10 must be a multiple of trainer.microbatch_rows=16'),
    ('sampler.slots', 0, 'sampler.slots=0 must be a whole number of at least 1'),
    ('sampler.group_size', 1, 'sampler.group_size=1 must be a whole number of at least 2'),
    ('sampler.temperature', 0.0, 'sampler.temperature=0.0 must be a finite number above 0'),
    ('sampler.top_p', 0.9, 'sampler.top_p=0.9 must be 1 while training'),
    ('sampler.pages', 3, 'sampler.pages=3 must be at least 10'),
    ('sampler.kv_dtype', 'int4', "sampler.kv_dtype='int4' must be one of model, int8, fp8"),
    ('sampler.weight_dtype', 'fp8', "sampler.weight_dtype='fp8' must be one of model, int8"),
    ('sampler.max_new_tokens', 200, 'batching.row_tokens=128 is too short for a sequence of 215'),
    ('verifiers.language', -1.0, 'verifiers.language=-1.0 must be a finite number of at least 0'),
    ('verifiers.sandbox', 'docker', "verifiers.sandbox='docker' must be one of none, bubblewrap"),
    ('verifiers.queue', 0, 'verifiers.queue=0 must be a whole number of at least 1'),
    ('verifiers.correct', 0.0, 'verifiers.correct=0.0 must be above 0'),
    ('verifiers.format', -0.1, 'verifiers.format=-0.1 must be a finite number of at least 0'),
    ('verifiers.memory_mb', 100, 'verifiers.memory_mb=100 must be a whole number of at least 256'),
    ('verifiers.timeout_s', float('inf'), 'verifiers.timeout_s=inf must be a finite number above'),
    ('batching.prompts_per_batch', 0, 'batching.prompts_per_batch=0 must be a whole number'),
    ('batching.minibatches', 3, 'batching.prompts_per_batch=16 must be a multiple of'),
    ('batching.max_staleness', -1, 'batching.max_staleness=-1 must be a whole number of at least'),
    ('batching.backlog_batches', 0, 'batching.backlog_batches=0 must be a whole number of at'),
    ('sampler.in_flight', 4, 'at least a group of 8 and at most the 128 slots of all samplers'),
    ('sampler.in_flight', 129, 'sampler.in_flight=129 must be 0, or at least a group of 8'),
    ('batching.row_tokens', 32, 'batching.row_tokens=32 is too short for a sequence of 63'),
    ('batching.advantage_norm', 'batch', 'must be one of minibatch, group, none'),
    ('batching.normalizer', 'token', 'must be one of group, batch, sequence, constant'),
    ('loss.name', 'ppo', "loss.name='ppo' must be one of clipped, truncated"),
    ('loss.clip_low', 1.5, 'loss.clip_low=1.5 must be a finite number between 0 and 1'),
    ('loss.clip_high', float('nan'), 'loss.clip_high=nan must be a finite number of at least 0'),
    ('loss.kl_coef', 0.1, "only read where loss.kl_reference is 'fixed' or 'ema', and here"),
    ('loss.kl_reference', 'old', 'must be one of none, fixed, ema'),
    ('model.experts', 4, "is only read where model.family is 'mixtral', and here model.family="),
    ('loss.vocab_chunk', -1, 'loss.vocab_chunk=-1 must be a whole number of at least 0'),
    ('optimizer.name', 'lion', "optimizer.name='lion' must be one of adamw, sgd"),
    ('optimizer.learning_rate', -1.0, 'optimizer.learning_rate=-1.0 must be a finite number of'),
    ('optimizer.beta1', 1.0, 'optimizer.beta1=1.0 must be a finite number of at least 0 and below'),
    ('trainer.remat', 'some', "trainer.remat='some' must be one of none, full, dots"),
    ('trainer.microbatch_rows', 3, 'cold_start.rows=16 must be a multiple of'),
    ('mesh.trainer.fsdp', 3, 'microbatch_rows=16 must be a multiple of mesh.trainer.fsdp=3'),
    ('mesh.trainer', dict(fsdp=2, expert=3, sequence=1, tensor=1),
     'must be a multiple of 6 (mesh.trainer.fsdp=2 x mesh.trainer.expert=3)'),
    ('mesh.trainer', dict(fsdp=1, expert=1, sequence=3, tensor=1),
     'batching.row_tokens=128 must be a multiple of mesh.trainer.sequence=3'),
    ('mesh.sampler.tensor', 0, 'mesh.sampler.tensor=0 must be a whole number of at least 1'),
    ('evaluation.top_p', 0.0, 'evaluation.top_p=0.0 must be a finite number above 0 and at most 1'),
    ('evaluation.samples', 0, 'evaluation.samples=0 must be a whole number of at least 1'),
    ('evaluation.temperature', -0.1, 'evaluation.temperature=-0.1 must be a finite number of at'),
    ('checkpoints.keep', 0, 'checkpoints.keep=0 must be a whole number of at least 1'),
    ('checkpoints.keep_every', 30,
     'checkpoints.keep_every=30 must be a multiple of checkpoints.every=20'),
    ('runtime.mode', 'thread', "runtime.mode='thread' must be one of threads, lockstep"),
    ('runtime.trainers', 2, "only read where runtime.mode is 'ray' or 'ray_lockstep', and here"),
    ('runtime.verifiers', 2, "only read where runtime.mode is 'ray' or 'ray_lockstep', and here"),
    ('runtime.verifier_workers', 0, 'runtime.verifier_workers=0 must be a whole number of at'),
    ('runtime.deadline_s', 0.0, 'runtime.deadline_s=0.0 must be a finite number above 0'),
])
def test_a_value_that_cannot_work_is_named(key, value, words):
  with pytest.raises(ValueError) as error:
    checks.check(config(**{key: value}))
  assert words in sentence(error)


@pytest.mark.parametrize('chosen, key, value, words', [
    ({'verifiers.sandbox': 'bubblewrap'}, 'verifiers.code_reward', 'some', 'one of all, share'),
    ({'verifiers.sandbox': 'bubblewrap'}, 'verifiers.code_tests', 0, 'a whole number of at least'),
    ({'verifiers.sandbox': 'unsafe'}, 'verifiers.test_timeout_s', 0.0, 'a finite number above 0'),
    ({'verifiers.sandbox': 'unsafe'}, 'verifiers.test_memory_mb', 8, 'a whole number of at least'),
    ({'runtime.mode': 'ray'}, 'runtime.heartbeat_s', 0.0, 'a finite number above 0'),
    ({'runtime.mode': 'ray'}, 'runtime.transport', 'post', 'one of device, host'),
    ({'model.family': 'mixtral'}, 'model.experts', 0, 'a whole number of at least 1'),
    ({'model.family': 'mixtral'}, 'loss.router_aux_coef', -0.1, 'a finite number of at least 0'),
    ({'loss.kl_reference': 'ema'}, 'loss.kl_ema', 1.0, 'a finite number of at least 0 and below'),
    ({'data.source': 'jsonl'}, 'data.jsonl.held_out', -1, 'a whole number of at least 0'),
    ({'model.vision': 'frozen'}, 'model.tower.patch', 0, 'a whole number of at least 1'),
])
def test_a_value_that_cannot_work_in_a_chosen_section_is_named(chosen, key, value, words):
  with pytest.raises(ValueError) as error:
    checks.check(config(**chosen | {key: value}))
  assert f'{key}={value!r} must be {words}' in sentence(error)


def test_values_that_cannot_work_together_are_named():
  for words, overrides in {
      'verifiers.length_cache is 20 but verifiers.length_max is 10':
          {'verifiers.length_max': 10, 'verifiers.length_cache': 20},
      'evaluation.problems=0 for none': {'evaluation.every': 5, 'evaluation.problems': 0},
      'runtime.trainers=2 processes cannot share the 1 devices of mesh.trainer evenly':
          {'runtime.mode': 'ray', 'runtime.trainers': 2},
  }.items():
    with pytest.raises(ValueError) as error:
      checks.check(config(**overrides))
    assert words in sentence(error)


def test_a_key_that_is_missing_or_unknown_in_the_file_is_named():
  c = config()
  del c.sampler.slots
  with pytest.raises(ValueError, match='sampler.slots is missing in the config: it must be a'):
    checks.check(c)
  c = config()
  c.loss.clip_hihg = 0.3
  with pytest.raises(ValueError, match=r'loss.clip_hihg=0.3 is unknown \(did you mean loss.cli'):
    checks.check(c)
  c = config()
  del c.mesh.trainer
  with pytest.raises(ValueError, match='mesh.trainer is missing .* a section with fsdp, expert'):
    checks.check(c)
  with pytest.raises(ValueError, match='verifiers=3 must be a section with format, correct'):
    checks.check(config(verifiers=3))


def test_a_key_of_a_section_that_is_not_chosen_is_refused_in_the_file():
  c = config()
  c.data.jsonl = dict(path='problems.jsonl', held_out_path='', held_out=0)
  with pytest.raises(ValueError) as error:
    checks.check(c)
  assert sentence(error) == (
      "data.jsonl.path='problems.jsonl' is only read where data.source is 'jsonl', and here "
      "data.source='arithmetic': change that too, or leave data.jsonl.path out.")
  c = config()
  c.data.source = 'jsonl'
  del c.data.arithmetic
  with pytest.raises(ValueError, match='data.jsonl is missing .* a section with path, held_out_pa'):
    checks.check(c)
  c.data.jsonl = dict(path='problems.jsonl', held_out=0)
  with pytest.raises(ValueError, match='held_out_path is missing in the config where data.so'):
    checks.check(c)


@pytest.mark.parametrize('key, suggestion', [
    ('loss.clip_hihg', 'loss.clip_high'), ('clip_high', 'loss.clip_high'),
    ('losses.clip_low', 'loss.clip_low'), ('sampler.groupsize', 'sampler.group_size'),
    ('data.arithmetics.max_number', 'data.arithmetic.max_number'), ('zzz', None)])
def test_the_likeliest_key_is_suggested(key, suggestion):
  words = f' (did you mean {suggestion}?)' if suggestion else ''
  assert command_line.did_you_mean(key, schema.KEYS) == words


@pytest.mark.parametrize('name, value, words', [
    ('mesh.trainer.tensor', 16, "need 17 devices and there are 8: make the meshes smaller"),
    ('runtime.samplers', 8, 'need 9 devices and there are 8'),
    ('mesh.trainer.tensor', 4, 'model.heads=6 must be a multiple of mesh.trainer.tensor=4'),
    ('mesh.sampler.tensor', 3, 'model.kv_heads=2 must be a multiple of mesh.sampler.tensor=3'),
    ('data.arithmetic.operations', '/', "The operations '/' cannot be used"),
    ('data.max_prompt_tokens', 4, 'raise data.max_prompt_tokens or lower'),
    ('data.template', 'chatml', "has no control token '<|im_start|>': choose the data.template"),
    ('model.checkpoint', 'nowhere', "model.checkpoint='nowhere' does not exist"),
    ('data.source', 'jsonl', 'set data.jsonl.path'),
    ('data.source', 'tfds', 'set data.tfds.path'),
    ('cold_start.examples', 10 ** 9, 'cold_start.examples=1000000000 must be at most 1000000'),
    ('cold_start.path', 'nowhere.jsonl', "The problem file 'nowhere.jsonl' does not exist"),
])
def test_what_shows_only_in_files_and_devices_is_checked_too(name, value, words):
  with pytest.raises(ValueError) as error:
    checks.prepare(config(**{name: value}))
  assert words in sentence(error)


def test_a_config_with_files_is_prepared(words_config, folder):
  parts = checks.prepare(words_config())
  assert parts.config.dim == 16 and parts.tokenizer.vocab_size == len(tiny.WORDS)
  assert parts.stream.source.size == 15 and len(parts.stream.held_out(5)) == 5
  assert checks.prepare(words_config(), problems=False).stream is None


@pytest.mark.parametrize('overrides, words', [
    ({'tokenizer.kind': 'gguf'}, "is of kind 'huggingface': set tokenizer.kind='huggingface'"),
    ({'tokenizer.kind': 'bytes', 'data.template': 'plain'}, "kind='bytes' has 264 tokens"),
    ({'tokenizer.path': 'nowhere', 'tokenizer.kind': 'bytes'}, 'is not read where tokenizer.kind'),
    ({'tokenizer.path': 'nowhere'}, "The tokenizer 'nowhere' does not exist"),
    ({'tokenizer.path': __file__}, 'is no tokenizer'),
    ({'tokenizer.path': __file__, 'tokenizer.kind': 'gguf'}, 'is no GGUF file'),
    ({'data.template': 'mistral-v7'}, "has no control token '[SYSTEM_PROMPT]'"),
    ({'data.jsonl.path': 'nowhere.jsonl'}, "'nowhere.jsonl' does not exist"),
    ({'data.jsonl.held_out': 20}, 'set data.jsonl.held_out between 0 and 19'),
    ({'data.jsonl.held_out': 0}, 'evaluation.problems is 5, but no problem is held out'),
    ({'data.jsonl.held_out_path': 'nowhere.jsonl'}, "'nowhere.jsonl' does not exist"),
    ({'data.max_prompt_tokens': 3}, 'No training problem fits'),
    ({'mesh.trainer.fsdp': 5, 'trainer.microbatch_rows': 10, 'cold_start.rows': 10},
     'model.dim=16 must be a multiple of mesh.trainer.fsdp=5'),
])
def test_files_that_do_not_go_together_are_named(words_config, overrides, words):
  with pytest.raises(ValueError) as error:
    checks.prepare(words_config(**overrides))
  assert words in sentence(error)


def test_programs_are_refused_where_they_cannot_be_isolated(words_config, tmp_path, monkeypatch):
  path = tmp_path / 'programs.jsonl'
  row = dict(problem='one two three', tests=[dict(stdin='1', stdout='1')], language='python')
  path.write_text(''.join(json.dumps(row | dict(problem=f'one two {i}')) + '\n' for i in range(9)))
  c = words_config(**{'data.jsonl.path': str(path), 'cold_start.steps': 0,
                      'verifiers.sandbox': 'bubblewrap'})
  isolation = checks.sandbox.Isolation(False, 'No jail here.', 'Get one.')
  monkeypatch.setattr(checks.sandbox, 'probe', lambda: isolation)
  with pytest.raises(ValueError) as error:
    checks.prepare(c)
  told = sentence(error)
  assert 'holds 9 programming problems' in told and 'No jail here. Get one.' in told
  assert "set verifiers.sandbox='unsafe'" in told
  values.change(c, {'verifiers.sandbox': 'unsafe'})
  assert checks.prepare(c).stream is not None
  values.change(c, {'verifiers.sandbox': 'none'})
  with pytest.raises(ValueError, match="'none' judges no programs: set verifiers.sandbox='bubblew"):
    checks.prepare(c)


def test_a_balance_loss_needs_a_checkpoint_with_experts(words_config):
  with pytest.raises(ValueError, match='router_aux_coef=0.01 must be 0: the model has no experts'):
    checks.prepare(words_config(**{'model.family': 'mixtral', 'loss.router_aux_coef': 0.01}))


def test_experts_that_have_no_number_of_one_byte_cannot_be_replayed():
  c = tiny.load(**{'model.family': 'mixtral', 'model.experts': 300})
  assert c.trainer.routing_replay, 'it is on wherever there are experts'
  with pytest.raises(ValueError, match='routing_replay=True .* 300 experts: set it to False'):
    checks.prepare(c, problems=False)
  values.change(c, {'trainer.routing_replay': False})
  checks.prepare(c, problems=False)


TILES = 'must be a multiple of {} on mesh.trainer_topology=v5p:4x4x4'
LIST = r'1 row of 131072 tokens .* raise mesh\.trainer\.sequence'


@pytest.mark.parametrize('cut, tokens, words', [
    (1, 45056, ''), (1, 45057, TILES.format(128)), (4, 45056, ''), (8, 45056, TILES.format(8192)),
    (4, 45056 + 4 * 128, 'multiple of 2048 on .*, with mesh.trainer.sequence=4: the attention'),
    (1, 65536, ''), (1, 131072, LIST), (4, 131072, '')])
def test_rows_that_the_kernel_of_tpus_cannot_compute_are_refused(cut, tokens, words):
  """Before anything is compiled, by a run as well as by its plan."""
  c = tiny.load('magistral_small_rl', **{
      'mesh.trainer': dict(fsdp=16, sequence=cut), 'batching.row_tokens': tokens,
      'data.max_prompt_tokens': 64, 'sampler.max_new_tokens': 64, 'trainer.microbatch_rows': 16})
  shape = programs.model_config(c)
  if not words:
    return model_checks.check_rows(c, shape)
  with pytest.raises(ValueError, match=words) as refused:
    model_checks.check_rows(c, shape)
  sentence(refused)
  with pytest.raises(ValueError, match=words):
    sides.plan(c, topology=None, sampler_topology=None, margin=0.1, note=print)
  on_a_tpu = {'model.head_dim': 128, 'mesh.trainer_topology': 'v5p:4x4x4',
              'batching.row_tokens': 200}
  with pytest.raises(ValueError, match='row_tokens=200 must be a multiple of 128'):
    checks.prepare(config(**on_a_tpu))
  # Neither heads without a kernel nor other machines are refused anything.
  model_checks.check_rows(c, dataclasses.replace(shape, head_dim=64))
  c.mesh.trainer_topology = ''
  model_checks.check_rows(c, shape)


def test_a_cold_start_with_nothing_to_imitate_is_refused(words_config, tmp_path):
  bare = tmp_path / 'bare.jsonl'
  bare.write_text('{"problem": "one", "answer": "1"}\n')
  with pytest.raises(ValueError, match='has a solution to imitate'):
    checks.prepare(words_config(**{'cold_start.path': str(bare)}))
  checks.prepare(words_config(**{'cold_start.steps': 0}))
  long = tmp_path / 'long.jsonl'
  long.write_text(json.dumps(dict(problem='one', answer='1', solution='one ' * 700)) + '\n')
  with pytest.raises(ValueError, match=r'batching.row_tokens=\d+ is too short for every one of'):
    checks.prepare(words_config(**{'cold_start.path': str(long)}))


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(words_config, tmp_path):
  many = tokenizers.Tokenizer(models.WordLevel({f'w{i}': i for i in range(2, 50)}, 'w2'))
  many.add_special_tokens(list(tiny.WORDS[:2]))
  many.save(str(tmp_path / 'tokenizer.json'))
  with pytest.raises(ValueError, match='tokens and model.checkpoint=.* a vocabulary of 8: set'):
    checks.prepare(words_config(**{'tokenizer.path': str(tmp_path)}))


def test_a_workdir_without_a_checkpoint_is_refused(tmp_path):
  (tmp_path / 'experiment.json').write_text('{}')
  with pytest.raises(ValueError, match='is a workdir without a checkpoint'):
    checks.prepare(config(**{'model.checkpoint': str(tmp_path)}))


def test_the_description_holds_config_memory_and_pace():
  c, out = config(), io.StringIO()
  memory.describe(c, checks.prepare(c), Console(file=out, width=120))
  for words in ('clip_high: 0.28', '1,231,680 parameters', 'together', 'problems without end',
                '0 left out since their prompts are longer than data.max_prompt_tokens=16',
                'sequences are in flight', 'versions behind',
                # 8 versions of as many numbers of 4 bytes.
                '37.6 MiB of CPU memory keep the weights of 8 versions'):
    assert words in ' '.join(out.getvalue().split()), words


def test_memory_counts_parameters_and_pages_exactly():
  c = config(**{'loss.kl_reference': 'fixed', 'runtime.samplers': 2})
  sizes = dict(memory.sizes(c, checks.prepare(config()).config))
  assert sizes['trainer: parameters'] == 2 * 4 * 1_231_680
  assert sizes['trainer: optimizer moments'] == 8 * 1_231_680
  # All but the embedding of 264 tokens and the last norm.
  assert sizes['samplers: layers apart x 2'] == 2 * 4 * (1_231_680 - 264 * 192 - 192)
  # 128 slots of 4 pages, 8 for prompts, the page nobody gets; 16 tokens, K and V, 3 layers.
  assert sizes['samplers: pages x 2'] == 2 * (128 * 4 + 8 + 1) * 16 * 2 * 3 * 2 * 32 * 4
  c.sampler.kv_dtype = 'int8'   # A byte a number, and a float32 for the 32 of a head.
  less = dict(memory.sizes(c, checks.prepare(config()).config))['samplers: pages x 2']
  assert less == 2 * (128 * 4 + 8 + 1) * 16 * 2 * 3 * 2 * (32 + 4)


def test_memory_counts_rounded_weights_as_they_are_held():
  c = config(**{'runtime.samplers': 2, 'sampler.weight_dtype': 'int8'})
  sizes = dict(memory.sizes(c, checks.prepare(config()).config))
  norms, others = 3 * 2 * 192, 264 * 192 + 192
  matrices = 1_231_680 - norms - others
  # A float32 for every output of 3 layers: 2 x 192 of attention with 6 heads and 2 kv heads of 32.
  scales = 3 * ((6 + 2 + 2) * 32 + 192 + 2 * 512 + 192)
  layers = matrices + 4 * (scales + norms)
  assert sizes['samplers: layers apart x 2'] == 2 * layers
  assert sizes['samplers: parameters x 2'] == 2 * (layers + 4 * others)
  assert sizes['trainer: parameters'] == 4 * 1_231_680


def test_pages_of_integers_are_refused_for_a_tpu():
  c = tiny.load('magistral_small_rl', **{'sampler.kv_dtype': 'fp8'})
  checks.check_values(c)
  c.sampler.kv_dtype = 'int8'
  with pytest.raises(ValueError, match="sampler.kv_dtype='int8' has a scale for every token"):
    checks.check_values(c)
